"""JSON shapes of Flow Service."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from headrace.http.contract import Answer, Call
from headrace.http.paging import (
    Order,
    decode_token,
    encode_token,
    next_link,
    ordered,
    page_size,
    place,
)
from headrace.http.properties import Selection, select
from headrace.services.flow.faults import invalid

FIELDS = frozenset(
    [
        "id",
        "createdAt",
        "updatedAt",
        "createdBy",
        "updatedBy",
        "createdClient",
        "updatedClient",
        "sandboxId",
        "sandboxName",
        "imsOrgId",
        "name",
        "description",
        "state",
        "version",
        "etag",
        "providerId",
        "providerRefId",
        "connectionSpec",
        "auth",
        "data",
        "params",
        "baseConnectionId",
        "inheritedAttributes",
        "flowSpec",
        "sourceConnectionIds",
        "targetConnectionIds",
        "transformations",
        "options",
        "scheduleParams",
        "labels",
        "policy",
        "runs",
        "lastOperation",
        "lastRunDetails",
        "unifiedMetadata",
        "flowId",
        "metrics",
        "activities",
        "recordTypes",
        "revision",
        "attributes",
        "status",
    ]
)
_PARAMETERS = frozenset(
    {
        "property",
        "orderby",
        "orderBy",
        "limit",
        "count",
        "continuationToken",
        "if-match",
        "If-Match",
    }
)


def written(body: dict[str, Any], status: int = 200) -> Answer:
    """What a create, change or action answers."""
    return Answer(status, {"id": body["id"], "etag": body["etag"]}, {"etag": body["etag"]})


def one(item: dict[str, Any]) -> Answer:
    """A single resource: a list of one."""
    headers = {"etag": item["etag"]} if "etag" in item else {}
    return Answer(200, {"items": [item], "_links": {}}, headers)


def listing(call: Call, path: str, load: Callable[[], Sequence[dict[str, Any]]]) -> Answer:
    """A list call: filters, order, page, count."""
    return _page(list(call.query), path, load())


def search(call: Call, path: str, load: Callable[[], Sequence[dict[str, Any]]]) -> Answer:
    """The search form of a list call: the same parameters in a body."""
    body = call.object() if call.body.strip() else {}
    query = list(call.query)
    text = str(body.get("queryString") or "")
    if text.startswith(("property=", "?property=")):
        query += parse_qsl(text.lstrip("?"), keep_blank_values=True)
    elif text:
        query.append(("property", text))
    query += [(k, str(body[k])) for k in ("limit", "orderby", "count") if body.get(k) is not None]
    projection = body.get("projectionFields")
    if isinstance(projection, list) and projection:
        query.append(("property", ",".join(map(str, projection))))
    return _page(query, path, load())


def specs(call: Call, items: Sequence[dict[str, Any]]) -> Answer:
    """A list of specifications: filters only, always whole."""
    texts = [value for name, value in call.query if name == "property"]
    chosen = select(texts)
    found = [chosen.project(item) for item in items if chosen.accepts(item)]
    return Answer(200, {"items": found, "_links": {}})


def _page(query: list[tuple[str, str]], path: str, items: Sequence[dict[str, Any]]) -> Answer:
    unknown = sorted({name for name, _ in query} - _PARAMETERS)
    if unknown:
        raise invalid(1451, f"Unknown query parameter: {', '.join(unknown)}.")
    first: dict[str, str] = {}
    for name, value in query:
        first.setdefault(name, value)
    count = first.get("count", "false").strip().lower()
    if count not in ("true", "false", ""):
        raise invalid(1452, "count must be true or false.")
    if count == "true" and "limit" in first:
        raise invalid(1401, "limit and count cannot be requested together.")
    texts = [value for name, value in query if name == "property"]
    order_text = first.get("orderby", first.get("orderBy", ""))
    after = None
    limit_text = first.get("limit")
    try:
        if first.get("continuationToken"):
            token = decode_token(first["continuationToken"])
            texts, order_text, after = list(token["p"]), str(token["o"]), list(token["a"])
            limit_text = limit_text or str(token["l"])
        limit = page_size(limit_text)
        order = _order(order_text)
        chosen: Selection = select(texts, FIELDS)
        matching = [item for item in items if chosen.accepts(item)]
        if count == "true":
            return Answer(200, {"count": len(matching)})
        rest = ordered(matching, order, after)
    except (ValueError, KeyError, TypeError) as error:
        raise invalid(1452, f"The page cannot be answered: {error}.") from None
    window = rest[:limit]
    links: dict[str, Any] = {}
    if len(rest) > limit:
        content = {"p": texts, "o": order_text, "l": limit, "a": place(window[-1], order)}
        links["next"] = {"href": next_link(path, encode_token(content))}
    return Answer(200, {"items": [chosen.project(item) for item in window], "_links": links})


def _order(text: str) -> list[Order]:
    if not text.strip():
        return [Order("createdAt", descending=True)]
    found: list[Order] = []
    for part in text.split(","):
        name = part.strip()  # a literal + arrives as a space
        descending = name.startswith("-")
        name = name[1:] if name[:1] in "+-" else name
        if not name or not name[0].isalpha():
            raise invalid(1432, f"'{part}' is not a field with an optional + or -.")
        if name.split(".")[0] not in FIELDS:
            raise invalid(1433, f"'{name}' is not a field to order by.")
        found.append(Order(name, descending))
    return found
