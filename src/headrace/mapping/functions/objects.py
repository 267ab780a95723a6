"""Functions over objects."""

from typing import Any

from headrace.mapping.errors import MappingSyntaxError, TransformError
from headrace.mapping.functions.definition import (
    Context,
    Function,
    Parameter,
    array,
    examples,
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


def _function(
    name: str,
    parameters: tuple[Parameter, ...],
    returns: str,
    what: str,
    example: tuple[str, ...],
    call: Any,
    **more: Any,
) -> Function:
    return Function(name, CATEGORY, parameters, returns, what, examples(example), call, **more)


_PAIRS = (Parameter("pairs", "any", "names and values in turn", repeated=True),)
_COLUMNS = (Parameter("pairs", "any", "names and arrays in turn", repeated=True),)
_PATH = (Parameter("path", "string", "a path of the source record, quoted or bare"),)
_TEXT = Parameter("text", "string", "names and values")
_MAP = Parameter("map", "map", "a map or object")
_KEYS = Parameter("keys", "any", "one key or an array of keys")
_BETWEEN = Parameter("valueDelimiter", "string", "between name and value, a colon when empty", optional=True)  # fmt: skip
_FIELDS = Parameter("fieldDelimiter", "string", "between fields, a comma when empty", optional=True)
_MARK = Parameter("valueDelimiter", "string", "between name and value, a colon when empty")
_EVARS = {"evars": {"evar": {"field1": None}}}
FUNCTIONS = (
    _function("is_empty", (Parameter("value", "any", "what to look at"),), "boolean", "Whether a value is null or a text, array or object without content.", ("is_empty([])", "true", "is_empty([null])", "false"), is_empty),
    *(_function(n, _COLUMNS, "array", "Objects from arrays, element by element; a short array leaves its name out.", (f'{n}("sku", ["a", "b"], "price", [1])', '[{"sku":"a","price":1},{"sku":"b"}]'), arrays_to_objects, pairs=True, least=2) for n in ("arrays_to_objects", "arrays_to_object")),
    _function("to_object", _PAIRS, "object", "An object from names and values.", ('to_object("a", 1, "b", null)', '{"a":1,"b":null}'), to_object, pairs=True, least=0),
    _function("str_to_object", (_TEXT, _BETWEEN, _FIELDS), "object", "Reads an object from a text; names and values are trimmed.", ('str_to_object("a:1, b:")', '{"a":"1","b":""}', 'str_to_object("a=1;b=2", "=", ";").get("b")', '"2"'), str_to_object),
    *(_function(n, _PATH, "boolean", "Whether the source record has a path, be its value null or not.", (f'{n}("evars.evar.field1")', "true", f'{n}("evars.evar.field2")', "false"), contains_key, needs_context=True, record=_EVARS) for n in ("contains_key", "is_set")),
    _function("nullify", (), "any", "Null on purpose: takes the field out of an object copy.", ("nullify()", "null"), nullify),
    _function("get_keys", (_MAP,), "array", "The keys of an object or map in their order.", ('get_keys({"b": 1, "a": 2})', '["b","a"]', "get_keys(null)", "null"), get_keys),
    _function("get_values", (_TEXT, Parameter("key", "string", "the name wanted"), _MARK, _FIELDS), "string", "One value of a text of names and values, null when it has none.", ('get_values("a:1,b:2", "b", ":", ",")', '"2"', 'get_values("a:1", "z", "")', "null"), get_values),
    _function("map_get_values", (_MAP, _KEYS), "map", "The entries with the keys.", ('map_get_values({"a": 1, "b": 2}, "a")', '{"a":1}', 'map_get_values({"a": 1}, ["z"])', "{}"), map_get_values),
    _function("map_has_keys", (_MAP, _KEYS), "boolean", "Whether at least one of the keys exists.", ('map_has_keys({"a": 1}, ["a", "z"])', "true"), map_has_keys),
    _function("add_to_map", (Parameter("maps", "map", "the maps, null is an empty one", repeated=True),), "map", "The union of maps; the first of equal keys wins.", ('add_to_map({"a": 1}, {"a": 2, "b": 3})', '{"a":1,"b":3}'), add_to_map, least=2),
)  # fmt: skip
