"""Custom namespaces of an organisation beside the standard ones. They live outside any sandbox, for ever."""

from collections.abc import Mapping
from typing import Any

from headrace.services.identity import wire
from headrace.services.identity.faults import conflict, invalid, not_found
from headrace.services.identity.namespaces import (
    STANDARD,
    STANDARD_BY_ID,
    STANDARD_CODES,
    Namespace,
)
from headrace.store.documents import Document, Scope, Store

KIND = "namespaces"
FIRST_CUSTOM_ID = 10_000_000
_NEXT_ID = "identity.next_namespace_id"


class Namespaces:
    """Namespaces by organisation. Ids are unique across organisations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self, org: str) -> list[Namespace]:
        """The standard namespaces, then the organisation's own in order of creation."""
        return [*STANDARD, *map(_custom, self._store.list(_scope(org), KIND))]

    def shared(self, org: str, owner: str) -> list[Namespace]:
        """What `org` may see of another organisation's namespaces: nothing that is custom."""
        return self.all(org) if owner == org else list(STANDARD)

    def get(self, org: str, id: str) -> Namespace:
        """By id; ApiError 400 when it is no number, 404 when the organisation has no such namespace."""
        number = wire.number(id)
        if number in STANDARD_BY_ID:
            return STANDARD_BY_ID[number]
        found = self._store.get(_scope(org), KIND, str(number))
        if found is None:
            raise not_found(id)
        return _custom(found)

    def known(self, org: str, code_or_id: object) -> bool:
        """Whether a namespace has this code (in any letter case) or id (a number, or its digits)."""
        if isinstance(code_or_id, bool):
            return False
        if isinstance(code_or_id, int):
            return self._numbered(org, code_or_id)
        if not isinstance(code_or_id, str):
            return False
        if self._taken(org, code_or_id.lower()):
            return True
        return wire.is_number(code_or_id) and self._numbered(org, int(code_or_id))

    def create(self, org: str, body: Mapping[str, Any]) -> Namespace:
        """ApiError 400 when a field is missing or wrong, 409 when the code is taken in any letter case."""
        kept = {
            "name": wire.name(body),
            "code": wire.code(body),
            "idType": wire.id_type(body),
            "description": wire.description(body),
        }
        with self._store.transaction():
            if self._taken(org, kept["code"].lower()):
                raise conflict(kept["code"])
            id = self._store.setting(_NEXT_ID) or str(FIRST_CUSTOM_ID)
            self._store.set_setting(_NEXT_ID, str(int(id) + 1))
            return _custom(self._store.create(_scope(org), KIND, id, kept))

    def replace(self, org: str, id: str, body: Mapping[str, Any]) -> Namespace:
        """Change name and description; one that is absent or null stays, an empty description goes.

        ApiError 400 when the namespace is a standard one or the body has another code or type, 404 as `get`.
        """
        present = {key for key in ("name", "description") if body.get(key) is not None}
        with self._store.transaction():
            found = self.get(org, id)
            if found.kind != "Custom":
                raise invalid(f"{found.code} is a standard namespace and cannot be changed.")
            _keep("code", found.code, body, body.get("code") == found.code)
            same_type = str(body.get("idType")).upper() == found.id_type.upper()
            _keep("idType", found.id_type, body, same_type)
            if not present:
                raise invalid("The body must have a name or a description.")
            changed = {
                "name": wire.name(body) if "name" in present else found.name,
                "code": found.code,
                "idType": found.id_type,
                "description": (
                    wire.description(body) if "description" in present else found.description
                ),
            }
            return _custom(self._store.replace(_scope(org), KIND, str(found.id), changed))

    def _numbered(self, org: str, id: int) -> bool:
        if id in STANDARD_BY_ID:
            return True
        # The bound keeps the conversion to text cheap, and possible at all.
        return (
            FIRST_CUSTOM_ID <= id < 2**63
            and self._store.get(_scope(org), KIND, str(id)) is not None
        )

    def _taken(self, org: str, code: str) -> bool:
        if code in STANDARD_CODES:
            return True
        return any(d.body["code"].lower() == code for d in self._store.list(_scope(org), KIND))


def _scope(org: str) -> Scope:
    return Scope(org, "")


def _keep(key: str, value: str, body: Mapping[str, Any], same: bool) -> None:
    if body.get(key) is not None and not same:
        raise invalid(f"{key} cannot change: it is {value}.")


def _custom(document: Document) -> Namespace:
    body = document.body
    return Namespace(
        id=int(document.id),
        code=body["code"],
        name=body["name"],
        id_type=body["idType"],
        kind="Custom",
        description=body["description"],
        created=document.created,
        updated=document.updated,
    )
