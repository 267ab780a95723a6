"""What can go wrong with a mapping.

MappingSyntaxError   the text of an expression or path is not of the language
TransformError       one rule cannot compute its value for one record
└── CoercionError    a value does not fit the type of its target field
MappingInvalid       rules that cannot be compiled against their target schema
"""

from headrace.errors import HeadraceError


class MappingSyntaxError(HeadraceError):
    """`position` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.message = message
        self.position = position


class TransformError(HeadraceError):
    """The rule's field becomes null and the run counts a warning."""


class CoercionError(TransformError):
    """`path` names the child at fault inside the value, empty for the value itself."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.reason = message
        self.path = path


class MappingInvalid(HeadraceError):
    """`problems` holds (index of the rule, message) pairs."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"rule {index + 1}: {message}" for index, message in problems))
        self.problems = problems
