"""Runs other programs to their end. Every short-lived child process of infra/local is started here."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

MAX_ERROR_CHARACTERS = 2000


class Failed(Exception):
    """A program failed. The message has its first words and the end of its error output."""


def run(
    words: Sequence[str | Path],
    *,
    seconds: float = 600,
    environment: Mapping[str, str] | None = None,
    statuses: tuple[int, ...] = (),
) -> str:
    """Run a program and return its standard output, stripped.

    Raises Failed after `seconds`, and for every exit status other than 0 and those in `statuses`.
    """
    try:
        done = subprocess.run(  # noqa: S603  # every word comes from this project, none from a request
            [str(word) for word in words], check=False, capture_output=True, text=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{_summary(words)}: still running after {seconds:.0f} s") from None
    if done.returncode and done.returncode not in statuses:
        raise Failed(f"{_summary(words)}: {(done.stderr or done.stdout).strip()[-MAX_ERROR_CHARACTERS:]}")
    return done.stdout.strip()


def _summary(words: Sequence[str | Path]) -> str:
    return " ".join(map(str, words[:4]))
