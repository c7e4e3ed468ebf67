"""Python processes beside the test's own, for what must work across processes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start an interpreter that runs `script` with `arguments` in sys.argv[1:]; stdin and stdout are pipes."""
    command = [sys.executable, "-c", inspect.cleandoc(script), *arguments]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
