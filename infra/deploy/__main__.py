"""Deploys the whole system to a Google Cloud project with gcloud. It can be run again after a failure or a change:

    infra/local/bootstrap python -m infra.deploy --project P --region R --connector C SETTINGS [--print]

SETTINGS is a file of lines NAME=value: the settings that infra/README.md lists, except for secrets, which must be in
Secret Manager already, and for those that follow from the project. --print only prints the commands.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from infra.deploy.commands import Command, Target, commands

ROOT = Path(__file__).resolve().parents[2]
ALREADY_EXISTS = "already exists"


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.deploy", description=__doc__.partition(":")[0])
    for name in ("project", "region", "connector"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("settings", type=Path, help="a file of lines NAME=value")
    parser.add_argument("--print", action="store_true", help="only print the commands")
    options = parser.parse_args()
    settings = dict(line.split("=", 1) for line in options.settings.read_text().splitlines() if "=" in line)
    target = Target(options.project, options.region, options.connector)
    for command in commands(target, settings):
        print(command, flush=True)
        if not options.print:
            run(command, target.project)


def run(command: Command, project: str) -> None:
    """Run a command unless its object exists. Raises SystemExit if gcloud fails for any other reason."""
    if command.unless and _gcloud(command.unless, project).returncode == 0:
        return
    done = _gcloud(command.words, project)
    if done.returncode and ALREADY_EXISTS not in done.stderr.lower():
        raise SystemExit(f"{command}\n{done.stderr}")


def _gcloud(words: tuple[str, ...], project: str) -> subprocess.CompletedProcess[str]:
    arguments = ["gcloud", *words, f"--project={project}", "--quiet"]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # no shell


if __name__ == "__main__":
    main()
