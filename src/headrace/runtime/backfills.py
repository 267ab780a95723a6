"""Backfills: records of one flow, delivered once more to another by a rewind into it, as documents of the store.

The server copies them from the log to the log (`backfilling`). A document says how far that is, and by it the worker
knows what must not be freed yet.
"""

import json
import logging
import re
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from headrace.store.documents import Document, Scope, Store

KIND = "rewinds"
"""Moves of a flow are of this kind too; they have no `into`."""
RUNNING, DONE, FAILED, CANCELLED = "running", "done", "failed", "cancelled"
_RUNNING = (
    "SELECT org, sandbox, id FROM documents WHERE kind=? AND json_extract(body, '$.state')=? ORDER BY seq"
)  # fmt: skip
_HELD = (
    "SELECT json_extract(body, '$.flowId'), json_extract(body, '$.next'), json_extract(body, '$.into'),"
    " json_extract(body, '$.settled') FROM documents WHERE kind=? AND json_extract(body, '$.state')=?"
)
_ALL = "SELECT id, body FROM documents WHERE kind=? AND json_extract(body, '$.into') IS NOT NULL"
_INNER = ("first", "end", "next", "settled", "begun", "mapped", "schema", "sequence", "cancel")
_COPY = re.compile(r"(.+)@([0-9A-HJKMNP-TV-Z]{26})(-\d+)?")
_NUMBERED = re.compile(r"(.+)(-\d+)")
"""A record of a request of several; the receipts of other records do not end so."""
logger = logging.getLogger("headrace.rewind")


def running(store: Store) -> list[tuple[Scope, Document]]:
    """Those that have not come to an end, the oldest first."""
    rows = store.connection.execute(_RUNNING, (KIND, RUNNING)).fetchall()
    found = [(Scope(org, sandbox), id) for org, sandbox, id in rows]
    return [(scope, d) for scope, id in found if (d := store.get(scope, KIND, id)) is not None]


def between(store: Store, scope: Scope, flow_id: str, into: str | None = None) -> list[Document]:
    """Backfills of a flow (into one other), the oldest first."""
    return [
        document
        for document in store.list(scope, KIND)
        if document.body["flowId"] == flow_id and document.body.get("into") is not None
        and into in (None, document.body["into"])
    ]  # fmt: skip


def shown(body: Mapping[str, Any]) -> dict[str, Any]:
    """A document's body without what only its processes need."""
    found = {name: value for name, value in body.items() if name not in _INNER}
    ending = body.get("cancel") and body["state"] == RUNNING
    return found | ({"state": "cancelling"} if ending else {})


def cancel(store: Store, scope: Scope, id: str) -> dict[str, Any] | None:
    """Ask for the end of one that runs: who copies ends it, and then says up to where it came. Its body; None when it
    does not run."""
    with store.transaction():
        found = store.get(scope, KIND, id)
        if found is None or found.body.get("state") != RUNNING:
            return None
        return store.replace(scope, KIND, id, found.body | {"cancel": True}).body


def fresh(first: int, end: int, settled: int) -> dict[str, Any]:
    """The state of one that has copied nothing of the range of offsets [first, end).

    `next`: the source's records before this offset have been copied. `settled`: copies behind this offset of the log
    are not counted in `next` and `copied` yet, but may be there.
    """
    return {
        "state": RUNNING, "copied": 0, "first": first, "end": end, "next": first, "settled": settled,
        "begun": settled, "error": None, "trouble": None, "ended": None, "done": False,
    }  # fmt: skip


def held(store: Store) -> dict[str, int]:
    """Flow id → the first offset of the log that a running backfill still needs: to copy it, or to find after a crash
    what had been copied."""
    found: dict[str, int] = {}
    for source, place, into, settled in store.connection.execute(_HELD, (KIND, RUNNING)):
        found[source] = min(place, found.get(source, place))
        found[into] = min(settled, found.get(into, settled))
    return found


def free(
    store: Store, remove: Callable[[dict[str, int]], int], positions: Mapping[str, int]
) -> int:
    """`remove` what lies below positions and what no backfill needs; how many segments that were.

    One transaction: a backfill that is asked for meanwhile finds all of its segments, or that they are gone.
    """
    try:
        with store.transaction():
            limits = held(store)
            return remove({id: min(at, limits.get(id, at)) for id, at in positions.items()})
    except sqlite3.OperationalError as error:  # the store is busy: it is done the next time
        logger.warning("nothing was freed of the log: %s", error)
        return 0


def copied_receipt(receipt: str, rewind: str) -> str:
    """The receipt of the copy of a request: it says of what it is one, and is given once."""
    return f"{receipt}@{rewind}"


def copied_record(receipt: str, rewind: str) -> str:
    """The receipt of the copy of one record."""
    found = _NUMBERED.fullmatch(receipt)
    return f"{found[1]}@{rewind}{found[2]}" if found else copied_receipt(receipt, rewind)


def original_receipt(receipt: str) -> tuple[str, str] | None:
    """(receipt of the original, id of the rewind) of a copy's receipt; None when it is not a copy's."""
    found = _COPY.fullmatch(receipt)
    return (found[1] + (found[3] or ""), found[2]) if found else None


def remembered(store: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Backfills by id as they stand now; to be called when the log's segments are held."""
    return {id: json.loads(text) for id, text in store.execute(_ALL, (KIND,))}


def put_back(copied: sqlite3.Connection, earlier: Mapping[str, dict[str, Any]]) -> None:
    """In a copy of the store that is newer than the copy of the log: backfills as they were earlier, and those begun
    since as they began. What the log has of them is found again."""
    for id, body in copied.execute(_ALL, (KIND,)).fetchall():
        now = json.loads(body)
        then = earlier.get(id) or now | fresh(now["first"], now["end"], now["begun"])
        text = json.dumps(then, ensure_ascii=False, separators=(",", ":"))
        copied.execute("UPDATE documents SET body=? WHERE kind=? AND id=?", (text, KIND, id))
