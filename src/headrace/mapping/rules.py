"""A rule as people write it, in the modern or the legacy shape, to the rule that is run."""

from collections.abc import Mapping
from typing import Any

from headrace.model.flow import Rule

SOURCE_TYPES = {
    "ATTRIBUTE": "text/x.schema-path",
    "EXPRESSION": "text/x.aep-xl",
    "STATIC": "text/plain",
}
"""The word of a source type and its media type; both are read."""
_WORDS = {media: word for word, media in SOURCE_TYPES.items()}


def rule_of(entry: Any) -> Rule:
    """A rule of either shape, where the modern keys win; ValueError says what it lacks."""
    if not isinstance(entry, Mapping):
        raise ValueError("A mapping must be an object.")
    source = _either(entry, "source", "sourceAttribute")
    destination = _either(entry, "destination", "destinationXdmPath")
    if not isinstance(source, str) or not isinstance(destination, str):
        raise ValueError("A mapping needs the texts 'source' and 'destination'.")
    given = entry.get("sourceType") or "ATTRIBUTE"
    kind = _WORDS.get(str(given), str(given).upper())
    if kind not in SOURCE_TYPES:
        raise ValueError(f"The sourceType {given!r} is none of {', '.join(SOURCE_TYPES)}.")
    return Rule(kind, source, destination)


def _either(entry: Mapping[str, Any], modern: str, legacy: str) -> Any:
    found = entry.get(modern)
    return entry.get(legacy) if found is None else found
