"""Functions over arrays."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import (
    Context,
    Function,
    Parameter,
    array,
    examples,
    null_to_null,
    spread,
)
from headrace.mapping.limits import bounded_text, check_items, check_length
from headrace.mapping.values import epoch_milliseconds, json_text, text_of, truth

CATEGORY = "Hierarchies - Arrays"


def coalesce(*values: Any) -> Any:
    return next((value for value in spread(values) if value is not None), None)


def first(*values: Any) -> Any:
    given = spread(values)
    return given[0] if given else None


def last(*values: Any) -> Any:
    given = spread(values)
    return given[-1] if given else None


def add_to_array(elements: Any, *values: Any) -> list[Any]:
    out = [*array(elements, "add_to_array"), *values]
    check_items(out)
    return out


def join_arrays(*arrays: Any) -> list[Any]:
    out: list[Any] = []
    for elements in arrays:
        out.extend(array(elements, "join_arrays"))
        check_items(out)
    return out


def to_array(include_nulls: Any, *values: Any) -> list[Any]:
    return [value for value in values if value is not None or truth(include_nulls)]


def size_of(value: Any) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, list | dict) else len(text_of(value))


@null_to_null
def upsert_array_append(elements: Any) -> list[Any]:
    return array(elements, "upsert_array_append")


@null_to_null
def upsert_array_replace(elements: Any, index: Any = None) -> list[Any]:
    return array(elements, "upsert_array_replace")


@null_to_null
def flatten_array(elements: Any) -> list[Any]:
    """All levels, without recursion."""
    out: list[Any] = []
    inner = 0
    open_lists = [iter(array(elements, "flattenArray"))]
    while open_lists:
        for element in open_lists[-1]:
            if isinstance(element, list):
                open_lists.append(iter(element))
                if len(open_lists) > 10_000:
                    raise TransformError("flattenArray: the array is nested too deeply.")
                inner += 1
                check_items(inner)
                break
            out.append(element)
        else:
            open_lists.pop()
        check_items(out)
    return out


def _printed(value: Any) -> str:
    if isinstance(value, dict):
        return json_text(value).replace('"', "'")
    if isinstance(value, datetime):
        return str(epoch_milliseconds(value))
    return text_of(value)


def array_to_string(separator: Any, elements: Any) -> str | None:
    if elements is None:
        return None
    gap = text_of(separator)
    parts: list[str] = []
    length = 0
    for element in flatten_array(elements):
        parts.append(_printed(element))
        length += len(parts[-1]) + len(gap)
        check_length(length - len(gap))
    return bounded_text(gap.join(parts))


def filter_array(context: Context, elements: Any, test: Callable[[Any], Any]) -> list[Any] | None:
    if elements is None:
        return None
    given = array(elements, "filterArray")
    with context.iteration(len(given)):
        return [element for element in given if truth(test(element))]


def transform_array(
    context: Context, elements: Any, change: Callable[[Any], Any]
) -> list[Any] | None:
    if elements is None:
        return None
    given = array(elements, "transformArray")
    with context.iteration(len(given)):
        return [change(element) for element in given]


_VALUES = (Parameter("values", "any", "values or one array", repeated=True),)
_ARRAY = Parameter("array", "array", "the array")


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


_ELEMENTS = Parameter("elements", "any", "the elements to append", repeated=True)
FUNCTIONS = (
    _function("coalesce", _VALUES, "any", "The first value that is not null; an empty text is a value.", ('coalesce(null, "", "a")', '""', "coalesce([null, 2])", "2"), coalesce),
    _function("first", _VALUES, "any", "The first value, null when there is none.", ('first("1", "2")', '"1"', "first([])", "null"), first),
    _function("last", _VALUES, "any", "The last value, null when there is none.", ('last("1", "2")', '"2"', "last([5, 6])", "6"), last),
    _function("add_to_array", (_ARRAY, _ELEMENTS), "array", "Appends elements; null is an empty array.", ("add_to_array(['a'], 'b', ['c'])", '["a","b",["c"]]', "add_to_array(null, 1)", "[1]"), add_to_array),
    _function("join_arrays", (Parameter("arrays", "array", "the arrays, null is an empty one", repeated=True),), "array", "One array after the other.", ("join_arrays(['a'], null, ['b'])", '["a","b"]'), join_arrays),
    _function("to_array", (Parameter("includeNulls", "boolean", "whether nulls stay"), Parameter("values", "any", "the elements", repeated=True)), "array", "An array of values.", ("to_array(false, 1, null)", "[1]", "to_array(true, 1, null)", "[1,null]"), to_array, least=1),
    _function("size_of", (Parameter("value", "any", "a text, array or map"),), "integer", "The length of a text, array or map; 0 for null.", ("size_of([1, 2])", "2", "size_of(null)", "0"), size_of),
    _function("upsert_array_append", (_ARRAY,), "array", "On updates the array is appended to the stored one; on inserts it is the value.", ("upsert_array_append([1])", "[1]"), upsert_array_append),
    _function("upsert_array_replace", (_ARRAY, Parameter("index", "integer", "where to begin, of older mappings", optional=True)), "array", "On updates the array replaces the stored one; on inserts it is the value.", ("upsert_array_replace([1])", "[1]"), upsert_array_replace),
    _function("array_to_string", (Parameter("separator", "string", "between elements"), _ARRAY), "string", "Elements of all levels as one text; objects as JSON with single quotes, dates as epoch milliseconds.", ('array_to_string(";", ["a", ["b", {"c": 1}]])', '"a;b;{\'c\':1}"'), array_to_string),
    _function("filterArray", (_ARRAY, Parameter("test", "lambda", "of one element")), "array", "The elements that pass a test.", ("filterArray([5, -6, 7], x -> x > 0)", "[5,7]"), filter_array, needs_context=True),
    _function("transformArray", (_ARRAY, Parameter("change", "lambda", "of one element")), "array", "Each element changed.", ("transformArray([5, 6], x -> x + 1)", "[6,7]"), transform_array, needs_context=True),
    _function("flattenArray", (_ARRAY,), "array", "All levels as one.", ("flattenArray([['a', ['b']], 'c'])", '["a","b","c"]'), flatten_array),
)  # fmt: skip
