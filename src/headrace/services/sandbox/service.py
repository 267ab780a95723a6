"""Sandboxes of an organisation. Their documents live outside any sandbox, with the name as id."""

import logging
import re
from collections.abc import Callable

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.model.ids import uuid_text
from headrace.store.documents import Conflict, Document, Scope, Store

_NAME = re.compile(r"[a-z][a-z0-9-]{0,255}")
TYPES = ("production", "development")
DropData = Callable[[Scope, str], None]
logger = logging.getLogger("headrace.sandbox")


def _refuse(status: int, number: int, title: str, detail: str) -> ApiError:
    return ApiError(status, f"SMS-{number}-{status}", title, detail)


class SandboxService:
    """`on_change` is called after the documents of a sandbox were dropped, `drop_data` for each data set among them."""

    def __init__(
        self, store: Store, on_change: Callable[[], None], drop_data: DropData
    ) -> None:  # fmt: skip
        self._store, self._on_change, self._drop_data = store, on_change, drop_data

    def all(self, caller: Caller) -> list[Document]:
        return self._store.list(Scope(caller.org_id, ""), "sandboxes")

    def get(self, caller: Caller, name: str) -> Document:
        found = self._store.get(Scope(caller.org_id, ""), "sandboxes", name)
        if found is None:
            raise _refuse(404, 2001, "Sandbox not found", f"There is no sandbox '{name}'.")
        return found

    def create(self, caller: Caller, body: dict[str, object]) -> Document:
        """A sandbox is active at once: there is nothing to provision."""
        name, title, kind = body.get("name"), body.get("title"), body.get("type")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _refuse(
                400,
                2002,
                "Invalid request",
                "name must start with a lower-case letter and consist of lower-case letters,"
                " digits and hyphens.",
            )
        if not isinstance(title, str) or not title.strip():
            raise _refuse(400, 2003, "Invalid request", "title must be a text that is not empty.")
        if kind not in TYPES:
            raise _refuse(400, 2004, "Invalid request", f"type must be one of {', '.join(TYPES)}.")
        try:
            return self._store.create(
                Scope(caller.org_id, ""),
                "sandboxes",
                name,
                {
                    "id": uuid_text(),
                    "name": name,
                    "title": title,
                    "state": "active",
                    "type": kind,
                    "region": "VA7",
                    "isDefault": False,
                    "createdBy": caller.user_id,
                    "lastModifiedBy": caller.user_id,
                },
            )
        except Conflict:
            raise _refuse(409, 2005, "Conflict", f"A sandbox '{name}' exists already.") from None

    def patch(self, caller: Caller, name: str, body: dict[str, object]) -> Document:
        """Only the title can change."""
        others = sorted(set(body) - {"title"})
        if others:
            raise _refuse(
                400, 2006, "Invalid request", f"Only title can change, not {', '.join(others)}."
            )
        title = body.get("title")
        if not isinstance(title, str) or not title.strip():
            raise _refuse(400, 2003, "Invalid request", "title must be a text that is not empty.")
        with self._store.transaction():
            found = self.get(caller, name)
            changed = {**found.body, "title": title, "lastModifiedBy": caller.user_id}
            return self._store.replace(Scope(caller.org_id, ""), "sandboxes", name, changed)

    def reset(self, caller: Caller, name: str, *, validate_only: bool) -> Document:
        """Drop every document of the sandbox and what has landed in it; the sandbox itself stays."""
        scope, lost = Scope(caller.org_id, name), list[str]()
        with self._store.transaction():
            found = self.get(caller, name)
            if not validate_only:
                lost = self._drop(scope)
        self._after(scope, lost)
        return found

    def delete(self, caller: Caller, name: str) -> Document:
        """Drop the sandbox, its documents and what has landed in it. The default sandbox stays."""
        scope = Scope(caller.org_id, name)
        with self._store.transaction():
            found = self.get(caller, name)
            if found.body["isDefault"]:
                raise _refuse(
                    400, 2007, "Invalid request", f"The default sandbox '{name}' cannot be deleted."
                )
            lost = self._drop(scope)
            self._store.delete(Scope(caller.org_id, ""), "sandboxes", name)
        self._after(scope, lost)
        return found

    def _drop(self, scope: Scope) -> list[str]:
        """The ids of the data sets that went."""
        lost = [document.id for document in self._store.list(scope, "dataSets")]
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM documents WHERE org=? AND sandbox=?", (scope.org, scope.sandbox)
            )
        return lost

    def _after(self, scope: Scope, lost: list[str]) -> None:
        """What follows when the documents are gone for good; whatever fails now, the call has been served."""
        self._on_change()
        for id in lost:
            try:
                self._drop_data(scope, id)
            except Exception:
                logger.exception("the tables of %s.%s were not dropped", scope.sandbox, id)
