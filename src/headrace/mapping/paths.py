"""Field paths of source records and of destinations."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.limits import MAX_DEPTH, MAX_EXPRESSION
from headrace.mapping.syntax import STAR, Path

MAX_SLOT = 10_000
"""The highest array slot a destination may name."""


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()
"""What a path leads to when a step does not exist; null to everything but `contains_key`."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a rule writes: a string step is a key, an int an array slot, `STAR` one per source element."""

    steps: tuple[str | int, ...]
    text: str

    @property
    def stars(self) -> int:
        return self.steps.count(STAR)


@lru_cache(maxsize=4096)
def parse_attribute(text: str) -> Path:
    """The path of an attribute rule; MappingSyntaxError says where it is not one."""
    steps, flat = _parse(text, quoted=True)
    return Path(steps, flat)


def parse_destination(text: str) -> Destination:
    """The path of a destination; MappingSyntaxError says where it is not one."""
    steps, _ = _parse(text, quoted=True)
    if not isinstance(steps[0], str):
        raise MappingSyntaxError("A destination starts with a field's name.", 0)
    for step in steps:
        if isinstance(step, int) and step != STAR and step > MAX_SLOT:
            raise MappingSyntaxError(f"Array slots end at {MAX_SLOT}.", 0)
    return Destination(steps, text)


def split_name(text: str, offset: int = 0) -> list[str | int]:
    """The steps inside `${…}`: unescaped dots and `[digits]` separate them."""
    return list(_parse(text, quoted=False, offset=offset)[0])


def unescaped(text: str) -> str:
    out: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        out.append(text[position])
        position += 1
    return "".join(out)


def _parse(text: str, quoted: bool, offset: int = 0) -> tuple[tuple[str | int, ...], str]:
    if len(text) > MAX_EXPRESSION:
        raise MappingSyntaxError(f"A path has at most {MAX_EXPRESSION} characters.", MAX_EXPRESSION)
    if not text.strip():
        raise MappingSyntaxError("The path is empty.", offset)
    steps: list[str | int] = []
    flat: list[str] = []
    at, end = 0, len(text)
    while True:
        begin = at
        if quoted and text.startswith("${", at):
            at = _closing(text, at)
            inner = text[begin + 2 : at]
            steps.extend(split_name(inner, offset + begin + 2))
            flat.append(unescaped(inner))
            at += 1
        else:
            name: list[str] = []
            while at < end and text[at] not in ".[" + ("]" if quoted else ""):
                if text[at] == "\\" and at + 1 < end:
                    at += 1
                name.append(text[at])
                at += 1
            if not name:
                raise MappingSyntaxError("A name is missing.", offset + at)
            step = "".join(name)
            steps.append(step)
            flat.append(step)
        while at < end and text[at] == "[":
            close = text.find("]", at)
            inside = text[at + 1 : close].strip() if close > 0 else ""
            if inside == "*" and quoted:
                steps.append(STAR)
            elif inside.isdecimal() and len(inside) < 10:
                steps.append(int(inside))
            elif inside[:1] in ("'", '"') and inside[-1:] == inside[:1] and len(inside) > 2:
                steps.append(inside[1:-1])
            elif not quoted:  # a bracket that is part of a quoted name
                steps[-1] = f"{steps[-1]}{text[at:]}"
                flat.append(text[at:])
                return tuple(steps), "".join(flat)
            else:
                raise MappingSyntaxError("Brackets hold a number or *.", offset + at)
            flat.append(text[at : close + 1])
            at = close + 1
        if len(steps) > MAX_DEPTH:
            raise MappingSyntaxError(f"A path has at most {MAX_DEPTH} steps.", offset + at)
        if at == end:
            return tuple(steps), "".join(flat)
        if text[at] != ".":
            raise MappingSyntaxError(f"Expected '.' or '[', found {text[at]!r}.", offset + at)
        flat.append(".")
        at += 1


def _closing(text: str, at: int) -> int:
    """The position of the brace that closes `${` at `at`."""
    begin, at = at, at + 2
    while at < len(text) and text[at] != "}":
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise MappingSyntaxError("'${' is not closed.", begin)
    return at


def step_into(value: Any, step: str | int) -> Any:
    """One step down; MISSING when there is nothing."""
    if isinstance(value, dict):
        return value.get(step if isinstance(step, str) else str(step), MISSING)
    if isinstance(value, list):
        if isinstance(step, str):
            if not (step.isdecimal() and len(step) < 10):
                return MISSING
            step = int(step)
        return value[step] if 0 <= step < len(value) else MISSING
    return MISSING


def find(record: Any, path: Path) -> Any:
    """The value at a path without wildcards; MISSING when there is none."""
    value = record
    for step in path.steps:
        value = step_into(value, step)
        if value is MISSING:
            return record.get(path.flat, MISSING) if isinstance(record, dict) else MISSING
    return value


def resolve(record: Any, path: Path) -> Any:
    """As `find`, with null for MISSING."""
    value = find(record, path)
    return None if value is MISSING else value
