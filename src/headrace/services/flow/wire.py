"""JSON shapes of Flow Service."""

from collections.abc import Sequence
from typing import Any

from headrace.http.contract import Answer

FIELDS = frozenset(
    {
        "id", "createdAt", "updatedAt", "createdBy", "updatedBy", "createdClient",
        "updatedClient", "sandboxId", "sandboxName", "imsOrgId", "name", "description", "state",
        "version", "etag", "providerId", "providerRefId", "connectionSpec", "auth", "data",
        "params", "baseConnectionId", "inheritedAttributes", "flowSpec", "sourceConnectionIds",
        "targetConnectionIds", "transformations", "options", "scheduleParams", "labels",
        "policy", "runs", "lastOperation", "lastRunDetails", "unifiedMetadata", "flowId",
        "metrics", "activities", "recordTypes", "revision", "attributes", "status",
        "parentFlowRunId", "childFlowRunIds", "predecessors",
    }
)  # fmt: skip
"""Top-level names that lists can be filtered and ordered by."""

SPEC_FIELDS = frozenset(
    {
        "id", "name", "description", "providerId", "version", "type", "authSpec", "sourceSpec",
        "targetSpec", "exploreSpec", "encryptionSpecs", "entitlementInfo", "policy", "settings",
        "attributes", "permissionsInfo", "sourceConnectionSpecIds", "targetConnectionSpecIds",
        "optionSpec", "transformationSpecs", "scheduleSpec", "runSpec",
    }
)  # fmt: skip


def written(body: dict[str, Any], status: int = 200) -> Answer:
    """What a create, change or action answers."""
    return Answer(status, {"id": body["id"], "etag": body["etag"]}, {"etag": body["etag"]})


def one(item: dict[str, Any]) -> Answer:
    """A single resource: a list of one."""
    headers = {"etag": item["etag"]} if "etag" in item else {}
    return Answer(200, {"items": [item], "_links": {}}, headers)


def whole(items: Sequence[dict[str, Any]]) -> Answer:
    """A list that is never cut into pages."""
    return Answer(200, {"items": list(items), "_links": {}})
