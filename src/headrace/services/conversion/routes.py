"""The table of Conversion Service's calls; here those about mapping sets and the language."""

from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Route
from headrace.services.conversion import batch_conversions, language, wire
from headrace.services.conversion.input_routes import InputCalls, scope_of
from headrace.services.conversion.lists import chosen, number, page
from headrace.services.conversion.samples import records_of, type_of
from headrace.services.conversion.service import ConversionService
from headrace.store.documents import Scope

BASE = "/data/foundation/conversion"
ALIAS = "/data/foundation"
COMPUTE_ONLY = {"/mappingSets/validate", "/mappingSets/preview", "/languages/el/validate"}
"""Calls with a body that store nothing."""


def routes(service: ConversionService) -> list[Route]:
    """All calls; mapping sets also under the path that some published samples use."""
    sets, inputs = _Calls(service), InputCalls(service)
    one = "/mappingSets/{id}"
    each = f"{one}/mappings/{{mappingId}}"
    conversion = "/xdmBatchConversions/{id}"
    table = [
        ("GET", "/mappingSets", sets.sets, "List mapping sets"),
        ("POST", "/mappingSets", sets.create, "Create a mapping set"),
        ("POST", "/mappingSets/validate", sets.validate, "Validate mappings"),
        ("POST", "/mappingSets/preview", sets.preview, "Preview mapped records"),
        ("GET", "/mappingSets/suggestion", inputs.suggestion, "Suggest mappings by name"),
        ("GET", one, sets.read, "Read a mapping set"),
        ("PUT", one, sets.replace, "Write a new version of a mapping set"),
        ("DELETE", one, sets.delete, "Delete a mapping set"),
        ("GET", f"{one}/mappings", sets.mappings, "List the mappings of a set"),
        ("POST", f"{one}/mappings", sets.add_mapping, "Add a mapping"),
        ("GET", each, sets.mapping, "Read one mapping"),
        ("PUT", each, sets.change_mapping, "Replace a mapping"),
        ("DELETE", each, sets.remove_mapping, "Remove a mapping"),
        ("POST", "/languages/el/validate", sets.expression, "Validate an expression"),
        ("GET", "/languages/el/functions", sets.functions, "List functions"),
        ("GET", "/languages/el/operators", sets.operators, "List operators"),
        ("GET", "/xdmBatchConversions", batch_conversions.listed, "List batch conversions"),
        ("GET", conversion, batch_conversions.one, "Read a batch conversion"),
        ("GET", f"{conversion}/activities", batch_conversions.one, "List its activities"),
        # the client library repeats the path in the activity's
        (
            "GET",
            f"{conversion}/activities/{{activityId:path}}",
            batch_conversions.one,
            "Read one activity",
        ),
        ("GET", "/schemas", inputs.schemas, "List input schemas"),
        ("POST", "/schemas", inputs.create_schema, "Create an input schema"),
        ("POST", "/schemas/upload", inputs.upload_schema, "Create an input schema from a file"),
        ("GET", "/schemas/{id}", inputs.schema, "Read an input schema"),
        ("GET", "/samples", inputs.samples, "List samples"),
        ("POST", "/samples", inputs.create_sample, "Create a sample"),
        ("POST", "/samples/upload", inputs.upload_sample, "Create a sample from a file"),
        ("GET", "/samples/{id}", inputs.sample, "Read a sample"),
        ("PUT", "/samples/{id}", inputs.replace_sample, "Replace a sample"),
    ]
    out = []
    for method, path, handler, summary in table:
        reads = True if path in COMPUTE_ONLY else None
        for base in (BASE, ALIAS) if path.startswith("/mappingSets") else (BASE,):
            files = path.endswith("/upload")
            route = Route(
                method, base + path, handler, "conversion", summary, reads=reads, files=files
            )
            out.append(route)
    return out


class _Calls:
    def __init__(self, service: ConversionService) -> None:
        self.service = service

    # -- sets -----------------------------------------------------------------------------------------------

    def sets(self, call: Call) -> Answer:
        scope, expand = scope_of(call), call.flag("expandSchema")
        properties = [self._by_id(scope, text) for text in call.values("property")]
        body = page(call, chosen(call, self.service.latest(scope), properties))
        shown = [self.service.shown(scope, item, expand) for item in body["data"]]
        return Answer(body={**body, "data": shown})

    def _by_id(self, scope: Scope, condition: str) -> str:
        """A condition on the target schema that names it by its alternative id, with its id."""
        key, equal, wanted = condition.partition("==")
        if key.strip() != "xdmSchema" or not wanted.strip().startswith("_"):
            return condition
        try:
            return f"{key}{equal}{self.service.schema_tree(scope, wanted.strip())[0]}"
        except ApiError:  # nothing can have such a target
            return condition

    def create(self, call: Call) -> Answer:
        validate = call.flag("validate")
        made = self.service.create(scope_of(call), call.object(), call.who.user_id, validate)
        return Answer(body=made)

    def validate(self, call: Call) -> Answer:
        verdicts = self.service.validate(scope_of(call), call.object())
        return Answer(body={"validationResponse": verdicts})

    def preview(self, call: Call) -> Answer:
        return Answer(body=self.service.preview(scope_of(call), call.object()))

    def read(self, call: Call) -> Answer:
        expand = call.flag("expandSchema")
        found = self.service.read(scope_of(call), call.params["id"], _version(call), expand)
        return Answer(body=found)

    def replace(self, call: Call) -> Answer:
        id, user = call.params["id"], call.who.user_id
        return Answer(body=self.service.replace(scope_of(call), id, call.object(), user))

    def delete(self, call: Call) -> Answer:
        self.service.delete(scope_of(call), call.params["id"])
        return Answer(204)

    # -- single mappings ------------------------------------------------------------------------------------

    def mappings(self, call: Call) -> Answer:
        found = self.service.read(scope_of(call), call.params["id"], _version(call))
        return Answer(body=found["mappings"])

    def mapping(self, call: Call) -> Answer:
        id, mapping_id = call.params["id"], call.params["mappingId"]
        return Answer(body=self.service.mapping(scope_of(call), id, mapping_id))

    def add_mapping(self, call: Call) -> Answer:
        id, user = call.params["id"], call.who.user_id
        return Answer(body=self.service.add_mapping(scope_of(call), id, call.object(), user))

    def change_mapping(self, call: Call) -> Answer:
        id, mapping_id, user = call.params["id"], call.params["mappingId"], call.who.user_id
        body = call.object()
        made = self.service.change_mapping(scope_of(call), id, mapping_id, body, user)
        return Answer(body=made)

    def remove_mapping(self, call: Call) -> Answer:
        id, mapping_id, user = call.params["id"], call.params["mappingId"], call.who.user_id
        self.service.remove_mapping(scope_of(call), id, mapping_id, user)
        return Answer(204)

    # -- the language ---------------------------------------------------------------------------------------

    def expression(self, call: Call) -> Answer:
        body: Any = call.object()
        if isinstance(
            body.get("expression"), dict
        ):  # the published sample nests the body once more
            body = body["expression"]
        text, id, sample = (body.get(k) for k in ("expression", "mappingSetId", "sampleData"))
        if not isinstance(text, str):
            raise wire.refuse("The text 'expression' is missing.")
        if id is not None:
            self.service.read(scope_of(call), str(id), None)
        if sample is None:
            return Answer(body=language.checked(text, None))
        if not isinstance(sample, str):
            raise wire.refuse("The 'sampleData' must be a text.")
        records = records_of(sample, type_of(body.get("sampleDataType")))
        return Answer(body=language.checked(text, records[0]))

    def functions(self, call: Call) -> Answer:
        return Answer(body=language.functions())

    def operators(self, call: Call) -> Answer:
        return Answer(body=language.operators())


def _version(call: Call) -> int | None:
    return None if call.value("version") is None else number(call, "version", 0)
