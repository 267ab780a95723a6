"""Finding of the Schema Registry: tenant resources first, then the standard library, in every view."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.services.registry import unions, wire
from headrace.services.registry.accept import View
from headrace.services.registry.faults import invalid, not_found
from headrace.services.registry.lists import Page, page_of
from headrace.store.documents import Document, Scope, Store
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.library import Library
from headrace.xdm.resolve import Resolver, Unresolvable, ancestors

TYPES = {
    "schemas": "schemas", "classes": "classes", "fieldgroups": "mixins", "mixins": "mixins",
    "datatypes": "datatypes", "behaviors": "behaviors",
}  # fmt: skip
"""Path word → stored resource type."""

STORED = ("schemas", "classes", "mixins", "datatypes")
EXTENDED = "extendedFieldGroups"
"""Kind of the documents that say for which further classes a tenant uses a standard field group."""

LISTINGS_KEPT = 16
RESOLVED_KEPT = 256
DOCUMENTS_KEPT = 20_000
DATA = "https://ns.adobe.com/xdm/data/"
Lookup = Callable[[str], Mapping[str, Any] | None]


class RegistryService:
    """Answers every question about resources; `authoring` changes them.

    Listings and resolved schemas are remembered until any resource of the sandbox, or the library, changes.
    """

    def __init__(self, store: Store, library: Library) -> None:
        self.store = store
        self.library = library
        self._lock = threading.Lock()
        self._listings: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        self._documents: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._resolved: dict[tuple[Any, ...], dict[str, Any]] = {}

    def lookup(self, scope: Scope) -> Lookup:
        """Resources by `$id` or alternative id: the tenant's, then standard ones."""
        self.library.refresh()
        extended = {d.id: d.body["classes"] for d in self.store.list(scope, EXTENDED)}

        def find(id: str) -> Mapping[str, Any] | None:
            document = self.document(scope, id)
            if document is not None:
                return document.body
            found = self.library.get(id)
            if found is not None and found["$id"] in extended:
                return {**found, "meta:intendedToExtend": extended[found["$id"]]}
            return found

        return find

    def document(self, scope: Scope, id: str, kinds: Iterable[str] = STORED) -> Document | None:
        """A tenant resource by `$id` or alternative id."""
        wanted = canonical(id)
        word = wanted.split("/")[4:5]  # https://ns.adobe.com/{tenant}/{word}/{hash}
        for kind in kinds:
            if word != [kind]:
                continue
            found = self.store.get(scope, kind, wanted)
            if found is not None:
                return found
        return None

    def get(self, who: Caller, container: str, word: str, id: str, view: View) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        if view.version not in (None, 1):
            raise not_found(kind, id, view.version)
        lookup = self.lookup(scope)
        if container == "tenant":
            stored = self.document(scope, id, (kind,))
            if stored is not None:
                return self.shown(wire.document(stored, who, lookup, write=False), view, scope)
            if kind == "schemas" and id.endswith("__union"):
                return self.shown(self.resource(scope, id), view, scope)
        found = lookup(id)
        if found is None or found["meta:resourceType"] != kind:
            raise not_found(kind, id)
        if found.get("meta:containerId") != "global":
            # a tenant's, asked for in the global container
            raise not_found(kind, id)
        return self.shown(wire.standard(found, lookup), view, scope)

    def shown(self, resource: Mapping[str, Any], view: View, scope: Scope) -> dict[str, Any]:
        """A resource in the view that the Accept header asks for."""
        return self._viewed(resource, view, scope, self.lookup(scope))

    def _viewed(
        self, resource: Mapping[str, Any], view: View, scope: Scope, lookup: Lookup
    ) -> dict[str, Any]:
        descriptors = []
        if view.descriptors or view.deprecations:
            descriptors = [
                {"@id": d.id, **d.body}
                for d in self.store.list(scope, "descriptors")
                if d.body.get("xdm:sourceSchema") == resource["$id"]
            ]
        out = dict(resource)
        if view.full:
            try:
                out = Resolver(lookup).full(resource)
            except Unresolvable as error:
                raise ApiError(422, "XDM-1406-422", "Resolution error", str(error)) from None
            if resource.get("meta:resourceType") == "unions":
                out["properties"] = out.get("properties", {}) | unions.additions(lookup)
        return wire.viewed(out, view, descriptors)

    def listed(
        self, who: Caller, container: str, word: str, page: Page, view: View
    ) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        found = (
            self.standard(scope, kind) if container == "global" else self.whole_listing(who, kind)
        )
        # clients read data types without following pages
        items, following = page_of(found, page, paged=kind != "datatypes")
        lookup = self.lookup(scope)
        shown = [
            wire.identification(item) if view.ids else self._viewed(item, view, scope, lookup)
            for item in items
        ]
        return wire.listing(shown, f"{container}/{word}", page, following)

    def standard(self, scope: Scope, kind: str) -> list[dict[str, Any]]:
        """All standard resources of a kind with their computed keys, as the sandbox uses them, by title."""
        key = (scope, "global", kind, self.state(scope))
        found = self._listings.get(key)
        if found is None:
            lookup = self.lookup(scope)
            found = [
                wire.standard(lookup(r["$id"]) or r, lookup) for r in self.library.of_type(kind)
            ]
            with self._lock:
                _remember(self._listings, key, found, LISTINGS_KEPT)
        return found

    def whole_listing(self, who: Caller, kind: str) -> list[dict[str, Any]]:
        """All tenant resources of a kind with their computed keys, newest first."""
        scope = Scope(who.org_id, who.sandbox)
        key = (scope, kind, who.sandbox_id, self.state(scope))
        found = self._listings.get(key)
        if found is None:
            parts = self.store.fingerprint(scope, (*STORED[1:], EXTENDED))
            lookup, state = self.lookup(scope), (who.sandbox_id, self.library.state, parts)
            versions = self.store.connection.execute(
                "SELECT id, version FROM documents WHERE org=? AND sandbox=? AND kind=?"
                " ORDER BY seq DESC",
                (scope.org, scope.sandbox, kind),
            )
            found = [
                self._computed(who, kind, id, (version, state), lookup)
                for id, version in versions.fetchall()
            ]
            found = [item for item in found if item]
            with self._lock:
                _remember(self._listings, key, found, LISTINGS_KEPT)
        return found

    def _computed(
        self, who: Caller, kind: str, id: str, state: Any, lookup: Lookup
    ) -> dict[str, Any]:
        """One resource with its computed keys, anew only when it or what it may be built on changed."""
        scope = Scope(who.org_id, who.sandbox)
        key = (scope, id, state)
        found = self._documents.get(key)
        if found is None:
            stored = self.store.get(scope, kind, id)
            if stored is None:  # deleted meanwhile
                return {}
            found = wire.document(stored, who, lookup, write=False)
            with self._lock:
                _remember(self._documents, key, found, DOCUMENTS_KEPT)
        return found

    def state(self, scope: Scope) -> tuple[Any, ...]:
        """Differs whenever any resource of the sandbox, or the library, differs."""
        self.library.refresh()
        return (self.library.state, self.store.fingerprint(scope, (*STORED, EXTENDED)))

    def full_schema(self, scope: Scope, id: str) -> dict[str, Any]:
        """The resolved (`xed-full`) schema, not to be changed by the caller; ApiError 404."""
        key = (scope, id, self.state(scope))
        found = self._resolved.get(key)
        if found is None:
            try:
                found = Resolver(self.lookup(scope)).full(self.resource(scope, id))
            except Unresolvable as error:
                raise invalid(str(error)) from None
            with self._lock:
                _remember(self._resolved, key, found, RESOLVED_KEPT)
        return found

    def schema_tree(self, scope: Scope, id: str) -> tuple[str, str, Field]:
        """(`$id`, version, field tree) of a schema, class or union; ApiError 404 when there is none."""
        resource = self.resource(scope, id)
        stored = self.document(scope, id)
        version = f"1.{stored.version}" if stored else str(resource.get("version", "1.0"))
        return str(resource["$id"]), version, tree_of(self.full_schema(scope, id))

    def behavior(self, scope: Scope, id: str) -> str:
        """`record`, `time-series` or `adhoc`: what the schema's class is built on."""
        try:
            found = ancestors(self.resource(scope, id), self.lookup(scope))
        except (ApiError, Unresolvable):
            return "record"
        known = [name for name in ("time-series", "adhoc", "record") if f"{DATA}{name}" in found]
        return known[0] if known else "record"

    def resource(self, scope: Scope, id: str) -> Mapping[str, Any]:
        """What a schema reference means: a tenant or standard resource, or a union; ApiError 404."""
        lookup = self.lookup(scope)
        if id.endswith("__union"):
            described = lookup(id.removesuffix("__union"))
            if described is None:
                raise not_found("unions", id)
            return unions.resource(described, self.store.list(scope, "schemas"), lookup)
        found = lookup(id)
        if found is None and not id.startswith(("http", "_")):  # legacy form: context/profile
            found = lookup(f"https://ns.adobe.com/xdm/{id}")
        if found is None:
            raise not_found("schemas", id)
        return found

    def unions(self, who: Caller) -> list[dict[str, Any]]:
        """List items of the unions that have members."""
        scope = Scope(who.org_id, who.sandbox)
        return unions.items(self.store.list(scope, "schemas"), self.lookup(scope))

    def audit_log(self, who: Caller, id: str) -> list[dict[str, Any]]:
        """Updates of a resource, newest first."""
        scope = Scope(who.org_id, who.sandbox)
        stored = self.document(scope, id)
        if stored is None:
            raise not_found("resources", id)
        rows = self.store.connection.execute(
            "SELECT id, created, body FROM documents WHERE org=? AND sandbox=? AND kind='audit'"
            " AND json_extract(body, '$.resource')=? ORDER BY seq DESC",
            (scope.org, scope.sandbox, stored.id),
        )
        return [wire.update(who, row[0], row[1], json.loads(row[2])) for row in rows]


def _remember(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value


def canonical(id: str) -> str:
    """The `$id` form of a tenant's alternative id; other ids as they are."""
    if not id.startswith("_") or id.startswith("_xdm."):
        return id
    parts = id[1:].split(".", 2)
    if len(parts) == 3 and parts[1] in STORED:
        return "https://ns.adobe.com/" + "/".join(parts)
    return id
