"""Union views: all union-tagged schemas of a class seen as one, and when a schema may join. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.services.registry.faults import invalid
from headrace.store.documents import Document
from headrace.xdm.annotate import annotated
from headrace.xdm.fields import Field
from headrace.xdm.resolve import (
    Lookup,
    Resolver,
    Unresolvable,
    ancestors,
    class_of,
    external_references,
)

TITLE = "Union descriptor validation error"
_XDM = "https://ns.adobe.com/xdm/"
_IDENTITY = "xdm:descriptorIdentity"


def tagged(resource: Mapping[str, Any]) -> bool:
    """Whether a schema takes part in the union of its class."""
    return "union" in (resource.get("meta:immutableTags") or ())


def members(
    schemas: Iterable[Document], lookup: Lookup, class_id: str | None = None
) -> dict[str, list[Document]]:
    """Union-tagged schemas by class."""
    found: dict[str, list[Document]] = {}
    for document in schemas:
        if tagged(document.body):
            chosen = class_of(document.body, lookup)
            if chosen and class_id in (None, chosen):
                found.setdefault(chosen, []).append(document)
    return found


def resource(
    described: Mapping[str, Any], schemas: Iterable[Document], lookup: Lookup
) -> dict[str, Any]:
    """The union of a class, as a composition of the class and its members' field groups."""
    id = described["$id"]
    groups: dict[str, None] = {}
    for member in members(schemas, lookup, id).get(id, []):
        for reference in external_references(member.body):
            if reference != id:
                groups.setdefault(reference)
    parts = [{"$ref": r, "type": "object", "meta:xdmType": "object"} for r in (id, *groups)]
    composed = {"$id": f"{id}__union", "allOf": parts}
    return {
        "type": "object",
        "title": f"Union object for {id}",
        "description": f"Union view of all schemas that extend {id}",
        "allOf": parts,
        "meta:extends": ancestors(composed, lookup),
        "$id": f"{id}__union",
        "meta:altId": f"{described['meta:altId']}__union",
        "meta:class": id,
        "meta:containerId": "tenant",
        "meta:resourceType": "unions",
        "meta:xdmType": "object",
        "version": "1.0",
        "meta:registryMetadata": {},
    }


def items(schemas: Sequence[Document], lookup: Lookup) -> list[dict[str, Any]]:
    """List items: one for each class that has members."""
    found = []
    for class_id in members(schemas, lookup):
        described = lookup(class_id) or {}
        found.append(
            {
                "title": described.get("title"),
                "$id": f"{class_id}__union",
                "meta:altId": f"{described.get('meta:altId')}__union",
                "version": "1",
            }
        )
    return found


def additions(lookup: Lookup) -> dict[str, Any]:
    """Fields that a full union view has whatever its members bring."""
    found: dict[str, Any] = {}
    for group, name in (
        ("identitymap", "identityMap"),
        ("profile-segmentation", "segmentMembership"),
    ):
        part = lookup(f"{_XDM}context/{group}")
        if part is not None:
            found[name] = Resolver(lookup).full(part)["properties"][name]
    events = lookup(f"{_XDM}context/experienceevent")
    if events is not None:
        item = {"type": "object", "properties": Resolver(lookup).full(events)["properties"]}
        found["timeSeriesEvents"] = annotated({"type": "array", "items": item})
    return found


def check_entry(
    schema: Mapping[str, Any],
    tree: Field,
    descriptors: Sequence[Mapping[str, Any]],
    others: Sequence[Document],
    lookup: Lookup,
) -> None:
    """Everything that must hold before a schema joins a union; ApiError 400.

    `descriptors` are those of the sandbox, `others` the members that the union has.
    """
    mine = [d for d in descriptors if d.get("xdm:sourceSchema") == schema["$id"]]
    primary = any(d["@type"] == _IDENTITY and d.get("xdm:isPrimary") for d in mine)
    if "identityMap" not in tree.properties and not primary:
        raise invalid(
            f"The schema {schema['$id']} needs a primary identity descriptor or the field identityMap "
            "(field group https://ns.adobe.com/xdm/context/identitymap) to take part in a union.",
            "XDM-1528-400", TITLE,
        )  # fmt: skip
    references = {
        d.get("xdm:sourceProperty"): d.get("xdm:identityNamespace")
        for d in mine
        if d["@type"] == "xdm:descriptorReferenceIdentity"
    }
    for link in (d for d in mine if d["@type"] == "xdm:descriptorOneToOne"):
        property, target = link.get("xdm:sourceProperty"), link["xdm:destinationSchema"]
        if property not in references:
            raise invalid(
                f"The relationship property {property} needs a reference identity descriptor.",
                "XDM-1526-400", TITLE,
            )  # fmt: skip
        primaries = [
            d.get("xdm:namespace")
            for d in descriptors
            if d["@type"] == _IDENTITY
            and d.get("xdm:isPrimary")
            and d["xdm:sourceSchema"] == target
        ]
        if primaries and references[property] not in primaries:
            raise invalid(
                f"The reference identity of {property} has the namespace {references[property]}, the "
                f"primary identity of {target} has {primaries[0]}.",
                "XDM-1527-400", TITLE,
            )  # fmt: skip
    _check_merge(schema, others, lookup)


def _check_merge(schema: Mapping[str, Any], others: Sequence[Document], lookup: Lookup) -> None:
    parts: list[dict[str, Any]] = []
    for body in (schema, *(other.body for other in others)):
        parts += [{"$ref": r} for r in external_references(body) if {"$ref": r} not in parts]
    try:
        Resolver(lookup).full({"$id": "union", "allOf": parts})
    except Unresolvable as error:
        text = f"Cannot merge incompatible data types: {error}."
        raise invalid(text, "XDM-1413-400", "Merge Schema Error") from None
