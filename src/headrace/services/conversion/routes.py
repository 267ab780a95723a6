"""Conversion Service's calls."""

from typing import Any

from headrace.http.contract import Answer, Call, Route
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.operators import OPERATORS, UNARY
from headrace.mapping.parser import parse
from headrace.services.conversion import wire
from headrace.services.conversion.service import ConversionService
from headrace.store.documents import Scope

BASE = "/data/foundation/conversion"
ALIAS = "/data/foundation"


def routes(service: ConversionService) -> list[Route]:
    """All calls, literal paths before those with an id."""
    calls = _Calls(service)
    out: list[Route] = []

    def add(method: str, path: str, handler: Any, summary: str) -> None:
        for base in (BASE, ALIAS) if path.startswith("/mappingSets") else (BASE,):
            out.append(Route(method, base + path, handler, "conversion", summary))

    add("GET", "/mappingSets", calls.sets, "List mapping sets")
    add("POST", "/mappingSets", calls.create, "Create a mapping set")
    add("POST", "/mappingSets/validate", calls.validate, "Validate mappings")
    add("POST", "/mappingSets/preview", calls.preview, "Preview mapped records")
    add("GET", "/mappingSets/{id}", calls.read, "Read a mapping set")
    add("PUT", "/mappingSets/{id}", calls.replace, "Write a new version of a mapping set")
    add("DELETE", "/mappingSets/{id}", calls.delete, "Delete a mapping set")
    add("GET", "/mappingSets/{id}/mappings", calls.mappings, "List the mappings of a set")
    add("GET", "/mappingSets/{id}/mappings/{mappingId}", calls.mapping, "Read one mapping")
    add("POST", "/mappingSets/{id}/mappings", calls.add_mapping, "Add a mapping")
    add("PUT", "/mappingSets/{id}/mappings/{mappingId}", calls.change_mapping, "Replace a mapping")
    add(
        "DELETE", "/mappingSets/{id}/mappings/{mappingId}", calls.remove_mapping, "Remove a mapping"
    )
    add("GET", "/xdmBatchConversions", calls.batch_conversions, "List batch conversions")
    add("POST", "/languages/el/validate", calls.expression, "Validate an expression")
    add("GET", "/languages/el/functions", calls.functions, "List functions")
    add("GET", "/languages/el/operators", calls.operators, "List operators")
    return out


def _scope(call: Call) -> Scope:
    return Scope(call.who.org_id, call.who.sandbox)


def _number(call: Call, name: str, default: int | None) -> int | None:
    text = call.value(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise wire.refuse(f"The parameter '{name}' must be a number from 0, not {text[:40]!r}.")
    return int(text)


class _Calls:
    def __init__(self, service: ConversionService) -> None:
        self.service = service

    def sets(self, call: Call) -> Answer:
        limit = min(_number(call, "limit", 10) or 0, 1000)
        start = _number(call, "start", 0) or 0
        found = self.service.latest(_scope(call), call.flag("expandSchema"))
        name = call.value("name")
        if name is not None:
            found = [item for item in found if item["name"] == name]
        for condition in call.values("property"):
            key, _, wanted = condition.partition("==")
            found = [i for i in found if str(i.get(key)).lower() == wanted.strip('"').lower()]
        order = (call.value("orderBy") or "").strip()
        keys = {
            "createdDate": "createdDate",
            "updatedDate": "modifiedDate",
            "lastUpdateDate": "modifiedDate",
        }
        key = keys.get(order.lstrip("+-"), "")
        if key:
            found.sort(key=lambda item: int(item[key]), reverse=order.startswith("-"))
        page = found[start : start + limit]
        links: dict[str, Any] = {}
        if start + limit < len(found):
            href = f"{call.origin}{call.path}?limit={limit}&start={start + limit}"
            links["next"] = {"href": href, "templated": False}
        return Answer(
            body={"data": page, "_page": {"count": len(page), "limit": limit}, "_links": links}
        )

    def create(self, call: Call) -> Answer:
        user = call.who.user_id
        return Answer(
            body=self.service.create(_scope(call), call.object(), user, call.flag("validate"))
        )

    def validate(self, call: Call) -> Answer:
        return Answer(
            body={"validationResponse": self.service.validate(_scope(call), call.object())}
        )

    def preview(self, call: Call) -> Answer:
        return Answer(body=self.service.preview(_scope(call), call.object()))

    def read(self, call: Call) -> Answer:
        version = _number(call, "version", None)
        expand = call.flag("expandSchema")
        return Answer(body=self.service.read(_scope(call), call.params["id"], version, expand))

    def replace(self, call: Call) -> Answer:
        id, user = call.params["id"], call.who.user_id
        return Answer(body=self.service.replace(_scope(call), id, call.object(), user))

    def delete(self, call: Call) -> Answer:
        self.service.delete(_scope(call), call.params["id"])
        return Answer(204)

    def mappings(self, call: Call) -> Answer:
        return Answer(body=self.service.read(_scope(call), call.params["id"], None)["mappings"])

    def mapping(self, call: Call) -> Answer:
        rules = self.service.read(_scope(call), call.params["id"], None)["mappings"]
        wanted = call.params["mappingId"]
        found = next((rule for rule in rules if rule["id"] == wanted), None)
        if found is None:
            raise wire.refuse(f"The mapping set has no mapping {wanted}.", 404)
        return Answer(body=found)

    def add_mapping(self, call: Call) -> Answer:
        return self._edited(call, lambda rules: [*rules, call.object()], -1)

    def change_mapping(self, call: Call) -> Answer:
        index = self._index(call)
        new = call.object()
        return self._edited(call, lambda rules: [*rules[:index], new, *rules[index + 1 :]], index)

    def remove_mapping(self, call: Call) -> Answer:
        index = self._index(call)
        self._edited(call, lambda rules: [*rules[:index], *rules[index + 1 :]], None)
        return Answer(204)

    def _index(self, call: Call) -> int:
        rules = self.service.read(_scope(call), call.params["id"], None)["mappings"]
        ids = [rule["id"] for rule in rules]
        if call.params["mappingId"] not in ids:
            raise wire.refuse(f"The mapping set has no mapping {call.params['mappingId']}.", 404)
        return ids.index(call.params["mappingId"])

    def _edited(self, call: Call, change: Any, index: int | None) -> Answer:
        """Versions are immutable: editing one mapping writes a new version of its set."""
        scope, id = _scope(call), call.params["id"]
        body = self.service.read(scope, id, None)
        new = {**body, "mappings": change(body["mappings"])}
        stored = self.service.replace(scope, id, new, call.who.user_id)
        return Answer(body=None if index is None else stored["mappings"][index])

    def batch_conversions(self, call: Call) -> Answer:
        """Streaming flows convert record by record: there never is a batch conversion."""
        return Answer(
            body={"data": [], "_page": {"count": 0, "limit": _number(call, "limit", 100)}}
        )

    def expression(self, call: Call) -> Answer:
        text = call.object().get("expression")
        if isinstance(text, dict):  # the published sample nests the body once more
            text = text.get("expression")
        if not isinstance(text, str):
            raise wire.refuse("The text 'expression' is missing.")
        try:
            parse(text)
        except MappingSyntaxError as error:
            return Answer(body={"validationStatus": "failed", "error": str(error)})
        return Answer(body={"validationStatus": "succeeded", "error": "none"})

    def functions(self, call: Call) -> Answer:
        return Answer(body=[_function(name) for name in FUNCTIONS])

    def operators(self, call: Call) -> Answer:
        table = [(symbol, 2, f"1 {symbol} 2") for symbol in OPERATORS]
        table += [(symbol, 1, f"{symbol} 1") for symbol in UNARY]
        methods = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
        return Answer(
            body=[
                {
                    "operatorSymbol": symbol,
                    "methodName": methods.get(symbol, symbol) if operands == 2 else symbol,
                    "numberOfOperands": operands,
                    "description": f"The operator {symbol}.",
                    "example": example,
                }
                for symbol, operands, example in table
            ]
        )


def _function(name: str) -> dict[str, Any]:
    function = FUNCTIONS[name]
    shown = ", ".join(p.kind + ("…" if p.repeated else "") for p in function.parameters)
    example, result = function.examples[0]
    return {
        "category": function.category,
        "function": name,
        "description": function.description,
        "syntax": f"{function.returns} {name}({shown})",
        "returns": function.description,
        "returnType": function.returns,
        "example": example,
        "result": result,
        "params": [
            {
                "name": p.name,
                "description": p.description,
                "type": p.kind,
                "dataType": p.kind,
                "position": i,
            }
            for i, p in enumerate(function.parameters, 1)
        ],
        "since": function.since,
    }
