"""Export of a sandbox's mapping sets, and import of such a document."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from headrace.errors import ApiError
from headrace.services.conversion import transfer, wire
from headrace.services.conversion.service import ConversionService
from headrace.services.conversion.transfer import Change
from headrace.store.documents import Scope


def export_sets(
    service: ConversionService, scope: Scope, tenant: str, wanted: Collection[str] = ()
) -> dict[str, Any]:
    """The latest versions of the sets whose names or ids are wanted, of all by default; ApiError 404."""
    sets = service.latest(scope)
    if wanted:
        known = {text for item in sets for text in (item["id"], item["name"])}
        for text in wanted:
            if text not in known:
                raise wire.refuse(f"There is no mapping set {text}.", 404)
        sets = [item for item in sets if item["id"] in wanted or item["name"] in wanted]
    titles = {item["xdmSchema"]: _title(service, scope, item["xdmSchema"]) for item in sets}
    return transfer.exported(sets, titles, tenant)


def import_sets(
    service: ConversionService,
    scope: Scope,
    tenant: str,
    document: Any,
    user: str,
    *,
    dry_run: bool = False,
) -> list[Change]:
    """Take a document in, all of it or nothing, and say what changed; with `dry_run` only say what would.

    ApiError 400 for what is no export and, without `dry_run`, when any set has problems.
    """
    with service.store.transaction():
        changes = [
            _checked(service, scope, change)
            for change in transfer.planned(
                document,
                service.latest(scope),
                lambda schema: _resolved(service, scope, schema),
                tenant,
            )
        ]
        if dry_run:
            return changes
        problems = [f"{c.label}: {text}" for c in changes for text in c.problems]
        if problems:
            raise wire.refuse("; ".join(problems))
        for index, change in enumerate(changes):
            if change.action == "created":
                made = service.create(scope, change.body, user, validate=False)
                changes[index] = replace(change, target=made["id"])
            elif change.action == "changed" and change.target:
                service.replace(scope, change.target, change.body, user)
    return changes


def _checked(service: ConversionService, scope: Scope, change: Change) -> Change:
    if change.action == "same" or change.problems:
        return change
    return replace(change, problems=tuple(service.unusable(scope, change.body)))


def _title(service: ConversionService, scope: Scope, id: str) -> str:
    try:
        return str(service.full_schema(scope, id).get("title", ""))
    except ApiError:  # deleted since
        return ""


def _resolved(service: ConversionService, scope: Scope, schema: Mapping[str, Any]) -> str:
    id, title = str(schema.get("id", "")), str(schema.get("title", ""))
    try:
        return service.schema_tree(scope, id)[0]
    except ApiError:
        found = service.store.titled(scope, ("schemas",), title) if title else []
    if len(found) != 1:
        raise wire.refuse(f"The target schema {id} is not here, nor one titled {title!r}.")
    return found[0]
