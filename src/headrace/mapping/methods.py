"""The methods of texts, arrays and maps. Nothing else of a value can be reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import integer
from headrace.mapping.functions.string import explode, replacestr, same_but_for_case
from headrace.mapping.limits import bounded_text
from headrace.mapping.operators import matches, member
from headrace.mapping.values import kind_of, text_of


@dataclass(frozen=True, slots=True)
class TypedMethod:
    """`arity` is the least and the greatest number of arguments; `kinds` the receivers."""

    arity: tuple[int, int]
    implementation: Callable[..., Any]
    kinds: tuple[type, ...]


def _substring(text: str, begin: Any, end: Any = None) -> str:
    first = integer(begin, "substring", "the begin")
    last = len(text) if end is None else integer(end, "substring", "the end")
    if not 0 <= first <= last <= len(text):
        raise TransformError(
            f"substring: {first} to {last} lies outside of {len(text)} characters."
        )
    return text[first:last]


def _contains(target: Any, value: Any) -> bool:
    if isinstance(target, str):
        return text_of(value) in target
    return matches(value, target)


def _index_of(text: str, value: Any, start: Any = 0) -> int:
    return text.find(text_of(value), max(0, integer(start, "indexOf", "the start")))


_CONTROLS = "".join(map(chr, range(0x21)))
"""What Java's `String.trim` takes off: the blank and what lies below it."""
_TEXT = (str,)
_SIZED = (str, list, dict)
METHODS: Mapping[str, TypedMethod] = {
    "equals": TypedMethod((1, 1), lambda s, o: isinstance(o, str) and s == o, _TEXT),
    "equalsIgnoreCase": TypedMethod(
        (1, 1), lambda s, o: isinstance(o, str) and same_but_for_case(s, o), _TEXT
    ),
    "length": TypedMethod((0, 0), len, _TEXT),
    "substring": TypedMethod((1, 2), _substring, _TEXT),
    "toUpperCase": TypedMethod((0, 0), lambda s: bounded_text(s.upper()), _TEXT),
    "toLowerCase": TypedMethod((0, 0), lambda s: bounded_text(s.lower()), _TEXT),
    "trim": TypedMethod((0, 0), lambda s: s.strip(_CONTROLS), _TEXT),
    "contains": TypedMethod((1, 1), _contains, _SIZED),
    "startsWith": TypedMethod((1, 1), lambda s, o: s.startswith(text_of(o)), _TEXT),
    "endsWith": TypedMethod((1, 1), lambda s, o: s.endswith(text_of(o)), _TEXT),
    "indexOf": TypedMethod((1, 2), _index_of, _TEXT),
    "replace": TypedMethod((2, 2), replacestr, _TEXT),
    "split": TypedMethod((1, 1), explode, _TEXT),
    "isEmpty": TypedMethod((0, 0), lambda s: not s, _SIZED),
    "size": TypedMethod((0, 0), len, (list, dict)),
    "get": TypedMethod((1, 1), member, (list, dict)),
    "containsKey": TypedMethod((1, 1), lambda m, k: k is not None and text_of(k) in m, (dict,)),
}


def call_method(target: Any, name: str, *arguments: Any) -> Any:
    """`target.name(arguments)`; null on null. Numbers and booleans compare as their text."""
    if target is None:
        return None
    method = METHODS[name]
    if isinstance(target, bool | int | float) and str in method.kinds:
        target = text_of(target)
    if not isinstance(target, method.kinds):
        raise TransformError(f"A value of type {kind_of(target)} has no method '{name}'.")
    return method.implementation(target, *arguments)
