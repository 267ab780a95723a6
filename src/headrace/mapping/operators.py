"""The operators, with the lenient arithmetic of the expression engine.

Both back ends call these functions, so evaluated and generated expressions agree by construction. Null
counts as 0 in arithmetic; a text that spells a number is one next to a number; `/` and `%` by zero fail.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from operator import ge, gt, le, lt
from typing import Any, TypeAlias

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.regular_expressions import whole_match
from headrace.mapping.limits import bounded_int, bounded_text, bounded_value
from headrace.mapping.values import kind_of, number_of, shorten, text_of, truth

Number: TypeAlias = int | float


_NUMBERS = frozenset({int, float})
_ORDERED = frozenset({int, float, str})
"""Types whose values Python orders as the language does, each among its own."""


def _number(value: Any, operator: str) -> Number:
    if value is None:
        return 0
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        if not value:
            return 0
        try:
            return number_of(value)
        except ValueError as error:
            raise TransformError(f"'{operator}': {error}.") from None
    raise TransformError(f"'{operator}' cannot calculate with a value of type {kind_of(value)}.")


def _checked(number: Number) -> Number:
    if isinstance(number, int):
        return bounded_int(number)
    if math.isinf(number) or math.isnan(number):
        raise TransformError("The result is beyond the range of a number.")
    return number


def _arithmetic(
    operator: str, compute: Callable[[Number, Number], Number]
) -> Callable[..., Number]:
    def apply(left: Any, right: Any) -> Number:
        a: Number = left if type(left) in _NUMBERS else _number(left, operator)
        b: Number = right if type(right) in _NUMBERS else _number(right, operator)
        try:
            result = compute(a, b)
            # a finite double needs no look, an integer may have grown
            return result if type(result) is float and result - result == 0 else _checked(result)
        except (OverflowError, ArithmeticError):
            raise TransformError(
                f"'{operator}': the result is beyond the range of a number."
            ) from None

    return apply


def _truncated(a: Number, b: Number) -> Number:
    if b == 0:
        raise TransformError("Division by zero.")
    if isinstance(a, int) and isinstance(b, int):
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    return a / b


def _remainder(a: Number, b: Number) -> Number:
    if b == 0:
        raise TransformError("Remainder of a division by zero.")
    return a % abs(b) if isinstance(a, int) and isinstance(b, int) else math.fmod(a, b)


subtract = _arithmetic("-", lambda a, b: a - b)
multiply = _arithmetic("*", lambda a, b: a * b)
divide = _arithmetic("/", _truncated)
remainder = _arithmetic("%", _remainder)


def add(left: Any, right: Any) -> Any:
    """Sum, or concatenation when a text is involved that spells no number or meets another text."""
    if type(left) is int and type(right) is int:
        return bounded_int(left + right)
    texts = isinstance(left, str), isinstance(right, str)
    if any(texts):
        other = right if texts[0] else left
        if all(texts) or other is None or not isinstance(other, int | float):
            return bounded_text(text_of(left) + text_of(right))
        try:
            return _checked(_number(left, "+") + _number(right, "+"))
        except TransformError:
            return bounded_text(text_of(left) + text_of(right))
    try:
        return _checked(_number(left, "+") + _number(right, "+"))
    except OverflowError:
        raise TransformError("'+': the result is beyond the range of a number.") from None


def _bits(value: Any, operator: str) -> int:
    number = _number(value, operator)
    if isinstance(number, float):
        if not number.is_integer():
            raise TransformError(f"'{operator}' needs integers, not {number}.")
        number = int(number)
    if not -(2**63) <= number < 2**63:
        raise TransformError(f"'{operator}' needs integers of at most 64 bits.")
    return number


def bit_or(left: Any, right: Any) -> int:
    return _bits(left, "|") | _bits(right, "|")


def bit_xor(left: Any, right: Any) -> int:
    return _bits(left, "^") ^ _bits(right, "^")


def bit_and(left: Any, right: Any) -> int:
    return _bits(left, "&") & _bits(right, "&")


def equals(left: Any, right: Any) -> bool:
    """Null equals only null; a number against a text reads the text and fails when it spells none."""
    if type(left) is type(right):
        if isinstance(left, list | dict):
            return _deep_equals(left, right)
        return bool(left == right)
    if left is None or right is None:
        return False
    if isinstance(left, bool) or isinstance(right, bool):
        return truth(left) is truth(right)
    if isinstance(left, int | float) or isinstance(right, int | float):
        return _number(left, "==") == _number(right, "==")
    if isinstance(left, date) and isinstance(right, date | str):
        return bool(_moment(left, right) == _moment(right, left))
    if isinstance(right, date) and isinstance(left, str):
        return bool(_moment(left, right) == _moment(right, left))
    return bool(left == right)


def _deep_equals(left: Any, right: Any) -> bool:
    try:
        return bool(bounded_value(left) == bounded_value(right))
    except RecursionError:
        raise TransformError("The values are nested too deeply to be compared.") from None


def _moment(value: Any, other: Any) -> Any:
    """Dates compare as instants; a text beside a date compares with the date's own text."""
    if isinstance(value, str) or isinstance(other, str):
        return text_of(value)
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day, tzinfo=other.tzinfo)


def order(left: Any, right: Any, operator: str = "<") -> int:
    """-1, 0 or 1 for two values that are not null."""
    a: Any
    b: Any
    if isinstance(left, str) and isinstance(right, str):
        a, b = left, right
    elif (isinstance(left, date) and isinstance(right, date | str)) or (
        isinstance(right, date) and isinstance(left, str)
    ):
        a, b = _moment(left, right), _moment(right, left)
    else:
        a, b = _number(left, operator), _number(right, operator)
    return int(a > b) - int(a < b)


def _compare(
    operator: str, accept: tuple[int, ...], plain: Callable[[Any, Any], bool]
) -> Callable[[Any, Any], bool]:
    both_null = 0 in accept

    def compare(left: Any, right: Any) -> bool:
        kind = type(left)
        if kind is type(right) and kind in _ORDERED:
            return plain(left, right)
        if left is None or right is None:
            return both_null and left is None and right is None
        return order(left, right, operator) in accept

    return compare


less = _compare("<", (-1,), lt)
less_or_equal = _compare("<=", (-1, 0), le)
greater = _compare(">", (1,), gt)
greater_or_equal = _compare(">=", (0, 1), ge)


def matches(left: Any, right: Any) -> bool:
    """Membership in an array or map, otherwise a match of the whole text."""
    if isinstance(right, list):
        return any(_same(left, element) for element in right)
    if isinstance(right, dict):
        return left is not None and text_of(left) in right
    if left is None or right is None:
        return left is None and right is None
    return whole_match(text_of(left), text_of(right))


def _same(left: Any, right: Any) -> bool:
    try:
        return equals(left, right)
    except TransformError:
        return False


def starts_with(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is None and right is None
    return text_of(left).startswith(text_of(right))


def ends_with(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is None and right is None
    return text_of(left).endswith(text_of(right))


def negate(value: Any) -> Number:
    if isinstance(value, str):
        raise TransformError(f"'-' cannot negate the text {shorten(value)}.")
    return -_number(value, "-")


def positive(value: Any) -> Number:
    return _number(value, "+")


def complement(value: Any) -> int:
    return ~_bits(value, "~")


def empty(value: Any) -> bool:
    """Null, 0, and text, arrays and maps without content."""
    if value is None or (value == 0 and not isinstance(value, bool)):
        return True
    return isinstance(value, str | list | dict) and not value


def size(value: Any) -> int:
    """Length of a text, array or map; 0 for null, 1 for other values."""
    if value is None:
        return 0
    return len(value) if isinstance(value, str | list | dict) else 1


def member(target: Any, key: Any) -> Any:
    """`target[key]`; null when there is no such element. Arrays and objects are no keys."""
    if isinstance(target, dict):
        if isinstance(key, str):
            return target.get(key)
        return None if key is None or isinstance(key, list | dict) else target.get(text_of(key))
    if isinstance(target, list):
        if isinstance(key, str) and key.isdecimal() and len(key) < 10:
            key = int(key)
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(target):
            return target[key]
    return None


OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    "|": bit_or,
    "^": bit_xor,
    "&": bit_and,
    "==": equals,
    "!=": lambda left, right: not equals(left, right),
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
    "=~": matches,
    "!~": lambda left, right: not matches(left, right),
    "=^": starts_with,
    "!^": lambda left, right: not starts_with(left, right),
    "=$": ends_with,
    "!$": lambda left, right: not ends_with(left, right),
    "&&": lambda left, right: truth(left) and truth(right),
    "||": lambda left, right: truth(left) or truth(right),
    "?:": lambda left, right: left if truth(left) else right,
    "??": lambda left, right: right if left is None else left,
}
"""Two operands. `&&`, `||`, `?:` and `??` are here for completeness: back ends evaluate them lazily."""

UNARY: Mapping[str, Callable[[Any], Any]] = {
    "-": negate,
    "+": positive,
    "~": complement,
    "!": lambda value: not truth(value),
    "empty": empty,
    "size": size,
}
