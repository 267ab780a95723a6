"""The fields of a source record that a rule reads."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.parser import parse
from headrace.mapping.syntax import Call, Literal, Path
from headrace.model.flow import Rule

_TAKE_A_PATH_AS_TEXT = frozenset({"contains_key", "is_set"})


def attributes_of(rule: Rule) -> list[str]:
    """The paths that an expression reads, each once, in order; empty for other rules and for invalid ones."""
    if rule.source_type != "EXPRESSION":
        return []
    try:
        return list(dict.fromkeys(_paths(parse(rule.source))))
    except MappingSyntaxError:
        return []


def _paths(node: Any) -> Iterator[str]:
    """Depth is bounded by the parser."""
    if isinstance(node, Path):
        yield node.flat
    elif isinstance(node, Call) and node.name in _TAKE_A_PATH_AS_TEXT:
        first = node.arguments[0]
        if isinstance(first, Literal) and isinstance(first.value, str):
            yield first.value
        for argument in node.arguments if not isinstance(first, Literal) else node.arguments[1:]:
            yield from _paths(argument)
    elif isinstance(node, tuple):
        for child in node:
            yield from _paths(child)
    elif is_dataclass(node):
        for field in fields(node):
            yield from _paths(getattr(node, field.name))
