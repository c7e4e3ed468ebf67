"""Other processes, which know of the test only what they are told."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A new interpreter that runs `script` with `arguments` in sys.argv[1:]; its output can be read."""
    command = [sys.executable, "-c", inspect.cleandoc(script), *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
