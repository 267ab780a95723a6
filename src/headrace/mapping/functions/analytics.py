"""Analytics event and product texts."""

from typing import Any

from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
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


_RECORD = {
    "events": "event101=5:123456,scOpen",
    "products": "shoes;Trail 5;2;79.90;event1=2.3|event2=5:1;eVar1=sale,;Socks",
}
_EVENTS = Parameter("events", "string", "name=value:id, between commas")
_PRODUCTS = Parameter(
    "products", "string", "category;name;quantity;price;events;variables, between commas"
)


def _function(
    name: str, first: Parameter, asked: str | None, returns: str, what: str, result: str, call: Any
) -> Function:
    parameters: tuple[Parameter, ...] = (first,)
    if asked:
        parameters = (first, Parameter("name", "string", f"of an event or variable, as {asked}"))
    expression = f'{name}({first.name}, "{asked}")' if asked else f"{name}({first.name})"
    example = examples((expression, result))
    return Function(name, "Analytics", parameters, returns, what, example, call, record=_RECORD)


FUNCTIONS = (
    _function("aa_get_event_id", _EVENTS, "event101", "string", "The id of an event.", '"123456"', event_id),
    _function("aa_get_event_value", _EVENTS, "event101", "string", "The value of an event, 1 when it has none.", '"5"', event_value),
    _function("aa_get_product_categories", _PRODUCTS, None, "array", "The categories of products.", '["shoes",null]', _columns(0)),
    _function("aa_get_product_names", _PRODUCTS, None, "array", "The names of products.", '["Trail 5","Socks"]', _columns(1)),
    _function("aa_get_product_quantities", _PRODUCTS, None, "array", "The quantities of products.", '["2",null]', _columns(2)),
    _function("aa_get_product_prices", _PRODUCTS, None, "array", "The prices of products.", '["79.90",null]', _columns(3)),
    _function("aa_get_product_event_values", _PRODUCTS, "event1", "array", "An event's value in each product.", '["2.3",null]', product_event_values),
    _function("aa_get_product_event_ids", _PRODUCTS, "event2", "array", "An event's id in each product.", '["1",null]', product_event_ids),
    _function("aa_get_product_events", _PRODUCTS, "event2", "array", "An event's id and value in each product.", '[{"id":"1","value":"5"},null]', product_events),
    _function("aa_get_product_evars", _PRODUCTS, "eVar1", "array", "A variable in each product.", '["sale",null]', product_evars),
)  # fmt: skip
