"""The registry half of the unmodified Python client: every method that it has for resources, and its managers."""

import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from aepp import identity, schema
from aepp.classmanager import ClassManager
from aepp.datatypemanager import DataTypeManager
from aepp.fieldgroupmanager import FieldGroupManager
from aepp.schemamanager import SchemaManager

from headrace.testing.server import PlatformClient

pytestmark = pytest.mark.filterwarnings("ignore")

XDM = "https://ns.adobe.com/xdm"
PROFILE, EVENT = f"{XDM}/context/profile", f"{XDM}/context/experienceevent"
RECORD, TIME_SERIES = f"{XDM}/data/record", f"{XDM}/data/time-series"
PERSON, PERSONAL = f"{PROFILE}-person-details", f"{PROFILE}-personal-details"
IDENTITY_MAP = f"{XDM}/context/identitymap"
GROUPS = 320
"""More than the client asks for, and the server gives, on one page (300)."""


@pytest.fixture
def registry(configured_own: PlatformClient) -> schema.Schema:
    return schema.Schema()


@pytest.fixture
def tenant(own: PlatformClient) -> str:
    """The namespace of custom fields."""
    return f"_{own.credentials['tenant_id']}"


def unique(word: str) -> str:
    return f"{word} {uuid.uuid4().hex[:8]}"


def group_body(tenant: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "title": unique("group"), "description": "made by a test", "type": "object",
        "meta:intendedToExtend": [PROFILE],
        "definitions": {"customFields": {"type": "object", "properties": {
            tenant: {"type": "object", "properties": fields}}}},
        "allOf": [{"$ref": "#/definitions/customFields"}],
    } | more  # fmt: skip


def titles(items: list[dict[str, Any]]) -> set[str]:
    return {item["title"] for item in items}


# -- standard resources -------------------------------------------------------------------------------------


def test_standard_resources_are_listed(registry: schema.Schema) -> None:
    assert {item["$id"] for item in registry.getBehaviors()} == {
        RECORD, TIME_SERIES, f"{XDM}/data/adhoc",
    }  # fmt: skip
    behavior = registry.getBehavior(TIME_SERIES, full=True)
    assert {"_id", "timestamp", "eventType"} <= set(behavior["properties"])
    assert registry.getBehavior("_xdm.data.record", full=False)["$id"] == RECORD

    classes = registry.getClassesGlobal()
    assert PROFILE in {item["$id"] for item in classes}
    assert registry.data.classes_altId["XDM Individual Profile"] == "_xdm.context.profile"
    assert set(classes[0]) == {"$id", "meta:altId", "version", "title"}
    ordered = registry.getClassesGlobal(orderBy="title", limit=5)
    assert [item["title"] for item in ordered] == sorted(titles(classes))
    assert len(ordered) == len(classes) > 5
    frame = registry.getClassesGlobal(output="df", prop=f"meta:extends=={TIME_SERIES}")
    assert EVENT in set(frame["$id"])
    assert PROFILE not in set(frame["$id"])

    groups = registry.getFieldGroupsGlobal(prop=f"meta:intendedToExtend=={PROFILE}")
    assert PERSON in {item["$id"] for item in groups}
    assert all(PROFILE in item["meta:intendedToExtend"] for item in groups)
    everything = registry.getFieldGroupsGlobal(format="xed", output="df")
    assert len(everything) > len(groups)
    assert registry.data.fieldGroups_id["Demographic Details"] == PERSON

    types = registry.getDataTypesGlobal()
    assert f"{XDM}/context/person-name" in {item["$id"] for item in types}
    assert registry.data.dataTypes_altId["Person name"] == "_xdm.context.person-name"
    assert registry.getSchemasGlobal() == []


def test_standard_resources_are_looked_up_through_the_tenant(registry: schema.Schema) -> None:
    described = registry.getClass(PROFILE, full=False)
    assert RECORD in described["meta:extends"]
    assert described["meta:containerId"] == "global"
    full = registry.getClass("_xdm.context.profile", full=True, desc=True)
    assert "personID" in full["properties"]
    assert "allOf" not in full
    assert full["meta:descriptors"] == []

    group = registry.getFieldGroup(PERSON, full=False)
    name = group["allOf"][0]["$ref"].rsplit("/", 1)[1]
    assert "person" in group["definitions"][name]["properties"]
    resolved = registry.getFieldGroup("_xdm.context.profile-person-details")
    person = resolved["properties"]["person"]
    assert person["meta:referencedFrom"] == f"{XDM}/context/person"
    assert person["properties"]["name"]["properties"]["firstName"]["type"] == "string"
    assert registry.data.fieldGroups["Demographic Details"] == resolved
    flat = registry.getFieldGroup(PERSON, flat=True)
    assert flat["properties"]["person/name/firstName"]["meta:xdmType"] == "string"

    kind = registry.getDataType(f"{XDM}/common/address", full=True)
    assert {"street1", "city", "_schema"} <= set(kind["properties"])
    assert registry.getDataType("_schema.org.GeoCoordinates")["title"]


# -- schemas ------------------------------------------------------------------------------------------------


def test_schema_from_creation_to_deletion(
    registry: schema.Schema, tenant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    title = unique("people")
    made = registry.createProfileSchema(
        title, mixinIds=[PERSON, PERSONAL], description="all of them"
    )
    id, alt = made["$id"], made["meta:altId"]
    assert made["meta:class"] == PROFILE
    assert made["refs"] == [PERSON, PERSONAL, PROFILE]
    assert made["meta:extends"] == [PERSON, PERSONAL, f"{XDM}/common/auditable", RECORD, PROFILE]
    assert made["version"] == "1.0"

    assert title in titles(registry.getSchemas())
    assert registry.data.schemas_id[title] == id
    assert registry.data.schemas_altId[title] == alt
    assert title in titles(registry.getSchemas(classFilter=PROFILE, format="xed"))
    assert list(registry.getSchemas(prop=f"title=={title}", output="df")["$id"]) == [id]
    answer = registry.getSchemas(classFilter=f"{XDM}/classes/product")
    assert answer["results"] == []  # the client hands the whole answer on

    raw = registry.getSchema(id, full=False)
    assert [part["$ref"] for part in raw["allOf"]] == [PROFILE, PERSON, PERSONAL]
    full = registry.getSchema(alt)
    assert full["properties"]["person"]["properties"]["name"]["properties"]["lastName"]
    assert registry.data.schemas[title] == full
    assert "meta:descriptors" in registry.getSchema(id, desc=True, schema_type="xed")
    assert "person/name/firstName" in registry.getSchema(id, flat=True)["properties"]
    text = registry.getSchema(id, Accept="application/vnd.adobe.xed-full-notext+json; version=1")
    assert "title" not in text
    paths = registry.getSchemaPaths(id)
    assert {"person.name.firstName", "homeAddress.city", "personID"} <= set(paths)
    assert len(paths) == len(set(paths)) == 219
    sample = registry.getSchemaSample(id)
    assert isinstance(sample["person"]["name"]["firstName"], str)
    assert sample["person"]["birthDate"]

    monkeypatch.chdir(tmp_path)
    registry.getSchema(id, save=True)
    registry.getSchemaSample(id, save=True)
    assert len(list(tmp_path.rglob("*.json"))) == 2

    patched = registry.patchSchema(id, [{"op": "replace", "path": "/description", "value": "some"}])
    assert (patched["description"], patched["version"]) == ("some", "1.1")
    assert patched["meta:descriptorStatus"] == {"result": []}
    extended = registry.addFieldGroupToSchema(alt, [f"{PROFILE}-work-details"])
    assert extended["refs"] == [PERSON, PERSONAL, f"{PROFILE}-work-details", PROFILE]
    assert extended["version"] == "1.2"
    put = registry.putSchema(id, {**raw, "title": f"{title} again"})
    assert (put["title"], put["version"], put["refs"]) == (
        f"{title} again", "1.3", [PERSON, PERSONAL, PROFILE],
    )  # fmt: skip

    log = registry.getAuditLogs(id)
    assert len(log) == 4
    assert all(entry["id"] == id for entry in log)
    assert [entry["updated"] for entry in log] == sorted((e["updated"] for e in log), reverse=True)
    change = log[2]["auditTrails"][0]
    assert (change["action"], change["path"], change["value"]) == ("update", "/description", "some")
    assert log[3]["auditTrails"][0]["action"] == "add"
    assert set(log[0]) == {
        "id", "auditTrails", "updatedUser", "imsOrg", "updated", "clientId", "sandBoxId",
    }  # fmt: skip

    assert registry.deleteSchema(id) == 204
    assert registry.getSchema(id)["status"] == 404
    again = registry.createSchema(
        {"title": f"{title} again", "description": "", "allOf": [{"$ref": PROFILE}]}
    )
    assert again["type"] == "object"
    refused = registry.createSchema({"title": f"{title} again", "allOf": [{"$ref": PROFILE}]})
    assert (refused["status"], refused["title"]) == (400, "Title not unique")
    assert again["$id"] in refused["detail"]


def test_event_schemas_and_groups_by_id_and_type(registry: schema.Schema) -> None:
    web = f"{EVENT}-web"
    made = registry.createExperienceEventSchema(unique("events"), fieldGroupIds={web: "object"})
    assert made["meta:class"] == EVENT
    assert made["meta:extends"] == [web, IDENTITY_MAP, TIME_SERIES, EVENT]
    extended = registry.addFieldGroupToSchema(made["$id"], {f"{EVENT}-commerce": "object"})
    assert f"{EVENT}-commerce" in extended["meta:extends"]
    assert {"_id", "timestamp"} <= set(registry.getSchema(made["$id"])["required"])


def test_stats_count_what_the_sandbox_has(registry: schema.Schema, own: PlatformClient) -> None:
    before = registry.getStats()["counts"]["schemas"]
    title = unique("counted")
    made = registry.createProfileSchema(title, mixinIds=[PERSON])
    stats = registry.getStats()
    assert registry.getTenantId() == own.credentials["tenant_id"] == stats["tenantId"]
    assert stats["counts"]["schemas"] == before + 1
    newest = stats["recentlyCreatedResources"][0]
    assert (newest["$id"], newest["meta:classTitle"]) == (made["$id"], "XDM Individual Profile")
    assert title in titles(stats["classUsage"][PROFILE])


# -- classes, field groups, data types ----------------------------------------------------------------------


def test_class_from_creation_to_deletion(registry: schema.Schema, tenant: str) -> None:
    title = unique("hotel")
    made = registry.createClass(title=title, class_template=RECORD)
    assert made["meta:extends"] == [RECORD]
    assert (made["meta:extensible"], made["meta:abstract"]) == (True, True)
    own_fields = {tenant: {"type": "object", "properties": {"stars": {"type": "integer"}}}}
    put = registry.putClass(made["$id"], {
        "title": title, "type": "object",
        "definitions": {"customFields": {"type": "object", "properties": own_fields}},
        "allOf": [{"$ref": RECORD}, {"$ref": "#/definitions/customFields"}],
    })  # fmt: skip
    stars = put["definitions"]["customFields"]["properties"][tenant]["properties"]["stars"]
    assert stars["meta:xdmType"] == "int"
    patched = registry.patchClass(
        made["meta:altId"], [{"op": "add", "path": "/description", "value": "with stars"}]
    )
    assert (patched["description"], patched["version"]) == ("with stars", "1.2")
    full = registry.getClass(made["$id"])
    assert "stars" in full["properties"][tenant]["properties"]
    assert registry.getClasses(prop="")[0]["$id"] == made["$id"]
    assert registry.data.classes_altId[title] == made["meta:altId"]
    used = registry.createSchema({"title": unique("hotels"), "allOf": [{"$ref": made["$id"]}]})
    assert used["meta:class"] == made["$id"]
    assert registry.deleteClass(made["$id"])["status"] == 400
    assert registry.deleteSchema(used["$id"]) == 204
    assert registry.deleteClass(made["$id"]) == 204
    assert registry.getClass(made["$id"])["status"] == 404


def test_field_group_from_creation_to_deletion(registry: schema.Schema, tenant: str) -> None:
    made = registry.createFieldGroup(group_body(tenant, {"tier": {"type": "string"}}))
    id = made["$id"]
    assert made["refs"] == []
    assert made["meta:extends"] == []
    field = f"/definitions/customFields/properties/{tenant}/properties/points"
    patched = registry.patchFieldGroup(
        id, [{"op": "add", "path": field, "value": {"type": "integer"}}]
    )
    assert patched["version"] == "1.1"
    assert set(registry.getFieldGroup(id)["properties"][tenant]["properties"]) == {"tier", "points"}
    assert "definitions" in registry.getFieldGroup(made["meta:altId"], full=False, type="xdm")
    flat = registry.getFieldGroup(id, flat=True, desc=True)
    assert f"{tenant}/points" in flat["properties"]
    put = registry.putFieldGroup(id, group_body(tenant, {"tier": {"type": "string"}}))
    assert (put["version"], put["$id"]) == ("1.2", id)

    copied = registry.createFieldGroup(
        registry.copyFieldGroup(registry.getFieldGroup(id, full=False), title=unique("copy"))
    )
    assert copied["$id"] != id
    assert copied["definitions"] == put["definitions"]

    assert registry.extendFieldGroup(id)["meta:intendedToExtend"] == [PROFILE, EVENT]
    work = f"{PROFILE}-work-details"
    widened = registry.extendFieldGroup(work, values=[PROFILE, EVENT], tenant="global")
    assert widened["meta:intendedToExtend"] == [PROFILE, EVENT]
    events = registry.createExperienceEventSchema(unique("at work"), mixinIds=[work])
    assert work in events["meta:extends"]

    assert registry.deleteFieldGroup(copied["$id"]) == 204
    assert registry.deleteFieldGroup(id) == 204
    assert registry.getFieldGroup(id)["status"] == 404


def test_data_type_from_creation_to_deletion(registry: schema.Schema, tenant: str) -> None:
    title = unique("door")
    made = registry.createDataType(
        {"title": title, "type": "object", "properties": {"color": {"type": "string"}}}
    )
    assert made["properties"]["color"]["meta:xdmType"] == "string"
    id, alt = made["$id"], made["meta:altId"]
    assert title in titles(registry.getDataTypes())
    assert registry.data.dataTypes_altId[title] == alt
    change = {"op": "add", "path": "/properties/width", "value": {"type": "number"}}
    assert registry.patchDataType(id, [change])["version"] == "1.1"  # the id goes unquoted
    assert set(registry.getDataType(id)["properties"]) == {"color", "width"}
    put = registry.putDataType(
        id, {"title": title, "type": "object", "properties": {"color": {"type": "string"}}}
    )
    assert (put["version"], set(put["properties"])) == ("1.2", {"color"})
    user = registry.createFieldGroup(group_body(tenant, {"front": {"type": "object", "$ref": id}}))
    assert user["refs"] == [id]
    front = registry.getFieldGroup(user["$id"])["properties"][tenant]["properties"]["front"]
    assert front["meta:referencedFrom"] == id
    assert registry.deleteDataType(id)["status"] == 400
    assert registry.deleteFieldGroup(user["$id"]) == 204
    assert registry.deleteDataType(id) == 204
    assert registry.getDataType(alt)["status"] == 404


# -- descriptors and unions ---------------------------------------------------------------------------------


def test_descriptors_of_every_type(registry: schema.Schema, tenant: str) -> None:
    fields = {
        "email": {"type": "string"}, "hotel": {"type": "string"}, "old": {"type": "string"},
        "changed": {"type": "string", "format": "date-time"},
    }  # fmt: skip
    group = registry.createFieldGroup(group_body(tenant, fields))
    source = registry.createProfileSchema(unique("guests"), mixinIds=[group["$id"], PERSON])["$id"]
    target = registry.createProfileSchema(unique("hotels"), mixinIds=[group["$id"]])["$id"]
    build = registry.createDescriptorOperation
    wanted = [
        build(source, "xdm:descriptorIdentity", f"{tenant}.email", identityNSCode="Email",
              identityPrimary=True),
        build(source, "xdm:alternateDisplayInfo", "person.name.firstName", alternateTitle="Given"),
        build(source, "xdm:descriptorOneToOne", f"{tenant}.hotel", targetSchema=target,
              targetCompletePath=f"/{tenant}/hotel"),
        build(source, "xdm:descriptorReferenceIdentity", f"{tenant}.hotel", identityNSCode="Email"),
        build(source, "xdm:descriptorDeprecated", f"{tenant}.old"),
        build(source, "xdm:descriptorTimeSeriesGranularity", granularity="hour"),
        build(source, "xdm:descriptorRelationship", f"{tenant}.hotel", targetSchema=target,
              targetCompletePath=f"/{tenant}/hotel", targetNamespace="Email", cardinality="M:1"),
        build(source, "xdm:descriptorPrimaryKey", f"{tenant}.email"),
        build(source, "xdm:descriptorVersion", f"{tenant}.changed"),
        build(source, "xdm:descriptorTimestamp", f"{tenant}.changed"),
        build(source, "xdm:descriptorLabel", f"{tenant}.email", labels=["core/C1"]),
    ]  # fmt: skip
    assert {d["@type"] for d in wanted} == set(registry.DESCRIPTOR_TYPES)
    made = [registry.createDescriptor(each) for each in wanted]
    for each, answer in zip(wanted, made, strict=True):
        assert each.items() <= answer.items()
        assert answer["meta:containerId"] == "tenant"
    ids = [each["@id"] for each in made]
    assert len(set(ids)) == len(wanted)

    mine = f"xdm:sourceSchema=={source}"
    assert [d["@id"] for d in registry.getDescriptors(prop=mine)] == ids
    assert registry.getDescriptors(prop=mine, id_desc=True) == ids
    assert registry.getDescriptors(prop=mine, link_desc=True) == [
        f"/tenant/descriptors/{id}" for id in ids
    ]
    only = registry.getDescriptors(type_desc="xdm:descriptorIdentity", prop=mine)
    assert [d["@id"] for d in only] == ids[:1]
    assert registry.getDescriptor(ids[1])["xdm:title"] == {"en_us": "Given"}

    shown = registry.getSchema(source, desc=True)
    assert [d["@id"] for d in shown["meta:descriptors"]] == ids
    marked = registry.getSchema(source, deprecated=True)["properties"][tenant]["properties"]
    assert marked["old"]["meta:status"] == "deprecated"
    assert "meta:status" not in marked["email"]

    put = registry.putDescriptor(ids[1], wanted[1] | {"xdm:title": {"en_us": "First"}})
    assert put["@id"] == ids[1]
    assert registry.getDescriptor(ids[1])["xdm:title"] == {"en_us": "First"}
    assert registry.deleteDescriptor(ids[4]) == 204
    assert registry.getDescriptor(ids[4])["status"] == 404
    assert ids[4] not in registry.getDescriptors(id_desc=True)
    assert registry.deleteDescriptor(ids[4])["status"] == 404

    plain = registry.createDescriptor(
        desc_type="xdm:descriptorIdentity", sourceSchema=source, sourceProperty=f"/{tenant}/hotel",
        namespace="CRMID", primary=False, **{"xdm:property": "xdm:code"},
    )  # fmt: skip
    assert plain["status"] == 400  # the namespace does not exist
    assert "CRMID" in plain["detail"]


def test_schema_joins_a_union_by_its_identity_map(registry: schema.Schema) -> None:
    title = unique("mapped")
    made = registry.createProfileSchema(title, mixinIds=[IDENTITY_MAP, PERSON])
    tagged = registry.enableSchemaForRealTime(made["$id"])
    assert tagged["meta:immutableTags"] == ["union"]
    assert f"{PROFILE}__union" in {item["$id"] for item in registry.getUnions()}
    union = registry.getUnion(f"{PROFILE}__union")
    assert union["meta:class"] == PROFILE
    assert {"person", "identityMap", "segmentMembership", "timeSeriesEvents"} <= set(
        union["properties"]
    )
    assert registry.getUnion("_xdm.context.profile__union")["$id"] == union["$id"]
    assert registry.getSchema(union["$id"])["title"] == f"Union object for {PROFILE}"
    members = registry.getXDMprofileSchema()["results"]
    assert title in titles(members)
    assert registry.deleteSchema(made["$id"])["status"] == 400
    assert registry.getSchema(made["$id"])["meta:immutableTags"] == ["union"]


def test_schema_joins_a_union_by_its_primary_identity(registry: schema.Schema, tenant: str) -> None:
    group = registry.createFieldGroup(group_body(tenant, {"email": {"type": "string"}}))
    made = registry.createProfileSchema(unique("by e-mail"), mixinIds=[group["$id"]])
    refused = registry.enableSchemaForUPS(made["$id"])
    assert refused["status"] == 400
    assert refused["type"].endswith("XDM-1528-400")
    assert refused["title"] == "Union descriptor validation error"
    identity = registry.createDescriptor(
        registry.createDescriptorOperation(
            made["$id"], "xdm:descriptorIdentity", f"{tenant}.email", identityNSCode="Email",
            identityPrimary=True,
        )
    )  # fmt: skip
    tagged = registry.patchSchema(made["$id"], registry.PATCH_OBJ)  # the pointer is a typing slip
    assert tagged["meta:immutableTags"] == ["union"]
    assert registry.deleteDescriptor(identity["@id"])["status"] == 403
    assert registry.getDescriptor(identity["@id"])["xdm:isPrimary"] is True


# -- export, import -----------------------------------------------------------------------------------------


def test_export_is_imported_again(registry: schema.Schema, tenant: str) -> None:
    kind = registry.createDataType(
        {"title": unique("door"), "type": "object", "properties": {"color": {"type": "string"}}}
    )
    group = registry.createFieldGroup(
        group_body(tenant, {"front": {"type": "object", "$ref": kind["$id"]}})
    )
    made = registry.createProfileSchema(unique("houses"), mixinIds=[group["$id"]])
    before = registry.getSchema(made["$id"])
    exported = registry.exportResource(made["$id"])
    assert [item["title"] for item in exported] == [kind["title"], group["title"], made["title"]]
    assert tenant not in str(exported)
    assert "<XDM_TENANTID_PLACEHOLDER>" in exported[-1]["$id"]
    assert registry.importResource(exported)["type"].endswith("XDM-3005-400")
    registry.deleteSchema(made["$id"])
    registry.deleteFieldGroup(group["$id"])
    registry.deleteDataType(kind["$id"])
    stored = registry.importResource(exported)
    assert [item["$id"] for item in stored] == [kind["$id"], group["$id"], made["$id"]]
    after = registry.getSchema(made["$id"])
    assert after["properties"] == before["properties"]
    missing = registry.exportResource(f"{made['$id'][:-4]}0000")
    assert missing["type"].endswith("XDM-1012-404")
    assert missing["title"] == "Resource Not Found"


# -- managers -----------------------------------------------------------------------------------------------


def test_schema_manager(registry: schema.Schema, tenant: str) -> None:
    group = registry.createFieldGroup(group_body(tenant, {"tier": {"type": "string"}}))
    made = registry.createProfileSchema(unique("managed"), mixinIds=[PERSON, PERSONAL])
    manager = registry.SchemaManager(made["$id"])
    assert (manager.classId, manager.altId) == (PROFILE, made["meta:altId"])
    assert set(manager.fieldGroups) == {PERSON, PERSONAL}
    assert set(manager.fieldGroupTitles) == {"Demographic Details", "Personal Contact Details"}
    assert list(manager.classManagers) == ["XDM Individual Profile"]
    frame = manager.to_dataframe(required=True, full=True)
    known = set(frame["path"])
    assert {
        "person",
        "person.name",
        "person.name.firstName",
        "homeAddress.city",
        "personID",
    } <= known
    assert (
        frame[frame["path"] == "person.name.firstName"]["fieldGroup"].item()
        == "Demographic Details"
    )
    paths = {path for path in registry.getSchemaPaths(made["$id"]) if path.startswith("person.")}
    assert paths <= known
    nested = manager.to_dict()
    assert nested["person"]["name"]["firstName"] == "string"
    assert [hit["class"] for hit in manager.searchField("personID")] == ["XDM Individual Profile"]
    assert "personID" in manager.searchAttribute({"meta:xdmType": "string"})
    assert manager.searchAttribute({"meta:xdmType": "none"}) == []
    person = manager.getFieldGroupManager(PERSON)
    assert manager.getFieldGroupManager("Demographic Details") is person

    manager.addFieldGroup(group["$id"])
    manager.setDescription("managed further")
    updated = manager.updateSchema()
    assert updated["refs"] == [PERSON, PERSONAL, group["$id"], PROFILE]
    assert updated["description"] == "managed further"
    again = registry.SchemaManager(registry.getSchema(made["$id"], full=False))
    assert f"{tenant}.tier" in set(again.to_dataframe()["path"])

    operation = manager.createDescriptorOperation(
        "xdm:descriptorIdentity", f"{tenant}.tier", identityNSCode="Email"
    )
    descriptor = manager.createDescriptor(operation)
    assert [d["@id"] for d in manager.getDescriptors()] == [descriptor["@id"]]
    primary = manager.updateDescriptor(descriptor["@id"], operation | {"xdm:isPrimary": True})
    assert primary["xdm:isPrimary"] is True
    assert manager.getDatasets() == {}

    fresh = SchemaManager(None, schemaAPI=registry, title=unique("fresh"), schemaClass=PROFILE)
    fresh.addFieldGroup(PERSON)
    assert fresh.createSchema()["refs"] == [PERSON, PROFILE]
    assert fresh.id.startswith(f"https://ns.adobe.com/{tenant[1:]}/schemas/")
    fresh.setTitle(manager.title)
    refused = fresh.updateSchema()
    assert (refused["status"], refused["title"]) == (400, "Title not unique")
    compared = registry.compareDFschemas(frame, again.to_dataframe())
    assert compared["fieldGroups"]["aligned"] is False


def test_field_group_manager(registry: schema.Schema, tenant: str) -> None:
    kind = registry.createDataType(
        {"title": unique("door"), "type": "object", "properties": {"color": {"type": "string"}}}
    )
    manager = registry.FieldGroupManager(None, title=unique("managed group"), fg_class=["profile"])
    simple = {
        "text": "string", "flag": "boolean", "ratio": "double", "big": "long", "count": "integer",
        "little": "short", "tiny": "byte", "day": "date", "moment": "date-time",
    }  # fmt: skip
    assert manager.addField(tenant, "object")
    for name, of in simple.items():
        assert manager.addField(f"{tenant}.{name}", of)
    assert manager.addField(f"{tenant}.words", "string", array=True)
    assert manager.addField(f"{tenant}.labels", "map", mapType="string")
    assert manager.addField(f"{tenant}.sizes", "map", mapType="integer")
    assert manager.addField(f"{tenant}.place", "object", objectComponents={"city": "string"})
    assert manager.addField(f"{tenant}.visits", "array", objectComponents={"at": "date-time"})
    assert manager.addField(f"{tenant}.front", "dataType", ref=kind["$id"])
    assert manager.addField(
        f"{tenant}.level", "string", enumValues={"g": "Gold", "s": "Silver"}, enumType=True
    )
    made = manager.createFieldGroup()
    assert "status" not in made
    assert made["meta:intendedToExtend"] == [PROFILE]
    assert made["refs"] == [kind["$id"]]

    read = registry.FieldGroupManager(made["$id"])
    assert read.EDITABLE is True
    frame = read.to_dataframe(full=True).set_index("path")
    types = frame["xdmType"].to_dict()
    assert {name: types[f"{tenant}.{name}"] for name in (
        "text", "flag", "ratio", "big", "count", "little", "tiny", "day", "moment", "labels",
    )} == {
        "text": "string", "flag": "boolean", "ratio": "number", "big": "long", "count": "int",
        "little": "short", "tiny": "byte", "day": "date", "moment": "date-time", "labels": "map",
    }  # fmt: skip
    assert f"{tenant}.place.city" in frame.index
    assert frame.loc[f"{tenant}.front.color"]["origin"] == "dataType"
    assert read.to_dict()[tenant]["front"]["color"] == "string"
    assert read.getDataTypePaths() == {f"{tenant}.front": kind["$id"]}
    assert read.getDataTypeManager(kind["$id"]).title == kind["title"]
    assert read.getField(f"{tenant}.level")["enum"] == ["g", "s"]
    assert [hit["city"]["path"] for hit in read.searchField("city")] == [f"{tenant}.place.city"]

    read.addField(f"{tenant}.added", "string")
    read.updateClassSupported([PROFILE, EVENT])
    updated = read.updateFieldGroup()
    assert (updated["version"], updated["meta:intendedToExtend"]) == ("1.1", [PROFILE, EVENT])
    operation = read.addFieldOperation(f"{tenant}.later", "string")
    operation[0]["path"] = operation[0]["path"].removesuffix("/properties")
    patched = read.patchFieldGroup(operation)
    custom = patched["definitions"]["customFields"]["properties"][tenant]["properties"]
    assert {"added", "later"} <= set(custom)
    assert read.removeField(f"{tenant}.later") is True
    assert read.updateFieldGroup()["version"] == "1.3"
    full = registry.getFieldGroup(made["$id"])["properties"][tenant]["properties"]
    assert "added" in full
    assert "later" not in full

    label = read.createDescriptorOperation(
        "xdm:descriptorLabel", f"/{tenant}/text", labels=["core/C2"]
    )
    descriptor = read.createDescriptor(label)
    assert [d["@id"] for d in read.getDescriptors()] == [descriptor["@id"]]
    changed = read.updateDescriptor(descriptor["@id"], label | {"xdm:labels": ["core/C3"]})
    assert changed["xdm:labels"] == ["core/C3"]
    taken = registry.FieldGroupManager(None, title=made["title"])
    taken.addField(f"{tenant}.a", "string")
    assert taken.createFieldGroup()["title"] == "Title not unique"


def test_field_group_manager_reads_standard_groups(registry: schema.Schema) -> None:
    manager = registry.FieldGroupManager(PERSONAL)
    known = set(manager.to_dataframe()["path"])
    assert {"homeAddress", "homeAddress.city", "mobilePhone.number"} <= known
    commerce = FieldGroupManager(
        registry.getFieldGroup(f"{EVENT}-commerce", full=False), schemaAPI=registry
    )
    found = set(commerce.to_dataframe()["path"])
    assert {"commerce", "commerce.order.purchaseID", "productListItems[]{}"} <= found


def test_field_group_from_a_table(registry: schema.Schema, tenant: str) -> None:
    table = pd.DataFrame({
        "path": [tenant, f"{tenant}.name", f"{tenant}.age", f"{tenant}.tags[]"],
        "xdmType": ["object", "string", "integer", "string"],
        "title": ["", "Name", "Age", "Tags"], "description": [""] * 4,
        "fieldGroup": [unique("from a table")] * 4, "origin": ["fieldGroup"] * 4,
    })  # fmt: skip
    manager = registry.FieldGroupManager(None)
    manager.importFieldGroupDefinition(table)
    made = manager.createFieldGroup()
    fields = registry.getFieldGroup(made["$id"])["properties"][tenant]["properties"]
    assert {name: node["meta:xdmType"] for name, node in fields.items()} == {
        "name": "string", "age": "int", "tags": "array",
    }  # fmt: skip


def test_class_manager(registry: schema.Schema, tenant: str) -> None:
    standard = ClassManager(PROFILE, schemaAPI=registry)
    assert (standard.EDITABLE, standard.behavior) == (False, RECORD)
    assert "personID" in set(standard.to_dataframe()["path"])
    events = ClassManager(EVENT, schemaAPI=registry)
    assert events.behavior == TIME_SERIES
    assert {"timestamp", "identityMap"} <= set(events.to_dict())

    title = unique("managed class")
    manager = ClassManager(title=title, behavior=TIME_SERIES, schemaAPI=registry)
    made = manager.createClass()
    assert made["meta:extends"] == [TIME_SERIES]
    registry.putClass(made["$id"], {
        "title": title, "type": "object",
        "definitions": {"customFields": {"type": "object", "properties": {
            tenant: {"type": "object", "properties": {"stars": {"type": "integer"}}}}}},
        "allOf": [{"$ref": TIME_SERIES}, {"$ref": "#/definitions/customFields"}],
    })  # fmt: skip
    read = ClassManager(made["$id"], schemaAPI=registry)
    assert read.EDITABLE is True
    frame = read.to_dataframe(editable=True)
    assert {f"{tenant}.stars", "timestamp"} <= set(frame["path"])
    assert set(frame[frame["path"] == "timestamp"]["origin"]) == {"class behavior"}
    assert [hit["stars"]["path"] for hit in read.searchField("stars")] == [f"{tenant}.stars"]
    assert read.getField(f"{tenant}.stars")["type"] == "integer"
    assert read.to_xdm()["$id"] == made["$id"]
    again = ClassManager(registry.getClass(made["$id"], full=False), schemaAPI=registry)
    assert again.altId == made["meta:altId"]


def test_data_type_manager(registry: schema.Schema) -> None:
    title = unique("managed type")
    manager = DataTypeManager(title=title, schemaAPI=registry)
    manager.addField("color", "string")
    manager.addField("sides", "integer", array=True)
    manager.addField("frame", "object", objectComponents={"width": "double"})
    made = manager.createDataType()
    assert "status" not in made
    read = registry.DataTypeManager(made["$id"])
    known = set(read.to_dataframe()["path"])
    assert {"color", "sides[]", "frame.width"} <= known
    assert read.to_dict()["frame"]["width"] == "number"
    read.addField("added", "boolean")
    read.setDescription("with more")
    updated = read.updateDataType()  # by its alternative id
    assert (updated["version"], updated["description"]) == ("1.1", "with more")
    assert registry.getDataType(made["$id"])["properties"]["added"]["type"] == "boolean"
    assert read.removeField("added") is True
    assert read.updateDataType()["version"] == "1.2"
    assert "added" not in registry.getDataType(made["$id"])["properties"]
    address = registry.DataTypeManager(f"{XDM}/common/address")
    assert {"street1", "city"} <= set(address.to_dataframe()["path"])
    assert [hit["street1"]["path"] for hit in address.searchField("street1")] == ["street1"]


def test_schema_from_a_table(registry: schema.Schema, tenant: str) -> None:
    old = registry.createFieldGroup(group_body(tenant, {"tier": {"type": "string"}}))
    made = registry.createProfileSchema(unique("by table"), mixinIds=[PERSON, old["$id"]])
    fresh = unique("new in a table")
    rows = [
        (f"{tenant}.tier", "string", old["title"], "Tier", "of the guest"),
        (f"{tenant}.score", "integer", old["title"], "Score", "of the guest"),
        (tenant, "object", fresh, "", ""),
        (f"{tenant}.mood", "string", fresh, "Mood", "of the day"),
        ("person.name.firstName", "string", "Demographic Details", "Given name", "as called"),
    ]
    table = pd.DataFrame(rows, columns=["path", "type", "fieldGroup", "title", "description"])
    table["xdmType"], table["origin"] = table["type"], "fieldGroup"
    manager = registry.SchemaManager(made["$id"])
    assert set(manager.importSchemaDefinition(table)) == {
        old["title"],
        fresh,
        "Demographic Details",
    }
    results = manager.applyFieldsChanges()
    assert results["Demographic Details"]["status"] == 403  # a standard group stays as it is
    assert "status" not in manager.updateSchema()
    fields = registry.getSchema(made["$id"])["properties"][tenant]["properties"]
    assert {name: node["meta:xdmType"] for name, node in fields.items()} == {
        "tier": "string", "score": "int", "mood": "string",
    }  # fmt: skip
    assert fields["tier"]["description"] == "of the guest"
    assert manager.to_som().get("person.name.firstName") == "string"


def test_b2b_schemas_with_their_relationships(registry: schema.Schema, own: PlatformClient) -> None:
    namespaces = identity.Identity()
    namespaces.endpoint = f"{own.credentials['base_url']}/data/core"
    namespaces.createB2BIdentities()
    registry.createProfileSchema(
        unique("first"), mixinIds=[PERSON]
    )  # the helper needs one to be there
    made = registry.createB2Bschemas()
    assert len(made) == 10
    descriptors = {title: manager.getDescriptors() for title, manager in made.items()}
    kinds = Counter(d["@type"] for found in descriptors.values() for d in found)
    assert kinds == {
        "xdm:descriptorIdentity": 17, "xdm:descriptorReferenceIdentity": 13,
        "xdm:descriptorRelationship": 9, "xdm:descriptorOneToOne": 4,
    }  # fmt: skip
    primary = [
        title for title, found in descriptors.items() if any(d.get("xdm:isPrimary") for d in found)
    ]
    assert set(made) - set(primary) == {"B2B Account Person Relation"}  # so the helper has it
    opportunity = descriptors["B2B Opportunity"]
    (to_account,) = [d for d in opportunity if d["@type"] == "xdm:descriptorRelationship"]
    assert to_account["xdm:destinationSchema"] == made["B2B Account"].id
    assert to_account["xdm:cardinality"] == "M:1"
    assert to_account["xdm:destinationProperty"] == "/accountKey/sourceKey"
    before = len(registry.getDescriptors(id_desc=True))
    again = registry.createB2Bschemas()
    assert {title: m.id for title, m in again.items()} == {title: m.id for title, m in made.items()}
    assert len(registry.getDescriptors(id_desc=True)) == before


# -- lists of more than one page ----------------------------------------------------------------------------


def test_classes_of_more_than_one_page(registry: schema.Schema) -> None:
    made = {
        registry.createClass(title=unique("paged class"), class_template=RECORD)["$id"]
        for _ in range(7)
    }
    found = registry.getClasses(limit=3, orderBy="title")
    assert made <= {item["$id"] for item in found}
    assert [item["title"] for item in found] == sorted(item["title"] for item in found)
    assert len(found) == len({item["$id"] for item in found})


def test_field_groups_of_more_than_one_page(
    registry: schema.Schema, own: PlatformClient, tenant: str
) -> None:
    have = {item["$id"] for item in registry.getFieldGroups()}
    path = "/data/foundation/schemaregistry/tenant/fieldgroups"
    body = group_body(tenant, {"tier": {"type": "string"}})
    made = {
        own.call("POST", path, body | {"title": f"paged {number}"})["$id"]
        for number in range(GROUPS)
    }
    found = registry.getFieldGroups(format="xed")
    ids = [item["$id"] for item in found]
    assert len(ids) == len(set(ids))
    assert set(ids) == have | made
    assert registry.data.fieldGroups_id["paged 319"] in made
    assert all("definitions" in item for item in found)
