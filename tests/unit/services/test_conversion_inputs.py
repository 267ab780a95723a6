"""Samples, input schemas, and the mappings suggested for their columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.http.contract import Call, Caller
from headrace.services.conversion import routes
from headrace.services.conversion.samples import records_of, schema_of, source_paths
from headrace.services.conversion.suggestion import Target, suggested
from tests.unit.services.conversion_site import BASE, FULL, NAME_RULE, SETS, Site, refused

SAMPLES, SCHEMAS = f"{BASE}/samples", f"{BASE}/schemas"
JSON = '{"FirstName":"Johnson","LastName":"Smith","id":"3197210762560"}'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def sample(site: Site, data: str = JSON, kind: str = "JSON") -> str:
    answer = site.web.post(SAMPLES, json={"sampleData": data, "sampleType": kind})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def upload(site: Site, path: str, content_type: str, body: bytes) -> Any:
    """The handler's answer to a form; what lies in front of it is not asked."""
    handler = next(r.handler for r in routes(site.service) if r.path == path)
    caller = Caller(site.org, site.tenant, "c", "u", frozenset(), "prod", "p", "production")
    headers = {"content-type": content_type}
    return handler(Call("POST", path, {}, [], headers, body, "r", "", caller)).body


def form(filename: str, content: str) -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    text = f"--b\r\n{head}\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--b--\r\n"
    return "multipart/form-data; boundary=b", text.encode()


# -- samples ------------------------------------------------------------------------------------------------


def test_a_sample_is_kept_listed_and_replaced(site: Site) -> None:
    id = sample(site)
    made = site.web.get(f"{SAMPLES}/{id}").json()
    assert (made["sampleData"], made["sampleType"], made["version"]) == (JSON, "JSON", 0)
    changed = site.put(
        f"{SAMPLES}/{id}", {"sampleData": "a,b\n1,2", "sampleType": "text/csv"}
    ).json()
    assert (changed["id"], changed["version"], changed["sampleType"]) == (id, 1, "CSV")
    assert changed["createdDate"] == made["createdDate"]
    other = sample(site)
    body = site.web.get(f"{SAMPLES}?start=0&limit=1").json()
    assert [item["id"] for item in body["data"]] == [id]
    assert body["_page"] == {"count": 1, "limit": 1}
    assert body["_links"]["next"]["href"].endswith("/samples?limit=1&start=1")
    assert [i["id"] for i in site.web.get(f"{SAMPLES}?start=1").json()["data"]] == [other]
    headers = {"x-sandbox-name": "stage"}
    assert site.web.get(f"{SAMPLES}/{id}", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sampleData": {"a": 1}},
        {"sampleData": "{", "sampleType": "JSON"},
        {"sampleData": "[]"},
        {"sampleData": "[1]"},
        {"sampleData": "", "sampleType": "CSV"},
        {"sampleData": "a,,b\n", "sampleType": "CSV"},
        {"sampleData": "{}", "sampleType": "XML"},
        {"sampleData": '{"a":' * 40 + "1" + "}" * 40},
    ],
)
def test_what_is_no_sample_is_refused(site: Site, body: dict[str, Any]) -> None:
    refused(site.web.post(SAMPLES, json=body), 400)
    id = sample(site)
    refused(site.put(f"{SAMPLES}/{id}", body), 400)
    assert site.web.get(f"{SAMPLES}/{id}").json()["version"] == 0
    assert site.put(f"{SAMPLES}/none", {"sampleData": JSON}).status_code == 404


def test_files_are_samples_of_the_type_that_their_name_says(site: Site) -> None:
    path = f"{SAMPLES}/upload"
    found = upload(site, path, *form("people.csv", "name,age\r\nAda,36"))
    assert (found["sampleData"], found["sampleType"]) == ("name,age\r\nAda,36", "CSV")
    found = upload(site, path, *form("people.json", JSON))
    assert (found["sampleData"], found["sampleType"]) == (JSON, "JSON")
    raw = {"content-type": "application/json"}
    found = site.web.post(path, content=JSON, headers=raw).json()
    assert site.web.get(f"{SAMPLES}/{found['id']}").json()["sampleData"] == JSON
    refused(site.web.post(path, content=b"\xff", headers=raw), 400)


def test_csv_records_have_the_names_of_the_first_line() -> None:
    text = '\ufeffname, age\n"Ada, Countess",36\n\nGrace\n'
    assert records_of(text, "CSV") == [{"name": "Ada, Countess", "age": "36"}, {"name": "Grace"}]
    assert records_of("a,b\n", "CSV") == [{"a": None, "b": None}]


# -- input schemas ------------------------------------------------------------------------------------------


def test_an_input_schema_comes_from_a_json_schema_a_sample_or_a_reference(site: Site) -> None:
    flat = {"id": "string", "firstName": "string"}
    first = site.web.post(SCHEMAS, json={"jsonSchema": flat, "name": "flat"}).json()
    assert (first["jsonSchema"], first["version"]) == (flat, 0)
    id = sample(site)
    second = site.web.post(SCHEMAS, json={"sampleId": id}).json()
    assert second["sampleId"] == id
    assert second["jsonSchema"] == {
        "title": f"SampleSchema:{id}",
        "type": "object",
        "properties": {n: {"title": n, "type": "string"} for n in ("FirstName", "LastName", "id")},
    }
    alternative = f"_{site.tenant}.schemas.{site.schema.rsplit('/', 1)[1]}"
    third = site.web.post(SCHEMAS, json={"name": "xdm", "schemaRef": {"id": alternative}}).json()
    assert third["schemaRef"] == {"id": site.schema, "contentType": FULL}
    assert "person" in third["jsonSchema"]["properties"]
    assert site.web.get(f"{SCHEMAS}/{third['id']}").json() == third
    listed = site.web.get(f"{SCHEMAS}?start=0&limit=5").json()["data"]
    assert listed == [first, second, third]
    assert site.web.get(f"{SCHEMAS}?name=xdm").json()["data"] == [third]


def test_what_is_no_input_schema_is_refused(site: Site) -> None:
    refused(site.web.post(SCHEMAS, json={}), 400)
    refused(site.web.post(SCHEMAS, json={"jsonSchema": {}}), 400)
    refused(site.web.post(SCHEMAS, json={"jsonSchema": {"a": "string"}, "name": 1}), 400)
    refused(site.web.post(SCHEMAS, json={"sampleId": "none"}), 404)
    refused(site.web.get(f"{SCHEMAS}/none"), 404)
    answer = site.web.post(SCHEMAS, json={"schemaRef": {"id": f"{site.schema}0"}})
    assert answer.status_code == 404
    assert site.web.get(SCHEMAS).json()["data"] == []


def test_a_file_is_a_json_schema_or_a_sample_of_one(site: Site) -> None:
    path = f"{SCHEMAS}/upload"
    given = {"type": "object", "properties": {"a": {"type": "integer"}}}
    found = upload(site, path, *form("s.json", json.dumps(given)))
    assert found["jsonSchema"] == given
    found = upload(site, path, *form("s.csv", "a,b\n1,2"))
    assert list(found["jsonSchema"]["properties"]) == ["a", "b"]
    raw = {"content-type": "application/json"}
    found = site.web.post(path, content=JSON, headers=raw).json()
    assert list(found["jsonSchema"]["properties"]) == ["FirstName", "LastName", "id"]
    refused(site.web.post(path, content=b"{", headers=raw), 400)


def test_types_and_paths_of_a_sample() -> None:
    records: list[dict[str, Any]] = [
        {"a": None, "b": True, "c": {"d.e": 1}, "f": [{"g": 1.5}, {"h": "x"}], "i": ["t"]},
        {"a": 2, "c": {"j": None}},
    ]
    schema = schema_of(records, "t")
    kinds = {name: node["type"] for name, node in schema["properties"].items()}
    assert kinds == {"a": "integer", "b": "boolean", "c": "object", "f": "array", "i": "array"}
    assert schema["properties"]["f"]["items"]["properties"]["g"]["type"] == "number"
    paths = source_paths(schema)
    assert paths == ["a", "b", "c.d\\.e", "c.j", "f[*].g", "f[*].h", "i"]


# -- suggestions --------------------------------------------------------------------------------------------


def suggest(site: Site, query: str) -> dict[str, Any]:
    answer = site.web.get(f"{SETS}/suggestion?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pairs(body: dict[str, Any]) -> dict[str, Any]:
    return {rule["source"]: rule["destination"] for rule in body["mappings"]}


def test_suggestions_for_a_sample_can_be_stored_as_they_are(site: Site) -> None:
    record = {
        "ID": 1, "first_name": "Ada", "LAST NAME": "L", "Loyalty-Tier": "gold", "shoe": 3,
        "lines": [{"SKU": "a", "counts": 1}], "labels": ["x"], "card no": {"number": "7"},
    }  # fmt: skip
    site.store.create(site.scope, "dataSets", "d" * 24, {"schemaRef": {"id": site.schema}})
    id = sample(site, json.dumps(record))
    body = suggest(site, f"datasetId={'d' * 24}&sampleId={id}")
    own = site.own
    assert pairs(body) == {
        "ID": "_id", "first_name": "person.name.firstName", "LAST NAME": "person.name.lastName",
        "Loyalty-Tier": own("tier"), "lines[*].SKU": own("orders[*].sku"),
        "lines[*].counts": own("orders[*].count"), "labels": own("labels"),
        "card no.number": own("card.number"),
    }  # fmt: skip
    scores = {rule["source"]: rule["matchScore"] for rule in body["mappings"]}
    assert (scores["ID"], scores["Loyalty-Tier"]) == (1.0, 1.0)
    assert 0.75 <= scores["lines[*].counts"] < 1
    assert suggest(site, f"schemaId={site.schema}&sampleId={id}") == body
    assert site.web.get(SETS).json()["data"] == []
    made = site.web.post(f"{SETS}?validate=true", json=body)
    assert made.status_code == 200, made.text
    preview = {"data": record, "mappingSet": body}
    shown = site.web.post(f"{SETS}/preview", json=preview).json()
    assert shown["errors"] is None
    assert shown["data"]["person"]["name"] == {"firstName": "Ada", "lastName": "L"}
    everything = suggest(site, f"schemaId={site.schema}&sampleId={id}&excludeUnmapped=False")
    assert [r["source"] for r in everything["mappings"] if r["destination"] is None] == ["shoe"]
    assert len(everything["mappings"]) == len(body["mappings"]) + 1


def test_suggestions_for_a_batch_and_for_an_input_schema(site: Site) -> None:
    site.store.create(site.scope, "dataSets", "d", {"name": "d"})
    body = json.dumps(
        {"records": 1, "failed": 0, "started": 0, "bytes": 0, "input_bytes": 0, "files": [], "errors": []}
    )  # fmt: skip
    with site.store.transaction() as db:
        row = ("c", "B1", "f", "d", "good", 1, body)
        db.execute("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    site.columns["d"] = ["firstname", "customer.gender"]
    found = pairs(suggest(site, f"schemaId={site.schema}&batchId=B1"))
    assert found == {"firstname": "person.name.firstName", "customer.gender": "person.gender"}
    made = site.web.post(SCHEMAS, json={"jsonSchema": {"birth_date": "string"}}).json()
    body = suggest(site, f"schemaId={site.schema}&inputSchemaId={made['id']}")
    assert pairs(body) == {"birth_date": "person.birthDate"}
    assert body["inputSchema"] == {"id": made["id"], "version": 0}


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 400, "target"),
        ("datasetId=none", 404, "none"),
        ("schemaId={}", 400, "source"),
        ("schemaId={}&batchId=none", 404, "batch"),
        ("schemaId={}&sampleId=none", 404, "sample"),
        ("schemaId={}&inputSchemaId=none", 404, "input schema"),
    ],
)
def test_a_suggestion_needs_a_source_and_a_target(
    site: Site, query: str, status: int, said: str
) -> None:
    site.create(NAME_RULE)
    answer = site.web.get(f"{SETS}/suggestion?{query.format(site.schema)}")
    assert said in refused(answer, status)


def test_each_target_is_given_once_to_the_source_most_like_it() -> None:
    targets = [Target(p, "") for p in ("home.city", "work.city", "work.phoneNumber", "a[*].city")]
    sources = ["city", "work_city", "home.city", "number_phone", "b[*].city", "xyz"]
    found = {m.source: m.destination for m in suggested(sources, targets)}
    assert found == {
        "home.city": "home.city", "city": "work.city", "work_city": None, "xyz": None,
        "number_phone": "work.phoneNumber", "b[*].city": "a[*].city",
    }  # fmt: skip
    assert suggested(sources, targets[::-1]) == suggested(sources, targets)
