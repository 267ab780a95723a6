"""Conversions to numbers."""

import re
from decimal import Decimal
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
from headrace.mapping.limits import bounded_int
from headrace.mapping.values import kind_of, number_of, shorten

CATEGORY = "Type Conversion"


def _number(value: Any, function: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return number_of(value.strip())
        except ValueError as error:
            raise TransformError(f"{function}: {error}.") from None
    raise TransformError(f"{function} cannot convert a value of type {kind_of(value)}.")


@null_to_null
def to_bigint(value: Any) -> int:
    number = _number(value, "to_bigint")
    if isinstance(value, str) and isinstance(number, float):  # a double has not all its digits
        return bounded_int(int(Decimal(value.strip())))
    return bounded_int(int(number))


@null_to_null
def to_decimal(value: Any) -> float:
    try:
        return float(_number(value, "to_decimal"))
    except OverflowError:
        raise TransformError("to_decimal: the number is beyond the range of a double.") from None


@null_to_null
def to_integer(value: Any) -> int:
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]{1,10}", value):
        raise TransformError(f"to_integer: {shorten(value)} is not a plain integer.")
    number = int(_number(value, "to_integer"))
    if not -(2**31) <= number < 2**31:
        raise TransformError(f"to_integer: {shorten(number)} is beyond 32 bits.")
    return number


_VALUE = (Parameter("value", "any", "a number or its text"),)


def _function(name: str, returns: str, what: str, example: tuple[str, ...], call: Any) -> Function:
    return Function(name, CATEGORY, _VALUE, returns, what, examples(example), call)


FUNCTIONS = (
    _function("to_bigint", "integer", "A whole number of any size; a fraction is cut off.", ('to_bigint("1000000.34")', "1000000", "to_bigint(null)", "null"), to_bigint),
    _function("to_decimal", "number", "A double.", ('to_decimal("20.5")', "20.5", "to_decimal(3)", "3.0"), to_decimal),
    _function("to_float", "number", "A floating point number.", ('to_float("12.3456")', "12.3456"), to_decimal),
    _function("to_integer", "integer", "A 32-bit integer; a text must spell a plain one, a number loses its fraction.", ('to_integer("12")', "12", "to_integer(12.9)", "12"), to_integer),
)  # fmt: skip
