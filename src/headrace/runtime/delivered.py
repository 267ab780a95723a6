"""Which messages of queues our log has already, so that one that comes again is not logged again.

They are kept in the store, written after the log has a message and before its queue hears of that. A process that
dies between the two leaves messages in the log only: at a start, before anything of the log is freed, the store is
completed from it.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.log.frames import CHECKPOINT
from headrace.log.segments import read_frames, segments
from headrace.sources.contract import Message
from headrace.store.documents import Store

KEPT_MS = 8 * 24 * 3600 * 1000
"""A day more than a queue keeps a message that nobody acknowledged."""
MOST_KEPT = 1_000_000
"""Messages of one flow; the oldest are forgotten."""
_AT_ONCE = 500
_PRUNED_AT_ONCE = 5_000

Key = tuple[str, int]
"""A message's id and its time at the source."""


class Delivered:
    """Thread-safe. Every method but the constructor may raise sqlite3.Error, after which it may be called again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._unwritten: dict[str, set[Key]] = {}

    def fresh(self, flow_id: str, messages: Sequence[Message]) -> Sequence[Message]:
        """Those that the log does not have, each once, in their order."""
        with self._lock:
            known = set(self._unwritten.get(flow_id, ()))
        ids = [message.id for message in messages]
        for at in range(0, len(ids), _AT_ONCE):
            part = ids[at : at + _AT_ONCE]
            known.update(
                self._store.connection.execute(
                    "SELECT id, sent FROM delivered WHERE flow_id=?"
                    f" AND id IN ({','.join('?' * len(part))})",
                    (flow_id, *part),
                )
            )
        found = []
        for message in messages:
            if key_of(message) not in known:
                known.add(key_of(message))
                found.append(message)
        return found

    def add(self, flow_id: str, messages: Iterable[Message]) -> None:
        """Remember messages that are durable in the log. After an error they are still known to this process."""
        with self._lock:
            unwritten = self._unwritten.setdefault(flow_id, set())
            unwritten.update(map(key_of, messages))
            keys = list(unwritten)
        if keys:
            self._write([(flow_id, *key) for key in keys])
            with self._lock:
                unwritten.difference_update(keys)

    def complete(self, log: Path, flow_ids: frozenset[str]) -> int:
        """Add what the log has of these flows; the number of its messages. Nothing may be freed meanwhile."""
        seen = 0
        for _, path in segments(log) if flow_ids else ():
            try:
                frames, _ = read_frames(path)
            except FileNotFoundError:
                continue
            rows = [
                (frame.meta.flow_id, frame.meta.receipt, frame.received)
                for frame in frames
                if frame.meta.layout != CHECKPOINT and frame.meta.flow_id in flow_ids
            ]
            self._write(rows)
            seen += len(rows)
        return seen

    def _write(self, rows: Sequence[tuple[str, str, int]]) -> None:
        now = _now()
        with self._store.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?, ?)", [(*row, now) for row in rows]
            )

    def prune(self) -> int:
        """Forget what is old, and the oldest of what is too much; the number forgotten."""
        removed, db = 0, self._store.connection
        flow_id = db.execute("SELECT min(flow_id) FROM delivered").fetchone()[0]
        while flow_id is not None:
            removed += self._forget(flow_id, *self._oldest_kept(db, flow_id))
            removed += self._forget(flow_id, self._oldest_of_most(db, flow_id))
            flow_id = db.execute(
                "SELECT min(flow_id) FROM delivered WHERE flow_id>?", (flow_id,)
            ).fetchone()[0]
        return removed

    @staticmethod
    def _oldest_kept(db: sqlite3.Connection, flow_id: str) -> tuple[int, int]:
        """The times since when a flow's messages are kept, by our clock and by the queue's. Both must have passed: ours
        may be wrong by days, and the newest message tells what time it has been at the queue."""
        query = "SELECT max(sent) FROM delivered WHERE flow_id=?"
        newest = db.execute(query, (flow_id,)).fetchone()[0]
        return _now() - KEPT_MS, newest - KEPT_MS

    @staticmethod
    def _oldest_of_most(db: sqlite3.Connection, flow_id: str) -> int:
        """The time since when no more than MOST_KEPT of a flow's messages were remembered."""
        row = db.execute(
            "SELECT remembered FROM delivered WHERE flow_id=? ORDER BY remembered DESC LIMIT 1 OFFSET ?",
            (flow_id, MOST_KEPT),
        ).fetchone()
        # those of one moment were written together and are kept together, however many
        return 0 if row is None else int(row[0])

    def _forget(self, flow_id: str, remembered: int, sent: int = 1 << 62) -> int:
        """Forget a flow's messages that are from before both times."""
        removed = 0
        while True:
            # in small steps: others wait for the store meanwhile
            rows = self._store.connection.execute(
                "SELECT flow_id, id, sent FROM delivered"
                " WHERE flow_id=? AND remembered<? AND sent<? LIMIT ?",
                (flow_id, remembered, sent, _PRUNED_AT_ONCE),
            ).fetchall()
            if not rows:
                return removed
            with self._store.transaction() as db:
                db.executemany("DELETE FROM delivered WHERE flow_id=? AND id=? AND sent=?", rows)
            removed += len(rows)


def key_of(message: Message) -> Key:
    """What tells a message from all others of its queue."""
    return message.id, message.at


def _now() -> int:
    return int(time.time() * 1000)
