"""Order and continuation: pages that stay right while resources come and go.

A token carries the last item's place in the order, not an offset, together with everything the following page
needs. Its text has no `=`, because clients take it from the link by splitting there.
"""

import base64
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.errors import ApiError


@dataclass(frozen=True, slots=True)
class Order:
    """One sort key: a top-level or dotted field, ascending unless `descending`."""

    field: str
    descending: bool = False


def encode_token(content: Mapping[str, Any]) -> str:
    """Unpadded base64url of compact JSON."""
    raw = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_token(token: str) -> dict[str, Any]:
    """What `encode_token` was given; ValueError for anything else."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return dict(json.loads(raw).items())
    except (ValueError, RecursionError, AttributeError):
        raise ValueError("the continuation token is not one of ours") from None


def next_link(path: str, token: str) -> str:
    """A link relative to the service's base, with exactly one query parameter."""
    return f"{path}?continuationToken={token}"


def place(item: Mapping[str, Any], order: Sequence[Order]) -> list[Any]:
    """Where an item stands in the order; ends with its id, so that no two items share a place."""
    return [
        *(_comparable(_at(item, key.field)) for key in order),
        [2, str(item.get("id", ""))],
    ]


def ordered(
    items: Sequence[dict[str, Any]],
    order: Sequence[Order],
    after: list[Any] | None = None,
) -> list[dict[str, Any]]:
    """The items in order, from the first one behind the place `after`."""
    compare = _comparison(order)
    placed = [(place(item, order), item) for item in items]
    if after is not None:
        try:
            placed = [entry for entry in placed if compare(entry[0], after) > 0]
        except (TypeError, IndexError):
            raise ValueError("the continuation token does not fit the order") from None
    key = functools.cmp_to_key(compare)
    return [item for _, item in sorted(placed, key=lambda entry: key(entry[0]))]


def page_size(text: str | None, *, default: int = 20, most: int = 100) -> int:
    """The `limit` parameter: a positive integer, clamped to `most`; ValueError otherwise."""
    if text is None:
        return default
    if not (text.strip().isascii() and text.strip().isdigit()) or int(text[:12]) < 1:
        raise ValueError(f"limit must be a positive integer, not '{text[:40]}'")
    return min(int(text[:12]), most)


def limit_and_offset(limit: str | None, offset: str | None, default: int = 50) -> tuple[int, int]:
    """The older services' pair; ApiError 400 when only one is given or one is not a number."""
    if (limit is None) != (offset is None):
        raise ApiError(400, "paging", "Invalid request", "limit and offset must be given together.")
    try:
        skip = int(offset or 0)
        if skip < 0:
            raise ValueError("offset must not be negative")
        return page_size(limit, default=default, most=1000), skip
    except ValueError as error:
        raise ApiError(400, "paging", "Invalid request", f"{error}.") from None


def _comparison(order: Sequence[Order]) -> Callable[[list[Any], list[Any]], int]:
    signs = [*(-1 if key.descending else 1 for key in order), 1]

    def compare(left: list[Any], right: list[Any]) -> int:
        for sign, a, b in zip(signs, left, right, strict=True):
            if a != b:
                return sign if a > b else -sign
        return 0

    return compare


def _comparable(value: Any) -> list[Any]:
    """Values of different types in one order: absent, numbers, texts."""
    if value is None:
        return [0, 0]
    if isinstance(value, bool | int | float):
        return [1, value]
    return [2, value if isinstance(value, str) else json.dumps(value, sort_keys=True)]


def _at(item: Mapping[str, Any], path: str) -> Any:
    found: Any = item
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
