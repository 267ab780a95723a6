"""Short forms of common calls in generated code: the plain case in place, everything else through the call.

Each form says the same as the call it stands for, for the types it names; the property tests of the two back ends
hold it to that. Operands are names of variables, so nothing is computed twice and no user text gets in.
"""

import re
from collections.abc import Sequence

from headrace.mapping.functions import string
from headrace.mapping.limits import MAX_TEXT
from headrace.mapping.reads import COMPARISONS
from headrace.mapping.syntax import Binary, Literal, Node

_NAME = re.compile(r"[a-z]\d+")
_CASE = {string.lower: "lower", string.upper: "upper"}
_SURELY_SHORT = MAX_TEXT // 4
"""A change of case makes at most three characters of one."""


def comparison(node: Binary, left: str, right: str, call: str) -> str | None:
    """A comparison with a literal of the same type as the variable on its left, in place."""
    literal = node.right.value if isinstance(node.right, Literal) else None
    kind = type(literal)
    if (
        node.operator not in COMPARISONS
        or kind not in (int, float, str)
        or not _NAME.fullmatch(left)
    ):
        return None
    return f"({left} {node.operator} {right} if type({left}) is {kind.__name__} else {call})"


def is_test(node: Node) -> bool:
    """Whether a node's value is a truth value already."""
    return isinstance(node, Binary) and node.operator in COMPARISONS


def function(
    implementation: object, nodes: Sequence[Node], arguments: Sequence[str], call: str
) -> str | None:
    """A call of a function on texts, in place; None when there is no short form."""
    if not all(map(_NAME.fullmatch, arguments)):
        return None
    if implementation in _CASE and len(arguments) == 1:
        text = arguments[0]
        short = f"type({text}) is str and len({text}) < {_SURELY_SHORT}"
        return f"({text}.{_CASE[implementation]}() if {short} else {call})"
    if implementation is string.concat and 2 <= len(arguments) <= 8:
        tests = [
            f"type({text}) is str"
            for text, node in zip(arguments, nodes, strict=True)
            if not (isinstance(node, Literal) and isinstance(node.value, str))
        ]
        joined = f"len(y := {' + '.join(arguments)}) <= {MAX_TEXT}"
        return f"(y if {' and '.join([*tests, joined])} else {call})"
    return None
