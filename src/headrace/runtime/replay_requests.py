"""Replays as the server asks for them and the worker finds them: documents of the store."""

import time
from typing import Any

from headrace.model.ids import ulid
from headrace.store.documents import Document, Scope, Store

KIND = "replays"
CANCELLING = "cancelling"
"""A replay that runs is to end: the worker finishes the page at hand first."""
OPEN = ("queued", "running", CANCELLING)
"""States of a replay that has not come to an end; the others are `done`, `failed` and `cancelled`."""


def request(
    store: Store, scope: Scope, flow_id: str, selection: dict[str, Any], requester: str
) -> Document:
    """Ask for a replay: the worker finds the document and writes there what becomes of it.

    `after` is the last key that was run, `below` the positions under which rows are meant, `open` the batches that
    were begun and may not have left the failed table.
    """
    body: dict[str, Any] = {
        "flowId": flow_id, "selection": selection, "state": "queued", "requestedBy": requester,
        "started": None, "ended": None, "revision": None, "selected": None, "landed": 0,
        "stillFailed": 0, "reasons": [], "batches": [], "error": None, "after": None, "below": {},
        "open": [],
    }  # fmt: skip
    return store.create(scope, KIND, ulid(), body)


def cancel(store: Store, scope: Scope, id: str) -> Document | None:
    """End a replay: at once when it has not begun, else by the worker. What it has landed stays. The document as it is
    then; None when there is no such replay or it had come to an end by itself."""
    with store.transaction():
        found = store.get(scope, KIND, id)
        if found is None or found.body["state"] in ("done", "failed"):
            return None
        change: dict[str, Any] = {}
        if found.body["state"] == "queued":
            change = {"state": "cancelled", "ended": int(time.time() * 1000)}
        elif found.body["state"] == "running":
            change = {"state": CANCELLING}
        return store.replace(scope, KIND, id, found.body | change) if change else found
