"""One SQLite database file that threads and processes use at once, for the embedded store and the embedded queue.

The threads of a process share one connection, with a lock around it: SQLite has one writer at a time in any case, and a
database in memory exists in one connection only.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from functions.domain import errors

# How long to wait for another process or thread. As long as a commit to Firestore may take.
BUSY_SECONDS = 5.0

# SQLite's primary result codes that say "try again later" rather than "the statement is wrong".
_TEMPORARY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


class Database:
    """A database at `path`: a file, or ":memory:" for one that lives as long as this object.

    `schema` holds statements of the form `CREATE … IF NOT EXISTS`. The file is opened on first use, because SQLite
    forbids carrying a connection across a fork.
    """

    def __init__(self, path: str, schema: tuple[str, ...]) -> None:
        self._path = path
        self._schema = schema
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for single statements, each of which sees one committed state. Raises errors.Unavailable."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise errors.Unavailable(f"The database {self._path} was busy for {BUSY_SECONDS:g} s. Try again.")
        try:
            yield self._open_once()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _TEMPORARY:
                raise
            raise errors.Unavailable(
                f"The database {self._path} cannot be used: {error}. Check the file and the disk."
            ) from error
        finally:
            self._lock.release()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises errors.Unavailable."""
        with self.reading() as connection:
            # IMMEDIATE takes the write lock now. Two transactions that first read and then write would each refuse the
            # other at once (SQLITE_BUSY), without waiting.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _open_once(self) -> sqlite3.Connection:
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
    """Let readers work beside a writer (write-ahead log).

    SQLite's own timeout does not apply to this switch, and several processes start and switch at the same time.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
