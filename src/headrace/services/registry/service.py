"""Behaviour of the Schema Registry over the document store and the standard library."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import jsonpatch
import jsonpointer

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.model.ids import hex_id
from headrace.services.registry import wire
from headrace.services.registry.accept import View
from headrace.services.registry.lists import Page, page_of
from headrace.store.documents import Document, Scope, Store
from headrace.xdm.evolve import breaking_changes
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.library import Library
from headrace.xdm.names import namespace_problem
from headrace.xdm.resolve import Resolver, Unresolvable, ancestors, class_of, external_references

TYPES = {
    "schemas": "schemas", "classes": "classes", "fieldgroups": "mixins", "mixins": "mixins",
    "datatypes": "datatypes", "behaviors": "behaviors",
}  # fmt: skip
"""Path word → stored resource type."""

NOT_FOUND = {
    "classes": "1010", "mixins": "1011", "schemas": "1012", "datatypes": "1013", "behaviors": "1014",
    "descriptors": "1015", "unions": "1016",
}  # fmt: skip
DATA = "https://ns.adobe.com/xdm/data/"
STORED = ("schemas", "classes", "mixins", "datatypes")
MOST_OPERATIONS = 1000


def not_found(kind: str, id: str) -> ApiError:
    code = f"XDM-{NOT_FOUND.get(kind, '1017')}-404"
    word = {"mixins": "field group", "datatypes": "data type", "classes": "class"}.get(
        kind, kind.rstrip("s")
    )
    text = f"The requested {word} resource {id} with version 1 is not found."
    return ApiError(404, code, "Resource not found", text)


def invalid(
    detail: str, code: str = "XDM-1405-400", title: str = "Schema validation error"
) -> ApiError:
    return ApiError(400, code, title, detail)


class RegistryService:
    """`schema_in_use(scope, id)`: whether a data set has the schema; `on_schema_change` hears of new versions."""

    def __init__(
        self,
        store: Store,
        library: Library,
        *,
        schema_in_use: Callable[[Scope, str], bool],
        on_schema_change: Callable[[Scope, str], None],
    ) -> None:
        self._store = store
        self.library = library
        self._in_use = schema_in_use
        self._changed = on_schema_change
        self._lock = threading.Lock()

    # -- finding --------------------------------------------------------------------------------------------

    def lookup(self, scope: Scope) -> Callable[[str], Mapping[str, Any] | None]:
        """Resources by `$id` or alternative id: the tenant's, then standard ones."""

        def find(id: str) -> Mapping[str, Any] | None:
            document = self.document(scope, id)
            return document.body if document else self.library.get(id)

        return find

    def document(self, scope: Scope, id: str, kinds: tuple[str, ...] = STORED) -> Document | None:
        """A tenant resource by `$id` or alternative id."""
        wanted = canonical(id)
        for kind in kinds:
            found = self._store.get(scope, kind, wanted)
            if found is not None:
                return found
        return None

    def get(self, who: Caller, container: str, word: str, id: str, view: View) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        lookup = self.lookup(scope)
        if container == "tenant":
            stored = self.document(scope, id, (kind,))
            if stored is not None:
                return wire.shown(wire.document(stored, who, lookup, write=False), view, lookup)
            if kind == "schemas" and id.endswith("__union"):
                return self.union(who, id, view)
        found = self.library.get(canonical(id)) or self.library.get(id)
        if found is None or found["meta:resourceType"] != kind:
            raise not_found(kind, id)
        return wire.shown(found, view, lookup)

    def listed(
        self, who: Caller, container: str, word: str, page: Page, view: View
    ) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        lookup = self.lookup(scope)
        found: list[Mapping[str, Any]]
        if container == "global":
            found = list(self.library.of_type(kind))
        else:
            found = [
                wire.document(stored, who, lookup, write=False)
                for stored in reversed(self._store.list(scope, kind))
            ]
        # clients read data types without following pages
        items, following = page_of(found, page, paged=kind != "datatypes")
        shown = [wire.identification(i) if view.ids else wire.shown(i, view, lookup) for i in items]
        return wire.listing(shown, word, page.orderby, following)

    def full_schema(self, scope: Scope, id: str) -> dict[str, Any]:
        """The resolved (`xed-full`) schema; ApiError 404."""
        resource = self._schema(scope, id)
        try:
            return Resolver(self.lookup(scope)).full(resource)
        except Unresolvable as error:
            raise invalid(str(error)) from None

    def schema_tree(self, scope: Scope, id: str) -> tuple[str, str, Field]:
        """(`$id`, version, field tree) of a schema, class or union; ApiError 404 when there is none."""
        resource = self._schema(scope, id)
        stored = self.document(scope, id)
        version = f"1.{stored.version}" if stored else str(resource.get("version", "1.0"))
        return str(resource["$id"]), version, tree_of(self.full_schema(scope, id))

    def behavior(self, scope: Scope, id: str) -> str:
        """`record`, `time-series` or `adhoc`: what the schema's class is built on."""
        try:
            found = ancestors(self._schema(scope, id), self.lookup(scope))
        except (ApiError, Unresolvable):
            return "record"
        known = [name for name in ("time-series", "adhoc", "record") if f"{DATA}{name}" in found]
        return known[0] if known else "record"

    def _schema(self, scope: Scope, id: str) -> Mapping[str, Any]:
        text = id
        if text.endswith("__union"):
            return self._union_resource(scope, text)
        found = self.lookup(scope)(text)
        if found is None and not text.startswith(
            ("http", "_")
        ):  # legacy short form: context/profile
            found = self.library.get(f"https://ns.adobe.com/xdm/{text}")
        if found is None:
            raise not_found("schemas", id)
        return found

    # -- writing --------------------------------------------------------------------------------------------

    def create(self, who: Caller, word: str, body: Mapping[str, Any]) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        id = f"https://ns.adobe.com/{who.tenant_id}/{kind}/{hex_id(48)}"
        resource = self._prepared(who, kind, id, body)
        with self._lock:
            self._check_title(scope, resource)
            self._validate(who, resource)
            resource["registry"] = _registry(who, None)
            stored = self._store.create(scope, kind, id, resource)
        self._audit(who, stored, "add", "", {"title": resource["title"]})
        return wire.document(stored, who, self.lookup(scope), write=True)

    def replace(self, who: Caller, word: str, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        with self._lock:
            stored = self._stored(scope, kind, id)
            resource = self._prepared(who, kind, stored.id, body)
            written = self._write(who, stored, resource)
        self._audit(who, written, "update", "", None)
        self._tell(scope, written)
        return wire.document(written, who, self.lookup(scope), write=True)

    def patch(self, who: Caller, word: str, id: str, operations: Any) -> dict[str, Any]:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        if not isinstance(operations, list) or not operations:
            raise invalid("The body must be a JSON Patch: a non-empty array of operations.")
        if len(operations) > MOST_OPERATIONS:
            raise invalid(f"A patch may have at most {MOST_OPERATIONS} operations.")
        with self._lock:
            stored = self._stored(scope, kind, id)
            current = {k: v for k, v in stored.body.items() if k != "registry"}
            visible = wire.document(stored, who, self.lookup(scope), write=False)
            for key in ("meta:extends", "meta:immutableTags"):
                current.setdefault(key, visible.get(key, []))
            try:
                patched = jsonpatch.apply_patch(current, [_lenient(op) for op in operations])
            except (
                jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, AttributeError,
            ) as error:  # fmt: skip
                raise invalid(f"The patch cannot be applied: {error}") from None
            if not patched.get("meta:immutableTags"):
                patched.pop("meta:immutableTags", None)
            written = self._write(who, stored, self._prepared(who, kind, stored.id, patched))
        for operation in operations:
            self._audit(who, written, operation["op"], operation["path"], operation.get("value"))
        self._tell(scope, written)
        return wire.document(written, who, self.lookup(scope), write=True)

    def delete(self, who: Caller, word: str, id: str) -> None:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        with self._lock:
            stored = self._stored(scope, kind, id)
            if kind == "schemas":
                if self._in_use(scope, stored.id):
                    raise invalid(f"The schema {stored.id} has data sets and cannot be deleted.")
                if "union" in stored.body.get("meta:immutableTags", ()):
                    raise invalid(
                        f"The schema {stored.id} takes part in a union and cannot be deleted."
                    )
            for other in (d for k in STORED for d in self._store.list(scope, k)):
                if other.id != stored.id and wire.uses(other.body, stored.id):
                    raise invalid(f"{stored.id} is used by {other.id} and cannot be deleted.")
            self._store.delete(scope, kind, stored.id)
        self._audit(who, stored, "remove", "", None)

    def _stored(self, scope: Scope, kind: str, id: str) -> Document:
        stored = self.document(scope, id, (kind,))
        if stored is None:
            if self.library.get(canonical(id)) is not None:
                raise ApiError(
                    403,
                    "XDM-1018-403",
                    "Forbidden",
                    f"{id} is a standard resource and cannot be changed.",
                )
            raise not_found(kind, id)
        return stored

    def _prepared(self, who: Caller, kind: str, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        title = body.get("title")
        if not isinstance(title, str) or not title.strip():
            raise invalid("The key 'title' is required and must be a text.")
        if kind in ("schemas", "classes") and not isinstance(body.get("allOf"), list):
            raise invalid("The key 'allOf' is required and must be an array of references.")
        kept = {k: v for k, v in body.items() if k not in wire.COMPUTED}
        alt = f"_{who.tenant_id}.{kind}.{id.rsplit('/', 1)[1]}"
        head = {"$id": id, "meta:altId": alt, "meta:resourceType": kind, "type": "object"}
        return head | kept

    def _check_title(self, scope: Scope, resource: Mapping[str, Any]) -> None:
        for other in (d for kind in STORED for d in self._store.list(scope, kind)):
            if other.body["title"] == resource["title"] and other.id != resource["$id"]:
                text = f"Object titles must be unique. An object {other.id} already exists with the same title"
                raise invalid(text, "XDM-1521-400", "Title not unique")

    def _validate(self, who: Caller, resource: Mapping[str, Any]) -> Field:
        """Everything that must hold of a resource; its field tree."""
        scope = Scope(who.org_id, who.sandbox)
        lookup, kind = self.lookup(scope), resource["meta:resourceType"]
        try:
            if kind == "schemas":
                chosen = class_of(resource, lookup)
                if chosen is None:
                    raise invalid(
                        "A schema needs exactly one class among the references of 'allOf'."
                    )
                self._check_groups(resource, chosen, lookup)
            tree = tree_of(Resolver(lookup).full(resource))
        except Unresolvable as error:
            raise invalid(str(error)) from None
        except (TypeError, AttributeError, KeyError) as error:
            raise invalid(f"The definition is malformed: {error}") from None
        if kind in ("classes", "mixins"):
            problem = namespace_problem(resource, f"_{who.tenant_id}")
            if problem:
                raise invalid(problem, "XDM-1021-400", "Namespace validation error")
        return tree

    def _check_groups(self, resource: Mapping[str, Any], chosen: str, lookup: Any) -> None:
        accepted = {chosen, *external_references(lookup(chosen) or {})}
        for id in external_references(resource):
            group = lookup(id)
            if group is None or id == chosen:
                continue
            wanted = group.get("meta:intendedToExtend")
            if wanted and not accepted & set(wanted):
                raise invalid(
                    f"The field group {id} is intended for {', '.join(wanted)}, not for {chosen}."
                )

    def _write(self, who: Caller, stored: Document, resource: dict[str, Any]) -> Document:
        scope = Scope(who.org_id, who.sandbox)
        self._check_title(scope, resource)
        tags = stored.body.get("meta:immutableTags", [])
        if set(tags) - set(resource.get("meta:immutableTags", [])):
            raise invalid("meta:immutableTags cannot be removed once they are set.")
        after = self._validate(who, resource)
        before = tree_of(Resolver(self.lookup(scope)).full(stored.body))
        users = [d for d in self._users(scope, stored) if self._in_use(scope, d.id)]
        if users and (broken := breaking_changes(before, after)):
            text = f"A data set uses this resource through {users[0].id}: {'; '.join(broken[:10])}"
            raise invalid(text, "XDM-1413-400", "Schema evolution error")
        resource["registry"] = _registry(who, stored.body["registry"])
        return self._store.replace(scope, resource["meta:resourceType"], stored.id, resource)

    def _users(self, scope: Scope, changed: Document) -> list[Document]:
        """Schemas that a resource is part of, at any distance."""
        affected = {changed.id}
        everything = [d for kind in STORED for d in self._store.list(scope, kind)]
        grew = True
        while grew:
            more = {
                d.id for d in everything if any(wire.uses(d.body, id) for id in affected)
            } - affected
            affected |= more
            grew = bool(more)
        return [
            d for d in everything if d.id in affected and d.body["meta:resourceType"] == "schemas"
        ]

    def _tell(self, scope: Scope, written: Document) -> None:
        for schema in self._users(scope, written):
            self._changed(scope, schema.id)

    def _audit(self, who: Caller, document: Document, action: str, path: str, value: Any) -> None:
        scope = Scope(who.org_id, who.sandbox)
        entry = {
            "resource": document.id, "xdmType": document.body["meta:resourceType"], "action": action,
            "path": path, "value": value, "updatedUser": who.user_id, "clientId": who.client_id,
            "sandBoxId": who.sandbox_id,
        }  # fmt: skip
        self._store.create(scope, "audit", hex_id(32), entry)

    def audit_log(self, who: Caller, id: str) -> list[dict[str, Any]]:
        scope = Scope(who.org_id, who.sandbox)
        stored = self.document(scope, id)
        if stored is None:
            raise not_found("schemas", id)
        entries = [d for d in self._store.list(scope, "audit") if d.body["resource"] == stored.id]
        return [
            {
                "id": stored.id,
                "auditTrails": [
                    {"id": d.id, **{k: d.body[k] for k in ("xdmType", "action", "path", "value")}}
                ],
                "updatedUser": d.body["updatedUser"],
                "imsOrg": who.org_id,
                "updated": d.created,
                "clientId": d.body["clientId"],
                "sandBoxId": d.body["sandBoxId"],
            }
            for d in reversed(entries)
        ]

    # -- unions ---------------------------------------------------------------------------------------------

    def _members(self, scope: Scope, class_id: str | None = None) -> dict[str, list[Document]]:
        """Union-tagged schemas by class."""
        found: dict[str, list[Document]] = {}
        lookup = self.lookup(scope)
        for document in self._store.list(scope, "schemas"):
            if "union" in document.body.get("meta:immutableTags", ()):
                chosen = class_of(document.body, lookup)
                if chosen and class_id in (None, chosen):
                    found.setdefault(chosen, []).append(document)
        return found

    def _union_resource(self, scope: Scope, id: str) -> dict[str, Any]:
        class_id = canonical(id.removesuffix("__union"))
        described = self.lookup(scope)(class_id)
        if described is None:
            raise not_found("unions", id)
        members = self._members(scope, described["$id"]).get(described["$id"], [])
        groups: dict[str, None] = {}
        for member in members:
            for reference in external_references(member.body):
                if reference != described["$id"]:
                    groups.setdefault(reference)
        references = [described["$id"], *groups]
        return {
            "type": "object",
            "title": f"Union object for {described['$id']}",
            "description": f"Union view of all schemas that extend {described['$id']}",
            "allOf": [{"$ref": r, "type": "object", "meta:xdmType": "object"} for r in references],
            "$id": f"{described['$id']}__union",
            "meta:altId": f"{described['meta:altId']}__union",
            "meta:class": described["$id"],
            "meta:containerId": "tenant",
            "meta:resourceType": "unions",
            "version": "1.0",
            "meta:registryMetadata": {},
        }

    def union(self, who: Caller, id: str, view: View) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        return wire.shown(self._union_resource(scope, id), view, self.lookup(scope))

    def unions(self, who: Caller) -> list[dict[str, Any]]:
        scope = Scope(who.org_id, who.sandbox)
        found = []
        for class_id in self._members(scope):
            union = self._union_resource(scope, f"{class_id}__union")
            title = (self.lookup(scope)(class_id) or {}).get("title")
            found.append(
                {"title": title, **{k: union[k] for k in ("$id", "meta:altId")}, "version": "1"}
            )
        return found


def canonical(id: str) -> str:
    """The `$id` form of a tenant's alternative id; other ids as they are."""
    if not id.startswith("_") or id.startswith("_xdm."):
        return id
    parts = id[1:].split(".", 2)
    if len(parts) == 3 and parts[1] in ("schemas", "classes", "mixins", "datatypes"):
        return "https://ns.adobe.com/" + "/".join(parts)
    return id


def _lenient(operation: Any) -> Any:
    """The documented typing slip `/meta:immutableTags-`, and values without `type`."""
    if isinstance(operation, Mapping) and operation.get("path") == "/meta:immutableTags-":
        return {**operation, "path": "/meta:immutableTags/-"}
    return operation


def _registry(who: Caller, before: Mapping[str, str] | None) -> dict[str, str]:
    mine = {"updatedClient": who.client_id, "updatedUser": who.user_id}
    created = before or {"createdClient": who.client_id, "createdUser": who.user_id}
    return {**created, **mine}
