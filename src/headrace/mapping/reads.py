"""What can be told from an expression's tree: the fields it reads, what it asks of its surroundings."""

from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.syntax import (
    ArrayLiteral,
    Binary,
    Call,
    Conditional,
    Lambda,
    Literal,
    MapLiteral,
    Member,
    Method,
    Node,
    Path,
    Unary,
)

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
TAKE_A_PATH_AS_TEXT = frozenset({"contains_key", "is_set"})
"""Functions that look into the record by themselves."""


def paths_of(node: Node) -> list[Path]:
    """Every source path that a tree reads."""
    if isinstance(node, Path):
        return [node]
    return [path for child in children(node) for path in paths_of(child)]


def children(node: Node) -> list[Node]:
    """The parts of a node, in the order in which they are written."""
    match node:
        case Call(_, arguments) | ArrayLiteral(arguments):
            return list(arguments)
        case Method(target, _, arguments):
            return [target, *arguments]
        case Member(target, key):
            return [target, key]
        case Unary(_, operand):
            return [operand]
        case Binary(_, left, right):
            return [left, right]
        case Conditional(test, then, otherwise):
            return [test, then, otherwise]
        case MapLiteral(entries):
            return [part for pair in entries for part in pair]
        case Lambda(_, body):
            return [body]
        case _:
            return []


def is_quick(node: Binary) -> bool:
    """Whether a node compares with a constant, which takes no time whatever the other operand is."""
    return node.operator in COMPARISONS and isinstance(node.right, Literal)


def reads_record(node: Node) -> bool:
    """Whether a function looks into the record by itself."""
    return any(call.name in TAKE_A_PATH_AS_TEXT for call in calls_of(node))


def needs_context(node: Node) -> bool:
    """Whether a function asks for the clock, an identifier or the record."""
    return any(FUNCTIONS[call.name].needs_context for call in calls_of(node))


def calls_of(node: Node) -> list[Call]:
    """Every function call in a tree."""
    found = [node] if isinstance(node, Call) else []
    return found + [call for child in children(node) for call in calls_of(child)]
