"""Validation of a finished XDM record, with the keywords and message texts that clients of the original know.

`conform` checks strictly (it never coerces text to numbers and the like) and turns JSON values into the canonical
Python forms the columns are built from: date-time text into aware datetimes, date text into dates.
"""

import ipaddress
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import re2

from headrace.xdm.fields import INTEGER_BOUNDS, Field

MOST_VIOLATIONS = 5
"""Checking a record stops after this many violations (streaming ingestion, synchronous validation)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """`pointer` is a JSON pointer without the leading `#`; `keyword` is JSON Schema's."""

    keyword: str
    pointer: str
    message: str

    @property
    def code(self) -> str:
        return CODES[self.keyword]


CODES = {
    "null": "DCVS-1101-400",
    "type": "DCVS-1104-400",
    "format": "DCVS-1105-400",
    "required": "DCVS-1106-400",
    "enum": "DCVS-1111-400",
    "pattern": "DCVS-1112-400",
    "minimum": "DCVS-1113-400",
    "maximum": "DCVS-1113-400",
    "minLength": "DCVS-1114-400",
    "maxLength": "DCVS-1114-400",
    "additionalProperties": "DCVS-1115-400",
}
"""1101 to 1111 are the original's; 1112 to 1115 are ours, for keywords it publishes no code for."""

MOST_REMEMBERED = 10_000
"""Texts of which a pattern remembers whether they match: a call into RE2 costs ten times a look-up."""

_EXPECTED = {
    "string": "String", "date": "String", "date-time": "String", "boolean": "Boolean",
    "number": "Number", "array": "JSONArray", "object": "JSONObject", "map": "JSONObject",
    "byte": "Integer", "short": "Integer", "int": "Integer", "long": "Long",
}  # fmt: skip
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:?\d\d)", re.ASCII
)
_DATE_TIME_TEXT = (
    "[yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}Z, "
    "yyyy-MM-dd'T'HH:mm:ss[+-]HH:mm, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}[+-]HH:mm]"
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")


def parse_date_time(text: str) -> datetime:
    """RFC 3339 text as an aware datetime in UTC, to the microsecond; ValueError when it is none."""
    if not _DATE_TIME.fullmatch(text):
        raise ValueError(text)
    try:
        return datetime.fromisoformat(_to_microseconds(text)).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


def _to_microseconds(text: str) -> str:
    return re.sub(r"(\.\d{6})\d+", r"\1", text) if len(text) > 26 else text


def java_type(value: Any) -> str:
    """The name by which violation messages call the type of a JSON value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int):
        return "Integer" if -(2**31) <= value < 2**31 else "Long"
    if isinstance(value, float):
        return "Double"
    if isinstance(value, str | date):
        return "String"
    return "JSONArray" if isinstance(value, list | tuple) else "JSONObject"


def _is_format(check: Callable[[str], Any]) -> Callable[[str], bool]:
    def passes(text: str) -> bool:
        try:
            return check(text) is not None
        except ValueError:
            return False

    return passes


MATCHES: dict[str, Callable[[str], re.Match[str] | None]] = {
    "email": _EMAIL.fullmatch,
    "uri": _URI.fullmatch,
}
"""Formats that are one regular expression."""

FORMATS: dict[str, Callable[[str], bool]] = {
    "email": lambda text: MATCHES["email"](text) is not None,
    "uri": lambda text: MATCHES["uri"](text) is not None,
    "uuid": _is_format(uuid.UUID),
    "ipv4": _is_format(ipaddress.IPv4Address),
    "ipv6": _is_format(ipaddress.IPv6Address),
}
"""String formats that are checked; others (`uri-reference`, …) accept any text."""


@lru_cache(maxsize=4096)
def pattern_matches(pattern: str) -> Callable[[str], bool]:
    """A search for the pattern anywhere in the text, in linear time; what RE2 cannot express accepts all."""
    try:
        compiled = re2.compile(pattern)
    except re2.error:
        return lambda text: True
    known: dict[str, bool] = {}

    def matches(text: str) -> bool:
        found = known.get(text)
        if found is None:
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            found = known[text] = compiled.search(text) is not None
        return found

    return matches


def constraint(value: Any, field: Field) -> tuple[str, str] | None:
    """The first (keyword, message) that a canonical scalar breaks, or None."""
    if field.kind in ("string", "date", "date-time"):
        if not isinstance(value, str):
            return None
        if field.enum is not None and value not in field.enum:
            return "enum", f"{value} is not a valid enum value"
        if field.min_length is not None and len(value) < field.min_length:
            return "minLength", f"expected minLength: {field.min_length}, actual: {len(value)}"
        if field.max_length is not None and len(value) > field.max_length:
            return "maxLength", f"expected maxLength: {field.max_length}, actual: {len(value)}"
        if field.pattern is not None and not pattern_matches(field.pattern)(value):
            return "pattern", f"string [{value}] does not match pattern {field.pattern}"
        if field.format in FORMATS and not FORMATS[field.format](value):
            return "format", f"[{value}] is not a valid {field.format}"
        return None
    least, most = INTEGER_BOUNDS.get(field.kind, (None, None))
    low = least if field.minimum is None else field.minimum
    high = most if field.maximum is None else field.maximum
    if low is not None and value < low:
        return "minimum", f"{value} is not greater or equal to {low}"
    if high is not None and value > high:
        return "maximum", f"{value} is not less or equal to {high}"
    return None


def constrained(field: Field) -> bool:
    """Whether a value of the right type can still break the field."""
    return any(
        bound is not None
        for bound in (
            field.enum,
            field.pattern,
            field.minimum,
            field.maximum,
            field.min_length,
            field.max_length,
        )
    ) or (field.format in FORMATS)


def conform(value: Any, field: Field, pointer: str, found: list[Violation]) -> Any:
    """`value` in canonical form; every violation is added to `found`, which ends the check when it is full.

    Null counts as absent: it breaks what is required and nothing else.
    """
    if value is None or len(found) >= MOST_VIOLATIONS:
        return None
    if field.kind == "object":
        return _object(value, field, pointer, found)
    if field.kind == "array" and field.items is not None and isinstance(value, list):
        return [conform(v, field.items, f"{pointer}/{n}", found) for n, v in enumerate(value)]
    if field.kind == "map" and field.values is not None and isinstance(value, dict):
        return {
            k: conform(v, field.values, f"{pointer}/{_escape(k)}", found) for k, v in value.items()
        }
    converted = _scalar(value, field, pointer, found)
    if converted is not None and constrained(field) and (broken := constraint(converted, field)):
        found.append(Violation(broken[0], pointer, broken[1]))
    return converted


def _object(value: Any, field: Field, pointer: str, found: list[Violation]) -> Any:
    if not isinstance(value, dict):
        return _wrong_type(value, field, pointer, found)
    for name in field.required:
        if name not in value:
            found.append(Violation("required", pointer, f"required key [{name}] not found"))
        elif value[name] is None and name in field.properties:
            _wrong_type(None, field.properties[name], f"{pointer}/{_escape(name)}", found)
    if not field.properties:
        return value
    out = {}
    for name, child in value.items():
        known = field.properties.get(name)
        if known is None:
            found.append(
                Violation(
                    "additionalProperties", pointer, f"extraneous key [{name}] is not permitted"
                )
            )
        elif child is not None:
            out[name] = conform(child, known, f"{pointer}/{_escape(name)}", found)
    return out


def _scalar(value: Any, field: Field, pointer: str, found: list[Violation]) -> Any:
    kind = field.kind
    if kind in INTEGER_BOUNDS:
        if type(value) is int:
            return value
        if type(value) is float and value.is_integer():
            return int(value)
    elif kind == "number":
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                text = f"{str(value)[:20]}… is beyond the range of a double"
                found.append(Violation("maximum" if value > 0 else "minimum", pointer, text))
                return None
    elif kind == "boolean":
        if type(value) is bool:
            return value
    elif kind == "string":
        if type(value) is str:
            return value
    elif kind in ("date", "date-time"):
        if isinstance(value, date):
            return value
        if type(value) is str:
            try:
                return date.fromisoformat(value) if kind == "date" else parse_date_time(value)
            except ValueError:
                expected = "yyyy-MM-dd" if kind == "date" else _DATE_TIME_TEXT
                text = f"[{value}] is not a valid {kind}. Expected {expected}"
                found.append(Violation("format", pointer, text))
                return None
    return _wrong_type(value, field, pointer, found)


def _wrong_type(value: Any, field: Field, pointer: str, found: list[Violation]) -> None:
    message = f"expected type: {_EXPECTED[field.kind]}, found: {java_type(value)}"
    found.append(Violation("null" if value is None else "type", pointer, message))


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
