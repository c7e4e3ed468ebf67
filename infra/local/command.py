"""Other programs, run to their end: the one place that starts them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

LONGEST_TOLD = 2000


class Failed(Exception):
    """The program's name and first arguments, and the last it wrote."""


def run(
    words: Sequence[str | Path],
    *,
    seconds: float = 600,
    environment: Mapping[str, str] | None = None,
    refusals: tuple[int, ...] = (),
) -> str:
    """What the program wrote to standard output. Raises Failed for every exit status but 0 and the `refusals`."""
    try:
        done = subprocess.run(  # noqa: S603  # the words are this project's own
            [str(word) for word in words], check=False, capture_output=True, text=True, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{_named(words)}: no end within {seconds:.0f} s") from None
    if done.returncode and done.returncode not in refusals:
        raise Failed(f"{_named(words)}: {(done.stderr or done.stdout).strip()[-LONGEST_TOLD:]}")
    return done.stdout.strip()


def _named(words: Sequence[str | Path]) -> str:
    return " ".join(map(str, words[:4]))
