"""The syntax tree of the mapping language. Both back ends (evaluator and generated code) read only this."""

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    """A field of the source record. A string step is a key, an int an index, `STAR` every element.

    `flat` is the whole text with escapes removed: when a step is missing and the record has that very
    key at its root, the key wins.
    """

    steps: tuple[str | int, ...]
    flat: str


STAR = -(2**31)
"""The step `[*]` of an attribute path."""


@dataclass(frozen=True, slots=True)
class Name:
    """A lambda's parameter where it is used."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function call. `name` is the spelling of the function table."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Method:
    """`target.name(arguments)`."""

    target: "Node"
    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Member:
    """`target[key]` or `target.key` where the target is not itself a plain path."""

    target: "Node"
    key: "Node"


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is one of `-` `+` `~` `!` `empty` `size`."""

    operator: str
    operand: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    """Symbols only (`and` is `&&`, `eq` is `==` …). `&&`, `||`, `?:` and `??` evaluate lazily."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`, also what `iif` becomes."""

    test: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class ArrayLiteral:
    elements: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class MapLiteral:
    entries: tuple[tuple["Node", "Node"], ...]


@dataclass(frozen=True, slots=True)
class Lambda:
    parameter: str
    body: "Node"


Node: TypeAlias = (
    Literal
    | Path
    | Name
    | Call
    | Method
    | Member
    | Unary
    | Binary
    | Conditional
    | ArrayLiteral
    | MapLiteral
    | Lambda
)
