"""Input schemas and samples: what mapping sets refer to as their source. Kept for the mapping screen."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.errors import ApiError
from headrace.model.ids import hex_id
from headrace.services.conversion.samples import records_of, schema_of, source_paths, type_of
from headrace.services.conversion.wire import refuse
from headrace.store.documents import Document, Scope, Store

SAMPLES = "mappingSamples"
SCHEMAS = "mappingSchemas"


class Inputs:
    """`full_schema` resolves an XDM schema and raises ApiError 404 when there is none."""

    def __init__(self, store: Store, full_schema: Callable[[Scope, str], dict[str, Any]]) -> None:
        self._store = store
        self._full_schema = full_schema

    # -- samples --------------------------------------------------------------------------------------------

    def samples(self, scope: Scope) -> list[dict[str, Any]]:
        return [_sample(document) for document in self._store.list(scope, SAMPLES)]

    def sample(self, scope: Scope, id: str) -> dict[str, Any]:
        """ApiError 404."""
        return _sample(self._document(scope, SAMPLES, id, "sample"))

    def create_sample(self, scope: Scope, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        """ApiError 400 for data that is not of its type."""
        content = {**_checked(body), "createdBy": user, "modifiedBy": user}
        return _sample(self._store.create(scope, SAMPLES, hex_id(32), content))

    def replace_sample(
        self, scope: Scope, id: str, body: Mapping[str, Any], user: str
    ) -> dict[str, Any]:
        """The sample with a version one higher; ApiError 400, 404."""
        content = _checked(body)
        with self._store.transaction():
            before = self._document(scope, SAMPLES, id, "sample")
            changed = {**before.body, **content, "modifiedBy": user}
            return _sample(self._store.replace(scope, SAMPLES, id, changed))

    def records(self, scope: Scope, sample_id: str) -> list[dict[str, Any]]:
        """The records of a sample; ApiError 404."""
        found = self._document(scope, SAMPLES, sample_id, "sample").body
        return records_of(found["sampleData"], found["sampleType"])

    def columns(self, scope: Scope, sample_id: str) -> list[str]:
        """The source paths of a sample's fields; ApiError 404."""
        return source_paths(schema_of(self.records(scope, sample_id), ""))

    # -- input schemas --------------------------------------------------------------------------------------

    def schemas(self, scope: Scope) -> list[dict[str, Any]]:
        return [_schema(document) for document in self._store.list(scope, SCHEMAS)]

    def schema(self, scope: Scope, id: str) -> dict[str, Any]:
        """With the JSON Schema, which for a reference is that of the XDM schema now; ApiError 404."""
        return self.with_json(scope, _schema(self._document(scope, SCHEMAS, id, "input schema")))

    def with_json(self, scope: Scope, item: dict[str, Any]) -> dict[str, Any]:
        """A schema deleted since leaves its reference without content."""
        if "jsonSchema" in item:
            return item
        try:
            return {**item, "jsonSchema": self._full_schema(scope, item["schemaRef"]["id"])}
        except ApiError:
            return {**item, "jsonSchema": None}

    def create_schema(self, scope: Scope, body: Mapping[str, Any], user: str) -> dict[str, Any]:
        """From `jsonSchema`, from `sampleId`, or from the XDM schema of `schemaRef`; ApiError 400, 404."""
        content: dict[str, Any] = {}
        given, sample_id, ref = (body.get(k) for k in ("jsonSchema", "sampleId", "schemaRef"))
        if isinstance(given, dict) and given:
            content = {"jsonSchema": given}
        elif isinstance(sample_id, str):
            records = self.records(scope, sample_id)
            found = schema_of(records, f"SampleSchema:{sample_id}")
            content = {"jsonSchema": found, "sampleId": sample_id}
        elif isinstance(ref, dict) and isinstance(ref.get("id"), str):
            id = self._full_schema(scope, ref["id"])["$id"]
            content_type = ref.get("contentType") or "application/vnd.adobe.xed-full+json;version=1"
            content = {"schemaRef": {"id": id, "contentType": content_type}}
        else:
            raise refuse("The body needs one of 'jsonSchema', 'sampleId' and 'schemaRef'.")
        name = body.get("name")
        if name is not None and not isinstance(name, str):
            raise refuse("The 'name' must be a text.")
        who = {"name": name, "createdBy": user, "modifiedBy": user}
        made = self._store.create(scope, SCHEMAS, hex_id(32), {**content, **who})
        return self.with_json(scope, _schema(made))

    def _document(self, scope: Scope, kind: str, id: str, noun: str) -> Document:
        found = self._store.get(scope, kind, id)
        if found is None:
            raise refuse(f"There is no {noun} {id}.", 404)
        return found


def json_schema_in(text: str, sample_type: str) -> dict[str, Any]:
    """The schema that a file is, or that its records suggest; ApiError 400."""
    if sample_type == "JSON":
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
            raise refuse(f"The file is not valid JSON: {error}") from None
        if isinstance(value, dict) and isinstance(value.get("properties"), dict):
            return value
    return schema_of(records_of(text, sample_type), "UploadedSchema")


def _checked(body: Mapping[str, Any]) -> dict[str, Any]:
    data, kind = body.get("sampleData"), type_of(body.get("sampleType"))
    if not isinstance(data, str):
        raise refuse("The text 'sampleData' is missing.")
    schema_of(records_of(data, kind), "")  # refuses what could not be used later
    return {"sampleData": data, "sampleType": kind}


def _stamps(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "version": document.version,
        "createdDate": document.created,
        "modifiedDate": document.updated,
        "createdBy": document.body["createdBy"],
        "modifiedBy": document.body["modifiedBy"],
    }


def _sample(document: Document) -> dict[str, Any]:
    names = ("sampleData", "sampleType")
    return {**_stamps(document), **{name: document.body[name] for name in names}}


def _schema(document: Document) -> dict[str, Any]:
    names = ("name", "jsonSchema", "schemaRef", "sampleId")
    return {**_stamps(document), **{n: document.body[n] for n in names if document.body.get(n)}}
