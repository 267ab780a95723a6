"""The `property` filter language of list calls.

    filter := path op value ("," value)*      repeated filters must all hold
    path   := seg ("." seg)*                  `seg[]` = any element of that array
    op     := == != > >= < <= =               `=` means `==`; `~` is known but not implemented
    value  := bare text | "quoted text"       several values: any of them (with `!=`: none of them)

A text without an operator is a projection: the top-level keys to answer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import ApiError

_OPERATOR = re.compile(r"==|!=|>=|<=|>|<|~|=")
_RANGE = frozenset({">", ">=", "<", "<="})
_TIMES = re.compile(r"(At|AtUTC)$")
_TEXTS = frozenset(
    {
        "id",
        "name",
        "description",
        "state",
        "etag",
        "version",
        "flowId",
        "providerId",
        "sandboxId",
    }
    | {
        "baseConnectionId",
        "sandboxName",
        "imsOrgId",
        "createdBy",
        "updatedBy",
        "status",
    }
)


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. `path` keeps the `[]` marks."""

    path: str
    op: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """All conditions of a call, and the keys to answer (None = all)."""

    filters: tuple[Filter, ...] = ()
    keys: frozenset[str] | None = None

    def accepts(self, item: Mapping[str, Any]) -> bool:
        return all(holds(condition, item) for condition in self.filters)

    def project(self, item: dict[str, Any]) -> dict[str, Any]:
        if self.keys is None:
            return item
        return {name: value for name, value in item.items() if name in self.keys or name == "id"}


def _refuse(code: int, detail: str) -> ApiError:
    return ApiError(400, f"FLOW-{code}-400", "Invalid request", detail)


def select(texts: Iterable[str], fields: frozenset[str] | None = None) -> Selection:
    """Parse the values of all `property` parameters; `fields` are the top-level names that exist (None = any).

    ApiError 400 with the Flow Service code of the fault: 1440 `~`, 1443 range with several values, 1448 range on
    text, 1449 unknown field, 1450 no such operator, 1452 value of the wrong type, 1453 no value.
    """
    filters: list[Filter] = []
    keys: set[str] = set()
    for text in filter(None, (text.strip() for text in texts)):
        found = _OPERATOR.search(text)
        if found is None and "!" not in text:
            names = [name.strip() for name in text.split(",") if name.strip()]
            for name in names:
                _known(name, fields)
            keys.update(names)
            continue
        filters.append(_filter(text, fields))
    return Selection(tuple(filters), frozenset(keys) if keys else None)


def _filter(text: str, fields: frozenset[str] | None) -> Filter:
    found = _OPERATOR.search(text)
    if found is None:
        raise _refuse(1450, f"'{text}' has no valid operator.")
    path, op, rest = text[: found.start()].strip(), found.group(), text[found.end() :]
    if path.endswith("!") or (op == "=" and rest[:1] in ("<", ">", "!", "~")):
        raise _refuse(1450, f"'{text}' has an invalid operator; valid are == != > >= < <=.")
    if op == "~":
        raise _refuse(1440, f"The operator ~ in '{text}' is not implemented.")
    if not path:
        raise _refuse(1449, f"'{text}' names no field.")
    _known(path, fields)
    op = "==" if op == "=" else op
    values = tuple(_values(rest))
    if not values or (len(values) == 1 and not values[0] and not rest.strip().startswith('"')):
        raise _refuse(1453, f"The filter '{text}' has no value.")
    last = path.replace("[]", "").rpartition(".")[2]
    is_time = bool(_TIMES.search(last))
    if op in _RANGE and len(values) > 1:
        raise _refuse(1443, f"The operator {op} in '{text}' takes one value.")
    if op in _RANGE and last in _TEXTS:
        raise _refuse(1448, f"The operator {op} is not supported for the field {path}.")
    if is_time and (len(values) > 1 or not re.fullmatch(r"-?\d{1,18}", values[0])):
        raise _refuse(1452, f"{path} takes one integer: milliseconds since the epoch.")
    return Filter(path, op, values)


def _known(path: str, fields: frozenset[str] | None) -> None:
    first = path.split(".", 1)[0].removesuffix("[]")
    if fields is not None and first not in fields:
        raise _refuse(1449, f"'{first}' is not a field of this resource.")


def _values(text: str) -> Iterator[str]:
    """Split at commas outside quotes; quotes around a value are dropped."""
    for part in re.findall(r'\s*("[^"]*"|[^,]*)\s*(?:,|$)', text + ",")[:-1]:
        part = part.strip()
        yield part[1:-1] if len(part) >= 2 and part[0] == part[-1] == '"' else part


def holds(condition: Filter, item: Mapping[str, Any]) -> bool:
    """Whether an item fulfils one condition; a path that leads nowhere fulfils none."""
    steps = [step.removesuffix("[]") for step in condition.path.split(".")]
    found = list(_reach(item, steps))
    if not found:
        return False
    loose = steps[-1] in ("status", "state")
    if condition.op == "!=":
        return not any(_equal(value, text, loose) for value in found for text in condition.values)
    if condition.op == "==":
        return any(_equal(value, text, loose) for value in found for text in condition.values)
    return any(_ranked(value, condition.op, condition.values[0]) for value in found)


def _reach(node: Any, steps: Sequence[str]) -> Iterator[Any]:
    if isinstance(node, list):
        for element in node:
            yield from _reach(element, steps)
    elif not steps:
        if node is not None:
            yield node
    elif isinstance(node, Mapping) and steps[0] in node:
        yield from _reach(node[steps[0]], steps[1:])


def _equal(value: Any, text: str, loose: bool) -> bool:
    if isinstance(value, bool):
        return text.lower() == ("true" if value else "false")
    if isinstance(value, int | float):
        number = _number(text)
        return number is not None and number == value
    if isinstance(value, str):
        return value.lower() == text.lower() if loose else value == text
    return False


def _ranked(value: Any, op: str, text: str) -> bool:
    left: Any = value
    right: Any = text
    if isinstance(value, int | float) and not isinstance(value, bool):
        right = _number(text)
        if right is None:
            return False
    elif not isinstance(value, str):
        return False
    return bool(
        {
            ">": left > right,
            ">=": left >= right,
            "<": left < right,
            "<=": left <= right,
        }[op]
    )


def _number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None
