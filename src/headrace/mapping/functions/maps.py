"""Functions that make maps."""

from typing import Any

from headrace.mapping.functions.definition import (
    Function,
    Parameter,
    array,
    examples,
    key_of,
    mapping,
)
from headrace.mapping.functions.objects import to_object
from headrace.mapping.values import text_of

CATEGORY = "Hierarchies - Map"


def object_to_map(*values: Any) -> dict[str, Any] | None:
    """Pairs, one object, or an object array and the attribute to key it by.

    A third value is the name of an attribute that was written without quotes.
    """
    first = values[0]
    if len(values) == 1:
        return None if first is None else dict(mapping(first, "object_to_map"))
    if len(values) == 3:
        if isinstance(first, list) or first is None:
            return array_to_map(first, values[2] if values[1] is None else values[1])
        values = values[:2]
    if isinstance(first, list):
        return array_to_map(first, values[1])
    return to_object(*values)


def array_to_map(elements: Any, attribute: Any) -> dict[str, Any] | None:
    if elements is None:
        return None
    name = key_of(attribute)
    keyed = (element for element in array(elements, "array_to_map") if isinstance(element, dict))
    return {text_of(e[name]): e for e in keyed if e.get(name) is not None}


def to_map(*pairs: Any) -> dict[str, Any] | None:
    return None if pairs and pairs[0] is None else to_object(*pairs)


_PAIRS = (Parameter("pairs", "any", "keys and values in turn", repeated=True),)
_FORMS = (Parameter("values", "any", "keys and values in turn; an object; an object array and an attribute", repeated=True),)  # fmt: skip
_KEYED = (
    Parameter("array", "array", "objects"),
    Parameter("attribute", "string", "whose value becomes the key"),
)
_ADDRESSES = {"addresses": [{"type": "home", "zip": "1"}, {"type": "work", "zip": "2"}]}
_BY_TYPE = '{"home":{"type":"home","zip":"1"},"work":{"type":"work","zip":"2"}}'
FUNCTIONS = (
    Function("object_to_map", CATEGORY, _FORMS, "map", "A map from pairs, from an object, or from an object array by an attribute.", examples(('object_to_map("a", 1)', '{"a":1}', 'object_to_map({"b": 2})', '{"b":2}', "object_to_map(addresses, type)", _BY_TYPE)), object_to_map, pairs=True, least=1, record=_ADDRESSES),
    Function("array_to_map", CATEGORY, _KEYED, "map", "An object array keyed by an attribute; the last of equal keys wins.", examples(('array_to_map(addresses, "type")', _BY_TYPE, 'array_to_map(null, "type")', "null")), array_to_map, record=_ADDRESSES),
    Function("to_map", CATEGORY, _PAIRS, "map", "A map from keys and values; null when the first key is.", examples(('to_map("a", 1)', '{"a":1}', 'to_map(null, 1)', "null")), to_map, pairs=True, least=0),
)  # fmt: skip
