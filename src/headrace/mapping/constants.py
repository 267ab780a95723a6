"""Constants in an expression that fail for every record: regular expressions, date patterns, zones, names of options.

They parse, so that a mapping which has one still runs its other rules; validation refuses them.
"""

from collections.abc import Callable
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.functions.regular_expressions import check_pattern
from headrace.mapping.reads import children
from headrace.mapping.syntax import Binary, Call, Literal, Method, Node


def unusable_constants(node: Node) -> list[str]:
    """What is wrong with each of them, in the order of the text."""
    problems: list[str] = []
    for check, argument in _checks(node):
        if isinstance(argument, Literal) and argument.value is not None:
            try:
                check(argument.value)
            except TransformError as error:
                problems.append(str(error))
    for child in children(node):
        problems += unusable_constants(child)
    return problems


def _checks(node: Node) -> list[tuple[Callable[[Any], object], Node]]:
    """The arguments of a node beside what they must be."""
    match node:
        case Call(name, arguments):
            pairs = zip(FUNCTIONS[name].parameters, arguments, strict=False)
            return [(parameter.check, given) for parameter, given in pairs if parameter.check]
        case Binary("=~" | "!~", _, right) if isinstance(right, Literal):
            return [(check_pattern, right)] if isinstance(right.value, str) else []
        case Method(_, "split", arguments):
            return [(check_pattern, arguments[0])]
    return []
