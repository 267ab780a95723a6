"""Functions over objects."""

from typing import Any

from headrace.mapping.errors import MappingSyntaxError, TransformError
from headrace.mapping.functions.definition import (
    Context,
    Function,
    Parameter,
    array,
    key_of,
    mapping,
    null_to_null,
)
from headrace.mapping.limits import check_items
from headrace.mapping.paths import MISSING, find, parse_attribute
from headrace.mapping.values import text_of

CATEGORY = "Hierarchies - Objects"


def is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def arrays_to_objects(*pairs: Any) -> list[dict[str, Any]]:
    columns = [
        (key_of(pairs[i]), array(pairs[i + 1], "arrays_to_objects"))
        for i in range(0, len(pairs), 2)
    ]
    longest = max((len(column) for _, column in columns), default=0)
    return [{key: column[i] for key, column in columns if i < len(column)} for i in range(longest)]


def to_object(*pairs: Any) -> dict[str, Any]:
    return {key_of(pairs[i]): pairs[i + 1] for i in range(0, len(pairs), 2)}


@null_to_null
def str_to_object(
    text: Any, value_delimiter: Any = None, field_delimiter: Any = None
) -> dict[str, str]:
    between = text_of(value_delimiter) or ":"
    out: dict[str, str] = {}
    for piece in text_of(text).split(text_of(field_delimiter) or ","):
        name, _, value = piece.partition(between)
        if name.strip():
            out[name.strip()] = value.strip()
    check_items(out)
    return out


def contains_key(context: Context, path: Any) -> bool:
    if path is None:
        return False
    try:
        return find(context.record, parse_attribute(text_of(path))) is not MISSING
    except MappingSyntaxError as error:
        raise TransformError(f"contains_key: {error}") from None


def nullify() -> None:
    """Null on purpose: also takes a field out of an object copy."""


@null_to_null
def get_keys(value: Any) -> list[str]:
    return list(mapping(value, "get_keys"))


@null_to_null
def get_values(
    text: Any, key: Any, value_delimiter: Any, field_delimiter: Any = None
) -> str | None:
    found: str | None = str_to_object(text, value_delimiter, field_delimiter).get(text_of(key))
    return found


def _keys(keys: Any) -> list[str]:
    return [key_of(key) for key in (keys if isinstance(keys, list) else [keys])]


@null_to_null
def map_get_values(value: Any, keys: Any) -> dict[str, Any]:
    entries = mapping(value, "map_get_values")
    return {key: entries[key] for key in _keys(keys) if key in entries}


@null_to_null
def map_has_keys(value: Any, keys: Any) -> bool:
    entries = mapping(value, "map_has_keys")
    return any(key in entries for key in _keys(keys))


def add_to_map(*maps: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for entries in maps:
        if entries is not None:
            out = {**mapping(entries, "add_to_map"), **out}
    check_items(out)
    return out


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


def _function(
    name: str,
    parameters: tuple[Parameter, ...],
    returns: str,
    what: str,
    example: tuple[str, str],
    call: Any,
    **more: Any,
) -> Function:
    return Function(
        name, more.pop("category", CATEGORY), parameters, returns, what, (example,), call, **more
    )


_PAIRS = (Parameter("pairs", "any", "names and values in turn", repeated=True),)
_TEXT = Parameter("text", "string")
_MAP = Parameter("map", "map")
_KEYS = Parameter("keys", "any", "one key or an array of keys")
_BETWEEN = Parameter("valueDelimiter", "string", "between name and value", optional=True)
_FIELDS = Parameter("fieldDelimiter", "string", "between fields", optional=True)
FUNCTIONS = (
    _function("is_empty", (Parameter("value"),), "boolean", "Whether a value is null or has no content.", ("is_empty([])", "true"), is_empty),
    *(_function(n, _PAIRS, "array", "Objects from arrays, element by element.", (f'{n}("sku", ["a"], "price", [1])', '[{"sku":"a","price":1}]'), arrays_to_objects, pairs=True, least=2) for n in ("arrays_to_objects", "arrays_to_object")),
    _function("to_object", _PAIRS, "object", "An object from names and values.", ('to_object("a", 1)', '{"a":1}'), to_object, pairs=True, least=0),
    _function("str_to_object", (_TEXT, _BETWEEN, _FIELDS), "object", "Reads an object from text.", ('str_to_object("a:1,b:2")', '{"a":"1","b":"2"}'), str_to_object),
    *(_function(n, (Parameter("path", "string"),), "boolean", "Whether the source record has a path.", (f'{n}("evars.evar.field1")', "true"), contains_key, needs_context=True) for n in ("contains_key", "is_set")),
    _function("nullify", (), "any", "Null on purpose.", ("nullify()", "null"), nullify),
    _function("get_keys", (Parameter("object", "object"),), "array", "The keys of an object or map.", ('get_keys({"a": 1})', '["a"]'), get_keys),
    _function("get_values", (_TEXT, Parameter("key", "string"), Parameter("valueDelimiter", "string"), _FIELDS), "string", "One value of a text of names and values.", ('get_values("a:1,b:2", "b", ":", ",")', '"2"'), get_values),
    _function("map_get_values", (_MAP, _KEYS), "map", "The entries with the keys.", ('map_get_values({"a": 1, "b": 2}, "a")', '{"a":1}'), map_get_values),
    _function("map_has_keys", (_MAP, _KEYS), "boolean", "Whether one of the keys exists.", ('map_has_keys({"a": 1}, ["a", "z"])', "true"), map_has_keys),
    _function("add_to_map", (Parameter("maps", "map", repeated=True),), "map", "The union of maps; the first of equal keys wins.", ('add_to_map({"a": 1}, {"a": 2, "b": 3})', '{"a":1,"b":3}'), add_to_map, least=2),
    _function("object_to_map", _PAIRS, "map", "A map from pairs, an object or an object array.", ('object_to_map("a", 1)', '{"a":1}'), object_to_map, pairs=True, least=1),
)  # fmt: skip
