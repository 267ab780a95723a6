"""Writing of the Schema Registry: what may be created, changed and removed, and who hears of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonpatch
import jsonpointer

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.http.patch import PatchRefused, applied
from headrace.model.ids import hex_id
from headrace.services.registry import unions, wire
from headrace.services.registry.faults import forbidden, invalid, not_found
from headrace.services.registry.service import (
    EXTENDED,
    STORED,
    TYPES,
    Lookup,
    RegistryService,
    canonical,
)
from headrace.store.documents import Document, Scope
from headrace.xdm.annotate import annotated
from headrace.xdm.evolve import breaking_changes
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.names import namespace_problem
from headrace.xdm.resolve import (
    Resolver,
    Unresolvable,
    ancestors,
    class_of,
    external_references,
)

MOST_OPERATIONS = 1000
UNTOLD = "untoldChanges"
"""Kind of the documents that name schemas of which a change is stored and not everybody has heard yet."""
ADHOC = "https://ns.adobe.com/xdm/data/adhoc"


class Authoring:
    """`in_use(scope, id)`: whether a data set has the schema; `changed(scope, id)` hears of new versions, once more when
    the process died while it was told."""

    def __init__(
        self,
        registry: RegistryService,
        *,
        in_use: Callable[[Scope, str], bool],
        changed: Callable[[Scope, str], None],
    ) -> None:
        self._registry = registry
        self._store = registry.store
        self._in_use = in_use
        self._changed = changed

    def create(self, who: Caller, word: str, body: Mapping[str, Any]) -> dict[str, Any]:
        kind = TYPES[word]
        return self.add(
            who, kind, f"https://ns.adobe.com/{who.tenant_id}/{kind}/{hex_id(48)}", body
        )

    def add(self, who: Caller, kind: str, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a new resource under a given id; ApiError 400."""
        scope = Scope(who.org_id, who.sandbox)
        resource = _prepared(who, kind, id, body)
        with self._store.transaction():
            self._check_title(scope, resource)
            tree = self._validate(who, resource)
            self._check_tags(scope, {}, resource, tree)
            resource["registry"] = _registry(who, None)
            stored = self._store.create(scope, kind, id, resource)
            self._audit(who, stored, [("add", "", {"title": resource["title"]})])
            return self._answer(who, stored)

    def replace(self, who: Caller, word: str, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        scope = Scope(who.org_id, who.sandbox)
        with self._store.transaction():
            stored = self._stored(scope, TYPES[word], id)
            prepared = _prepared(who, TYPES[word], stored.id, body)
            _check_parts(prepared)
            written = self._write(who, stored, prepared)
            steps = jsonpatch.make_patch(_plain(stored.body), _plain(written.body))
            self._audit(who, written, [_trail(step) for step in steps])
            answer = self._answer(who, written)
            untold = self._note(scope, written)
        self._tell(scope, untold)
        return answer

    def patch(self, who: Caller, word: str, id: str, operations: Any) -> dict[str, Any]:
        """Apply a JSON Patch to the document that a look-up without `-full` shows."""
        scope = Scope(who.org_id, who.sandbox)
        if not isinstance(operations, list) or not operations:
            raise invalid("The body must be a JSON Patch: a non-empty array of operations.")
        if len(operations) > MOST_OPERATIONS:
            raise invalid(f"A patch may have at most {MOST_OPERATIONS} operations.")
        with self._store.transaction():
            stored = self._stored(scope, TYPES[word], id)
            visible = wire.document(stored, who, self._registry.lookup(scope), write=False)
            current = _plain(stored.body)
            for key in ("meta:extends", "meta:immutableTags"):
                current.setdefault(key, visible.get(key, []))
            patched = _patched(current, operations)
            if not patched.get("meta:immutableTags"):
                patched.pop("meta:immutableTags", None)
            written = self._write(who, stored, _prepared(who, TYPES[word], stored.id, patched))
            self._audit(who, written, [_trail(operation) for operation in operations])
            answer = self._answer(who, written)
            untold = self._note(scope, written)
        self._tell(scope, untold)
        return answer | {"meta:descriptorStatus": {"result": []}}

    def extend_standard(self, who: Caller, id: str, operations: Any) -> dict[str, Any]:
        """Say for which further classes the sandbox uses a standard field group."""
        scope = Scope(who.org_id, who.sandbox)
        found = self._registry.lookup(scope)(id)
        if found is None or found["meta:resourceType"] != "mixins":
            raise not_found("mixins", id)
        if found.get("meta:containerId") != "global":
            raise invalid(f"{id} is a field group of the tenant: change it there.")
        before = {key: value for key, value in found.items() if key != "meta:intendedToExtend"}
        current = {**found, "meta:intendedToExtend": list(found.get("meta:intendedToExtend", ()))}
        if not isinstance(operations, list) or not operations:
            raise invalid("The body must be a JSON Patch: a non-empty array of operations.")
        patched = _patched(current, operations)
        classes = patched.pop("meta:intendedToExtend", [])
        if patched != before:
            raise forbidden(id)
        if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
            raise invalid("meta:intendedToExtend must be an array of class ids.")
        with self._store.transaction():
            self._store.delete(scope, EXTENDED, found["$id"])
            self._store.create(scope, EXTENDED, found["$id"], {"classes": classes})
        return dict(self._registry.lookup(scope)(found["$id"]) or {})

    def delete(self, who: Caller, word: str, id: str) -> None:
        kind, scope = TYPES[word], Scope(who.org_id, who.sandbox)
        with self._store.transaction():
            stored = self._stored(scope, kind, id)
            if kind == "schemas":
                if self._in_use(scope, stored.id):
                    raise invalid(f"The schema {stored.id} has data sets and cannot be deleted.")
                if unions.tagged(stored.body):
                    text = f"The schema {stored.id} takes part in a union and cannot be deleted."
                    raise invalid(text)
            for other in self._everything(scope):
                if other.id != stored.id and wire.uses(other.body, stored.id):
                    raise invalid(f"{stored.id} is used by {other.id} and cannot be deleted.")
            self._store.delete(scope, kind, stored.id)
            for descriptor in self._store.list(scope, "descriptors"):
                if descriptor.body.get("xdm:sourceSchema") == stored.id:
                    self._store.delete(scope, "descriptors", descriptor.id)
            self._audit(who, stored, [("remove", "", None)])

    # -- rules ----------------------------------------------------------------------------------------------

    def _write(self, who: Caller, stored: Document, resource: dict[str, Any]) -> Document:
        scope = Scope(who.org_id, who.sandbox)
        self._check_title(scope, resource)
        after = self._validate(who, resource)
        before = tree_of(Resolver(self._registry.lookup(scope)).full(stored.body))
        users = [
            d
            for d in self._users(scope, stored)
            if unions.tagged(d.body) or self._in_use(scope, d.id)
        ]
        if users and (broken := breaking_changes(before, after)):
            how = "A union" if unions.tagged(users[0].body) else "A data set"
            text = f"{how} uses this resource through {users[0].id}: {'; '.join(broken[:10])}"
            raise invalid(text, "XDM-1413-400", "Schema evolution error")
        self._check_tags(scope, stored.body, resource, after)
        self._check_users(scope, stored, resource)
        resource["registry"] = _registry(who, stored.body["registry"])
        return self._store.replace(scope, resource["meta:resourceType"], stored.id, resource)

    def _check_users(self, scope: Scope, stored: Document, resource: Mapping[str, Any]) -> None:
        """A change must leave everything that is built on the resource resolvable."""
        lookup = self._registry.lookup(scope)

        def changed(id: str) -> Mapping[str, Any] | None:
            return resource if canonical(id) == stored.id else lookup(id)

        for user in self._users(scope, stored):
            if user.id != stored.id:
                try:
                    Resolver(changed).full(user.body)
                except Unresolvable as error:
                    text = f"{user.id} is built on this resource and would not resolve: {error}."
                    raise invalid(text) from None

    def _check_title(self, scope: Scope, resource: Mapping[str, Any]) -> None:
        for id in self._store.titled(scope, STORED, resource["title"]):
            if id != resource["$id"]:
                text = f"Object titles must be unique. An object {id} already exists with the same title"
                raise invalid(text, "XDM-1521-400", "Title not unique")

    def _check_tags(
        self, scope: Scope, before: Mapping[str, Any], after: Mapping[str, Any], tree: Field
    ) -> None:
        tags = after.get("meta:immutableTags", [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise invalid("meta:immutableTags must be an array of texts.")
        if set(before.get("meta:immutableTags", [])) - set(tags):
            raise invalid("meta:immutableTags cannot be removed once they are set.")
        if unions.tagged(after) and not unions.tagged(before):
            lookup = self._registry.lookup(scope)
            chosen = class_of(after, lookup) or ""
            others = unions.members(self._store.list(scope, "schemas"), lookup, chosen)
            descriptors = [d.body for d in self._store.list(scope, "descriptors")]
            unions.check_entry(after, tree, descriptors, others.get(chosen, []), lookup)

    def _validate(self, who: Caller, resource: Mapping[str, Any]) -> Field:
        """Everything that must hold of a resource by itself; its field tree."""
        lookup = self._registry.lookup(Scope(who.org_id, who.sandbox))
        kind = resource["meta:resourceType"]
        try:
            if kind == "schemas":
                chosen = class_of(resource, lookup)
                if chosen is None:
                    raise invalid(
                        "A schema needs exactly one class among the references of 'allOf'."
                    )
                _check_groups(resource, chosen, lookup)
            elif kind == "classes":
                _check_behavior(resource, lookup)
            tree = tree_of(Resolver(lookup).full(resource))
            annotated(resource)  # what no composition uses must be well-formed, too
            problem = None
            if kind in ("classes", "mixins"):
                problem = namespace_problem(resource, f"_{who.tenant_id}")
        except Unresolvable as error:
            raise invalid(f"The definition does not resolve: {error}.") from None
        except (TypeError, AttributeError, KeyError, RecursionError) as error:
            raise invalid(f"The definition is malformed: {error}") from None
        if problem:
            raise invalid(problem, "XDM-1021-400", "Namespace validation error")
        return tree

    # -- neighbours -----------------------------------------------------------------------------------------

    def _stored(self, scope: Scope, kind: str, id: str) -> Document:
        stored = self._registry.document(scope, id, (kind,))
        if stored is None:
            if self._registry.library.get(canonical(id)) is not None:
                raise forbidden(id)
            raise not_found(kind, id)
        return stored

    def _everything(self, scope: Scope) -> list[Document]:
        return [d for kind in STORED for d in self._store.list(scope, kind)]

    def _users(self, scope: Scope, changed: Document) -> list[Document]:
        """Schemas that a resource is part of, at any distance, itself included."""
        if changed.body["meta:resourceType"] == "schemas":
            return [changed]
        everything, affected = self._everything(scope), {changed.id}
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

    def _note(self, scope: Scope, written: Document) -> list[str]:
        """The schemas that a change reaches, noted with the change itself."""
        found = [schema.id for schema in self._users(scope, written)]
        for id in found:
            if self._store.get(scope, UNTOLD, id) is None:
                self._store.create(scope, UNTOLD, id, {})
            else:
                self._store.replace(scope, UNTOLD, id, {})
        return found

    def _tell(self, scope: Scope, schemas: Sequence[str]) -> None:
        for id in schemas:
            before = self._store.get(scope, UNTOLD, id)
            self._changed(scope, id)
            with self._store.transaction():
                # another change that was stored meanwhile is still to be told
                if before is not None and self._store.get(scope, UNTOLD, id) == before:
                    self._store.delete(scope, UNTOLD, id)

    def resume(self) -> None:
        """Tell what an earlier process stored and died before it had told."""
        for scope, document in list(self._store.everywhere(UNTOLD)):
            self._tell(scope, [document.id])

    def _answer(self, who: Caller, stored: Document) -> dict[str, Any]:
        lookup = self._registry.lookup(Scope(who.org_id, who.sandbox))
        return wire.document(stored, who, lookup, write=True)

    def _audit(
        self, who: Caller, document: Document, trails: Sequence[tuple[str, str, Any]]
    ) -> None:
        entry = {
            "resource": document.id, "xdmType": document.body["meta:resourceType"], "trails": trails,
            "updatedUser": who.user_id, "clientId": who.client_id, "sandBoxId": who.sandbox_id,
        }  # fmt: skip
        self._store.create(Scope(who.org_id, who.sandbox), "audit", hex_id(32), entry)


def _prepared(who: Caller, kind: str, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise invalid("The key 'title' is required and must be a text.")
    if kind in ("schemas", "classes") and not isinstance(body.get("allOf"), list):
        raise invalid("The key 'allOf' is required and must be an array of references.")
    kept = {k: v for k, v in body.items() if k not in wire.COMPUTED}
    alt = f"_{who.tenant_id}.{kind}.{id.rsplit('/', 1)[1]}"
    head = {"$id": id, "meta:altId": alt, "meta:resourceType": kind, "type": "object"}
    if kind == "mixins":
        kept.setdefault("meta:intendedToExtend", [])  # any class
    return head | kept


def _check_parts(body: Mapping[str, Any]) -> None:
    """A replacement must define what its own composition refers to; ApiError XDM-1406-422."""
    for entry in body.get("allOf", ()):
        reference = entry.get("$ref") if isinstance(entry, Mapping) else None
        if isinstance(reference, str) and reference.startswith("#/"):
            try:
                jsonpointer.resolve_pointer(body, reference[1:])
            except jsonpointer.JsonPointerException:
                text = f"'allOf' refers to {reference}, which is not among the definitions."
                raise ApiError(422, "XDM-1406-422", "Structural conflict", text) from None


def _check_behavior(resource: Mapping[str, Any], lookup: Lookup) -> None:
    found = [
        id
        for id in ancestors(resource, lookup)
        if (lookup(id) or {}).get("meta:resourceType") == "behaviors"
    ]
    if len(found) != 1:
        named = ", ".join(found) or "none"
        raise invalid(f"A class builds on exactly one behavior, this one on {named}.")


def _check_groups(resource: Mapping[str, Any], chosen: str, lookup: Lookup) -> None:
    accepted = {chosen, *external_references(lookup(chosen) or {})}
    for id in external_references(resource):
        group = lookup(id)
        if group is None or id == chosen:
            continue
        wanted = group.get("meta:intendedToExtend")
        if chosen.startswith(ADHOC) and group.get("meta:containerId") == "global":
            raise invalid(f"An ad hoc schema accepts no standard field group: {id}.")
        if wanted and not accepted & set(wanted):
            raise invalid(
                f"The field group {id} is intended for {', '.join(wanted)}, not for {chosen}."
            )


def _patched(current: dict[str, Any], operations: list[Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = applied(current, [_lenient(op) for op in operations])
    except PatchRefused as error:
        raise invalid(str(error)) from None
    if not isinstance(found, dict):
        raise invalid("The patch must leave an object.")
    return found


def _lenient(operation: Any) -> Any:
    """The documented typing slip `/meta:immutableTags-`."""
    if isinstance(operation, Mapping) and operation.get("path") == "/meta:immutableTags-":
        return {**operation, "path": "/meta:immutableTags/-"}
    return operation


def _trail(operation: Mapping[str, Any]) -> tuple[str, str, Any]:
    action = {"replace": "update"}.get(operation["op"], operation["op"])
    return action, operation["path"], operation.get("value")


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "registry"}


def _registry(who: Caller, before: Mapping[str, str] | None) -> dict[str, str]:
    mine = {"updatedClient": who.client_id, "updatedUser": who.user_id}
    created = before or {"createdClient": who.client_id, "createdUser": who.user_id}
    return {**created, **mine}
