"""Pages of mapping sets, input schemas and samples."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from headrace.errors import ApiError
from headrace.http.contract import Call
from headrace.http.properties import select
from headrace.services.conversion.wire import refuse

MOST = 1000
_ORDERS = {
    "createdDate": "createdDate",
    "modifiedDate": "modifiedDate",
    "updatedDate": "modifiedDate",
    "lastUpdateDate": "modifiedDate",
}


def number(call: Call, name: str, default: int) -> int:
    """A query parameter that counts from 0; ApiError 400."""
    text = call.value(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise refuse(f"The parameter '{name}' must be a number from 0, not {text[:40]!r}.")
    return int(text)


def chosen(
    call: Call, items: Sequence[dict[str, Any]], properties: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The items that `name` and all `properties` let through, in the order of `orderBy`; unknown orders are ignored."""
    name = call.value("name")
    try:
        filters = select(properties)
    except ApiError as error:  # in the words of another service
        raise refuse(error.detail) from None
    found = [item for item in items if name in (None, item.get("name")) and filters.accepts(item)]
    order = (call.value("orderBy") or "").strip()  # a plus sign may arrive as a blank
    key = _ORDERS.get(order.lstrip("+-"))
    if key:
        found.sort(key=lambda item: int(item[key]), reverse=order.startswith("-"))
    return found


def page(call: Call, items: Sequence[dict[str, Any]], default: int = 10) -> dict[str, Any]:
    """The list envelope around the page that `limit` and `start` ask for; its next link keeps all other parameters."""
    limit = min(number(call, "limit", default), MOST)
    start = number(call, "start", 0)
    window = items[start : start + limit]
    links: dict[str, Any] = {}
    if limit and start + limit < len(items):
        others = [(key, value) for key, value in call.query if key not in ("limit", "start")]
        query = urlencode([*others, ("limit", limit), ("start", start + limit)])
        links["next"] = {"href": f"{call.origin}{call.path}?{query}", "templated": False}
    return envelope(window, limit, links)


def envelope(
    items: Sequence[Mapping[str, Any]], limit: int, links: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "data": list(items),
        "_page": {"count": len(items), "limit": limit},
        "_links": dict(links),
    }
