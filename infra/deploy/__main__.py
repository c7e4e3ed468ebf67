"""Deploys all of it to a project of Google Cloud, by gcloud, from wherever the project stands:

    infra/local/bootstrap python -m infra.deploy --project P --region R --connector C SETTINGS [--print]

SETTINGS is a file of lines NAME=value: the settings that the README lists, but for the secrets, which are in Secret
Manager beforehand, and for those that follow from the project. --print only says the commands.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from infra.deploy.commands import Command, Place, commands

ROOT = Path(__file__).resolve().parents[2]
THERE = "already exists"


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.deploy", description=__doc__.partition(":")[0])
    for name in ("project", "region", "connector"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--print", action="store_true", help="only say the commands")
    asked = parser.parse_args()
    given = dict(line.split("=", 1) for line in asked.settings.read_text().splitlines() if "=" in line)
    place = Place(asked.project, asked.region, asked.connector)
    for command in commands(place, given):
        print(command, flush=True)
        if not asked.print:
            run(command, place.project)


def run(command: Command, project: str) -> None:
    """Raises SystemExit where gcloud fails for another reason than that it is there already."""
    if command.unless and _gcloud(command.unless, project).returncode == 0:
        return
    done = _gcloud(command.words, project)
    if done.returncode and THERE not in done.stderr.lower():
        raise SystemExit(f"{command}\n{done.stderr}")


def _gcloud(words: tuple[str, ...], project: str) -> subprocess.CompletedProcess[str]:
    given = ["gcloud", *words, f"--project={project}", "--quiet"]
    return subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own words


if __name__ == "__main__":
    main()
