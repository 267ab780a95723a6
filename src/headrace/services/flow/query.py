"""What a list call asks for: filters, order, place and size of the page; from a query string or a search body."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

from headrace.http.contract import Answer, Call
from headrace.http.paging import Order, decode_token, encode_token, next_link, page_size, place
from headrace.http.properties import Selection, select
from headrace.services.flow.faults import invalid
from headrace.services.flow.wire import FIELDS

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
_NESTED = re.compile(r"\??(property|orderby|orderBy|limit|count)=(?!=)")
NEWEST_FIRST = [Order("createdAt", descending=True)]

Items = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ListQuery:
    """`after` is the place, in `order`, of the last item of the page before; `limit` items are answered."""

    texts: tuple[str, ...]
    selection: Selection
    order_text: str
    order: list[Order]
    limit: int
    after: list[Any] | None
    count: bool

    def narrowed(self, text: str) -> "ListQuery":
        """The same with one filter more."""
        texts = (*self.texts, text)
        return replace(self, texts=texts, selection=select(texts, FIELDS))

    def mentions(self, field: str) -> bool:
        """Whether a filter or the order looks at a top-level field."""
        paths = [f.path for f in self.selection.filters] + [key.field for key in self.order]
        return any(path.split(".")[0].removesuffix("[]") == field for path in paths)


def of_call(call: Call) -> ListQuery:
    """What the query string asks for; ApiError with the code of its fault."""
    return _parsed(list(call.query), FIELDS)


def of_search(call: Call, fields: frozenset[str] = FIELDS) -> ListQuery:
    """What the body of a search call asks for; its `queryString` is a filter, or a query string."""
    body = call.object() if call.body.strip() else {}
    pairs = list(call.query)
    text = body.get("queryString") or ""
    if not isinstance(text, str):
        raise invalid(1452, "queryString must be a text.")
    if _NESTED.match(text):
        pairs += parse_qsl(text.lstrip("?"), keep_blank_values=True)
    elif text:
        pairs.append(("property", text))
    names = ("limit", "orderby", "count")
    pairs += [(name, str(body[name])) for name in names if body.get(name) is not None]
    projection = body.get("projectionFields")
    if isinstance(projection, list) and projection:
        pairs.append(("property", ",".join(map(str, projection))))
    return _parsed(pairs, fields)


def answer(
    path: str,
    query: ListQuery,
    find: Callable[[], Items],
    finish: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> Answer:
    """The page that begins what `find` gives: the items that are wanted, in order, from the query's place on.

    `finish` completes an item that is answered. The link to the next page carries the whole query.
    """
    try:
        if query.count:
            return Answer(200, {"count": sum(1 for _ in find())})
        window = list(islice(find(), query.limit + 1))
    except ValueError as error:
        raise invalid(1452, f"The page cannot be answered: {error}.") from None
    links: dict[str, Any] = {}
    if len(window) > query.limit:
        last = finish(window[query.limit - 1])
        content = {"p": query.texts, "o": query.order_text, "l": query.limit}
        token = encode_token(content | {"a": place(last, query.order)})
        links["next"] = {"href": next_link(path, token)}
    items = [query.selection.project(finish(item)) for item in window[: query.limit]]
    return Answer(200, {"items": items, "_links": links})


def _parsed(pairs: Sequence[tuple[str, str]], fields: frozenset[str]) -> ListQuery:
    unknown = sorted({name for name, _ in pairs} - _PARAMETERS)
    if unknown:
        raise invalid(1451, f"Unknown query parameter: {', '.join(unknown)}.")
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    count = first.get("count", "false").strip().lower()
    if count not in ("true", "false", ""):
        raise invalid(1452, "count must be true or false.")
    if count == "true" and "limit" in first:
        raise invalid(1401, "limit and count cannot be requested together.")
    texts = tuple(value for name, value in pairs if name == "property")
    order_text = first.get("orderby", first.get("orderBy", ""))
    after = None
    limit_text = first.get("limit")
    try:
        if first.get("continuationToken"):
            token = decode_token(first["continuationToken"])
            texts, order_text, after = tuple(token["p"]), str(token["o"]), list(token["a"])
            limit_text = limit_text or str(token["l"])
        limit = page_size(limit_text)
        selection = select(texts, fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise invalid(1452, f"The page cannot be answered: {error}.") from None
    order = ordering(order_text, fields)
    return ListQuery(texts, selection, order_text, order, limit, after, count == "true")


def ordering(text: str, fields: frozenset[str]) -> list[Order]:
    """The keys of an `orderby`; newest first when it is empty."""
    if not text.strip():
        return list(NEWEST_FIRST)
    found: list[Order] = []
    for part in text.split(","):
        name = part.strip()  # a literal + arrives as a space
        descending = name.startswith("-")
        name = name[1:] if name[:1] in ("+", "-") else name
        if not name or not name[0].isalpha():
            raise invalid(1432, f"'{part}' is not a field with an optional + or -.")
        if name.split(".")[0] not in fields:
            raise invalid(1433, f"'{name}' is not a field to order by.")
        found.append(Order(name, descending))
    return found
