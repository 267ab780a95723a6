"""Registry and catalog over plain HTTP: headers, lists, computed keys, rules of writing, every error code."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from headrace.testing.server import PlatformClient

REGISTRY, CATALOG = "/data/foundation/schemaregistry", "/data/foundation/catalog"
XDM = "https://ns.adobe.com/xdm"
PROFILE, EVENT = f"{XDM}/context/profile", f"{XDM}/context/experienceevent"
RECORD = f"{XDM}/data/record"
PERSON, PERSONAL = f"{PROFILE}-person-details", f"{PROFILE}-personal-details"
IDENTITY_MAP = f"{XDM}/context/identitymap"
LOOKUP = "application/vnd.adobe.xed+json; version=1"
FULL = "application/vnd.adobe.xed-full+json; version=1"
NOWHERE = "0" * 48


def unique(word: str) -> str:
    return f"{word} {uuid.uuid4().hex[:8]}"


def error(answer: httpx.Response) -> tuple[int, str]:
    """(status, code) of an error in the registry's form, which must be whole."""
    body = answer.json()
    assert body["type"].startswith("http://ns.adobe.com/aep/errors/")
    assert body["status"] == answer.status_code
    assert body["detail"] == body["report"]["detailed-message"]
    assert body["title"]
    return answer.status_code, body["type"].rsplit("/", 1)[1]


class Registry:
    """Shorthand for calls; each returns the answer as it is."""

    def __init__(self, client: PlatformClient) -> None:
        self.client = client
        self.tenant = f"_{client.credentials['tenant_id']}"

    def get(self, path: str, accept: str | None = LOOKUP) -> httpx.Response:
        headers = {} if accept is None else {"Accept": accept}
        return self.client.http.get(f"{REGISTRY}{path}", headers=headers)

    def list(self, path: str, accept: str = "application/vnd.adobe.xed+json") -> list[Any]:
        found: list[Any] = self.get(path, accept).json()["results"]
        return found

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.client.http.request(method, f"{REGISTRY}{path}", json=body)

    def made(self, word: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.send("POST", f"/tenant/{word}", body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def schema(self, *groups: str, base: str = PROFILE, **more: Any) -> dict[str, Any]:
        references = [{"$ref": base}, *({"$ref": group} for group in groups)]
        return self.made(
            "schemas", {"title": unique("schema"), "type": "object", "allOf": references} | more
        )

    def group_body(self, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "title": unique("group"), "type": "object", "meta:intendedToExtend": [],
            "definitions": {"customFields": {"type": "object", "properties": {
                self.tenant: {"type": "object", "properties": fields}}}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        } | more  # fmt: skip

    def group(self, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.made("fieldgroups", self.group_body(fields, **more))

    def describe(self, kind: str, schema: str, path: str, **more: Any) -> httpx.Response:
        body = {
            "@type": f"xdm:{kind}", "xdm:sourceSchema": schema, "xdm:sourceVersion": 1,
            "xdm:sourceProperty": path,
        }  # fmt: skip
        return self.send("POST", "/tenant/descriptors", body | more)

    def tag(self, schema: dict[str, Any]) -> httpx.Response:
        change = {"op": "add", "path": "/meta:immutableTags", "value": ["union"]}
        return self.send("PATCH", f"/tenant/schemas/{schema['meta:altId']}", [change])


@pytest.fixture(scope="module")
def registry(own: PlatformClient) -> Registry:
    return Registry(own)


@pytest.fixture(scope="module")
def people(registry: Registry) -> dict[str, Any]:
    """A schema to look at, which no test changes."""
    group = registry.group({"old": {"type": "string", "title": "Old"}})
    made = registry.schema(PERSON, PERSONAL, group["$id"])
    path = f"/{registry.tenant}/old"
    assert registry.describe("descriptorDeprecated", made["$id"], path).status_code == 201
    return made


# -- the Accept header --------------------------------------------------------------------------------------

BAD = [
    "text/plain", "application/vnd.adobe.foo+json", "application/vnd.adobe.xed-odd+json",
    "application/vnd.adobe.xed+xml",
]  # fmt: skip
ACCEPT_TITLE = "Accept header invalid"


def refusal(answer: httpx.Response) -> tuple[str, str]:
    """(code, detail) of a refused Accept header."""
    status, code = error(answer)
    assert (status, answer.json()["title"]) == (400, ACCEPT_TITLE)
    return code, answer.json()["detail"]


@pytest.mark.parametrize("family", ["xed", "xdm"])
@pytest.mark.parametrize(
    "path", ["/tenant/schemas", "/global/classes", "/tenant/unions", "/global/behaviors"]
)
def test_lists_come_whole_or_as_ids(
    registry: Registry, people: dict[str, Any], path: str, family: str
) -> None:
    whole = registry.get(path, f"application/vnd.adobe.{family}+json")
    ids = registry.get(path, f"application/vnd.adobe.{family}-id+json")
    assert whole.status_code == ids.status_code == 200
    assert len(whole.json()["results"]) == len(ids.json()["results"])
    for item in ids.json()["results"]:
        assert set(item) == {"$id", "meta:altId", "version", "title"}
    if path != "/tenant/unions":
        assert all("meta:resourceType" in item for item in whole.json()["results"])


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_general_types_stand_for_the_compatible_ones(
    registry: Registry, people: dict[str, Any], accept: str
) -> None:
    assert "allOf" in registry.list("/tenant/schemas", accept)[0]
    shown = registry.get(f"/tenant/schemas/{people['meta:altId']}", accept)
    assert shown.json() == registry.get(f"/tenant/schemas/{people['meta:altId']}").json()


@pytest.mark.parametrize("accept", BAD)
def test_lists_refuse_other_types(registry: Registry, accept: str) -> None:
    for path in ("/tenant/schemas", "/global/fieldgroups", "/tenant/datatypes", "/tenant/classes"):
        code, detail = refusal(registry.get(path, accept))
        assert code == "XDM-1006-400"
        assert detail == (
            f"The supplied Accept header is not valid: {accept} - A valid Accept value should look like "
            "application/vnd.adobe.{xed|xdm}+json"
        )


@pytest.mark.parametrize("accept", [*BAD, "application/vnd.adobe.xed+json"])
def test_lookups_refuse_other_types_and_none_without_version(
    registry: Registry, people: dict[str, Any], accept: str
) -> None:
    code, detail = refusal(registry.get(f"/tenant/schemas/{people['meta:altId']}", accept))
    assert code == "XDM-1007-400"
    assert detail == (
        f"The supplied Accept header is not valid: {accept} - A valid Accept value should look like "
        "application/vnd.adobe.{xed|xdm}+json; version=1 (Version should be specified)"
    )


@pytest.mark.parametrize("family", ["xed", "xdm"])
@pytest.mark.parametrize("version", ["; version=1", ";version=1.0", " ; version=1.7"])
def test_lookup_views(
    registry: Registry, people: dict[str, Any], family: str, version: str
) -> None:
    path = f"/tenant/schemas/{quote_plus(people['$id'])}"

    def view(suffix: str) -> dict[str, Any]:
        answer = registry.get(path, f"application/vnd.adobe.{family}{suffix}+json{version}")
        assert answer.status_code == 200
        shown: dict[str, Any] = answer.json()
        return shown

    raw, full = view(""), view("-full")
    assert [part["$ref"] for part in raw["allOf"]][:3] == [PROFILE, PERSON, PERSONAL]
    assert "properties" not in raw
    assert not {"allOf", "definitions", "$ref"} & set(full)
    assert "$ref" not in str(full["properties"])
    assert full["properties"]["person"]["meta:referencedFrom"] == f"{XDM}/context/person"
    old = full["properties"][registry.tenant]["properties"]["old"]
    assert (old["title"], "meta:status" in old) == ("Old", False)

    assert "title" not in view("-notext")
    bare = view("-full-notext")
    assert "title" not in bare
    assert "title" not in bare["properties"][registry.tenant]["properties"]["old"]
    described = view("-full-desc")
    assert [d["@type"] for d in described["meta:descriptors"]] == ["xdm:descriptorDeprecated"]
    assert described["properties"] == full["properties"]
    for suffix in ("-deprecatefield", "-deprecated", "-full-deprecated"):
        marked = view(suffix)["properties"][registry.tenant]["properties"]["old"]
        assert marked["meta:status"] == "deprecated"
    flat = view("-full-flat")["properties"]
    assert flat["person/name/firstName"]["type"] == "string"
    assert "properties" not in flat["person"]
    assert f"{registry.tenant}/old" in flat


def test_other_major_versions_do_not_exist(registry: Registry, people: dict[str, Any]) -> None:
    accept = "application/vnd.adobe.xed+json; version=2"
    answer = registry.get(f"/tenant/schemas/{people['meta:altId']}", accept)
    assert error(answer) == (404, "XDM-1012-404")
    assert "with version 2" in answer.json()["detail"]


def test_descriptors_as_objects_ids_and_links(registry: Registry, people: dict[str, Any]) -> None:
    mine = f"/tenant/descriptors?property=xdm:sourceSchema=={people['$id']}"

    def view(suffix: str) -> Any:
        answer = registry.get(mine, f"application/vnd.adobe.xdm{suffix}+json")
        assert answer.status_code == 200
        return answer.json()

    grouped = view("")
    assert list(grouped) == ["xdm:descriptorDeprecated"]
    (item,) = grouped["xdm:descriptorDeprecated"]
    id, link = item["@id"], f"/tenant/descriptors/{item['@id']}"
    assert view("-id") == {"xdm:descriptorDeprecated": [id]}
    assert view("-link") == {"xdm:descriptorDeprecated": [link]}
    assert view("-v2")["results"] == [item]
    assert view("-v2-id")["results"] == [id]
    assert view("-v2-link")["results"] == [link]
    assert view("-v2")["_page"] == {"next": None, "count": 1, "orderby": "@id"}
    shown = registry.get(f"/tenant/descriptors/{id}", "application/vnd.adobe.xdm+json")
    assert shown.json()["xdm:sourceProperty"] == f"/{registry.tenant}/old"
    kind = f"{mine.replace('?property=', '?property=@type==xdm:descriptorIdentity,')}"
    assert registry.get(kind, "application/vnd.adobe.xdm+json").json() == {}


@pytest.mark.parametrize("accept", [*BAD, "application/vnd.adobe.xed+json"])
def test_descriptors_refuse_other_types(registry: Registry, accept: str) -> None:
    code, detail = refusal(registry.get("/tenant/descriptors", accept))
    assert code == "XDM-1008-400"
    assert detail.endswith("should look like application/vnd.adobe.xdm-id+json")
    code, detail = refusal(registry.get(f"/tenant/descriptors/{NOWHERE}", accept))
    assert code == "XDM-1009-400"
    assert detail.endswith("should look like application/vnd.adobe.xdm+json")


def test_calls_that_take_any_accept(registry: Registry, people: dict[str, Any]) -> None:
    odd = "application/vnd.adobe.xed+json"
    alt = people["meta:altId"]
    for path in (
        "/stats", "/global/behaviors", "/tenant/unions", f"/rpc/auditlog/{alt}",
        f"/rpc/export/{alt}", f"/rpc/sampledata/{alt}",
    ):  # fmt: skip
        assert registry.get(path, odd).status_code == 200
        assert registry.get(f"{path}/", "text/plain").status_code == 200


# -- lists --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed(registry: Registry) -> list[dict[str, Any]]:
    """Six data types whose titles order them otherwise than their times do."""
    made = []
    for letter in "badcfe":
        body = {"title": f"list {letter}", "description": letter, "type": "object"}
        made.append(registry.made("datatypes", body | {"properties": {"x": {"type": "string"}}}))
        time.sleep(0.002)
    return made


def test_lists_filter_by_top_level_keys(registry: Registry, listed: list[dict[str, Any]]) -> None:
    def letters(*filters: str) -> str:
        query = "&".join(f"property={quote_plus(text)}" for text in filters)
        found = registry.list(f"/tenant/datatypes?orderby=title&{query}")
        return "".join(item["title"][-1] for item in found if item["title"].startswith("list "))

    assert letters("title==list c") == "c"
    assert letters("title!=list c") == "abdef"
    assert letters("title<list c") == "ab"
    assert letters("title<=list c") == "abc"
    assert letters("title>list c") == "def"
    assert letters("title>=list c") == "cdef"
    assert letters("title>list a", "title<list d") == "bc"
    assert letters("title>list a,title<list d") == "bc"
    assert letters("description") == "abcdef"
    assert letters("meta:class") == ""
    assert letters(f"$id=={listed[0]['$id']}") == "b"


def test_lists_filter_arrays_by_what_they_contain(
    registry: Registry, people: dict[str, Any]
) -> None:
    def has(text: str) -> bool:
        found = registry.list(f"/tenant/schemas?property={quote_plus(text)}")
        return people["$id"] in {item["$id"] for item in found}

    assert has(f"meta:extends=={PERSON}")
    assert not has(f"meta:extends!={PERSON}")
    assert has(f"meta:extends!={XDM}/data/adhoc")
    assert has(f"meta:class=={PROFILE}")
    assert not has("meta:immutableTags==union")
    groups = f"/global/fieldgroups?property={quote_plus(f'meta:intendedToExtend=={EVENT}')}"
    assert all(EVENT in item["meta:intendedToExtend"] for item in registry.list(groups))
    classes = registry.list(f"/global/classes?property={quote_plus(f'meta:extends=={RECORD}')}")
    assert PROFILE in {item["$id"] for item in classes}
    assert EVENT not in {item["$id"] for item in classes}


def test_lists_are_ordered_and_paged(registry: Registry, listed: list[dict[str, Any]]) -> None:
    only = f"property={quote_plus('title>=list a')}&property={quote_plus('title<=list z')}"
    ids = "application/vnd.adobe.xed-id+json"

    def pages(order: str) -> tuple[str, list[int]]:
        """The letters of all pages, and how many each had; following `next` both ways."""
        letters, counts = "", []
        path: str | None = f"/tenant/datatypes?orderby={order}&limit=2&{only}"
        start = None
        while path is not None:
            body = registry.get(path, ids).json()
            letters += "".join(item["title"][-1] for item in body["results"])
            counts.append(body["_page"]["count"])
            assert body["_page"]["orderby"] == order
            start, link = body["_page"]["next"], body["_links"]["next"]
            assert (start is None) == (link is None)
            if start is not None:
                again = f"/tenant/datatypes?orderby={order}&limit=2&start={start}&{only}"
                assert registry.get(link["href"].removeprefix(REGISTRY), ids).json() == (
                    registry.get(again, ids).json()
                )
            path = link and link["href"].removeprefix(REGISTRY)
        return letters, counts

    assert pages("title") == ("abcdef", [2, 2, 2])
    assert pages("-title") == ("fedcba", [2, 2, 2])
    assert pages("updated") == ("badcfe", [2, 2, 2])
    assert pages("-updated") == ("efcdab", [2, 2, 2])
    assert pages("version,-title")[0] == "fedcba"  # all have one version, and so stay together
    assert pages("meta:none,title") == ("abcdef", [6])
    start = quote_plus("list d")
    found = registry.list(f"/tenant/datatypes?orderby=title&start={start}&{only}")
    assert [item["title"][-1] for item in found] == ["e", "f"]
    default = registry.get("/tenant/datatypes", ids).json()["_page"]
    assert (default["orderby"], default["next"]) == ("updated", None)


@pytest.mark.parametrize("limit", ["501", "-1", "x", "1.5", "", "²", "9" * 5000])
def test_lists_refuse_limits_that_make_no_sense(registry: Registry, limit: str) -> None:
    answer = registry.get(f"/tenant/schemas?limit={limit}", "application/vnd.adobe.xed+json")
    assert error(answer) == (400, "XDM-1301-400")


# -- computed keys ------------------------------------------------------------------------------------------

STAMPED = {
    "$id", "meta:altId", "meta:resourceType", "version", "title", "type", "imsOrg", "meta:extensible",
    "meta:abstract", "meta:extends", "meta:xdmType", "meta:registryMetadata", "meta:containerId",
    "meta:sandboxId", "meta:sandboxType", "meta:tenantNamespace",
}  # fmt: skip
CLAIMED = {
    "$id": "https://ns.adobe.com/mine/schemas/0", "meta:altId": "_mine", "version": "9.9", "imsOrg": "no",
    "refs": ["x"], "meta:extends": ["x"], "meta:registryMetadata": {"eTag": "x"}, "meta:abstract": 7,
    "meta:containerId": "global", "meta:resourceType": "odd", "meta:class": "x", "meta:extensible": 7,
    "meta:sandboxId": "x", "meta:sandboxType": "x", "meta:tenantNamespace": "x",
    "meta:allFieldAccess": True, "meta:descriptorStatus": {}, "meta:xdmType": "object",
}  # fmt: skip


@pytest.mark.parametrize("word", ["schemas", "classes", "fieldgroups", "mixins", "datatypes"])
def test_computed_keys(registry: Registry, own: PlatformClient, word: str) -> None:
    kind = "mixins" if word == "fieldgroups" else word
    tenant = registry.tenant
    bodies: dict[str, Any] = {
        "schemas": {"allOf": [{"$ref": PROFILE}]},
        "classes": {"allOf": [{"$ref": RECORD}]},
        "mixins": registry.group_body({"a": {"type": "string"}}),
        "datatypes": {"properties": {"a": {"type": "string"}}},
    }
    body = bodies[kind] | {"title": unique(word)}
    body.pop("type", None)
    if kind == "mixins":
        del body["meta:intendedToExtend"]
    made = registry.made(word, CLAIMED | body)
    hash = made["$id"].rsplit("/", 1)[1]
    assert made["$id"] == f"https://ns.adobe.com/{tenant[1:]}/{kind}/{hash}"
    assert len(hash) == 48
    assert int(hash, 16) >= 0
    assert made["meta:altId"] == f"{tenant}.{kind}.{hash}"
    more = {"schemas": {"allOf", "meta:class"}, "classes": {"allOf"},
            "mixins": {"allOf", "definitions", "meta:intendedToExtend"}, "datatypes": {"properties"}}  # fmt: skip
    assert set(made) == STAMPED | more[kind] | {"refs"}
    assert made["meta:resourceType"] == kind
    assert (made["version"], made["type"], made["meta:xdmType"]) == ("1.0", "object", "object")
    assert made["imsOrg"] == own.credentials["org_id"]
    assert made["meta:extensible"] is made["meta:abstract"] is (kind != "schemas")
    assert (made["meta:containerId"], made["meta:tenantNamespace"]) == ("tenant", tenant)
    assert made["meta:sandboxType"] == "development"
    assert str(uuid.UUID(made["meta:sandboxId"])) == made["meta:sandboxId"]
    if kind == "mixins":
        assert made["meta:intendedToExtend"] == []
    for part in made.get("allOf", []):
        assert (part["type"], part["meta:xdmType"]) == ("object", "object")

    metadata = made["meta:registryMetadata"]
    now = time.time() * 1000
    assert now - 60_000 < metadata["repo:createdDate"] <= now + 60_000
    assert metadata["repo:lastModifiedDate"] == metadata["repo:createdDate"]
    for who in ("created", "lastModified"):
        assert metadata[f"xdm:{who}ClientId"] == own.credentials["client_id"]
        assert metadata[f"xdm:{who}UserId"]
    assert len(metadata["eTag"]) == 64
    assert metadata["meta:globalLibVersion"]

    shown = registry.get(f"/tenant/{word}/{quote_plus(made['$id'])}").json()
    assert shown == {key: value for key, value in made.items() if key != "refs"}
    time.sleep(0.002)
    change = [{"op": "replace", "path": "/title", "value": unique("renamed")}]
    patched = registry.send("PATCH", f"/tenant/{word}/{made['meta:altId']}", change).json()
    after = patched["meta:registryMetadata"]
    assert patched["version"] == "1.1"
    assert (
        after["repo:createdDate"] == metadata["repo:createdDate"] < after["repo:lastModifiedDate"]
    )
    assert after["eTag"] != metadata["eTag"]


def test_standard_resources_have_computed_keys_too(registry: Registry) -> None:
    shown = registry.get(f"/tenant/classes/{quote_plus(PROFILE)}").json()
    assert shown["meta:extends"] == [f"{XDM}/common/auditable", RECORD]
    assert shown["$schema"] == "http://json-schema.org/draft-06/schema#"
    assert len(shown["meta:registryMetadata"]["eTag"]) == 64
    assert not {"imsOrg", "meta:tenantNamespace", "meta:sandboxId"} & set(shown)
    assert registry.get("/global/classes/_xdm.context.profile").json() == shown
    listed = registry.list(f"/global/classes?property={quote_plus(f'$id=={PROFILE}')}")
    assert listed == [shown]
    event = registry.get(f"/global/classes/{quote_plus(EVENT)}").json()
    assert event["meta:extends"] == [IDENTITY_MAP, f"{XDM}/data/time-series"]


def test_types_are_inferred(registry: Registry) -> None:
    def integer(least: int, most: int) -> dict[str, Any]:
        return {"type": "integer", "minimum": least, "maximum": most}

    fields = {
        "string": {"type": "string"}, "number": {"type": "number"}, "boolean": {"type": "boolean"},
        "int": {"type": "integer"}, "int2": integer(-(2**31), 2**31 - 1),
        "long": integer(-(2**53), 2**53 - 1), "long2": integer(-(2**53), 2**53),
        "short": integer(-32768, 32767), "short2": integer(-32768, 32768),
        "byte": integer(-128, 127), "byte2": integer(-128, 128),
        "date": {"type": "string", "format": "date"},
        "date-time": {"type": "string", "format": "date-time"},
        "array": {"type": "array", "items": {"type": "string"}},
        "object": {"type": "object", "properties": {"a": {"type": "string"}}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }  # fmt: skip
    made = registry.group(fields)
    nodes = made["definitions"]["customFields"]["properties"][registry.tenant]["properties"]
    assert {name: node["meta:xdmType"].removesuffix("2") for name, node in nodes.items()} == {
        name: name.removesuffix("2") for name in fields
    }
    assert nodes["object"]["properties"]["a"]["meta:xdmType"] == "string"
    assert nodes["array"]["items"]["meta:xdmType"] == "string"
    assert nodes["long2"]["maximum"] == 2**53


# -- composition --------------------------------------------------------------------------------------------


def test_references_and_ancestors_are_in_the_tutorials_order(registry: Registry) -> None:
    made = registry.schema(PERSON, PERSONAL)
    assert made["refs"] == [PERSON, PERSONAL, PROFILE]
    assert made["meta:extends"] == [
        PERSON, PERSONAL, f"{XDM}/common/auditable", RECORD, PROFILE,
    ]  # fmt: skip
    assert made["meta:class"] == PROFILE
    event = registry.schema(base=EVENT)
    assert event["meta:extends"] == [IDENTITY_MAP, f"{XDM}/data/time-series", EVENT]
    assert event["refs"] == [EVENT]


def test_references_of_parts(registry: Registry) -> None:
    kind = registry.made(
        "datatypes",
        {"title": unique("door"), "properties": {"name": {"$ref": f"{XDM}/context/person-name"}}},
    )
    assert kind["refs"] == [f"{XDM}/context/person-name"]
    assert kind["meta:extends"] == []
    fields = {"front": {"type": "object", "$ref": kind["$id"]},
              "all": {"type": "array", "items": {"$ref": f"{XDM}/common/address"}}}  # fmt: skip
    group = registry.group(fields)
    assert group["refs"] == [kind["$id"], f"{XDM}/common/address"]
    assert group["meta:extends"] == []
    house = registry.made("classes", {
        "title": unique("house"), "type": "object",
        "allOf": [{"$ref": RECORD}, {"$ref": f"{XDM}/common/auditable"}],
    })  # fmt: skip
    assert house["refs"] == house["meta:extends"] == [RECORD, f"{XDM}/common/auditable"]
    made = registry.schema(group["$id"], base=house["$id"])
    assert made["meta:extends"] == [group["$id"], *house["meta:extends"], house["$id"]]
    full = registry.get(f"/tenant/schemas/{made['meta:altId']}", FULL).json()
    front = full["properties"][registry.tenant]["properties"]["front"]
    assert front["meta:referencedFrom"] == kind["$id"]
    assert front["properties"]["name"]["properties"]["firstName"]["type"] == "string"


# -- writing ------------------------------------------------------------------------------------------------


def test_unknown_resources_by_type(registry: Registry) -> None:
    for word, code in (
        ("classes", "1010"), ("fieldgroups", "1011"), ("mixins", "1011"), ("schemas", "1012"),
        ("datatypes", "1013"),
    ):  # fmt: skip
        path = f"/tenant/{word}/{registry.tenant}.{word}.{NOWHERE}"
        for answer in (
            registry.get(path), registry.send("PATCH", path, [{"op": "test", "path": "/a"}]),
            registry.send("PUT", path, {"title": "x", "type": "object", "allOf": []}),
            registry.send("DELETE", path), registry.get(path.replace("tenant", "global")),
        ):  # fmt: skip
            assert error(answer) == (404, f"XDM-{code}-404")
            assert answer.json()["title"] == "Resource not found"
    assert (
        (registry.get("/tenant/classes/_xdm.none").json()["detail"])
        == "The requested class resource _xdm.none with version 1 is not found."
    )
    assert error(registry.get("/global/behaviors/_xdm.none")) == (404, "XDM-1014-404")
    descriptor = registry.get(f"/tenant/descriptors/{NOWHERE}", "application/vnd.adobe.xdm+json")
    assert error(descriptor) == (404, "XDM-1015-404")
    assert error(registry.send("DELETE", f"/tenant/descriptors/{NOWHERE}"))[0] == 404
    assert error(registry.get("/tenant/unions/_xdm.none__union")) == (404, "XDM-1016-404")
    assert error(registry.get("/rpc/auditlog/_xdm.none")) == (404, "XDM-1017-404")
    for rpc in ("export", "sampledata"):
        assert error(registry.get(f"/rpc/{rpc}/_xdm.none")) == (404, "XDM-1012-404")


def test_every_body_needs_what_its_type_needs(registry: Registry) -> None:
    reference = [{"$ref": PROFILE}]
    for word, body in (
        ("schemas", {"type": "object", "allOf": reference}),
        ("schemas", {"title": " ", "type": "object", "allOf": reference}),
        ("schemas", {"title": unique("a"), "type": "object"}),
        ("schemas", {"title": unique("a"), "type": "object", "allOf": []}),
        ("schemas", {"title": unique("a"), "allOf": [*reference, {"$ref": EVENT}]}),
        ("schemas", {"title": unique("a"), "allOf": [*reference, {"$ref": f"{XDM}/none"}]}),
        ("schemas", {"title": unique("a"), "allOf": [*reference, {"$ref": f"{EVENT}-web"}]}),
        ("schemas", {"title": unique("a"), "allOf": [{"$ref": f"{XDM}/data/adhoc"}, {"$ref": PERSON}]}),
        ("classes", {"title": unique("a"), "type": "object"}),
        ("classes", {"title": unique("a"), "type": "object", "allOf": []}),
        ("fieldgroups", {"type": "object"}),
        ("fieldgroups", registry.group_body({"a": {"$ref": f"{XDM}/none"}})),
        ("datatypes", {"title": unique("a"), "properties": 7}),
        ("fieldgroups", {"title": unique("a"), "definitions": {"unused": 7}}),
        ("fieldgroups", {"title": unique("a"), "definitions": {"unused": {"properties": 7}}}),
        ("classes", {"title": unique("a"), "allOf": [{"$ref": RECORD}], "definitions": {"p": "x"}}),
        ("datatypes", {"title": unique("a"), "definitions": {"unused": {"type": "array", "meta:xdmType": [[]]}}}),
    ):  # fmt: skip
        answer = registry.send("POST", f"/tenant/{word}", body)
        assert answer.status_code == 400, (word, body)
        error(answer)
    for body in ([], "x", None):
        assert registry.send("POST", "/tenant/schemas", body).status_code == 400


def test_custom_fields_stay_in_the_tenants_namespace(registry: Registry) -> None:
    stray = {"type": "object", "properties": {"stray": {"type": "string"}}}
    inside = {"type": "object", "properties": {
        "person": {"type": "object", "properties": {"stray": {"type": "string"}}}}}  # fmt: skip
    for fields in (stray, inside):
        body = registry.group_body({}) | {"definitions": {"customFields": fields}}
        for word in ("fieldgroups", "classes"):
            parts = body["allOf"] + ([{"$ref": RECORD}] if word == "classes" else [])
            answer = registry.send("POST", f"/tenant/{word}", body | {"allOf": parts})
            assert error(answer) == (400, "XDM-1021-400")
            assert answer.json()["title"] == "Namespace validation error"
            assert registry.tenant in answer.json()["detail"]
    within = {"person": {"type": "object", "properties": {
        registry.tenant: {"type": "object", "properties": {"mine": {"type": "string"}}}}}}  # fmt: skip
    body = registry.group_body({})
    body["definitions"]["customFields"]["properties"] = within
    assert registry.send("POST", "/tenant/fieldgroups", body).status_code == 201
    free = {"title": unique("free"), "type": "object"} | stray
    assert registry.send("POST", "/tenant/datatypes", free).status_code == 201


def test_titles_are_unique_across_types(registry: Registry) -> None:
    made = registry.schema()
    body = registry.group_body({"a": {"type": "string"}}, title=made["title"])
    answer = registry.send("POST", "/tenant/fieldgroups", body)
    assert error(answer) == (400, "XDM-1521-400")
    assert answer.json()["title"] == "Title not unique"
    assert answer.json()["detail"] == (
        f"Object titles must be unique. An object {made['$id']} already exists with the same title"
    )
    other = registry.group({"a": {"type": "string"}})
    change = [{"op": "replace", "path": "/title", "value": made["title"]}]
    path = f"/tenant/fieldgroups/{other['meta:altId']}"
    assert error(registry.send("PATCH", path, change)) == (400, "XDM-1521-400")
    assert error(registry.send("PUT", path, body)) == (400, "XDM-1521-400")
    upper = registry.group_body({"a": {"type": "string"}}, title=made["title"].upper())
    assert registry.send("POST", "/tenant/fieldgroups", upper).status_code == 201
    standard = registry.schema(title="Demographic Details")
    registry.send("DELETE", f"/tenant/schemas/{standard['meta:altId']}")
    assert registry.send("DELETE", f"/tenant/schemas/{made['meta:altId']}").status_code == 204
    assert registry.send("POST", "/tenant/fieldgroups", body).status_code == 201


def test_a_title_is_given_once_however_many_ask_at_the_same_time(registry: Registry) -> None:
    body = registry.group_body({"a": {"type": "string"}})
    exported = [body | {"title": unique("import"), "meta:resourceType": "mixins",
                        "$id": f"https://ns.adobe.com/<XDM_TENANTID_PLACEHOLDER>/mixins/{number:048x}"}
                for number in range(20)]  # fmt: skip
    exported = [item | {"title": f"{item['title']} {n}"} for n, item in enumerate(exported)]
    with ThreadPoolExecutor(9) as pool:
        imported = pool.submit(registry.send, "POST", "/rpc/import", exported)
        asked = [pool.submit(registry.send, "POST", "/tenant/fieldgroups", body) for _ in range(8)]
        answers = [future.result() for future in asked]
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 7
    assert {error(a) for a in answers if a.status_code == 400} == {(400, "XDM-1521-400")}
    assert imported.result().status_code == 200
    (made,) = [answer.json() for answer in answers if answer.status_code == 201]
    path = f"/tenant/fieldgroups/{made['meta:altId']}"
    step = {
        "op": "add",
        "path": f"/definitions/customFields/properties/{registry.tenant}/properties",
    }
    with ThreadPoolExecutor(8) as pool:
        changes = [
            [step | {"path": f"{step['path']}/f{number}", "value": {"type": "string"}}]
            for number in range(8)
        ]
        patched = list(pool.map(lambda change: registry.send("PATCH", path, change), changes))
    assert {answer.status_code for answer in patched} == {200}
    full = registry.get(path, FULL).json()
    assert full["version"] == "1.8"  # nobody overwrote another's change
    fields = full["properties"][registry.tenant]["properties"]
    assert set(fields) == {"a", *(f"f{number}" for number in range(8))}


def test_put_rewrites_whole(registry: Registry) -> None:
    made = registry.schema(PERSON, description="some")
    path = f"/tenant/schemas/{quote_plus(made['$id'])}"
    answer = registry.send("PUT", path, registry.get(path).json())  # as it was read
    assert (answer.status_code, answer.json()["version"]) == (200, "1.1")
    assert {k: v for k, v in answer.json().items() if k not in ("version", "meta:registryMetadata")} == {
        k: v for k, v in made.items() if k not in ("version", "meta:registryMetadata")
    }  # fmt: skip
    title = unique("put")
    put = registry.send("PUT", path, {"title": title, "allOf": [{"$ref": PROFILE}]}).json()
    assert (put["title"], put["version"], put["refs"]) == (title, "1.2", [PROFILE])
    assert "description" not in put
    assert error(registry.send("PUT", path, {"allOf": [{"$ref": PROFILE}]}))[0] == 400
    assert error(registry.send("PUT", path, {"title": title}))[0] == 400
    assert registry.get(path).json()["version"] == "1.2"


def test_put_whose_parts_do_not_fit_together(registry: Registry) -> None:
    made = registry.group({"a": {"type": "string"}})
    path = f"/tenant/fieldgroups/{made['meta:altId']}"
    torn = registry.group_body({"a": {"type": "string"}}, allOf=[{"$ref": "#/definitions/other"}])
    assert error(registry.send("PUT", path, torn)) == (422, "XDM-1406-422")
    properties = torn["definitions"]["customFields"]["properties"]
    whole = {k: v for k, v in torn.items() if k not in ("definitions", "allOf")}
    put = registry.send("PUT", path, whole | {"properties": properties})  # how clients go on
    assert put.status_code == 200
    full = registry.get(path, FULL).json()
    assert full["properties"][registry.tenant]["properties"]["a"]["type"] == "string"


def test_patch_applies_operations_together(registry: Registry) -> None:
    made = registry.schema()
    path = f"/tenant/schemas/{made['meta:altId']}"
    patched = registry.send("PATCH", path, [
        {"op": "add", "path": "/allOf/-", "value": {"$ref": PERSON}},
        {"op": "add", "path": "/meta:extends/-", "value": PERSON},
        {"op": "add", "path": "/description", "value": "more"},
        {"op": "test", "path": "/description", "value": "more"},
    ])  # fmt: skip
    assert patched.status_code == 200
    body = patched.json()
    assert body["version"] == "1.1"
    assert body["allOf"][1] == {"$ref": PERSON, "type": "object", "meta:xdmType": "object"}
    assert body["meta:extends"].count(PERSON) == 1
    assert body["refs"] == [PERSON, PROFILE]
    assert body["meta:descriptorStatus"] == {"result": []}
    for operations in (
        [], {}, "x", [7], [{"op": "add"}], [{"op": "odd", "path": "/title", "value": "x"}],
        [{"op": "test", "path": "/title", "value": "no"}],
        [{"op": "remove", "path": "/none"}],
        [{"op": "replace", "path": "/none/deeper", "value": 1}],
        [{"op": "add", "path": "/allOf/9", "value": {"$ref": PERSONAL}}],
        [{"op": "replace", "path": "", "value": []}],
        [{"op": "remove", "path": "/title"}],
        [{"op": "add", "path": "/allOf/-", "value": {"$ref": EVENT}}],
    ):  # fmt: skip
        assert error(registry.send("PATCH", path, operations))[0] == 400, operations
    computed = [{"op": "add", "path": "/version", "value": "7.0"}]
    assert registry.send("PATCH", path, computed).json()["version"] == "1.2"
    assert registry.get(path).json()["title"] == made["title"]


def test_standard_resources_are_not_changed(registry: Registry) -> None:
    path = "/tenant/classes/_xdm.context.profile"
    change = [{"op": "replace", "path": "/title", "value": "mine"}]
    for answer in (
        registry.send("PATCH", path, change), registry.send("DELETE", path),
        registry.send("PUT", path, {"title": "mine", "allOf": [{"$ref": RECORD}]}),
    ):  # fmt: skip
        assert error(answer)[0] == 403
    group = "/global/fieldgroups/_xdm.context.profile-phones"
    assert error(registry.send("PATCH", group, change))[0] == 403
    assert error(registry.send("PATCH", group, {}))[0] == 400
    widen = [{"op": "add", "path": "/meta:intendedToExtend/-", "value": EVENT}]
    assert registry.send("PATCH", group, widen).json()["meta:intendedToExtend"] == [PROFILE, EVENT]
    for container in ("global", "tenant"):
        shown = registry.get(group.replace("global", container)).json()
        assert shown["meta:intendedToExtend"] == [PROFILE, EVENT]
    (item,) = registry.list(
        f"/global/fieldgroups?property={quote_plus('meta:altId==_xdm.context.profile-phones')}"
    )
    assert item["meta:intendedToExtend"] == [PROFILE, EVENT]
    assert registry.schema(f"{PROFILE}-phones", base=EVENT)["meta:class"] == EVENT
    mine = registry.group({"a": {"type": "string"}})
    for method in ("PUT", "DELETE"):
        answer = registry.send(method, f"/global/fieldgroups/{mine['meta:altId']}", {})
        assert answer.status_code == 405
    assert error(registry.get(f"/global/fieldgroups/{mine['meta:altId']}")) == (404, "XDM-1011-404")


def test_what_is_used_is_not_deleted(registry: Registry) -> None:
    group = registry.group({"a": {"type": "string"}})
    made = registry.schema(group["$id"])
    path = f"/tenant/fieldgroups/{group['meta:altId']}"
    assert error(registry.send("DELETE", path))[0] == 400
    assert registry.send("DELETE", f"/tenant/schemas/{made['meta:altId']}").status_code == 204
    answer = registry.send("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert error(registry.send("DELETE", path)) == (404, "XDM-1011-404")


def test_fields_of_a_used_schema_only_grow(registry: Registry, own: PlatformClient) -> None:
    fields: dict[str, Any] = {
        "a": {"type": "string"}, "n": {"type": "integer", "minimum": 0},
        "e": {"type": "string", "enum": ["x", "y"], "meta:enum": {"x": "X", "y": "Y"}},
    }  # fmt: skip
    group = registry.group(fields)
    made = registry.schema(group["$id"])
    path = f"/tenant/fieldgroups/{group['meta:altId']}"
    at = f"/definitions/customFields/properties/{registry.tenant}/properties"
    free = [{"op": "replace", "path": f"{at}/a", "value": {"type": "boolean"}}]
    assert registry.send("PATCH", path, free).status_code == 200  # nobody has data yet
    reference = {"id": made["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
    created = own.call("POST", f"{CATALOG}/dataSets", {"name": "u", "schemaRef": reference})
    for operation in (
        {"op": "remove", "path": f"{at}/a"},
        {"op": "replace", "path": f"{at}/a", "value": {"type": "string"}},
        {"op": "replace", "path": f"{at}/n/minimum", "value": 5},
        {"op": "replace", "path": f"{at}/e/enum", "value": ["x"]},
    ):
        answer = registry.send("PATCH", path, [operation])
        assert error(answer) == (400, "XDM-1413-400"), operation
        assert answer.json()["title"] == "Schema evolution error"
    grown = [
        {"op": "add", "path": f"{at}/b", "value": {"type": "string"}},
        {"op": "replace", "path": f"{at}/n/minimum", "value": -5},
        {"op": "add", "path": "/description", "value": "grown"},
    ]
    assert registry.send("PATCH", path, grown).status_code == 200
    shrink = [{"op": "remove", "path": "/allOf/1"}]
    schema = f"/tenant/schemas/{made['meta:altId']}"
    assert error(registry.send("PATCH", schema, shrink)) == (400, "XDM-1413-400")
    assert error(registry.send("DELETE", schema))[0] == 400
    own.call("DELETE", f"{CATALOG}/{created[0][2:]}")
    assert registry.send("PATCH", schema, shrink).status_code == 200
    assert registry.send("DELETE", schema).status_code == 204


def test_what_a_schema_needs_to_join_a_union(registry: Registry) -> None:
    group = registry.group({"email": {"type": "string"}, "hotel": {"type": "string"}})
    email, hotel = (f"/{registry.tenant}/{name}" for name in ("email", "hotel"))
    namespace = {"xdm:namespace": "Email", "xdm:property": "xdm:code", "xdm:isPrimary": True}
    phone = namespace | {"xdm:namespace": "Phone"}
    guest, place = registry.schema(group["$id"]), registry.schema(group["$id"])

    def refused(code: str) -> None:
        answer = registry.tag(guest)
        assert error(answer) == (400, code)
        assert answer.json()["title"] == "Union descriptor validation error"

    refused("XDM-1528-400")
    assert registry.describe("descriptorIdentity", guest["$id"], email, **namespace).is_success
    target = {"xdm:destinationSchema": place["$id"], "xdm:destinationVersion": 1}
    assert registry.describe("descriptorOneToOne", guest["$id"], hotel, **target).is_success
    refused("XDM-1526-400")
    assert registry.describe("descriptorIdentity", place["$id"], hotel, **phone).is_success
    wrong = registry.describe(
        "descriptorReferenceIdentity", guest["$id"], hotel, **{"xdm:identityNamespace": "Email"}
    ).json()
    refused("XDM-1527-400")
    put = registry.send(
        "PUT", f"/tenant/descriptors/{wrong['@id']}", wrong | {"xdm:identityNamespace": "Phone"}
    )
    assert (put.status_code, put.json()["@id"]) == (201, wrong["@id"])
    assert registry.tag(guest).status_code == 200
    path = f"/tenant/schemas/{guest['meta:altId']}"
    untag = [{"op": "remove", "path": "/meta:immutableTags"}]
    assert error(registry.send("PATCH", path, untag))[0] == 400
    assert registry.tag(guest).status_code == 200  # once more changes nothing
    assert registry.get(path).json()["meta:immutableTags"] == ["union"]

    assert registry.tag(registry.schema(base=EVENT)).status_code == 200  # has its identity map
    clash = registry.group({"email": {"type": "object", "properties": {"x": {"type": "string"}}}})
    other = registry.schema(clash["$id"], IDENTITY_MAP)
    answer = registry.tag(other)
    assert error(answer) == (400, "XDM-1413-400")
    assert answer.json()["title"] == "Merge Schema Error"
    assert "Cannot merge incompatible data types" in answer.json()["detail"]


def test_unions(registry: Registry) -> None:
    house = registry.made("classes", {"title": unique("house"), "allOf": [{"$ref": RECORD}]})
    union = f"{house['$id']}__union"
    group = registry.group({"rooms": {"type": "integer"}})
    schema = registry.schema(IDENTITY_MAP, group["$id"], base=house["$id"])
    assert union not in {item["$id"] for item in registry.list("/tenant/unions")}
    assert registry.tag(schema).status_code == 200
    (item,) = [item for item in registry.list("/tenant/unions") if item["$id"] == union]
    assert item == {
        "title": house["title"], "$id": union, "meta:altId": f"{house['meta:altId']}__union", "version": "1",
    }  # fmt: skip
    shown = registry.get(f"/tenant/unions/{quote_plus(union)}").json()
    assert shown["title"] == f"Union object for {house['$id']}"
    assert shown["description"] == f"Union view of all schemas that extend {house['$id']}"
    assert {part["$ref"] for part in shown["allOf"]} == {house["$id"], IDENTITY_MAP, group["$id"]}
    assert shown["allOf"][0]["$ref"] == shown["meta:class"] == house["$id"]
    assert set(shown["meta:extends"]) == {RECORD, house["$id"], IDENTITY_MAP, group["$id"]}
    assert (shown["version"], shown["meta:resourceType"]) == ("1.0", "unions")
    assert shown["meta:registryMetadata"] == {}
    full = registry.get(f"/tenant/schemas/{house['meta:altId']}__union", FULL).json()
    assert "rooms" in full["properties"][registry.tenant]["properties"]
    assert {"identityMap", "timeSeriesEvents", "segmentMembership"} <= set(full["properties"])
    query = f"property=meta:immutableTags==union&property=meta:class=={house['$id']}"
    assert [m["$id"] for m in registry.list(f"/tenant/schemas?{query}")] == [schema["$id"]]


def test_descriptors_are_checked(registry: Registry, people: dict[str, Any]) -> None:
    id, name = people["$id"], "/person/name/firstName"
    identity = {"xdm:namespace": "Email", "xdm:property": "xdm:code"}
    for kind, schema, path, more in (
        ("descriptorOdd", id, name, {}),
        ("descriptorIdentity", f"{id}0", name, identity),
        ("descriptorIdentity", id, "/person/none", identity),
        ("descriptorIdentity", id, "person/name/firstName", identity),
        ("descriptorIdentity", id, f"{name}/", identity),
        ("descriptorIdentity", id, "/person/name", identity),
        ("descriptorIdentity", id, name, {"xdm:property": "xdm:code"}),
        ("descriptorIdentity", id, name, identity | {"xdm:namespace": "none"}),
        ("descriptorIdentity", id, name, identity | {"xdm:property": "odd"}),
        ("alternateDisplayInfo", id, name, {}),
        ("descriptorOneToOne", id, name, {"xdm:destinationVersion": 1}),
        (
            "descriptorOneToOne",
            id,
            name,
            {"xdm:destinationSchema": "x", "xdm:destinationVersion": 1},
        ),
        (
            "descriptorRelationship",
            id,
            name,
            {"xdm:destinationSchema": id, "xdm:cardinality": "7:7"},
        ),
        ("descriptorTimeSeriesGranularity", id, name, {"xdm:granularity": "often"}),
    ):
        answer = registry.describe(kind, schema, path, **more)
        assert error(answer)[0] == 400, (kind, more)
    made = registry.describe("descriptorIdentity", id, name, **identity)
    assert made.status_code == 201
    assert len(made.json()["@id"]) == 48
    assert (made.json()["version"], made.json()["meta:containerId"]) == ("1", "tenant")
    assert error(registry.describe("descriptorIdentity", id, name, **identity))[0] == 400
    primary = identity | {"xdm:isPrimary": True}
    last = "/person/name/lastName"
    assert registry.describe("descriptorIdentity", id, last, **primary).status_code == 201
    assert error(registry.describe("descriptorIdentity", id, "/personID", **primary))[0] == 400
    path = f"/tenant/descriptors/{made.json()['@id']}"
    assert error(registry.send("PUT", path, {"@type": "xdm:descriptorIdentity"}))[0] == 400
    answer = registry.send("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")


def test_imports_are_whole_or_nothing(registry: Registry) -> None:
    group = registry.group({"a": {"type": "string"}})
    made = registry.schema(group["$id"])
    exported = registry.get(f"/rpc/export/{made['meta:altId']}").json()
    assert [item["meta:resourceType"] for item in exported] == ["mixins", "schemas"]
    for item in exported:
        assert not {"imsOrg", "meta:registryMetadata", "meta:tenantNamespace"} & set(item)
    answer = registry.send("POST", "/rpc/import", exported)
    assert error(answer) == (400, "XDM-3005-400")
    assert answer.json()["title"] == "Import Resource Failed"
    registry.send("DELETE", f"/tenant/schemas/{made['meta:altId']}")
    registry.send("DELETE", f"/tenant/fieldgroups/{group['meta:altId']}")
    taken = registry.schema(title=made["title"])
    assert error(registry.send("POST", "/rpc/import", exported)) == (400, "XDM-3005-400")
    assert error(registry.get(f"/tenant/fieldgroups/{group['meta:altId']}"))[0] == 404
    registry.send("DELETE", f"/tenant/schemas/{taken['meta:altId']}")
    for path in ("/rpc/import", "/rpc/export/"):
        stored = registry.send("POST", path, exported)
        assert (stored.status_code, len(stored.json())) == (200, 2)
        registry.send("DELETE", f"/tenant/schemas/{made['meta:altId']}")
        registry.send("DELETE", f"/tenant/fieldgroups/{group['meta:altId']}")
    for body in ([], {}, [{"title": "x"}], [7]):
        assert error(registry.send("POST", "/rpc/import", body))[0] == 400


# -- catalog ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(registry: Registry) -> dict[str, str]:
    return {
        "id": registry.schema(PERSON)["$id"],
        "contentType": "application/vnd.adobe.xed+json;version=1",
    }


@pytest.fixture(scope="module")
def datasets(own: PlatformClient, reference: dict[str, str]) -> dict[str, str]:
    """Four data sets; their ids by the last letter of the name."""
    found = {}
    for letter, team in (("c", "blue"), ("a", "red"), ("d", "blue"), ("b", "green")):
        time.sleep(0.002)
        body = {"name": f"list {letter}", "schemaRef": reference, "tags": {"team": [team]}}
        more = {} if letter == "a" else {"description": f"text * {letter}"}
        (made,) = own.call("POST", f"{CATALOG}/dataSets", body | more)
        found[letter] = made.rsplit("/", 1)[1]
    return found


@pytest.fixture
def letters(own: PlatformClient, datasets: dict[str, str]) -> Callable[..., str]:
    """The letters of the data sets that a query finds, in order."""

    def ask(*query: str) -> str:
        pairs = [tuple(part.split("=", 1)) for part in ("property=name~^list ", *query)]
        answer = own.http.get(f"{CATALOG}/dataSets", params=pairs)
        assert answer.status_code == 200, answer.text
        return "".join(item["name"][-1] for item in answer.json().values())

    return ask


def test_data_sets_are_filtered(
    own: PlatformClient, datasets: dict[str, str], letters: Callable[..., str]
) -> None:
    assert letters() == "cadb"
    assert letters("name=list c") == "c"
    assert letters("name=list c,list a") == "ca"
    assert letters("name=!list c") == "adb"
    assert letters("state=ACTIVE", "namespace=ACP") == "cadb"
    assert letters("state=DRAFT") == ""
    assert letters("version=1.0.0") == "cadb"
    assert letters("property=description") == "cdb"
    assert letters("property=!description") == "a"
    assert letters("property=name==list d") == "d"
    assert letters("property=name!=list d") == "cab"
    assert letters("property=name>list b") == "cd"
    assert letters("property=name<=list b") == "ab"
    assert letters("property=name~[ab]$") == "ab"
    assert letters("property=name==*c") == "c"
    assert letters("property=description==text ** c") == "c"
    assert letters("property=description==text ** *") == "cdb"
    assert letters("property=schemaRef.id==*/schemas/*", "property=name<list b") == "a"
    assert letters("property=classification.dataBehavior==record") == "cadb"
    assert letters("tags=team:blue") == "cd"
    assert letters("tags=team:*") == "cadb"
    assert letters("tags=team:b*") == "cd"
    assert letters("tags=team:blue,adobe/pqs/table:list_d") == "d"
    assert letters("tags=none:*") == ""
    moment = own.call("GET", f"{CATALOG}/dataSets/{datasets['a']}")[datasets["a"]]["created"]
    assert letters(f"createdAfter={moment}") == "db"
    assert letters(f"createdBefore={moment}") == "c"
    assert letters(f"created={moment}") == "a"


def test_data_sets_are_ordered_paged_and_projected(
    own: PlatformClient, datasets: dict[str, str], letters: Callable[..., str]
) -> None:
    assert letters("orderBy=name") == letters("orderBy=asc:name") == "abcd"
    assert letters("orderBy=desc:name") == letters("sort=desc:name") == "dcba"
    assert letters("orderBy=asc:state,desc:name") == "dcba"
    assert letters("orderBy=asc:created,updated") == "cadb"
    assert letters("orderBy=name", "limit=3") == "abc"
    assert letters("orderBy=name", "limit=3", "start=3") == "d"
    assert letters("start=4") == ""
    path = f"{CATALOG}/dataSets?property=name~^list%20&orderBy=name"
    only = own.call("GET", f"{path}&properties=name,description&limit=2")
    assert list(only.values()) == [
        {"name": "list a"}, {"name": "list b", "description": "text * b"},
    ]  # fmt: skip
    assert list(own.call("GET", f"{path}&properties=none").values()) == [{}] * 4
    seen = own.call("GET", f"{path}&properties=name,observableSchema&limit=20")
    assert all(set(item) == {"name", "observableSchema"} for item in seen.values())
    one = own.call("GET", f"{CATALOG}/dataSets/{datasets['a']}?properties=name")
    assert one == {datasets["a"]: {"name": "list a"}}
    both = f"{datasets['b']},{datasets['a']},{'0' * 24}"
    assert list(own.call("GET", f"{CATALOG}/dataSets/{both}")) == [datasets["b"], datasets["a"]]
    assert own.call("GET", f"{CATALOG}/dataSets?name=none%20at%20all") == {}


@pytest.mark.parametrize("place", ["dataSets", "batches", "lastBatches", "dataSetFiles"])
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=101", "limit=x", "limit=1.5", "limit=", "limit=²", "start=-1", "start=x", f"start={10**19}",
     "createdAfter=x", "createdBefore=x", "limit=x&properties=observableSchema"],
)  # fmt: skip
def test_lists_of_the_catalog_refuse_parameters_that_make_no_sense(
    own: PlatformClient, datasets: dict[str, str], place: str, query: str
) -> None:
    status, code = error(own.http.get(f"{CATALOG}/{place}?{query}"))
    assert (status, code) == (400, "CAT-1400-400")


def test_observable_schemas_come_for_few_data_sets(own: PlatformClient) -> None:
    path = f"{CATALOG}/dataSets?properties=observableSchema"
    assert error(own.http.get(f"{path}&limit=21"))[0] == 400
    assert own.http.get(f"{path}&limit=20").status_code == 200
    assert error(own.http.get(f"{CATALOG}/dataSets?property=name~("))[0] == 400


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""}, {"name": None}, {"schemaRef": None}, {"schemaRef": {"id": "none"}}, {"tags": 7},
        {"tags": {"a": "b"}}, {"tags": {"a": [1]}}, {"fileDescription": []},
        {"schemaRef": {"id": PROFILE, "contentType": "application/vnd.adobe.xed+json;version=2"}},
    ],
)  # fmt: skip
def test_data_sets_that_make_no_sense_are_refused(
    own: PlatformClient, reference: dict[str, str], change: dict[str, Any]
) -> None:
    body = {"name": unique("bad"), "schemaRef": reference} | change
    assert error(own.http.post(f"{CATALOG}/dataSets", json=body))[0] == 400


def test_schemas_of_data_sets_are_named_in_every_form(
    own: PlatformClient, registry: Registry
) -> None:
    made = registry.schema()
    for id, content in (
        (made["meta:altId"], "application/vnd.adobe.xed-full-notext+json; version=1.1"),
        (made["$id"], "application/vnd.adobe.xed+json;version=1"), ("context/profile", None),
        (f"{PROFILE}__union", None),
    ):  # fmt: skip
        given = {"id": id} if content is None else {"id": id, "contentType": content}
        flag = "?requestDataSource=True"
        answer = own.http.post(
            f"{CATALOG}/dataSets{flag}", json={"name": "form", "schemaRef": given}
        )
        assert answer.status_code == 201
        place = answer.headers["location"]
        assert place.endswith(answer.json()[0][1:])
        (shown,) = own.call("GET", place).values()
        assert "dataSourceId" in shown
        if content is not None:
            assert shown["schemaRef"]["contentType"] == content
        assert own.http.delete(place).json() == answer.json()
        assert (own.http.delete(place).status_code, own.http.delete(place).json()) == (200, [])
        assert error(own.http.get(place))[0] == 404


def test_versions_guard_against_lost_changes(
    own: PlatformClient, reference: dict[str, str]
) -> None:
    (made,) = own.call("POST", f"{CATALOG}/dataSets", {"name": "v", "schemaRef": reference})
    path = f"{CATALOG}{made[1:]}"

    def call(method: str, body: Any = None, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return own.http.request(method, path, json=body, headers=names)

    first = call("GET").headers["etag"]
    assert first.strip('"') == "1.0.0"
    unchanged = call("GET", If_None_Match=first)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    put = {"name": "w", "schemaRef": reference}
    assert call("PATCH", {"description": "x"}, If_Match=first).status_code == 200
    assert call("GET", If_None_Match=first).status_code == 200
    stale: list[tuple[str, Any]] = [
        ("PATCH", {"description": "y"}), ("PATCH", [{"op": "remove", "path": "/description"}]),
        ("PUT", put), ("DELETE", None),
    ]  # fmt: skip
    for method, body in stale:
        assert error(call(method, body, If_Match=first))[0] == 412, method
    (shown,) = call("GET").json().values()
    assert (shown["description"], shown["version"]) == ("x", "1.0.1")
    assert call("PUT", put, If_Match="1.0.1").status_code == 200  # without its quotes
    assert call("PATCH", {"description": "z"}, If_Match="*").status_code == 200
    assert call("DELETE", If_Match='"1.0.3"').status_code == 200
    assert call("GET").status_code == 404


def test_validation_alone_stores_nothing(own: PlatformClient, reference: dict[str, str]) -> None:
    only = {"Pragma": "validate-only"}
    before = own.call("GET", f"{CATALOG}/")["dataSets"]["count"]
    body = {"name": "checked", "schemaRef": reference}
    answer = own.http.post(f"{CATALOG}/dataSets", json=body, headers=only)
    assert (answer.status_code, answer.json()[0][:11]) == (201, "@/dataSets/")
    assert own.http.get(answer.headers["location"]).status_code == 404
    bad = own.http.post(f"{CATALOG}/dataSets", json={"name": "x"}, headers=only)
    assert error(bad)[0] == 400
    assert own.call("GET", f"{CATALOG}/")["dataSets"]["count"] == before
    (made,) = own.call("POST", f"{CATALOG}/dataSets", body)
    path = f"{CATALOG}{made[1:]}"
    for method, change in (
        ("PATCH", {"description": "x"}), ("PUT", body | {"name": "y"}), ("DELETE", None),
        ("PATCH", [{"op": "add", "path": "/description", "value": "x"}]),
    ):  # fmt: skip
        answer = own.http.request(method, path, json=change, headers=only)
        assert (answer.status_code, answer.json()) == (200, [made])
    (shown,) = own.call("GET", path).values()
    assert (shown["name"], shown["version"]) == ("checked", "1.0.0")
    assert "description" not in shown
    assert error(own.http.patch(path, json={"tags": 7}, headers=only))[0] == 400
    own.call("DELETE", path)


def test_changes_of_data_sets(own: PlatformClient, reference: dict[str, str]) -> None:
    (made,) = own.call("POST", f"{CATALOG}/dataSets", {"name": "c", "schemaRef": reference})
    path = f"{CATALOG}{made[1:]}"

    def shown() -> dict[str, Any]:
        (found,) = own.call("GET", path).values()
        return dict(found)

    before = shown()
    own.call(
        "PATCH", path, {"id": "x", "imsOrg": "x", "viewId": "x", "version": "7", "state": "DRAFT"}
    )
    protected = ("imsOrg", "viewId", "state", "sandboxId", "created", "createdClient")
    assert {k: shown()[k] for k in protected} == {k: before[k] for k in protected}
    for kind in ("application/json", "application/json-patch+json"):
        steps = [{"op": "replace", "path": "/tags/unifiedProfile", "value": [kind]}]
        answer = own.http.patch(path, json=steps, headers={"Content-Type": kind})
        assert answer.status_code == 200
        assert shown()["tags"]["unifiedProfile"] == [kind]
    for steps in (
        [{"op": "replace", "path": "/imsOrg", "value": "x"}], [{"op": "remove", "path": "/none"}],
        [{"op": "add"}], [7], [{"op": "add", "path": "/tags/x", "value": 7}],
        [{"op": "remove", "path": "/name"}], [{"op": "remove", "path": "/schemaRef"}],
        [{"op": "replace", "path": "/schemaRef", "value": 7}],
        [{"op": "replace", "path": "", "value": []}],
    ):  # fmt: skip
        assert error(own.http.patch(path, json=steps))[0] == 400, steps
    with ThreadPoolExecutor(8) as pool:
        tags = [{"tags": {f"t{number}": ["x"]}} for number in range(8)]
        answers = list(pool.map(lambda tag: own.http.patch(path, json=tag), tags))
    assert {answer.status_code for answer in answers} == {200}
    assert {f"t{number}" for number in range(8)} <= set(shown()["tags"])
    assert error(own.http.patch(path, json={"name": 7}))[0] == 400
    assert error(own.http.patch(path, json={"fileDescription": 7}))[0] == 400
    assert error(own.http.patch(f"{CATALOG}/dataSets/{'0' * 24}", json={}))[0] == 404
    assert error(own.http.put(f"{CATALOG}/dataSets/{'0' * 24}", json={"name": "x"}))[0] == 404
    own.call("DELETE", path)


def test_bundles_happen_whole_or_not_at_all(own: PlatformClient, reference: dict[str, str]) -> None:
    def post(id: str, name: str) -> dict[str, Any]:
        body = {"name": name, "schemaRef": reference}
        return {"id": id, "resource": "/dataSets", "method": "post", "body": body}

    change = {"description": "of <<first.id>>"}
    patch = {
        "id": "change",
        "resource": "/dataSets/<<first.id>>",
        "method": "patch",
        "body": change,
    }
    read = {"id": "read", "resource": "/dataSets/<<first.id>>", "method": "get"}
    answer = own.http.post(f"{CATALOG}/", json=[post("first", "bundled"), patch, read])
    assert answer.status_code == 200
    results = answer.json()
    assert [(r["id"], r["code"]) for r in results] == [
        ("first", 201),
        ("change", 200),
        ("read", 200),
    ]
    id = results[0]["body"][0].rsplit("/", 1)[1]
    assert results[2]["body"][id]["description"] == f"of {id}"
    assert own.call("GET", f"{CATALOG}/dataSets/{id}")[id]["name"] == "bundled"

    stale = patch | {"resource": f"/dataSets/{id}", "headers": {"if-match": "1.0.0"}, "body": {}}
    for last, code in (
        (stale, 412), ({"id": "bad", "resource": "/dataSets", "method": "post", "body": {}}, 400),
        ({"id": "gone", "resource": f"/dataSets/{'0' * 24}", "method": "get"}, 404),
        ({"id": "odd", "resource": "/nowhere", "method": "get"}, 404),
    ):  # fmt: skip
        before = own.call("GET", f"{CATALOG}/")["dataSets"]["count"]
        drop = {"id": "drop", "resource": f"/dataSets/{id}", "method": "delete"}
        bundle = (
            [post("first", "undone"), last]
            if last is stale
            else [post("first", "undone"), drop, last]
        )
        answer = own.http.post(f"{CATALOG}/", json=bundle)
        assert answer.status_code == code
        assert [r["code"] for r in answer.json()][-1] == code
        assert own.call("GET", f"{CATALOG}/")["dataSets"]["count"] == before
        assert own.call("GET", f"{CATALOG}/dataSets?name=undone") == {}
        assert own.call("GET", f"{CATALOG}/dataSets/{id}")[id]["name"] == "bundled"
    preview = f"/data/foundation/export/datasets/{id}/preview"
    assert own.call("GET", preview) == {"data": []}  # its table was not dropped either
    for body in ([], {}, [7], [{"id": "a"}], [post("a", "x"), post("a", "y")]):
        assert error(own.http.post(f"{CATALOG}/", json=body))[0] == 400
    answer = own.http.post(f"{CATALOG}/", json=[post("other", "x"), patch])  # of what is not there
    assert (answer.status_code, answer.json()[-1]["code"]) == (400, 400)
    assert own.call("GET", f"{CATALOG}/dataSets?name=x,y") == {}
    drop = {"id": "drop", "resource": f"/dataSets/{id}", "method": "delete"}
    dropped = own.call("POST", f"{CATALOG}/", [drop, post("next", "next")])
    assert [r["code"] for r in dropped] == [200, 201]
    assert error(own.http.get(preview))[0] == 404
    own.call("DELETE", f"{CATALOG}/{dropped[1]['body'][0][2:]}")
