"""Everything that ships, and everything that is imported, resolves; samples are valid under their schemas."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import ConfigurationError
from headrace.services.registry.sample import sample
from headrace.xdm.check import Violation, conform
from headrace.xdm.compatibility import converted, steps_of
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.importing import import_repository
from headrace.xdm.library import IMPORTED, Library
from headrace.xdm.resolve import Resolver
from tests.unit.xdm import trees

LIBRARY = Library()
XDM = "https://ns.adobe.com/xdm"


def tree(id: str, library: Library = LIBRARY) -> Field:
    resource = library.get(id)
    assert resource is not None
    return tree_of(Resolver(library.get).full(resource))


@pytest.mark.parametrize("kind", ["behaviors", "classes", "mixins", "datatypes"])
def test_samples_of_every_standard_component_are_valid(kind: str) -> None:
    found = LIBRARY.of_type(kind)
    assert len(found) >= 3
    for resource in found:
        field = tree(resource["$id"])
        for seed in range(3):
            record = sample(field, random.Random(seed))
            violations: list[Violation] = []
            conform(record, field, "", violations)
            assert not violations, (resource["$id"], violations)
            assert set(field.required) <= set(record)


@settings(max_examples=150, deadline=None)
@given(trees.objects(), st.integers(0, 2**32))
def test_samples_of_any_schema_are_valid(field: Field, seed: int) -> None:
    violations: list[Violation] = []
    conform(sample(field, random.Random(seed)), field, "", violations)
    assert not violations


def test_components_are_found_by_alternative_id_too() -> None:
    assert LIBRARY.get("_xdm.context.profile") == LIBRARY.get(f"{XDM}/context/profile")
    assert LIBRARY.get("nothing") is None


@pytest.mark.parametrize(("name", "within", "path"), [
    ("xdm:firstName", "", ("firstName",)), ("plain", "", ("plain",)), ("@id", "", ("_id",)),
    ("repo:createDate", "", ("_repo", "createDate")), ("https://ns.adobe.com/xdm/channels/web", "", ("_channels", "web")),
    ("https://ns.adobe.com/experience/analytics", "", ("_experience", "analytics")),
    ("https://ns.adobe.com/experience/analytics/event1", "https://ns.adobe.com/experience/analytics", ("event1",)),
])  # fmt: skip
def test_prefixed_names_have_compatibility_names(
    name: str, within: str, path: tuple[str, ...]
) -> None:
    assert steps_of(name, within) == path


def test_prefixes_become_objects_that_required_names_follow() -> None:
    node = converted({
        "properties": {"repo:createDate": {"type": "string"}, "repo:modifyDate": {"type": "string"}, "xdm:a": {"type": "string"}},
        "required": ["repo:createDate", "xdm:a"],
    })  # fmt: skip
    assert node["required"] == ["a"]
    assert node["properties"]["_repo"]["required"] == ["createDate"]
    assert set(node["properties"]["_repo"]["properties"]) == {"createDate", "modifyDate"}
    assert node["properties"]["_repo"]["meta:xedConverted"] is True
    assert node["properties"]["a"]["meta:xdmField"] == "xdm:a"


def component(id: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    name = id.rsplit("/", 1)[1]
    return {
        "$id": id, "title": name, "type": "object", "meta:status": "stable", "description": "x",
        "definitions": {name: {"properties": properties}},
        "allOf": [{"$ref": f"{XDM}/common/extensible#/definitions/@context"}, {"$ref": f"#/definitions/{name}"}], **more,
    }  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository in small: good components, and each way in which one can be unusable."""
    engine = component(f"{XDM}/datatypes/engine", {
        "xdm:power": {"type": "integer", "minimum": 0, "maximum": 30000},
        "xdm:unit": {"$ref": f"{XDM}/datatypes/unit#/definitions/unit/properties/xdm:name"},
    })  # fmt: skip
    files: dict[str, Any] = {
        "components/datatypes/engine": engine,
        "components/datatypes/unit": component(f"{XDM}/datatypes/unit", {"xdm:name": {"type": "string", "enum": ["kW"]}}),
        "components/classes/vehicle": component(
            f"{XDM}/classes/vehicle", {"xdm:engine": {"$ref": f"{XDM}/datatypes/engine"}},
            allOf=[{"$ref": f"{XDM}/data/record"}, {"$ref": "#/definitions/vehicle"}]),
        "extensions/adobe/experience/acme/wheel": component(
            "https://ns.adobe.com/experience/acme/wheel",
            {"https://ns.adobe.com/experience/acme/wheel": {"properties": {"xdm:size": {"type": "number"}}}},
            **{"meta:intendedToExtend": [f"{XDM}/classes/vehicle"]}),
        "components/datatypes/loop": component(f"{XDM}/datatypes/loop", {"xdm:self": {"$ref": f"{XDM}/datatypes/loop"}}),
        "components/datatypes/dangling": component(f"{XDM}/datatypes/dangling", {"xdm:x": {"$ref": f"{XDM}/nowhere"}}),
        "components/datatypes/deprecated/old": component(
            f"{XDM}/datatypes/old", {"xdm:x": {"$ref": f"{XDM}/nowhere"}}, **{"meta:status": "deprecated"}),
        "components/datatypes/anonymous": {"title": "no id"},
        "schemas/second": component(f"{XDM}/datatypes/unit", {}),
    }  # fmt: skip
    for name, content in files.items():
        path = tmp_path / "xdm" / f"{name}.schema.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "xdm/components/datatypes/broken.schema.json").write_text("{")
    return tmp_path / "xdm"


def test_import_loads_what_resolves_and_says_of_each_other_file_why_not(
    checkout: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", io.StringIO()
    library = Library(data / IMPORTED)
    library.refresh()
    assert library.get(f"{XDM}/datatypes/engine") is None
    assert import_repository(checkout, data, out) == 0

    lines = out.getvalue().splitlines()
    reasons = {line.split(": ")[1].rsplit("/", 1)[1].split(".")[0]: line for line in lines[:-1]}
    assert set(reasons) == {"loop", "dangling", "old", "anonymous", "second", "broken"}
    assert "refers to itself" in reasons["loop"]
    assert "nowhere does not exist" in reasons["dangling"]
    assert "defined in components/datatypes/unit" in reasons["second"]
    assert "not JSON" in reasons["broken"]
    assert "4 of 9 active" in lines[-1]

    library.refresh()
    vehicle = tree(f"{XDM}/classes/vehicle", library)
    power, unit = vehicle.at("engine.power"), vehicle.at("engine.unit")
    assert power is not None
    assert power.kind == "short"
    assert unit is not None
    assert unit.enum == ("kW",)
    assert vehicle.at("_id") is not None
    wheel = library.get("_experience.acme.wheel")
    assert wheel is not None
    assert wheel["meta:resourceType"] == "mixins"
    size = tree("_experience.acme.wheel", library).at("_experience.acme.wheel.size")
    assert size is not None
    assert size.kind == "number"
    assert library.get(f"{XDM}/context/profile") is not None  # what ships stays


def test_a_directory_without_components_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="components"):
        import_repository(tmp_path, tmp_path / "data", io.StringIO())
