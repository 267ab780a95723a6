"""Validation of whole XDM records, compiled once per schema.

A generated function walks a record once and puts its values into canonical form in place. It knows only the good
way: at the first doubt it gives up, and `conform`, the definition of what is valid, finds the words. Names of
fields are objects in the function's globals, so no text of a user is ever part of its source.
"""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from headrace.xdm.check import (
    FORMATS,
    MATCHES,
    Violation,
    conform,
    parse_date_time,
    pattern_matches,
)
from headrace.xdm.fields import INTEGER_BOUNDS, Field

MOST_DAYS = 50_000
"""Dates whose text is remembered."""

DEEPEST = 6
"""Levels in one function: Python limits how deeply blocks may be nested."""

UNROLLED = 24
"""An object with more properties than this is walked by the keys that a record has, not by those of the schema."""


class Doubt(Exception):
    """The record is not plainly valid."""


def validator(tree: Field) -> Callable[[dict[str, Any]], tuple[dict[str, Any], list[Violation]]]:
    """A function from a decoded record to (the record in canonical form, its violations).

    The record is changed. Date-times in the form that Arrow reads stay text.
    """
    fast = _Writer().function(tree)

    def run(record: dict[str, Any]) -> tuple[dict[str, Any], list[Violation]]:
        try:
            fast(record)
        except (Doubt, ValueError, TypeError, LookupError, OverflowError):
            violations: list[Violation] = []
            finished = conform(record, tree, "", violations)
            return finished if isinstance(finished, dict) else {}, violations
        return record, []

    return run


class _Writer:
    """Writes one function for a tree, everything in line but the properties of very wide objects."""

    def __init__(self) -> None:
        self._globals: dict[str, Any] = {
            "Doubt": Doubt, "ISO": datetime.fromisoformat, "INSTANT": _instant, "DAYS": {}, "DAY": _day,
            "WHOLE": _whole, "NUMBER": _number,
        }  # fmt: skip

    def constant(self, value: Any) -> str:
        name = f"c{len(self._globals)}"
        self._globals[name] = value
        return name

    def function(self, field: Field) -> Callable[[Any], None]:
        found: Callable[[Any], None] = self._globals[self._define("v0", self._object(field, 0))]
        return found

    def _define(self, parameters: str, body: list[str]) -> str:
        name = self.constant(None)
        lines = [f"def {name}({parameters}):", *(f" {line}" for line in body or ["pass"])]
        exec(compile("\n".join(lines), "<validator>", "exec"), self._globals)
        return name

    def _object(self, field: Field, depth: int) -> list[str]:
        """Statements that check the object in `v{depth}`."""
        v = f"v{depth}"
        lines = [f"if type({v}) is not dict: raise Doubt"]
        unrolled = 0 < len(field.properties) <= UNROLLED
        if unrolled:
            lines += self._unrolled(field, depth)
        elif field.properties:
            lines += self._by_keys(field, v)
        for required in field.required:
            if not unrolled or required not in field.properties:
                lines.append(f"if {v}.get({self.constant(required)}) is None: raise Doubt")
        return lines

    def _unrolled(self, field: Field, depth: int) -> list[str]:
        v, x, n = f"v{depth}", f"x{depth}", f"n{depth}"
        lines = [f"{n} = 0"]
        for property, child in field.properties.items():
            key = self.constant(property)
            lines += [f"{x} = {v}.get({key})", f"if {x} is not None:", f" {n} += 1"]
            lines += [f" {line}" for line in self._value(child, x, f"{v}[{key}]", depth)]
            if property in field.required:
                lines.append("else: raise Doubt")
        allowed = self.constant(frozenset(field.properties))
        return [*lines, f"if {n} != len({v}) and not {allowed}.issuperset({v}): raise Doubt"]

    def _by_keys(self, field: Field, v: str) -> list[str]:
        table: dict[str, Callable[[dict[str, Any], Any], None]] = {}
        for property, child in field.properties.items():
            body = self._value(child, "x0", f"v0[{self.constant(property)}]", 0)
            table[property] = self._globals[self._define("v0, x0", body)]
        return [
            f"for key, value in {v}.items():",
            f" check = {self.constant(table)}.get(key)",
            " if check is None: raise Doubt",
            f" if value is not None: check({v}, value)",
        ]

    def _value(self, field: Field, x: str, place: str, depth: int) -> list[str]:
        """Statements that check the value `x`, which stands at `place`, and write another form of it there."""
        if depth >= DEEPEST and field.kind in ("object", "array", "map"):
            body = self._value(field, "x0", "", 0)
            return [f"{self._define('x0', body)}({x})"]
        if field.kind == "object":
            return [f"v{depth + 1} = {x}", *self._object(field, depth + 1)]
        if field.kind in ("array", "map"):
            return self._elements(field, x, depth)
        if field.kind == "date-time":
            return [
                f"if type({x}) is str and {x}[10] == 'T' and {x}[7] == '-' and {x}[-1] == 'Z' and"
                f" (len({x}) == 20 or {x}[19] == '.' and 21 < len({x}) < 25): ISO({x})",
                f"else: {place} = INSTANT({x})",
            ]
        if field.kind == "date":
            return [f"{place} = DAYS.get({x}) or DAY({x}, DAYS)"]
        if field.kind in INTEGER_BOUNDS:
            return [f"if type({x}) is not int: {place} = {x} = WHOLE({x})", *_bounds(field, x)]
        if field.kind == "number":
            return [f"if type({x}) is not float: {place} = {x} = NUMBER({x})", *_bounds(field, x)]
        if field.kind == "boolean":
            return [f"if type({x}) is not bool: raise Doubt"]
        return [f"if type({x}) is not str: raise Doubt", *self._text(field, x)]

    def _elements(self, field: Field, x: str, depth: int) -> list[str]:
        """A loop over an array's elements or a map's values, with their places only where one may be rewritten."""
        array = field.kind == "array"
        inner = field.items if array else field.values
        if inner is None:
            return ["raise Doubt"]
        a, k, e = f"a{depth}", f"k{depth}", f"x{depth + 1}"
        checks = self._value(inner, e, f"{a}[{k}]", depth + 1)
        if any(f"{a}[{k}]" in line for line in checks):
            loop = f"for {k}, {e} in {f'enumerate({a})' if array else f'{a}.items()'}:"
        else:
            loop = f"for {e} in {a if array else f'{a}.values()'}:"
        return [
            f"{a} = {x}", f"if type({a}) is not {'list' if array else 'dict'}: raise Doubt",
            loop, f" if {e} is not None:", *(f"  {line}" for line in checks),
        ]  # fmt: skip

    def _text(self, field: Field, x: str) -> list[str]:
        tests = []
        if field.enum is not None:
            tests.append(f"{x} not in {self.constant(frozenset(field.enum))}")
        if field.min_length is not None:
            tests.append(f"len({x}) < {int(field.min_length)}")
        if field.max_length is not None:
            tests.append(f"len({x}) > {int(field.max_length)}")
        if field.pattern is not None:
            tests.append(f"not {self.constant(pattern_matches(field.pattern))}({x})")
        if field.format in FORMATS:
            check = MATCHES.get(field.format)
            found = (
                f"{self.constant(check)}({x}) is None"
                if check
                else f"not {self.constant(FORMATS[field.format])}({x})"
            )
            tests.append(found)
        return [f"if {' or '.join(tests)}: raise Doubt"] if tests else []


def _bounds(field: Field, x: str) -> list[str]:
    """Bounds are numbers, so they can stand in the source."""
    least, most = INTEGER_BOUNDS.get(field.kind, (None, None))
    low = least if field.minimum is None else field.minimum
    high = most if field.maximum is None else field.maximum
    left = "" if low is None else f"{low!r} <= "
    right = "" if high is None else f" <= {high!r}"
    return [f"if not {left}{x}{right}: raise Doubt"] if left or right else []


def _instant(value: Any) -> datetime:
    """Any other form of a date-time."""
    if isinstance(value, str):
        return parse_date_time(value)
    if isinstance(value, datetime):
        return value
    raise Doubt


def _day(value: Any, known: dict[str, date]) -> date:
    if isinstance(value, str):
        if len(known) >= MOST_DAYS:
            known.clear()
        known[value] = found = date.fromisoformat(value)
        return found
    if isinstance(value, date):
        return value
    raise Doubt


def _whole(value: Any) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    raise Doubt


def _number(value: Any) -> float:
    if type(value) is int:
        return float(value)
    raise Doubt
