"""Replays as the server asks for them and the worker finds them: documents of the store."""

from typing import Any

from headrace.model.ids import ulid
from headrace.store.documents import Document, Scope, Store

KIND = "replays"
OPEN = ("queued", "running")
"""States of a replay that has not come to an end; the others are `done` and `failed`."""


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
