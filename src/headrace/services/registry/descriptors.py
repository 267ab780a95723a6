"""Descriptors: statements about a schema's fields (identity, relationship, display, …)."""

from collections.abc import Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.model.ids import hex_id
from headrace.services.registry.accept import View
from headrace.services.registry.lists import Page, page_of
from headrace.services.registry.service import RegistryService, invalid, not_found
from headrace.store.documents import Document, Scope, Store
from headrace.xdm.fields import Field

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "xdm:descriptorIdentity": ("xdm:namespace", "xdm:property"),
    "xdm:alternateDisplayInfo": (),
    "xdm:descriptorOneToOne": ("xdm:destinationSchema", "xdm:destinationVersion"),
    "xdm:descriptorRelationship": ("xdm:destinationSchema", "xdm:cardinality"),
    "xdm:descriptorReferenceIdentity": ("xdm:identityNamespace",),
    "xdm:descriptorDeprecated": (),
    "xdm:descriptorPrimaryKey": (),
    "xdm:descriptorVersion": (),
    "xdm:descriptorTimestamp": (),
    "xdm:descriptorLabel": (),
    "xdm:descriptorTimeSeriesGranularity": ("xdm:granularity",),
}
KIND = "descriptors"


class Descriptors:
    def __init__(self, store: Store, registry: RegistryService) -> None:
        self._store = store
        self._registry = registry

    def create(self, who: Caller, body: dict[str, Any]) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        self._check(who, body, None)
        stored = self._store.create(scope, KIND, hex_id(48), body)
        return self._shown(who, stored)

    def get(self, who: Caller, id: str) -> dict[str, Any]:
        return self._shown(who, self._stored(who, id))

    def replace(self, who: Caller, id: str, body: dict[str, Any]) -> dict[str, Any]:
        stored = self._stored(who, id)
        self._check(who, body, stored.id)
        scope = Scope(who.org_id, who.sandbox)
        return self._shown(who, self._store.replace(scope, KIND, stored.id, body))

    def delete(self, who: Caller, id: str) -> None:
        stored = self._stored(who, id)
        self._store.delete(Scope(who.org_id, who.sandbox), KIND, stored.id)

    def listed(self, who: Caller, page: Page, view: View) -> dict[str, Any]:
        found = [
            self._shown(who, d) for d in self._store.list(Scope(who.org_id, who.sandbox), KIND)
        ]
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

    def _stored(self, who: Caller, id: str) -> Document:
        stored = self._store.get(Scope(who.org_id, who.sandbox), KIND, id)
        if stored is None:
            raise not_found(KIND, id)
        return stored

    def _shown(self, who: Caller, stored: Document) -> dict[str, Any]:
        return {
            "@id": stored.id,
            **{k: v for k, v in stored.body.items() if k != "@id"},
            "imsOrg": who.org_id,
            "version": "1",
            "meta:containerId": "tenant",
            "meta:sandboxId": who.sandbox_id,
            "meta:sandboxType": who.sandbox_type,
            "created": stored.created,
            "updated": stored.updated,
        }

    def _check(self, who: Caller, body: Mapping[str, Any], id: str | None) -> None:
        kind = str(body.get("@type"))
        if kind not in REQUIRED:
            raise invalid(f"@type is {kind!r}: it must be one of {', '.join(REQUIRED)}.")
        for key in ("xdm:sourceSchema", *REQUIRED[kind]):
            if body.get(key) in (None, ""):
                raise invalid(f"The key {key} is required for {kind}.")
        scope = Scope(who.org_id, who.sandbox)
        try:
            _, _, tree = self._registry.schema_tree(scope, body["xdm:sourceSchema"])
        except ApiError:
            raise invalid(f"The schema {body['xdm:sourceSchema']} does not exist.") from None
        properties = body.get("xdm:sourceProperty")
        for path in properties if isinstance(properties, list) else [properties]:
            if path is not None:
                self._check_property(kind, str(path), tree)
        if kind == "xdm:descriptorIdentity" and body.get("xdm:isPrimary"):
            for other in self._store.list(scope, KIND):
                same = other.body.get("xdm:sourceSchema") == body["xdm:sourceSchema"]
                primary = other.body["@type"] == kind and other.body.get("xdm:isPrimary")
                if same and primary and other.id != id:
                    raise invalid("The schema has a primary identity already.")

    @staticmethod
    def _check_property(kind: str, path: str, tree: Field) -> None:
        if not path.startswith("/") or path.endswith("/"):
            raise invalid(
                f"xdm:sourceProperty is {path!r}: it must begin with / and not end with it."
            )
        field = tree.at(path[1:].replace("/", "."))
        if field is None:
            raise invalid(f"xdm:sourceProperty {path} is no field of the schema.")
        if kind == "xdm:descriptorIdentity" and field.kind != "string":
            raise invalid(f"An identity must be a string, {path} is of type {field.kind}.")
