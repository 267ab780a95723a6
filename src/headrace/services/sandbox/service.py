"""Sandboxes of an organisation. Their documents live outside any sandbox, with the name as id."""

import re
from collections.abc import Callable

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.model.ids import uuid_text
from headrace.store.documents import Conflict, Document, Scope, Store

_NAME = re.compile(r"[a-z][a-z0-9-]{0,255}")
TYPES = ("production", "development")


def _refuse(status: int, number: int, title: str, detail: str) -> ApiError:
    return ApiError(status, f"SMS-{number}-{status}", title, detail)


class SandboxService:
    """`on_change` is called after the documents of a sandbox were dropped."""

    def __init__(self, store: Store, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change

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
        """Drop every document of the sandbox; the sandbox itself stays."""
        with self._store.transaction():
            found = self.get(caller, name)
            if not validate_only:
                self._drop(Scope(caller.org_id, name))
        self._on_change()
        return found

    def delete(self, caller: Caller, name: str) -> Document:
        """Drop the sandbox and its documents. The default sandbox stays."""
        with self._store.transaction():
            found = self.get(caller, name)
            if found.body["isDefault"]:
                raise _refuse(
                    400, 2007, "Invalid request", f"The default sandbox '{name}' cannot be deleted."
                )
            self._drop(Scope(caller.org_id, name))
            self._store.delete(Scope(caller.org_id, ""), "sandboxes", name)
        self._on_change()
        return found

    def _drop(self, scope: Scope) -> None:
        with self._store.transaction() as db:
            db.execute(
                "DELETE FROM documents WHERE org=? AND sandbox=?", (scope.org, scope.sandbox)
            )
