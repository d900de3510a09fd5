"""The SQL: one connection that writes, one that reads. Synchronous; each is used by one thread at a time."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import datetime
from typing import Final, final

from .._ids import SessionId
from ..abc import SavedSession
from ._writes import Writes

_ROWS: Final = 64
_BLOCK_BYTES: Final = 2**18


def delete_discarded(writer: sqlite3.Connection) -> None:
    """Delete the streams that nobody can find, and now nobody reads any more either."""
    for table, column in (("events", "stream"), ("wills", "stream"), ("streams", "id")):
        writer.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM streams WHERE discarded)")  # noqa: S608 - names of ours


@final
class Database:
    """An open database.

    Args:
        path: Its file.
        lock: The connection that holds the lock.
        writer: The one connection that writes.
        reader: A connection that reads only, so that readers do not wait for the writer.
    """

    def __init__(
        self, path: str, lock: sqlite3.Connection, writer: sqlite3.Connection, reader: sqlite3.Connection
    ) -> None:
        self.path = path
        self._lock = lock
        self._writer = writer
        self._reader = reader

    def write(self, writes: Writes) -> None:
        """Write everything, or nothing. It is on the disk when this returns.

        Raises:
            sqlite3.Error: It could not be written.
        """
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._write(writes)
            self._writer.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has done so itself.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _write(self, writes: Writes) -> None:
        many = self._writer.executemany
        many("INSERT INTO streams (id, session_id, stream_id) VALUES (?, ?, ?)", writes.opened)
        many("INSERT INTO events VALUES (?, ?, ?)", writes.events)
        many("DELETE FROM wills WHERE stream = ?", [(row,) for row in writes.wills])
        wills = [(row, seq, data) for row, events in writes.wills.items() for seq, data in enumerate(events)]
        many("INSERT INTO wills VALUES (?, ?, ?)", wills)
        many("UPDATE streams SET ended = ? WHERE id = ?", [(time, row) for row, time in writes.ended.items()])
        many("DELETE FROM wills WHERE stream = ?", [(row,) for row in writes.ended])
        many("DELETE FROM sessions WHERE session_id = ?", [(str(session_id),) for session_id in writes.sessions])
        many(
            "INSERT INTO sessions (session_id, principal, connection_info, created_at, state) VALUES (?, ?, ?, ?, ?)",
            [
                (str(each.session_id), each.principal, each.connection_info, each.created_at.isoformat(), each.state)
                for each in writes.sessions.values()
                if each is not None
            ],
        )
        many("UPDATE streams SET discarded = 1 WHERE id = ?", [(row,) for row in writes.discarded])
        many("DELETE FROM events WHERE stream = ? AND seq <= ?", list(writes.trimmed.items()))
        deleted = [(row,) for row in writes.deleted]
        for sql in (
            "DELETE FROM events WHERE stream = ?",
            "DELETE FROM wills WHERE stream = ?",
            "DELETE FROM streams WHERE id = ?",
        ):
            many(sql, deleted)

    def read(self, row: int, after: int, upto: int) -> list[bytes]:
        """Read the events that follow number ``after``, up to number ``upto``, but not too many bytes.

        Numbers have no hole, so they are not read, which takes a third of the time. If some of the
        events have been dropped, those that are returned are not those that were asked for.
        """
        sql = "SELECT data FROM events WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq"
        events: list[bytes] = []
        size = 0
        cursor = self._reader.execute(sql, (row, after, upto))
        try:
            while size < _BLOCK_BYTES and (rows := cursor.fetchmany(_ROWS)):
                some = [data for (data,) in rows]
                size += sum(map(len, some))
                events += some
        finally:
            # Or its snapshot would keep the write-ahead log from being cut.
            cursor.close()
        return events

    def find_session(self, session_id: SessionId) -> SavedSession | None:
        """Read what was saved of a session."""
        sql = "SELECT principal, connection_info, created_at, state FROM sessions WHERE session_id = ?"
        found = self._reader.execute(sql, (str(session_id),)).fetchall()
        if not found:
            return None
        principal, connection_info, created_at, state = found[0]
        return SavedSession(
            session_id=session_id,
            principal=principal,
            connection_info=connection_info,
            created_at=datetime.fromisoformat(created_at),
            state=state,
        )

    def close(self) -> None:
        """Close the connections, the lock's last."""
        self._reader.close()
        # What is left of it is deleted when the database is opened.
        with suppress(sqlite3.Error):
            delete_discarded(self._writer)
        self._writer.close()
        self._lock.close()
