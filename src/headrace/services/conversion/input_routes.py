"""Calls about input schemas, samples and suggestions."""

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from headrace.http.contract import Answer, Call
from headrace.mapping.rules import SOURCE_TYPES
from headrace.services.catalog.batches import Batches
from headrace.services.conversion.inputs import Inputs, json_schema_in
from headrace.services.conversion.lists import chosen, page
from headrace.services.conversion.samples import source_paths, type_of
from headrace.services.conversion.service import ConversionService
from headrace.services.conversion.suggestion import suggested, targets_of
from headrace.services.conversion.wire import refuse
from headrace.store.documents import Scope

FULL = "application/vnd.adobe.xed-full+json;version=1"


class InputCalls:
    def __init__(self, service: ConversionService) -> None:
        self.service = service
        self.inputs = Inputs(service.store, service.full_schema)

    # -- samples --------------------------------------------------------------------------------------------

    def samples(self, call: Call) -> Answer:
        return Answer(body=page(call, chosen(call, self.inputs.samples(scope_of(call)))))

    def sample(self, call: Call) -> Answer:
        return Answer(body=self.inputs.sample(scope_of(call), call.params["id"]))

    def create_sample(self, call: Call) -> Answer:
        made = self.inputs.create_sample(scope_of(call), call.object(), call.who.user_id)
        return Answer(body=made)

    def upload_sample(self, call: Call) -> Answer:
        text, kind = file_of(call)
        body = {"sampleData": text, "sampleType": kind}
        return Answer(body=self.inputs.create_sample(scope_of(call), body, call.who.user_id))

    def replace_sample(self, call: Call) -> Answer:
        id, user = call.params["id"], call.who.user_id
        return Answer(body=self.inputs.replace_sample(scope_of(call), id, call.object(), user))

    # -- input schemas --------------------------------------------------------------------------------------

    def schemas(self, call: Call) -> Answer:
        scope = scope_of(call)
        body = page(call, chosen(call, self.inputs.schemas(scope)))
        return Answer(
            body={**body, "data": [self.inputs.with_json(scope, i) for i in body["data"]]}
        )

    def schema(self, call: Call) -> Answer:
        return Answer(body=self.inputs.schema(scope_of(call), call.params["id"]))

    def create_schema(self, call: Call) -> Answer:
        made = self.inputs.create_schema(scope_of(call), call.object(), call.who.user_id)
        return Answer(body=made)

    def upload_schema(self, call: Call) -> Answer:
        body = {"jsonSchema": json_schema_in(*file_of(call))}
        return Answer(body=self.inputs.create_schema(scope_of(call), body, call.who.user_id))

    # -- suggestions ----------------------------------------------------------------------------------------

    def suggestion(self, call: Call) -> Answer:
        """A mapping set body, not stored, for the source columns onto the fields of a schema."""
        scope = scope_of(call)
        schema = self.service.full_schema(scope, self._target(call, scope))
        matches = suggested(self._columns(call, scope), targets_of(schema))
        if call.flag("excludeUnmapped", True):
            matches = [match for match in matches if match.destination is not None]
        ref = {"id": schema["$id"], "contentType": FULL}
        source: dict[str, Any] = {}
        if call.value("inputSchemaId"):
            source = {"inputSchema": {"id": call.value("inputSchemaId"), "version": 0}}
        return Answer(
            body={
                "version": 0,
                **source,
                "outputSchema": {"schemaRef": ref},
                "mappings": [
                    {
                        "sourceType": SOURCE_TYPES["ATTRIBUTE"],
                        "source": match.source,
                        "destination": match.destination,
                        "identity": False,
                        "matchScore": match.score,
                        "sourceAttribute": match.source,
                        "destinationXdmPath": match.destination,
                    }
                    for match in matches
                ],
                "schemaRef": ref,
                "xdmSchema": ref["id"],
                "xdmVersion": FULL,
            }
        )

    def _target(self, call: Call, scope: Scope) -> str:
        if call.value("schemaId"):
            return str(call.value("schemaId"))
        id = call.value("datasetId")
        if not id:
            raise refuse("Name the target: 'datasetId', or 'schemaId'.")
        found = self.service.store.get(scope, "dataSets", id)
        if found is None:
            raise refuse(f"There is no data set {id}.", 404)
        return str(found.body["schemaRef"]["id"])

    def _columns(self, call: Call, scope: Scope) -> list[str]:
        batch, sample, schema = (call.value(k) for k in ("batchId", "sampleId", "inputSchemaId"))
        if batch:
            found = Batches(self.service.store).find(scope, batch_id=batch)
            if not found:
                raise refuse(f"There is no batch {batch}.", 404)
            item = next(iter(found.values()))
            return self.service.columns(scope, item["relatedObjects"][0]["id"])
        if sample:
            return self.inputs.columns(scope, sample)
        if schema:
            return source_paths(self.inputs.schema(scope, schema)["jsonSchema"] or {})
        raise refuse("Name the source: 'batchId', 'sampleId' or 'inputSchemaId'.")


def scope_of(call: Call) -> Scope:
    return Scope(call.who.org_id, call.who.sandbox)


def file_of(call: Call) -> tuple[str, str]:
    """Text and sample type of the part `file` of a form, or of a body that is the file itself; ApiError 400."""
    content_type = call.headers.get("content-type", "")
    name, kind, content = "", content_type, call.body
    if content_type.lower().startswith("multipart/form-data"):
        name, kind, content = _part(content_type, call.body)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"The file is not UTF-8: {error}") from None
    if name.lower().endswith((".csv", ".json")):
        kind = name.rpartition(".")[2]
    elif kind.partition(";")[0].strip() in ("", "text/plain", "application/octet-stream"):
        kind = "JSON"
    return text, type_of(kind)


def _part(content_type: str, body: bytes) -> tuple[str, str, bytes]:
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", errors="replace")
    message = BytesParser(policy=HTTP).parsebytes(header + body)
    for part in message.iter_parts() if message.is_multipart() else ():
        content = part.get_payload(decode=True)
        named = part.get_param("name", header="content-disposition")
        if named == "file" and isinstance(content, bytes):
            return part.get_filename() or "", part.get_content_type(), content
    raise refuse("The form has no part 'file'.")
