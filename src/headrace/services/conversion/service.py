"""Mapping sets: immutable versions in one document a set."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.errors import ApiError
from headrace.mapping.apply import apply, compile_rules
from headrace.mapping.errors import MappingInvalid
from headrace.mapping.functions import Context
from headrace.mapping.validate import problems_of
from headrace.mapping.values import text_of
from headrace.model.flow import Rule
from headrace.model.ids import hex_id, uuid_text
from headrace.services.conversion import wire
from headrace.store.documents import Conflict, Document, Scope, Store
from headrace.xdm.fields import Field

KIND = "mappingSets"


@dataclass(frozen=True, slots=True)
class MappingSet:
    """One immutable version, as a dataflow pins it."""

    id: str
    version: int
    rules: tuple[Rule, ...]
    allow_null_values: bool
    schema_id: str


class ConversionService:
    """`schema_tree` gives $id, version and field tree of a schema and raises ApiError when unknown."""

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

    def create(
        self, scope: Scope, body: dict[str, Any], user: str, validate: bool
    ) -> dict[str, Any]:
        now = int(time.time() * 1000)
        id = hex_id(32)
        stored = self._version(scope, id, 0, body, user, now, now)
        if validate:
            self._refuse_problems(scope, stored)
        self.store.create(scope, KIND, id, {"versions": [stored], "deleted": False})
        names = ("id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy")
        return {name: stored[name] for name in names}

    def replace(self, scope: Scope, id: str, body: dict[str, Any], user: str) -> dict[str, Any]:
        document = self._document(scope, id)
        versions = document.body["versions"]
        now = int(time.time() * 1000)
        stored = self._version(
            scope, id, len(versions), body, user, versions[0]["createdDate"], now
        )
        try:
            new = {**document.body, "versions": [*versions, stored]}
            self.store.replace(scope, KIND, id, new, document.version)
        except Conflict:
            raise wire.refuse(
                "The mapping set was changed at the same time; read it again."
            ) from None
        return stored

    def delete(self, scope: Scope, id: str) -> None:
        """Hidden from the API; versions stay readable for flows that pin them."""
        document = self._document(scope, id)
        self.store.replace(scope, KIND, id, {**document.body, "deleted": True})

    def read(
        self, scope: Scope, id: str, version: int | None, expand: bool = False
    ) -> dict[str, Any]:
        versions = self._document(scope, id).body["versions"]
        number = len(versions) - 1 if version is None else version
        if not 0 <= number < len(versions):
            raise wire.refuse(f"The mapping set {id} has no version {number}.", 404)
        return self._shown(scope, versions[number], expand)

    def latest(self, scope: Scope, expand: bool = False) -> list[dict[str, Any]]:
        """The latest version of every set, in order of creation."""
        documents = self.store.list(scope, KIND)
        return [
            self._shown(scope, d.body["versions"][-1], expand)
            for d in documents
            if not d.body["deleted"]
        ]

    def validate(self, scope: Scope, body: dict[str, Any]) -> list[dict[str, Any]]:
        entries = _entries(body)
        target = self.schema_tree(scope, wire.schema_ref(body)[0])[2]
        rules: list[Rule] = []
        bad: dict[int, str] = {}
        for index, entry in enumerate(entries):
            try:
                rules.append(wire.rule_of(entry))
            except ApiError as error:
                bad[index] = error.detail
                rules.append(Rule("STATIC", "", ""))
        out = []
        for index, (rule, found) in enumerate(zip(rules, problems_of(rules, target), strict=True)):
            problems = [bad[index]] if index in bad else found
            errors = [
                _error(rule.source, rule.destination, text, rule.source_type) for text in problems
            ]
            out.append({"status": "FAILED" if errors else "SUCCESS", "errors": errors or None})
        return out

    def preview(self, scope: Scope, body: dict[str, Any]) -> Any:
        data, mapping_set = body.get("data"), body.get("mappingSet")
        if not isinstance(mapping_set, dict) or not isinstance(data, dict | list):
            raise wire.refuse("The body needs 'data' (a record or an array) and 'mappingSet'.")
        target = self.schema_tree(scope, wire.schema_ref(mapping_set)[0])[2]
        rules = [wire.rule_of(entry) for entry in _entries(mapping_set)]
        try:
            compiled = compile_rules(
                rules, target, allow_null_values=bool(mapping_set.get("allowNullValues"))
            )
        except MappingInvalid as error:
            raise wire.refuse(str(error)) from None
        kinds = {(rule.source, rule.destination): rule.source_type for rule in rules}
        answers = []
        for record in data if isinstance(data, list) else [data]:
            context = Context(record, lambda: datetime.now(UTC), uuid_text)
            xdm, warnings = apply(compiled, record, context)
            errors = [
                _error(w.source, w.destination, w.message, kinds.get((w.source, w.destination), ""))
                for w in warnings
            ]
            answers.append({"data": _json(xdm), "errors": errors or None})
        return answers if isinstance(data, list) else answers[0]

    def _document(self, scope: Scope, id: str) -> Document:
        document = self.store.get(scope, KIND, id)
        if document is None or document.body["deleted"]:
            raise wire.refuse(f"There is no mapping set {id}.", 404)
        return document

    def _refuse_problems(self, scope: Scope, stored: dict[str, Any]) -> None:
        target = self.schema_tree(scope, stored["xdmSchema"])[2]
        rules = [wire.rule_of(entry) for entry in stored["mappings"]]
        found = [text for problems in problems_of(rules, target) for text in problems]
        if found:
            raise wire.refuse("; ".join(found))

    def _version(
        self,
        scope: Scope,
        id: str,
        version: int,
        body: dict[str, Any],
        user: str,
        created: int,
        now: int,
    ) -> dict[str, Any]:
        given, content_type = wire.schema_ref(body)
        schema_id = self.schema_tree(scope, given)[0]
        ref = {"id": schema_id, "contentType": content_type}
        return {
            "id": id,
            "name": body.get("name"),
            "version": version,
            "createdDate": created,
            "modifiedDate": now,
            "createdBy": user,
            "modifiedBy": user,
            "supportVersion": "1.1",
            "inputSchema": body.get("inputSchema"),
            "outputSchema": {"id": hex_id(32), "version": 0, "schemaRef": ref},
            "mappings": [wire.stored_mapping(entry, now, user) for entry in _entries(body)],
            "status": body.get("status", "DRAFT"),
            "strictMapping": False,
            "allowNullValues": bool(body.get("allowNullValues")),
            "xdmVersion": content_type,
            "schemaRef": ref,
            "xdmSchema": schema_id,
            "tags": body.get("tags") or [],
        }

    def _shown(self, scope: Scope, body: dict[str, Any], expand: bool) -> dict[str, Any]:
        if not expand:
            return body
        schema = self.full_schema(scope, body["xdmSchema"])
        return {**body, "outputSchema": {**body["outputSchema"], "jsonSchema": schema}}


def _entries(body: dict[str, Any]) -> Sequence[Any]:
    entries = body.get("mappings")
    if not isinstance(entries, list):
        raise wire.refuse("The array 'mappings' is missing.")
    return entries


def _error(source: str, destination: str, text: str, kind: str) -> dict[str, Any]:
    return {
        "source": source,
        "destination": destination,
        "exception": text,
        "columnName": destination,
        "sourceType": wire.SOURCE_TYPES.get(kind),
    }


def _json(value: dict[str, Any]) -> Any:
    """Dates as the text in which they are written to XDM."""
    return msgspec.json.decode(msgspec.json.encode(_plain(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else text_of(value)
