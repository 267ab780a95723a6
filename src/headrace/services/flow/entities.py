"""What connections, their source and target forms, and dataflows have in common."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema_rs

from headrace.errors import ApiError
from headrace.http import patch
from headrace.http.contract import Call, Caller
from headrace.http.etags import matches
from headrace.model.ids import etag_text, uuid_text
from headrace.services.flow.actions import operation
from headrace.services.flow.faults import invalid, missing
from headrace.store.documents import Conflict, Document, Scope, Store

OPERATIONS = frozenset({"add", "replace", "remove"})
SETTLED = frozenset({"draft", "enabled", "disabled"})


def scope_of(caller: Caller) -> Scope:
    """Where the caller's documents are."""
    return Scope(caller.org_id, caller.sandbox)


def check(schema: dict[str, Any], value: Any, where: str, number: int = 1100) -> None:
    """Validate against a specification's schema; the values themselves are never repeated."""
    validator = jsonschema_rs.validator_for(schema, mask="the value")
    faults = [
        f"{'.'.join([where, *map(str, error.instance_path)])}: {error.message}"
        for error in validator.iter_errors(value)
    ]
    if faults:
        raise invalid(number, "; ".join(faults[:5]))


def text(body: dict[str, Any], name: str, number: int = 1100) -> str:
    """A text that must be there."""
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise invalid(number, f"{name} must be a text that is not empty.")
    return value


def described(body: dict[str, Any], number: int) -> None:
    """Check the optional keys that all resources share."""
    if not isinstance(body.get("description", ""), str):
        raise invalid(number, "description must be a text.")


def settled(document: Document, number: int) -> None:
    """Refuse to touch what is on its way from one state to another."""
    state = document.body["state"]
    if state not in SETTLED:
        raise invalid(number, f"{document.id} is {state}; try again when it no longer is.")


def draft(call: Call) -> bool:
    """Whether `mode=draft` was asked for."""
    mode = call.value("mode")
    if mode is not None and mode.lower() != "draft":
        raise invalid(1452, f"mode can only be draft, not '{mode}'.")
    return mode is not None


def stamped(body: dict[str, Any]) -> dict[str, Any]:
    """A body under a new etag, which is also its version."""
    etag = etag_text(int(time.time()))
    return {**body, "version": etag, "etag": etag}


class Entities:
    """One kind of resource in the store."""

    def __init__(self, store: Store, kind: str) -> None:
        self.store = store
        self.kind = kind

    def create(self, caller: Caller, body: dict[str, Any], id: str | None = None) -> dict[str, Any]:
        """Store a new resource with its audit fields and its first etag."""
        id = id or uuid_text()
        whole = stamped(
            {
                "id": id,
                "createdBy": caller.user_id,
                "updatedBy": caller.user_id,
                "createdClient": caller.client_id,
                "updatedClient": caller.client_id,
                "sandboxId": caller.sandbox_id,
                "sandboxName": caller.sandbox,
                "imsOrgId": caller.org_id,
                **body,
            }
        )
        self.store.create(scope_of(caller), self.kind, id, whole)
        return whole

    def get(self, scope: Scope, id: str) -> Document:
        found = self.store.get(scope, self.kind, id)
        if found is None:
            raise missing(self.kind, id)
        return found

    def save(self, caller: Caller, document: Document, body: dict[str, Any]) -> dict[str, Any]:
        """Overwrite under a new etag; 412 when somebody else was faster."""
        who = {"updatedBy": caller.user_id, "updatedClient": caller.client_id}
        whole = stamped({**body, **who})
        try:
            self.store.replace(scope_of(caller), self.kind, document.id, whole, document.version)
        except Conflict:
            raise self._stale(document, document.body["etag"], "a newer one") from None
        return whole

    def publish(self, call: Call, ready: Callable[[Document], None]) -> dict[str, Any]:
        """Turn a draft into the real thing; `ready` refuses what is not fit for it."""
        with self.store.transaction():
            document = self.get(scope_of(call.who), call.params["id"])
            operation(call, ("publish",))
            self.guard(call, document, required=False)
            settled(document, 1421)
            state = document.body["state"]
            if state != "draft":
                raise invalid(1422, f"publish is not possible in state {state}.")
            ready(document)
            return self.save(call.who, document, {**document.body, "state": "enabled"})

    def _stale(self, document: Document, given: str, current: str) -> ApiError:
        return ApiError(
            412,
            "FLOW-1404-412",
            "Version not matching",
            f"Supplied version=[{given}] does not match the current version on entity=[{current}]",
            id=document.id,
            type=self.kind,
        )

    def guard(self, call: Call, document: Document, *, required: bool) -> None:
        """Check If-Match (a header, or a query parameter as some clients send it)."""
        given = (
            call.headers.get("if-match") or call.value("if-match") or call.value("If-Match") or ""
        )
        if not given.strip():
            if required:
                raise ApiError(
                    400,
                    "FLOW-1403-400",
                    "Header is missing",
                    "The If-Match header is required; send the resource's etag.",
                    id=document.id,
                    type=self.kind,
                )
            return
        current = document.body["etag"]
        if not matches(given, current):
            raise self._stale(document, given, current)

    def patched(
        self,
        call: Call,
        document: Document,
        allowed: frozenset[str],
        refuse: Callable[[patch.Operation], None] | None = None,
        view: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], list[patch.Operation]]:
        """The body after the call's patch; `allowed` names the top-level keys it may touch."""
        body = call.json() if call.body.strip() else None
        try:
            operations = patch.parse(body, OPERATIONS)
            for operation in operations:
                if refuse is not None:
                    refuse(operation)
                if not operation.steps or operation.steps[0] not in allowed:
                    names = ", ".join(sorted(f"/{name}" for name in allowed))
                    raise invalid(
                        1455,
                        f"{operation.path or 'The root'} cannot be changed; allowed are {names}.",
                    )
        except patch.PatchRefused as error:
            number = {"empty": 1405, "operation": 1434}.get(error.reason, 1455)
            raise invalid(number, str(error)) from None
        return _applied(document.body if view is None else view, operations), operations


def _applied(body: dict[str, Any], operations: Sequence[patch.Operation]) -> dict[str, Any]:
    """All operations or none. A refusal names the path alone: the body may hold what nobody should read."""
    for number, step in enumerate(operations):
        try:
            body = patch.apply(body, [step])
        except patch.PatchRefused:
            raise invalid(
                1455, f"Operation {number} cannot be applied: {step.path} leads nowhere."
            ) from None
    return body


def audited(document: Document) -> dict[str, Any]:
    """A stored body with its times."""
    return {**document.body, "createdAt": document.created, "updatedAt": document.updated}
