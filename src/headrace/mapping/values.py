"""Conversions between the language's values that operators, functions and coercion share."""

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.limits import bounded_int, bounded_text, bounded_value

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_MAX_DIGITS = 1200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_of(text: str) -> int | float:
    """The number a text spells, without trimming; ValueError when it spells none."""
    if len(text) > _MAX_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError(f"{shorten(text)} is not a number")
    if text.lstrip("+-").isdigit():
        return int(text)
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{shorten(text)} is beyond the range of a number")
    return number


def truth(value: Any) -> bool:
    """False: null, false, 0, empty text, the text `false`. Everything else is true, empty arrays too."""
    if value is True:
        return True
    if value is None or value is False or value == 0 or value == "" or value == "false":
        return False
    return not (isinstance(value, float) and math.isnan(value))


def shorten(value: Any, limit: int = 60) -> str:
    """A value as quoted in a message."""
    shown = repr(value) if isinstance(value, str) else plain_text(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def plain_text(value: Any) -> str:
    """Text without raising, for messages."""
    try:
        return text_of(value)
    except (TransformError, RecursionError):
        return f"a value of type {kind_of(value)}"


def kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "double"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
        case datetime():
            return "date-time"
        case date():
            return "date"
    return "lambda" if callable(value) else type(value).__name__


def text_of(value: Any) -> str:
    """Text of a value as `concat` writes it; null is empty, arrays and objects are compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(bounded_int(value))
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json_text(value)
    raise TransformError(f"A {kind_of(value)} has no text.")


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=text_of).encode


def json_text(value: Any) -> str:
    try:
        return bounded_text(_compact(bounded_value(value)))
    except (RecursionError, ValueError):
        raise TransformError("The value is nested too deeply to be written as text.") from None


def double_text(number: float) -> str:
    """The shortest text that reads back the same, in the form of Java's `Double.toString`."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    size = abs(number)
    if number == 0 or 1e-3 <= size < 1e7:
        return repr(number)
    mantissa, _, exponent = f"{number!r}".partition("e")
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    power = int(exponent or 0) + len(whole) - 1
    significant = whole + fraction
    stripped = significant.lstrip("0")
    power -= len(significant) - len(stripped)
    stripped = stripped.rstrip("0") or "0"
    return f"{sign}{stripped[0]}.{stripped[1:] or '0'}E{power}"


def iso_text(moment: datetime) -> str:
    """`yyyy-MM-ddTHH:mm:ss[.SSS]Z` in UTC; milliseconds only when they are not zero."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise TransformError("The date lies outside the years 1 to 9999.") from None
    milliseconds = utc.microsecond // 1000
    tail = f".{milliseconds:03d}" if milliseconds else ""
    return f"{utc.replace(microsecond=0, tzinfo=None).isoformat()}{tail}Z"


def epoch_milliseconds(moment: datetime) -> int:
    delta = moment - EPOCH
    return (delta.days * 86400 + delta.seconds) * 1000 + delta.microseconds // 1000


def from_milliseconds(milliseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise TransformError(f"{milliseconds} ms lies outside the years 1 to 9999.") from None
