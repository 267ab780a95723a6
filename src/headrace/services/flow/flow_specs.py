"""The catalogue of dataflow specifications."""

from typing import Any

from headrace.services.flow import specs
from headrace.sources.declared import DECLARED

WITH_TRANSFORMATION = "c1a19761-d2c7-4702-b9fa-fe91f0613e81"


def _mapping(properties: dict[str, Any], required: list[str] | None) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "description": "defines various params required for different mapping from Raw to XDM",
        "properties": properties,
    }
    if required is not None:
        spec["required"] = required
    return {"name": "Mapping", "spec": spec}


def _flow_spec(
    id: str,
    name: str,
    sources: list[str],
    transformations: list[dict[str, Any]],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "providerId": specs.STREAMING,
        "version": "1.0",
        "sourceConnectionSpecIds": sources,
        "targetConnectionSpecIds": [specs.DATA_LAKE],
        "transformationSpecs": transformations,
        "attributes": attributes,
        "permissionsInfo": specs.permissions(),
    }


def _features(**flags: bool) -> dict[str, Any]:
    return {"uiAttributes": {"apiFeatures": flags}}


_FIRST = [specs.RESERVED, specs.SNOWFLAKE, specs.HTTP]
_SOURCE = {"isSourceFlow": True, "frequency": "streaming"}

FLOW_SPECS: tuple[dict[str, Any], ...] = (
    _flow_spec(
        WITH_TRANSFORMATION,
        "Steam data with transformation",  # the name as the platform spells it
        _FIRST,
        [_mapping({"mappingId": {"type": "string"}}, ["mappingId"])],
        _features(deleteSupported=False, updateSupported=False, flowRunsSupported=False),
    ),
    _flow_spec(
        "d8a6f005-7eaf-4153-983e-e8574508b877",
        "Stream data without transformation",
        _FIRST,
        [],
        _SOURCE | _features(flowRunsSupported=True),
    ),
    _flow_spec(
        "d69717ba-71b4-4313-b654-49f9cf126d7a",
        "Stream data with optional transformation",
        [specs.HTTP, *(found.spec_id for found in DECLARED)],
        [_mapping({"mappingId": {"type": "string"}}, None)],
        _SOURCE | _features(flowRunsSupported=False),
    ),
    _flow_spec(
        "e77fde5a-22a8-11ed-861d-0242ac120002",
        "GenericStreamingAEP",
        [specs.GENERIC],
        [
            _mapping(
                {"mappingId": {"type": "string"}, "mappingVersion": {"type": "string"}},
                ["mappingId"],
            )
        ],
        _SOURCE
        | {"flacValidationSupported": True}
        | _features(updateSupported=True, flowRunsSupported=True),
    ),
)
BY_ID = {spec["id"]: spec for spec in FLOW_SPECS}
