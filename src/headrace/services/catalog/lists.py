"""Lists of the Catalog Service: query parameters, filters, ordering, paging."""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

import re2

from headrace.errors import ApiError
from headrace.http.contract import Call

RESERVED = frozenset(
    {"limit", "start", "orderBy", "sort", "properties", "property", "tags", "createdAfter", "createdBefore",
     "requestDataSource", "dataSet", "dataSetId", "batch", "aggregate", "count"}
)  # fmt: skip
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "~")
Items = dict[str, dict[str, Any]]


def refuse(detail: str) -> ApiError:
    return ApiError(400, "CAT-1400-400", "Invalid request", detail)


def select(items: Items, call: Call) -> Items:
    """The part of `items` (in order) that a list call asks for; ApiError 400 for parameters that make no sense."""
    limit = number(call, "limit", 20, 1, 100)
    start = number(call, "start", 0, 0, None)
    chosen = filtered(items, call)
    order = call.value("orderBy") or call.value("sort")
    if order:
        chosen = dict(_ordered(list(chosen.items()), order))
    page = dict(list(chosen.items())[start : start + limit])
    return projected(page, call.value("properties"))


def filtered(items: Items, call: Call) -> Items:
    """All of `items` that the filters of a call accept; ApiError 400."""
    for name in ("createdAfter", "createdBefore"):
        for text in call.values(name):
            _moment(name, text)
    return {id: item for id, item in items.items() if _fits(item, call)}


def projected(items: Items, properties: str | None) -> Items:
    """Only the named top-level keys, all without names."""
    if not properties:
        return items
    names = [name.strip() for name in properties.split(",")]
    return {id: {k: item[k] for k in names if k in item} for id, item in items.items()}


def number(call: Call, name: str, default: int, least: int, most: int | None) -> int:
    """A query parameter within bounds; ApiError 400."""
    text = call.value(name)
    if text is None:
        return default
    number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else -1
    if number < least or (most is not None and number > most):
        bounds = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise refuse(f"{name} is {text}: it must be a number {bounds}.")
    return number


def _ordered(
    pairs: list[tuple[str, dict[str, Any]]], order: str
) -> list[tuple[str, dict[str, Any]]]:
    for part in reversed(order.split(",")):
        direction, _, name = part.rpartition(":")
        key = name.strip()
        pairs.sort(
            key=lambda pair: (pair[1].get(key) is not None, _comparable(pair[1].get(key))),
            reverse=direction.strip() == "desc",
        )
    return pairs


def _comparable(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _fits(item: Mapping[str, Any], call: Call) -> bool:
    for name, text in call.query:
        if name == "property" and not _property(item, text):
            return False
        if name == "tags" and not all(_tag(item, part) for part in text.split(",")):
            return False
        if name in ("createdAfter", "createdBefore") and not _created(item, name, text):
            return False
        if name not in RESERVED and not _equal(item.get(name), text):
            return False
    return True


def _created(item: Mapping[str, Any], name: str, text: str) -> bool:
    created, moment = item.get("created", 0), _moment(name, text)
    return bool(created > moment if name == "createdAfter" else created < moment)


def _moment(name: str, text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,18}", text) is None:
        raise refuse(f"{name} is {text}: it must be milliseconds since the epoch.")
    return int(text)


def _equal(value: Any, text: str) -> bool:
    negated = text.startswith("!")
    wanted = text.removeprefix("!").split(",")
    have = str(value).lower() if isinstance(value, bool) else str(value)
    alike = {"failed": "failure", "failure": "failed", "active": "success", "success": "active"}
    return (have in wanted or alike.get(have) in wanted) != negated


def _tag(item: Mapping[str, Any], text: str) -> bool:
    name, _, pattern = text.rpartition(":") if ":" in text else (text, "", "*")
    values = item.get("tags", {}).get(name) or item.get("tags", {}).get(text.split(":", 1)[0])
    wanted = text.split(":", 1)[1] if ":" in text else pattern
    return values is not None and any(fnmatch.fnmatchcase(str(v), wanted) for v in values)


def _property(item: Mapping[str, Any], text: str) -> bool:
    found = [(text.find(op), -len(op), op) for op in _OPERATORS if op in text]
    if not found:
        return (_at(item, text.lstrip("!")) is None) == text.startswith("!")
    at, _, operator = min(found)
    value, wanted = _at(item, text[:at]), text[at + len(operator) :]
    have = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if operator == "~":
        try:
            return re2.search(wanted, have) is not None
        except re2.error:
            raise refuse(f"{wanted} is no regular expression.") from None
    if operator in ("==", "!="):
        pattern = wanted.replace("**", "[*]")
        return fnmatch.fnmatchcase(have, pattern) == (operator == "==")
    left: Any = have
    right: Any = wanted
    if isinstance(value, int | float) and re.fullmatch(r"-?\d+(\.\d+)?", wanted):
        left, right = float(value), float(wanted)
    return bool(
        {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator]
    )


def _at(item: Any, path: str) -> Any:
    for step in path.strip().split("."):
        item = item.get(step) if isinstance(item, Mapping) else None
    return item
