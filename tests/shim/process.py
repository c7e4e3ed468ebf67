"""A shim in a process of its own: the real one, but for where its files, its engine and its port are."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from shim import journal
from shim.__main__ import serve
from shim.configuration import FILE, read


def command(directory: Path, engine: str, port: int) -> list[str]:
    """`directory` holds shim.json, and will hold the certificate."""
    return [sys.executable, "-m", __name__, str(directory), engine, str(port)]


if __name__ == "__main__":
    directory, engine, port = sys.argv[1:]
    given = read((Path(directory) / FILE.name).read_text())
    journal.to_stdout(given.toolbox_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(given, Path(directory), engine, ("127.0.0.1", int(port)))
