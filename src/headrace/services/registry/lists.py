"""Lists of the Schema Registry: property filters, ordering, paging by the first order property."""

import operator
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Call

MOST = 500
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")
Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """What a list call asked for."""

    orderby: str = "updated"
    limit: int | None = None
    start: str | None = None
    filters: tuple[str, ...] = ()


def page_from(call: Call) -> Page:
    """ApiError 400 for a limit that is no number from 0 to 500."""
    text = call.value("limit")
    if text is not None and (not re.fullmatch("[0-9]{1,18}", text) or int(text) > MOST):
        detail = f"limit is {text}: it must be a number from 0 to {MOST}."
        raise ApiError(400, "XDM-1301-400", "Invalid query parameter", detail)
    filters = tuple(part for value in call.values("property") for part in _split(value))
    limit = int(text) if text else None
    return Page(call.value("orderby") or "updated", limit, call.value("start"), filters)


def _split(value: str) -> list[str]:
    """Clients also put several filters into one parameter, separated by commas."""
    parts = value.split(",")
    return parts if all(any(op in part for op in _OPERATORS) for part in parts) else [value]


def page_of(items: Sequence[Item], page: Page, *, paged: bool = True) -> tuple[list[Item], Any]:
    """(the page's items, the `start` of the next page or None)."""
    tests = [_test(text) for text in page.filters]
    chosen = [item for item in items if all(test(item) for test in tests)]
    for name in reversed([n.strip() for n in page.orderby.split(",") if n.strip()]):
        key = name.lstrip("-+")
        chosen.sort(key=lambda item: _sortable(_value(item, key)), reverse=name.startswith("-"))
    first = page.orderby.split(",")[0].strip()
    key, descending = first.lstrip("-+"), first.startswith("-")
    if page.start is not None and chosen:
        edge = _sortable(_typed(page.start, _value(chosen[0], key)))

        def place(item: Item) -> tuple[int, Any]:
            return _sortable(_value(item, key))

        if descending:  # the items behind the edge are those before it in the opposite order
            chosen.reverse()
            chosen = chosen[: bisect_left(chosen, edge, key=place)][::-1]
        else:
            chosen = chosen[bisect_right(chosen, edge, key=place) :]
    limit = page.limit if page.limit else (300 if paged else None)
    if limit is None or len(chosen) <= limit:
        return chosen, None
    # the next page starts behind a value, so items that share it, or have none, stay together: the limit is a hint
    end = limit
    while end < len(chosen) and _value(chosen[end - 1], key) in (None, _value(chosen[end], key)):
        end += 1
    following = _value(chosen[end - 1], key) if end < len(chosen) else None
    return chosen[:end], following


def _value(item: Item, key: str) -> Any:
    registry = item.get("meta:registryMetadata") or {}
    if key == "updated":
        return registry.get("repo:lastModifiedDate", 0)
    if key == "created":
        return registry.get("repo:createdDate", 0)
    return item.get(key)


def _sortable(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, int | float) else (2, str(value))


def _typed(text: str, like: Any) -> Any:
    return int(text) if isinstance(like, int) and re.fullmatch("-?[0-9]{1,18}", text) else text


_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


def _test(text: str) -> Callable[[Item], bool]:
    """A filter, read once: `key`, or a key, the first operator in the text, and a value."""
    at, sign = min(
        ((text.find(op), op) for op in _OPERATORS if op in text),
        default=(-1, ""),
        key=lambda p: (p[0], -len(p[1])),
    )
    if at < 0:
        return lambda item: text in item
    key, wanted = text[:at].strip(), text[at + len(sign) :].strip().strip('"')
    compare = _COMPARISONS[sign]

    def fits(item: Item) -> bool:
        value = item.get(key)
        if isinstance(value, list):
            return (wanted in value) == (sign == "==")
        if isinstance(value, bool):
            return compare(str(value).lower(), wanted)
        return compare("" if value is None else str(value), wanted)

    return fits
