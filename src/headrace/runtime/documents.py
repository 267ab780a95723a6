"""A flow revision from files, as people keep them: mapping sets, schemas and exports of either service."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import ConfigurationError
from headrace.mapping.rules import rule_of
from headrace.model.flow import FlowRevision, Rule
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.library import Library
from headrace.xdm.resolve import Resolver, Unresolvable

PLACEHOLDER = "<XDM_TENANTID_PLACEHOLDER>"
"""What an export has in place of the tenant's id."""

_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, RecursionError)
"""What reading a document raises whose parts are not of the types they should be."""


def revision_of(
    mapping: Path | None, schema: Path | None, flow: Path | None, tenant: str | None
) -> FlowRevision:
    """The revision that the options describe; ConfigurationError names the file and what is wrong in it.

    `flow` stands for both other files. `tenant` fills the places that an export left open; without it the
    tenant of the mapping set's schema does.
    """
    if flow is not None:
        if mapping is not None or schema is not None:
            raise ConfigurationError(
                "--flow replaces --mapping and --schema: give one or the other"
            )
        return _flow(flow)
    if schema is None:
        raise ConfigurationError("the target schema is missing: give --schema or --flow")
    rules: tuple[Rule, ...] | None = None
    wanted, nulls = None, False
    if mapping is not None:
        body = _decoded(mapping, _text(mapping))
        try:
            rules, wanted, nulls = rules_of(body), _schema_id(body), _keeps_nulls(body)
        except ValueError as error:
            raise ConfigurationError(f"{mapping}: {error}") from None
    text = _text(schema)
    if PLACEHOLDER.encode() in text:
        name = (tenant or _tenant(wanted)).removeprefix("_")
        if not name.isalnum():
            raise ConfigurationError(
                f"{schema} is an export that leaves the tenant open: give --tenant"
            )
        text = text.replace(PLACEHOLDER.encode(), name.encode())
    chosen, tree = _schema(schema, _decoded(schema, text), wanted)
    return FlowRevision(
        flow_id="offline", revision=1, org_id="", sandbox="", dataset_id="",
        schema_id=str(chosen.get("$id", "")), schema_version=str(chosen.get("version", "1.0")),
        schema=tree.to_json(), rules=rules, allow_null_values=nulls,
    )  # fmt: skip


def rules_of(body: Any) -> tuple[Rule, ...]:
    """The rules of a mapping set in either shape, or of its array of mappings alone.

    ValueError names every mapping, counted from 1, that is none.
    """
    entries = body.get("mappings") if isinstance(body, Mapping) else body
    if not isinstance(entries, list):
        raise ValueError("it is no mapping set: the array 'mappings' is missing")
    if not entries:
        raise ValueError("the mapping set has no mappings")
    rules: list[Rule] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            rules.append(rule_of(entry))
        except ValueError as error:
            problems.append(f"mapping {number}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(rules)


def _schema_id(body: Any) -> str | None:
    """The schema that a mapping set says it is for."""
    if not isinstance(body, Mapping):
        return None
    output = body.get("outputSchema")
    inner = output.get("schemaRef") if isinstance(output, Mapping) else None
    for reference in (inner, body.get("schemaRef"), body.get("outputSchemaRef")):
        if isinstance(reference, Mapping) and isinstance(reference.get("id"), str):
            return str(reference["id"])
    id = body.get("xdmSchema")
    return id if isinstance(id, str) else None


def _keeps_nulls(body: Any) -> bool:
    return isinstance(body, Mapping) and bool(body.get("allowNullValues"))


def _tenant(schema_id: str | None) -> str:
    """`acme` of `https://ns.adobe.com/acme/schemas/…`."""
    parts = (schema_id or "").split("/")
    return parts[3] if len(parts) == 6 and parts[4] == "schemas" else ""


def _schema(path: Path, body: Any, wanted: str | None) -> tuple[Mapping[str, Any], Field]:
    resources: Sequence[Any] = body if isinstance(body, list) else [body]
    if not resources or not all(isinstance(resource, Mapping) for resource in resources):
        raise ConfigurationError(f"{path}: it must hold a schema or an array of exported resources")
    known: dict[str, Mapping[str, Any]] = {}
    for resource in resources:
        for key in ("$id", "meta:altId"):
            if isinstance(resource.get(key), str):
                known[resource[key]] = resource
    # an export ends with the resource that was asked for
    chosen = known.get(wanted or "", resources[-1])
    library = Library()
    try:
        if any("/" in name for name in chosen.get("properties", {})):
            raise ConfigurationError(
                f"{path}: this is the flat view of a schema; xed-full has its structure"
            )
        full = Resolver(lambda id: known.get(id) or library.get(id)).full(chosen)
        tree = tree_of(full)
    except Unresolvable as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except _MALFORMED as error:
        raise ConfigurationError(f"{path}: it is no XDM schema: {error}") from None
    if tree.kind != "object" or not tree.properties:
        raise ConfigurationError(f"{path}: the schema has no fields")
    return chosen, tree


def _flow(path: Path) -> FlowRevision:
    try:
        revision = FlowRevision.from_json(_text(path))
        Field.from_json(revision.schema)
    except _MALFORMED as error:
        kind = type(error).__name__
        raise ConfigurationError(f"{path}: it is no flow revision: {kind}: {error}") from None
    return revision


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


def _decoded(path: Path, text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: it is not JSON: {error}") from None
