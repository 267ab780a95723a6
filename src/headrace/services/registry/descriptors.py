"""Descriptors: statements about a schema's fields (identity, relationship, display, …)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.model.ids import hex_id
from headrace.services.registry import unions
from headrace.services.registry.accept import View
from headrace.services.registry.faults import invalid, not_found
from headrace.services.registry.lists import Page, page_of
from headrace.services.registry.service import RegistryService
from headrace.store.documents import Document, Scope
from headrace.xdm.fields import Field

IDENTITY = "xdm:descriptorIdentity"
_RELATIONSHIPS = ("xdm:descriptorOneToOne", "xdm:descriptorRelationship")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    IDENTITY: ("xdm:sourceProperty", "xdm:namespace", "xdm:property"),
    "xdm:alternateDisplayInfo": ("xdm:sourceProperty",),
    "xdm:descriptorOneToOne": ("xdm:sourceProperty", "xdm:destinationSchema", "xdm:destinationVersion"),
    "xdm:descriptorRelationship": ("xdm:sourceProperty", "xdm:destinationSchema", "xdm:cardinality"),
    "xdm:descriptorReferenceIdentity": ("xdm:sourceProperty", "xdm:identityNamespace"),
    "xdm:descriptorDeprecated": ("xdm:sourceProperty",),
    "xdm:descriptorPrimaryKey": ("xdm:sourceProperty",),
    "xdm:descriptorVersion": ("xdm:sourceProperty",),
    "xdm:descriptorTimestamp": ("xdm:sourceProperty",),
    "xdm:descriptorLabel": (),
    "xdm:descriptorTimeSeriesGranularity": ("xdm:granularity",),
}  # fmt: skip
"""Keys, beside `xdm:sourceSchema`, that a descriptor of a type must have."""

_ANY_OF: Mapping[str, tuple[str, ...]] = {
    "xdm:alternateDisplayInfo": (
        "xdm:title", "xdm:description", "xdm:note", "meta:enum", "xdm:excludeMetaEnum", "meta:excludeMetaEnum",
    ),
    "xdm:descriptorLabel": ("xdm:labels", "xdm:label"),
}  # fmt: skip
_VALUES: Mapping[str, tuple[str, ...]] = {
    "xdm:property": ("xdm:code", "xdm:id"),
    "xdm:cardinality": ("1:1", "1:0", "M:1", "M:0"),
    "xdm:granularity": ("hour", "day", "week", "month", "quarter", "year"),
}
_SERVER_KEYS = frozenset(
    {"@id", "imsOrg", "version", "meta:containerId", "meta:sandboxId", "meta:sandboxType", "created", "updated",
     "meta:registryMetadata"}
)  # fmt: skip
KIND = "descriptors"
MOST = 4000
"""Descriptors that a sandbox may have."""


class Descriptors:
    """`namespace_known(org, code or id)`: whether an identity namespace exists."""

    def __init__(
        self, registry: RegistryService, *, namespace_known: Callable[[str, Any], bool]
    ) -> None:
        self._store = registry.store
        self._registry = registry
        self._namespace_known = namespace_known

    def create(self, who: Caller, body: Mapping[str, Any]) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        kept = _prepared(body)
        with self._store.transaction():
            others = self._store.list(scope, KIND)
            if len(others) >= MOST:
                raise invalid(f"A sandbox may have at most {MOST} descriptors.")
            self._check(who, kept, others)
            stored = self._store.create(scope, KIND, hex_id(48), kept)
        return self._shown(who, stored)

    def get(self, who: Caller, id: str) -> dict[str, Any]:
        return self._shown(who, self._stored(who, id))

    def replace(self, who: Caller, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        kept = _prepared(body)
        with self._store.transaction():
            stored = self._stored(who, id)
            self._check(who, kept, [d for d in self._store.list(scope, KIND) if d.id != id])
            identity = ("xdm:sourceSchema", "xdm:sourceProperty", "xdm:namespace", "xdm:isPrimary")
            if any(kept.get(key) != stored.body.get(key) for key in identity):
                self._keep_primary(scope, stored)
            written = self._store.replace(scope, KIND, stored.id, kept)
        return self._shown(who, written)

    def delete(self, who: Caller, id: str) -> None:
        scope = Scope(who.org_id, who.sandbox)
        stored = self._stored(who, id)
        self._keep_primary(scope, stored)
        self._store.delete(scope, KIND, stored.id)

    def listed(self, who: Caller, page: Page, view: View) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        found = [self._shown(who, d) for d in self._store.list(scope, KIND)]
        return _listing(found, page, view)

    def standard(self, view: View) -> dict[str, Any]:
        """The global container's descriptors, of which there are none."""
        return _listing([], Page(), view)

    def _stored(self, who: Caller, id: str) -> Document:
        stored = self._store.get(Scope(who.org_id, who.sandbox), KIND, id)
        if stored is None:
            raise not_found(KIND, id)
        return stored

    def _keep_primary(self, scope: Scope, stored: Document) -> None:
        """A union cannot lose the identity by which its members are told apart."""
        body = stored.body
        if body["@type"] == IDENTITY and body.get("xdm:isPrimary"):
            schema = self._registry.document(scope, body["xdm:sourceSchema"])
            if schema is not None and unions.tagged(schema.body):
                text = f"{stored.id} is the primary identity of {schema.id}, which takes part in a union."
                raise ApiError(403, "XDM-1019-403", "Forbidden", text)

    @staticmethod
    def _shown(who: Caller, stored: Document) -> dict[str, Any]:
        return {
            "@id": stored.id,
            **stored.body,
            "imsOrg": who.org_id,
            "version": "1",
            "meta:containerId": "tenant",
            "meta:sandboxId": who.sandbox_id,
            "meta:sandboxType": who.sandbox_type,
            "created": stored.created,
            "updated": stored.updated,
        }

    def _check(self, who: Caller, body: Mapping[str, Any], others: Sequence[Document]) -> None:
        kind = str(body.get("@type"))
        _check_keys(kind, body)
        scope = Scope(who.org_id, who.sandbox)
        tree = self._tree(scope, "xdm:sourceSchema", body["xdm:sourceSchema"])
        for path in _paths(body.get("xdm:sourceProperty")):
            _check_property(kind, path, tree)
        for key in ("xdm:namespace", "xdm:identityNamespace", "xdm:destinationNamespace"):
            if key in body and not self._namespace_known(who.org_id, body[key]):
                raise invalid(f"{key} is {body[key]!r}: there is no such identity namespace.")
        if kind in _RELATIONSHIPS:
            target = self._tree(scope, "xdm:destinationSchema", body["xdm:destinationSchema"])
            for path in _paths(body.get("xdm:destinationProperty")):
                if target.at(path[1:].replace("/", ".")) is None:
                    raise invalid(f"xdm:destinationProperty {path} is no field of the destination.")
        for other in (d for d in others if d.body["xdm:sourceSchema"] == body["xdm:sourceSchema"]):
            if dict(other.body) == dict(body):
                raise invalid(f"The descriptor {other.id} says the same already.")
            both = kind == IDENTITY == other.body["@type"]
            if both and body.get("xdm:isPrimary") and other.body.get("xdm:isPrimary"):
                raise invalid(f"The schema has a primary identity already: {other.id}.")

    def _tree(self, scope: Scope, key: str, id: Any) -> Field:
        try:
            return self._registry.schema_tree(scope, str(id))[2]
        except ApiError:
            raise invalid(f"{key} is {id}: there is no such schema.") from None


def _listing(found: list[dict[str, Any]], page: Page, view: View) -> dict[str, Any]:
    # clients read descriptors without following pages
    items, _ = page_of(found, page, paged=False)

    def form(item: Mapping[str, Any]) -> Any:
        if "link" in view.suffixes:
            return f"/tenant/descriptors/{item['@id']}"
        return item["@id"] if view.ids else item

    if "v2" in view.suffixes:
        return {
            "results": [form(item) for item in items],
            "_page": {"next": None, "count": len(items), "orderby": "@id"},
            "_links": {"next": None},
        }
    grouped: dict[str, list[Any]] = {}
    for item in items:
        grouped.setdefault(item["@type"], []).append(form(item))
    return grouped


def _prepared(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _SERVER_KEYS}


def _paths(value: Any) -> list[str]:
    found = value if isinstance(value, list) else [] if value is None else [value]
    return [str(path) for path in found]


def _check_keys(kind: str, body: Mapping[str, Any]) -> None:
    if kind not in REQUIRED:
        raise invalid(f"@type is {kind!r}: it must be one of {', '.join(REQUIRED)}.")
    for key in ("xdm:sourceSchema", *REQUIRED[kind]):
        if body.get(key) in (None, "", []):
            raise invalid(f"The key {key} is required for {kind}.")
    wanted = _ANY_OF.get(kind, ())
    if wanted and not any(key in body for key in wanted):
        raise invalid(f"A {kind} needs one of {', '.join(wanted)}.")
    for key, values in _VALUES.items():
        if key in body and str(body[key]).casefold() not in {v.casefold() for v in values}:
            raise invalid(f"{key} is {body[key]!r}: it must be one of {', '.join(values)}.")


def _check_property(kind: str, path: str, tree: Field) -> None:
    if not path.startswith("/") or path.endswith("/"):
        raise invalid(f"xdm:sourceProperty is {path!r}: it must begin with / and not end with it.")
    field = tree.at(path[1:].replace("/", "."))
    if field is None:
        raise invalid(f"xdm:sourceProperty {path} is no field of the schema.")
    if kind == IDENTITY and field.kind != "string":
        raise invalid(f"An identity must be a string, {path} is of type {field.kind}.")
    if kind in _RELATIONSHIPS and field.kind not in ("string", "object"):
        raise invalid(f"A relationship needs a string, {path} is of type {field.kind}.")
