"""What the embedded store and queue share: one SQLite database, used by threads and processes at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from functions.domain import errors

# How long another process, or another thread of this one, is waited for. As long as Firestore gets for a commit.
BUSY_SECONDS = 5.0

# What says "not now" rather than "wrong": SQLite's primary result codes.
_NOT_NOW = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """`path` is a file, or ":memory:" for one that this object's users share and that ends with it.

    `schema` is a list of `CREATE … IF NOT EXISTS`. Opened on first use, since a connection must not cross a fork.
    """

    def __init__(self, path: str, schema: tuple[str, ...]) -> None:
        self._path = path
        self._schema = schema
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For single statements, each of which sees one committed state. Raises errors.Unavailable."""
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise errors.Unavailable(f"The database on this machine was busy for {BUSY_SECONDS:g} s.")
        try:
            yield self._opened()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NOT_NOW:
                raise
            raise errors.Unavailable(f"The database on this machine did not answer: {error}.") from error
        finally:
            self._turn.release()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, written as a whole or, when the block raises, not at all. Raises errors.Unavailable."""
        with self.reading() as connection:
            # Takes the write lock now: two that read first and wrote later would refuse each other without waiting.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                _switch_to_wal(connection)
                for statement in self._schema:
                    connection.execute(statement)
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Readers beside a writer. The switch does not wait for a lock by itself, and processes start together."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
