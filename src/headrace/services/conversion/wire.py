"""Request and answer shapes of mapping sets."""

from typing import Any

from headrace.errors import ApiError
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.parser import parse, parse_attribute
from headrace.model.flow import Rule
from headrace.model.ids import hex_id

SOURCE_TYPES = {
    "ATTRIBUTE": "text/x.schema-path",
    "EXPRESSION": "text/x.aep-xl",
    "STATIC": "text/plain",
}
_WORDS = {media: word for word, media in SOURCE_TYPES.items()}


def refuse(detail: str, status: int = 400) -> ApiError:
    titles = {400: "Invalid request", 404: "Not found"}
    return ApiError(status, "conversion", titles[status], detail)


def rule_of(entry: Any) -> Rule:
    """A rule of either shape; ApiError 400 says what it lacks."""
    if not isinstance(entry, dict):
        raise refuse("Each mapping must be an object.")
    source = entry.get("source", entry.get("sourceAttribute"))
    destination = entry.get("destination", entry.get("destinationXdmPath"))
    if not isinstance(source, str) or not isinstance(destination, str):
        raise refuse("Each mapping needs the texts 'source' and 'destination'.")
    given = entry.get("sourceType") or "ATTRIBUTE"
    kind = _WORDS.get(str(given), str(given).upper())
    if kind not in SOURCE_TYPES:
        raise refuse(f"The sourceType {given!r} is none of {', '.join(SOURCE_TYPES)}.")
    return Rule(kind, source, destination)


def check_syntax(rule: Rule) -> None:
    try:
        if rule.source_type == "EXPRESSION":
            parse(rule.source)
        elif rule.source_type == "ATTRIBUTE":
            parse_attribute(rule.source)
    except MappingSyntaxError as error:
        raise refuse(f"The source {rule.source[:80]!r} is not valid: {error}") from None


def stored_mapping(entry: Any, now: int, user: str, version: int = 0) -> dict[str, Any]:
    rule = rule_of(entry)
    check_syntax(rule)
    return {
        "id": hex_id(32),
        "version": version,
        "createdDate": now,
        "modifiedDate": now,
        "createdBy": user,
        "modifiedBy": user,
        "sourceType": SOURCE_TYPES[rule.source_type],
        "source": rule.source,
        "destination": rule.destination,
        "name": entry.get("name"),
        "description": entry.get("description"),
        "identity": bool(entry.get("identity")),
        "primaryIdentity": bool(entry.get("primaryIdentity")),
        "matchScore": entry.get("matchScore", 0.0),
        "functionVersion": 1,
        "sourceAttribute": rule.source,
        "destinationXdmPath": rule.destination,
    }


def schema_ref(body: dict[str, Any]) -> tuple[str, str]:
    """The target schema's id and content type of either shape; ApiError 400 without one."""
    output = body.get("outputSchema")
    ref = output.get("schemaRef") if isinstance(output, dict) else None
    ref = ref or body.get("schemaRef") or body.get("outputSchemaRef")
    ref = ref if isinstance(ref, dict) else {}
    schema_id = ref.get("id") or body.get("xdmSchema")
    if not isinstance(schema_id, str) or not schema_id:
        raise refuse("The target schema is missing: give outputSchema.schemaRef.id or xdmSchema.")
    return schema_id, str(ref.get("contentType") or body.get("xdmVersion") or "1.0")
