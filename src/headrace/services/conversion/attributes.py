"""The fields of a source record that a rule reads."""

from collections.abc import Iterator

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.parser import parse
from headrace.mapping.reads import TAKE_A_PATH_AS_TEXT, children
from headrace.mapping.syntax import Call, Literal, Node, Path
from headrace.model.flow import Rule


def attributes_of(rule: Rule) -> list[str]:
    """The paths that an expression reads, each once, in order; empty for other rules and for invalid ones."""
    if rule.source_type != "EXPRESSION":
        return []
    try:
        return list(dict.fromkeys(_paths(parse(rule.source))))
    except MappingSyntaxError:
        return []


def _paths(node: Node) -> Iterator[str]:
    """Depth is bounded by the parser."""
    if isinstance(node, Path):
        yield node.flat
        return
    if isinstance(node, Call) and node.name in TAKE_A_PATH_AS_TEXT:
        first = node.arguments[0]
        if isinstance(first, Literal) and isinstance(first.value, str):
            yield first.value
    for child in children(node):
        yield from _paths(child)
