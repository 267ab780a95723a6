"""Sample data: a record that is valid under its schema."""

import random
from typing import Any

from headrace.xdm.fields import INTEGER_BOUNDS, Field

_FORMATS = {
    "uri": "https://example.com/sample",
    "uri-reference": "/uri-reference",
    "email": "sample@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def sample(field: Field, randomness: random.Random | None = None) -> Any:
    """A value of the field with everything below it filled in, except texts whose pattern is not known."""
    source = randomness or random.Random()
    if field.kind == "object":
        found = {name: sample(child, source) for name, child in field.properties.items()}
        return {name: value for name, value in found.items() if value is not None}
    if field.kind == "array":
        element = sample(field.items, source) if field.items else None
        return [] if element is None else [element]
    if field.kind == "map":
        value = sample(field.values, source) if field.values else None
        return {} if value is None else {"key": value}
    if field.kind == "boolean":
        return source.random() < 0.5
    if field.kind == "date":
        return "2024-02-29"
    if field.kind == "date-time":
        return "2024-02-29T12:30:00Z"
    if field.kind == "number" or field.kind in INTEGER_BOUNDS:
        low = field.minimum if field.minimum is not None else 0
        high = field.maximum if field.maximum is not None else low + 100
        low, high = min(low, high), max(low, high)
        return (
            source.uniform(low, high)
            if field.kind == "number"
            else source.randint(int(low), int(high))
        )
    return _text(field)


def _text(field: Field) -> str | None:
    if field.enum:
        return field.enum[0]
    text = _FORMATS.get(field.format or "", "string")
    if field.min_length is not None:
        text = text.ljust(field.min_length, "x")
    if field.max_length is not None:
        text = text[: field.max_length]
    if field.pattern is not None:
        from headrace.xdm.check import pattern_matches

        return text if pattern_matches(field.pattern)(text) else None
    return text
