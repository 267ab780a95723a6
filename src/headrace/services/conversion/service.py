"""Mapping sets: immutable versions in one document a set."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import ApiError
from headrace.mapping.apply import compile_rule
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.validate import problems_of
from headrace.model.flow import Rule
from headrace.model.ids import hex_id
from headrace.services.conversion import trial, wire
from headrace.store.documents import Document, Scope, Store
from headrace.xdm.fields import Field

KIND = "mappingSets"
Mappings = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class MappingSet:
    """One immutable version, as a dataflow pins it."""

    id: str
    version: int
    rules: tuple[Rule, ...]
    allow_null_values: bool
    schema_id: str


class ConversionService:
    """`schema_tree` gives $id, version and field tree of a schema and raises ApiError when unknown.

    `columns` names the leaves of a data set's schema.
    """

    def __init__(
        self,
        store: Store,
        *,
        schema_tree: Callable[[Scope, str], tuple[str, str, Field]],
        full_schema: Callable[[Scope, str], dict[str, Any]],
        columns: Callable[[Scope, str], list[str]],
    ) -> None:
        self.store = store
        self.schema_tree = schema_tree
        self.full_schema = full_schema
        self.columns = columns

    def mapping_set(self, scope: Scope, id: str, version: int | None = None) -> MappingSet | None:
        """A version, the latest by default; those of deleted sets stay, for the dataflows that pin them."""
        document = self.store.get(scope, KIND, id)
        if document is None:
            return None
        versions = document.body["versions"]
        number = len(versions) - 1 if version is None else version
        if not 0 <= number < len(versions):
            return None
        body = versions[number]
        rules = tuple(wire.rule_of(entry) for entry in body["mappings"])
        return MappingSet(id, number, rules, body["allowNullValues"], body["xdmSchema"])

    # -- sets -----------------------------------------------------------------------------------------------

    def create(
        self, scope: Scope, body: Mapping[str, Any], user: str, validate: bool
    ) -> dict[str, Any]:
        """The short form of the new set; ApiError 400, with `validate` also for rules that do not fit the target."""
        id = hex_id(32)
        stored = self._version(scope, id, 0, body, user, {})
        if validate:
            self._refuse_problems(scope, stored)
        self.store.create(scope, KIND, id, {"versions": [stored], "deleted": False})
        names = ("id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy")
        return {name: stored[name] for name in names}

    def replace(self, scope: Scope, id: str, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        """A new version with new ids for all its mappings; ApiError 400, 404."""
        with self.store.transaction():
            document = self._document(scope, id)
            versions = document.body["versions"]
            stored = self._version(scope, id, len(versions), body, user, versions[-1])
            self._append(scope, document, stored)
        return stored

    def delete(self, scope: Scope, id: str) -> None:
        """Hidden from the API; versions stay readable for flows that pin them."""
        with self.store.transaction():
            document = self._document(scope, id)
            self.store.replace(scope, KIND, id, {**document.body, "deleted": True})

    def read(
        self, scope: Scope, id: str, version: int | None, expand: bool = False
    ) -> dict[str, Any]:
        """A version, the latest by default; ApiError 404."""
        versions = self._document(scope, id).body["versions"]
        number = len(versions) - 1 if version is None else version
        if not 0 <= number < len(versions):
            raise wire.refuse(f"The mapping set {id} has no version {number}.", 404)
        return self.shown(scope, versions[number], expand)

    def latest(self, scope: Scope) -> list[dict[str, Any]]:
        """The latest version of every set, in order of creation."""
        documents = self.store.list(scope, KIND)
        return [d.body["versions"][-1] for d in documents if not d.body["deleted"]]

    def shown(self, scope: Scope, body: dict[str, Any], expand: bool) -> dict[str, Any]:
        """A version as it is answered, with `expand` with its target's resolved schema, null when that is gone."""
        if not expand:
            return body
        schema: dict[str, Any] | None
        try:
            schema = self.full_schema(scope, body["xdmSchema"])
        except ApiError:
            schema = None
        return {**body, "outputSchema": {**body["outputSchema"], "jsonSchema": schema}}

    # -- single mappings: each change is a new version; the mappings it does not touch keep their ids -------

    def add_mapping(self, scope: Scope, id: str, entry: Any, user: str) -> dict[str, Any]:
        """The stored mapping, last of the set; ApiError 400, 404."""
        made = wire.stored_mapping(entry, _now(), user)
        self._edit(scope, id, user, lambda mappings: [*mappings, made])
        return made

    def mapping(self, scope: Scope, id: str, mapping_id: str) -> dict[str, Any]:
        """A mapping of the latest version; ApiError 404."""
        mappings: Mappings = self.read(scope, id, None)["mappings"]
        return mappings[_place(mappings, mapping_id)]

    def change_mapping(
        self, scope: Scope, id: str, mapping_id: str, entry: Any, user: str
    ) -> dict[str, Any]:
        """The stored mapping, whole, under the same id; ApiError 400, 404."""
        made: dict[str, Any] = {}

        def change(mappings: Mappings) -> Mappings:
            at = _place(mappings, mapping_id)
            made.update(wire.stored_mapping(entry, _now(), user, mappings[at]))
            return [*mappings[:at], made, *mappings[at + 1 :]]

        self._edit(scope, id, user, change)
        return made

    def remove_mapping(self, scope: Scope, id: str, mapping_id: str, user: str) -> None:
        """ApiError 404."""

        def remove(mappings: Mappings) -> Mappings:
            at = _place(mappings, mapping_id)
            return [*mappings[:at], *mappings[at + 1 :]]

        self._edit(scope, id, user, remove)

    # -- trials ---------------------------------------------------------------------------------------------

    def validate(self, scope: Scope, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One verdict a rule; ApiError 400, 404 when the target is unknown."""
        found = wire.entries(body)
        return trial.validated(found, self.schema_tree(scope, wire.schema_ref(body)[0])[2])

    def preview(self, scope: Scope, body: Mapping[str, Any]) -> Any:
        """An answer for one record, an array of them for an array of records; ApiError 400."""
        data, mapping_set = body.get("data"), body.get("mappingSet")
        if not isinstance(mapping_set, dict) or not isinstance(data, dict | list):
            raise wire.refuse("The body needs 'data' (a record or an array) and 'mappingSet'.")
        target = self.schema_tree(scope, wire.schema_ref(mapping_set)[0])[2]
        rules = [wire.rule_of(entry) for entry in wire.entries(mapping_set)]
        nulls = wire.settings(mapping_set, {})["allowNullValues"]
        records = data if isinstance(data, list) else [data]
        answers = trial.previewed(rules, target, records, nulls)
        return answers if isinstance(data, list) else answers[0]

    def unusable(self, scope: Scope, body: Mapping[str, Any]) -> list[str]:
        """The rules of a set that no dataflow could apply; ApiError when the set is malformed.

        Milder than `validate`: rules that share a destination are poor, but the last of them works.
        """
        target, found = self.schema_tree(scope, wire.schema_ref(body)[0])[2], []
        for rule in map(wire.rule_of, wire.entries(body)):
            try:
                compile_rule(rule, target)
            except (MappingSyntaxError, ValueError) as error:
                found.append(f"{rule.destination or rule.source or 'rule'}: {error}")
        return found

    # -------------------------------------------------------------------------------------------------------

    def _document(self, scope: Scope, id: str) -> Document:
        document = self.store.get(scope, KIND, id)
        if document is None or document.body["deleted"]:
            raise wire.refuse(f"There is no mapping set {id}.", 404)
        return document

    def _append(self, scope: Scope, document: Document, stored: dict[str, Any]) -> None:
        versions = [*document.body["versions"], stored]
        self.store.replace(scope, KIND, document.id, {**document.body, "versions": versions})

    def _edit(
        self, scope: Scope, id: str, user: str, change: Callable[[Mappings], Mappings]
    ) -> None:
        with self.store.transaction():
            document = self._document(scope, id)
            latest = document.body["versions"][-1]
            changed = {
                "version": latest["version"] + 1,
                "modifiedDate": _now(),
                "modifiedBy": user,
                "mappings": change(latest["mappings"]),
            }
            self._append(scope, document, {**latest, **changed})

    def _refuse_problems(self, scope: Scope, stored: Mapping[str, Any]) -> None:
        target = self.schema_tree(scope, stored["xdmSchema"])[2]
        rules = [wire.rule_of(entry) for entry in stored["mappings"]]
        found = [text for texts in problems_of(rules, target) for text in texts]
        if found:
            raise wire.refuse("; ".join(found))

    def _version(
        self,
        scope: Scope,
        id: str,
        version: int,
        body: Mapping[str, Any],
        user: str,
        before: Mapping[str, Any],
    ) -> dict[str, Any]:
        given, content_type = wire.schema_ref(body)
        schema_id = self.schema_tree(scope, given)[0]
        ref = {"id": schema_id, "contentType": content_type}
        now = _now()
        return {
            "id": id,
            "version": version,
            "createdDate": before.get("createdDate", now),
            "modifiedDate": now,
            "createdBy": before.get("createdBy", user),
            "modifiedBy": user,
            "supportVersion": "1.1",
            "outputSchema": {"id": hex_id(32), "version": 0, "schemaRef": ref},
            "mappings": [wire.stored_mapping(entry, now, user) for entry in wire.entries(body)],
            "strictMapping": False,
            "xdmVersion": content_type,
            "schemaRef": ref,
            "xdmSchema": schema_id,
            **wire.settings(body, before),
        }


def _place(mappings: Mappings, mapping_id: str) -> int:
    for index, mapping in enumerate(mappings):
        if mapping["id"] == mapping_id:
            return index
    raise wire.refuse(f"The mapping set has no mapping {mapping_id}.", 404)


def _now() -> int:
    return int(time.time() * 1000)
