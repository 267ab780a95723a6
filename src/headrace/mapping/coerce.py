"""Values to the types of target fields.

Canonical forms: string→str, boolean→bool, byte/short/int/long→int, number→float, date→date,
date-time→aware datetime in UTC, array→list, object and map→dict. Null stays null. Enumerations, patterns
and bounds are checked on the finished record, not here.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from headrace.mapping.errors import CoercionError, TransformError
from headrace.mapping.java_dates import read_date
from headrace.mapping.values import from_milliseconds, kind_of, number_of, shorten, text_of
from headrace.xdm.fields import INTEGER_BOUNDS, Field

_MAX_NESTING = 128
_TRUE = frozenset({"y", "yes", "Y", "YES", "on", "ON", "true", "TRUE"})
_FALSE = frozenset({"n", "no", "N", "NO", "off", "OFF", "false", "FALSE"})
Failures = list[tuple[str, str]]


def _refused(value: Any, kind: str) -> CoercionError:
    return CoercionError(f"{shorten(value)} ({kind_of(value)}) is not a {kind}.")


def to_string(value: Any) -> str:
    if isinstance(value, list | dict):
        raise _refused(value, "string")
    try:
        return text_of(value)
    except TransformError as error:
        raise CoercionError(str(error)) from None


def to_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    raise _refused(value, "boolean")


def _to_integer(kind: str) -> Callable[[Any], int]:
    low, high = INTEGER_BOUNDS[kind]

    def convert(value: Any) -> int:
        number = value
        if isinstance(value, str):
            try:
                number = number_of(value.strip())
            except ValueError:
                raise _refused(value, kind) from None
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _refused(value, kind)
        if isinstance(number, float):
            if not number.is_integer():
                raise _refused(value, kind)
            number = int(number)
        if not low <= number <= high:
            raise CoercionError(f"{shorten(value)} lies outside the range of a {kind}.")
        return number

    return convert


def to_number(value: Any) -> float:
    try:
        number = number_of(value.strip()) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise _refused(value, "number")
        number = float(number)
    except (ValueError, OverflowError):
        raise _refused(value, "number") from None
    if not math.isfinite(number):
        raise _refused(value, "number")
    return number


def to_date_time(value: Any) -> datetime:
    if type(value) is str and len(value) in (20, 24) and value[10] == "T" and value[-1] == "Z":
        try:  # the commonest form; what it refuses is looked at below
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    try:
        if isinstance(value, str):
            value = read_date(value.strip())
        elif isinstance(value, int) and not isinstance(value, bool):
            value = from_milliseconds(value)
        if isinstance(value, datetime):
            return value.astimezone(UTC)
    except TransformError as error:
        raise CoercionError(str(error)) from None
    except OverflowError:
        raise CoercionError("The date lies outside the years 1 to 9999.") from None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise _refused(value, "date-time")


def to_date(value: Any) -> date:
    """The day in the value's own offset."""
    if isinstance(value, str):
        if len(value) == 10 and value[4] == "-" and value[7] == "-":
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass
        try:
            return read_date(value.strip()).date()
        except TransformError as error:
            raise CoercionError(str(error)) from None
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else to_date_time(value).date()


COERCERS: Mapping[str, Callable[[Any], Any]] = {
    "string": to_string,
    "boolean": to_boolean,
    "number": to_number,
    "date": to_date,
    "date-time": to_date_time,
    **{kind: _to_integer(kind) for kind in INTEGER_BOUNDS},
}


def coerce(
    value: Any, field: Field | None, failures: Failures | None = None, depth: int = 0
) -> Any:
    """A value in the canonical form of its field; CoercionError when it does not fit.

    With `failures` a child of an object or map that does not fit is left out and noted as (path, message)
    instead. Without a field, arrays and objects are copied as they are.
    """
    if value is None:
        return None
    if depth > _MAX_NESTING:
        raise CoercionError(f"The value is nested more than {_MAX_NESTING} levels deep.")
    if field is None:
        if isinstance(value, dict):
            return {key: coerce(child, None, None, depth + 1) for key, child in value.items()}
        if isinstance(value, list):
            return [coerce(child, None, None, depth + 1) for child in value]
        return value
    if field.scalar:
        return COERCERS[field.kind](value)
    if field.kind == "array":
        elements = value if isinstance(value, list) else [value]
        out = []
        for index, element in enumerate(elements):
            noted = len(failures or ())
            try:
                out.append(coerce(element, field.items, failures, depth + 1))
            except CoercionError as error:
                raise CoercionError(error.reason, _joined(f"[{index}]", error.path)) from None
            if failures:
                failures[noted:] = [
                    (_joined(f"[{index}]", path), m) for path, m in failures[noted:]
                ]
        return out
    if not isinstance(value, dict):
        raise _refused(value, field.kind)
    return _object(value, field, failures, depth)


def _object(
    value: dict[str, Any], field: Field, failures: Failures | None, depth: int
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, child in value.items():
        target = field.values if field.kind == "map" else field.properties.get(key)
        if target is None and field.kind == "object" and field.properties:
            continue
        if child == "" and target is not None and target.scalar and target.kind != "string":
            continue  # a blank is no value
        noted = len(failures or ())
        try:
            out[key] = coerce(child, target, failures, depth + 1)
        except CoercionError as error:
            if failures is None:
                raise CoercionError(error.reason, _joined(key, error.path)) from None
            failures.append((error.path, error.reason))
        if failures:
            failures[noted:] = [(_joined(key, path), message) for path, message in failures[noted:]]
    return out


def _joined(step: str, path: str) -> str:
    if not path:
        return step
    return f"{step}{path}" if path.startswith("[") else f"{step}.{path}"
