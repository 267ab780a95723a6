"""Choice and order: decode, iif, min, max."""

from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, spread
from headrace.mapping.operators import equals, order
from headrace.mapping.values import truth


def decode(key: Any, *choices: Any) -> Any:
    for i in range(0, len(choices) - 1, 2):
        try:
            if equals(key, choices[i]):
                return choices[i + 1]
        except TransformError:
            continue
    return choices[-1] if len(choices) % 2 else None


def iif(test: Any, then: Any, otherwise: Any) -> Any:
    return then if truth(test) else otherwise


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


_VALUES = (Parameter("values", "any", "values or one array", repeated=True),)
FUNCTIONS = (
    Function("decode", "Logical", (Parameter("key"), Parameter("choices", "any", "keys and results in turn, a default last", repeated=True)), "any", "The result of the first equal key.", (('decode("ca", "ca", "California", "N/A")', '"California"'),), decode, least=2),
    Function("iif", "Logical", (Parameter("condition", "boolean"), Parameter("then"), Parameter("otherwise")), "any", "One of two values.", (("iif(true, 1, 2)", "1"),), iif, lazy=True),
    Function("min", "Aggregation", _VALUES, "any", "The smallest value.", (("min(3, 1, 4)", "1"),), minimum),
    Function("max", "Aggregation", _VALUES, "any", "The greatest value.", (("max(3, 1, 4)", "4"),), maximum),
)  # fmt: skip
