"""The smallest and the greatest of values."""

from typing import Any

from headrace.mapping.functions.definition import Function, Parameter, examples, spread
from headrace.mapping.operators import order

CATEGORY = "Aggregation"


def _extreme(sign: int, values: tuple[Any, ...]) -> Any:
    best: Any = None
    for value in spread(values):
        if value is not None and (best is None or order(value, best) == sign):
            best = value
    return best


def minimum(*values: Any) -> Any:
    return _extreme(-1, values)


def maximum(*values: Any) -> Any:
    return _extreme(1, values)


_VALUES = (Parameter("values", "any", "values or one array, nulls are skipped", repeated=True),)
FUNCTIONS = (
    Function(
        "min",
        CATEGORY,
        _VALUES,
        "any",
        "The smallest value: numbers by value, texts by their characters, dates by time.",
        examples(("min(3, 1, 4)", "1", 'min(["b", null, "a"])', '"a"')),
        minimum,
    ),
    Function(
        "max",
        CATEGORY,
        _VALUES,
        "any",
        "The greatest value: numbers by value, texts by their characters, dates by time.",
        examples(("max(3, 1, 4)", "4", "max(null)", "null")),
        maximum,
    ),
)
