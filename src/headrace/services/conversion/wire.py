"""Request and answer shapes of mapping sets."""

from collections.abc import Mapping
from typing import Any

from headrace.errors import ApiError
from headrace.mapping import rules
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.parser import parse, parse_attribute
from headrace.mapping.rules import SOURCE_TYPES
from headrace.model.flow import Rule
from headrace.model.ids import hex_id
from headrace.services.conversion.attributes import attributes_of

_TITLES = {400: "Invalid request", 404: "Not found"}
_OLD_KEYS = ("identityGroup", "namespaceCode")


def refuse(detail: str, status: int = 400) -> ApiError:
    """What the service answers to a request that it cannot serve; `status` is 400 or 404."""
    return ApiError(status, f"DPS-{1100 + status % 100}-{status}", _TITLES[status], detail)


def rule_of(entry: Any) -> Rule:
    """A rule of either shape; ApiError 400 says what it lacks."""
    try:
        return rules.rule_of(entry)
    except ValueError as error:
        raise refuse(str(error)) from None


def check_syntax(rule: Rule) -> None:
    """ApiError 400 when the source is not of the language."""
    try:
        if rule.source_type == "EXPRESSION":
            parse(rule.source)
        elif rule.source_type == "ATTRIBUTE":
            parse_attribute(rule.source)
    except MappingSyntaxError as error:
        raise refuse(f"The source {rule.source[:80]!r} is not valid: {error}") from None


def stored_mapping(
    entry: Any, now: int, user: str, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A mapping as it is kept and answered; `before` is the one that it replaces, whose id it takes over.

    `now` is in milliseconds since the epoch. ApiError 400.
    """
    rule = rule_of(entry)
    check_syntax(rule)
    score = entry.get("matchScore") or 0.0
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise refuse("The 'matchScore' of a mapping must be a number.")
    return {
        "id": before["id"] if before else hex_id(32),
        "version": before["version"] + 1 if before else 0,
        "createdDate": before["createdDate"] if before else now,
        "modifiedDate": now,
        "createdBy": before["createdBy"] if before else user,
        "modifiedBy": user,
        "sourceType": SOURCE_TYPES[rule.source_type],
        "source": rule.source,
        "destination": rule.destination,
        "name": _text(entry, "name"),
        "description": _text(entry, "description"),
        "identity": bool(entry.get("identity")),
        "primaryIdentity": bool(entry.get("primaryIdentity")),
        "matchScore": float(score),
        "functionVersion": 1,
        "expressionAttributes": attributes_of(rule),
        "sourceAttribute": rule.source,
        "destinationXdmPath": rule.destination,
        **{key: entry[key] for key in _OLD_KEYS if entry.get(key) is not None},
    }


def schema_ref(body: Mapping[str, Any]) -> tuple[str, str]:
    """The target schema's id and content type of either shape; ApiError 400 without one."""
    output = body.get("outputSchema")
    ref = output.get("schemaRef") if isinstance(output, dict) else None
    ref = ref or body.get("schemaRef") or body.get("outputSchemaRef")
    ref = ref if isinstance(ref, dict) else {}
    schema_id = ref.get("id") or body.get("xdmSchema")
    if not isinstance(schema_id, str) or not schema_id:
        raise refuse("The target schema is missing: give outputSchema.schemaRef.id or xdmSchema.")
    return schema_id, str(ref.get("contentType") or body.get("xdmVersion") or "1.0")


def entries(body: Mapping[str, Any]) -> list[Any]:
    """The rules of a body; ApiError 400 when there is no array of them."""
    found = body.get("mappings")
    if not isinstance(found, list):
        raise refuse("The array 'mappings' is missing.")
    return found


def settings(body: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a set has beside its rules and target. Name and status outlive a body that lacks them.

    The client library replaces a set by its rules and target alone, which must not take its name. ApiError 400.
    """
    status = body.get("status", before.get("status", "DRAFT"))
    if not isinstance(status, str):
        raise refuse("The 'status' must be a text.")
    nulls = body.get("allowNullValues")
    if nulls is not None and not isinstance(nulls, bool):
        raise refuse("'allowNullValues' must be true or false.")
    source = body.get("inputSchema")
    if source is not None and not isinstance(source, dict):
        raise refuse("The 'inputSchema' must be an object with the id of an input schema.")
    tags = body.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        raise refuse("The 'tags' must be an array of objects with 'name' and 'values'.")
    return {
        "name": _text(body, "name") if "name" in body else before.get("name"),
        "inputSchema": source,
        "status": status,
        "allowNullValues": bool(nulls),
        "tags": tags,
    }


def _text(body: Mapping[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise refuse(f"The '{key}' must be a text.")
    return value
