"""Snapshots of one kind of resource, sandbox by sandbox, brought up to date before each answer."""

import threading
from collections.abc import Callable
from typing import Any

from headrace.services.flow.snapshot import Snapshot
from headrace.store.documents import Document, Scope, Store

SANDBOXES_KEPT = 8


class Collection:
    """`item` makes of a document what is answered. Thread-safe; not for use inside a transaction."""

    def __init__(self, store: Store, kind: str, item: Callable[[Document], dict[str, Any]]) -> None:
        self._store, self._kind, self._item = store, kind, item
        self._lock = threading.Lock()
        self._kept: dict[Scope, tuple[int, dict[str, Document], Snapshot]] = {}

    def current(self, scope: Scope) -> tuple[Snapshot, dict[str, Document]]:
        """The items as they are now, and the documents behind them by id; neither is to be changed."""
        _, documents, snapshot = self._current(scope)
        return snapshot, documents

    def documents(self, scope: Scope) -> dict[str, Document]:
        """The documents by id."""
        return self._current(scope)[1]

    def _current(self, scope: Scope) -> tuple[int, dict[str, Document], Snapshot]:
        kept = self._kept.get(scope)
        if kept is not None and kept[0] == self._store.changes(scope, self._kind):
            return kept
        with self._lock:
            kept = self._kept.get(scope)
            # read before the documents: one that changes in between makes the next call look again
            number = self._store.changes(scope, self._kind)
            if kept is None or kept[0] != number:
                kept = (number, *self._renewed(scope, kept))
                while len(self._kept) >= SANDBOXES_KEPT and scope not in self._kept:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[scope] = kept
            return kept

    def _renewed(
        self, scope: Scope, kept: tuple[int, dict[str, Document], Snapshot] | None
    ) -> tuple[dict[str, Document], Snapshot]:
        """Only what changed is read."""
        if kept is None:
            documents = {found.id: found for found in self._store.list(scope, self._kind)}
            return documents, Snapshot([self._item(found) for found in documents.values()])
        number, known, before = kept
        changed = self._store.changed_since(scope, self._kind, number)
        found = {document.id: document for document in self._store.some(scope, self._kind, changed)}
        documents = {**known, **found}
        for id in changed:
            if id not in found:
                documents.pop(id, None)
        items = {id: self._item(found[id]) if id in found else None for id in changed}
        return documents, before.renewed(items)
