"""Functions that make maps."""

from typing import Any

from headrace.mapping.functions.definition import Function, Parameter
from headrace.mapping.functions.objects import array_to_map, to_object

CATEGORY = "Hierarchies - Map"


def to_map(*pairs: Any) -> dict[str, Any] | None:
    return None if pairs and pairs[0] is None else to_object(*pairs)


FUNCTIONS = (
    Function("array_to_map", CATEGORY, (Parameter("array", "array"), Parameter("attribute", "string")), "map", "An object array keyed by an attribute.", (('array_to_map([{"type": "a"}], "type")', '{"a":{"type":"a"}}'),), array_to_map),
    Function("to_map", CATEGORY, (Parameter("pairs", repeated=True),), "map", "A map from keys and values.", (('to_map("a", 1)', '{"a":1}'),), to_map, pairs=True, least=0),
)  # fmt: skip
