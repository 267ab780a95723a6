"""Analytics event and product texts."""

from typing import Any

from headrace.mapping.functions.definition import Function, Parameter, null_to_null
from headrace.mapping.values import text_of


def _event(text: str) -> tuple[str, str | None, str | None]:
    rest, _, event_id = text.strip().partition(":")
    name, _, value = rest.partition("=")
    return name, value or None, event_id or None


def _found(
    events: Any, name: Any, separator: str = ","
) -> tuple[str, str | None, str | None] | None:
    wanted = text_of(name)
    return next((e for e in map(_event, text_of(events).split(separator)) if e[0] == wanted), None)


@null_to_null
def event_id(events: Any, name: Any) -> str | None:
    found = _found(events, name)
    return found[2] if found else None


@null_to_null
def event_value(events: Any, name: Any) -> str | None:
    found = _found(events, name)
    return (found[1] or "1") if found else None


def _column(products: Any, index: int) -> list[str | None]:
    rows = [product.split(";") for product in text_of(products).split(",")]
    return [(row[index].strip() or None) if index < len(row) else None for row in rows]


def _columns(index: int) -> Any:
    return null_to_null(lambda products: _column(products, index))


@null_to_null
def product_event_values(products: Any, name: Any) -> list[str | None]:
    return [
        None if (e := _found(c, name, "|")) is None else e[1] or "1" for c in _column(products, 4)
    ]


@null_to_null
def product_event_ids(products: Any, name: Any) -> list[str | None]:
    return [None if (e := _found(c, name, "|")) is None else e[2] for c in _column(products, 4)]


@null_to_null
def product_events(products: Any, name: Any) -> list[dict[str, str | None] | None]:
    values, ids = product_event_values(products, name), product_event_ids(products, name)
    return [None if v is None else {"id": i, "value": v} for v, i in zip(values, ids, strict=True)]


@null_to_null
def product_evars(products: Any, name: Any) -> list[str | None]:
    wanted, out = text_of(name), []
    for cell in _column(products, 5):
        pairs = (pair.partition("=") for pair in (cell or "").split("|"))
        out.append(next((value for key, _, value in pairs if key.strip() == wanted), None))
    return out


_NAME = Parameter("name", "string")


def _function(name: str, first: str, named: bool, returns: str, what: str, call: Any) -> Function:
    parameters = (Parameter(first, "string"), _NAME) if named else (Parameter(first, "string"),)
    example = f'{name}({first}, "event1")' if named else f"{name}({first})"
    return Function(name, "Analytics", parameters, returns, what, ((example, ""),), call)


FUNCTIONS = (
    _function("aa_get_event_id", "events", True, "string", "The id of an event.", event_id),
    _function("aa_get_event_value", "events", True, "string", "The value of an event, 1 by default.", event_value),
    _function("aa_get_product_categories", "products", False, "array", "The categories of products.", _columns(0)),
    _function("aa_get_product_names", "products", False, "array", "The names of products.", _columns(1)),
    _function("aa_get_product_quantities", "products", False, "array", "The quantities of products.", _columns(2)),
    _function("aa_get_product_prices", "products", False, "array", "The prices of products.", _columns(3)),
    _function("aa_get_product_event_values", "products", True, "array", "An event's value in each product.", product_event_values),
    _function("aa_get_product_event_ids", "products", True, "array", "An event's id in each product.", product_event_ids),
    _function("aa_get_product_events", "products", True, "array", "An event's id and value in each product.", product_events),
    _function("aa_get_product_evars", "products", True, "array", "A variable in each product.", product_evars),
)  # fmt: skip
