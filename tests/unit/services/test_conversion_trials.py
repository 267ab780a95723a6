"""Mappings tried out, the language described, and batch conversions, of which there are none."""

from pathlib import Path
from typing import Any

import pytest

from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions import FUNCTIONS
from headrace.mapping.operators import OPERATORS, UNARY
from headrace.mapping.parser import parse
from headrace.services.conversion.trial import context_of
from tests.unit.services.conversion_site import BASE, NAME_RULE, SETS, Site, refused


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# -- validate and preview -----------------------------------------------------------------------------------


def test_validate_gives_a_verdict_for_each_rule(site: Site) -> None:
    rules: list[Any] = [
        NAME_RULE,
        {**NAME_RULE, "source": "other"},
        {"sourceType": "EXPRESSION", "source": "nofunction(a)", "destination": site.own("tier")},
        {"sourceType": "EXPRESSION", "source": "substr()", "destination": site.own("tier")},
        {"sourceType": "ATTRIBUTE", "source": "a", "destination": "nowhere"},
        {"sourceType": "ATTRIBUTE", "source": "a", "destination": site.own("orders[*].sku")},
        {"sourceType": "STATIC", "source": "a", "destination": site.own("card")},
        {"sourceType": "ATTRIBUTE", "source": "", "destination": site.own("points")},
        {"sourceType": "ATTRIBUTE", "source": "a", "destination": "_acp_system_metadata.a"},
        {"sourceType": "MAGIC", "source": "a", "destination": "b"},
        "no rule",
    ]
    answer = site.web.post(f"{SETS}/validate", json=site.body(*rules))
    assert answer.status_code == 200, answer.text
    verdicts = answer.json()["validationResponse"]
    assert [v["status"] for v in verdicts] == ["SUCCESS"] + ["FAILED"] * 10
    assert verdicts[0]["errors"] is None
    said = [v["errors"][0]["exception"] for v in verdicts[1:]]
    for text, part in zip(
        said,
        ["Another rule", "nofunction", "argument", "nowhere", "[*]", "literal", "source is empty",
         "system", "MAGIC", "object"],
        strict=True,
    ):  # fmt: skip
        assert part in text
    assert verdicts[4]["errors"] == [
        {"source": "a", "destination": "nowhere", "columnName": "nowhere", "exception": said[3],
         "sourceType": "text/x.schema-path"}
    ]  # fmt: skip
    assert verdicts[9]["errors"][0]["destination"] == "b"
    assert site.web.get(SETS).json()["data"] == []


def test_preview_answers_in_the_shape_of_the_data(site: Site) -> None:
    rules = [
        {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
        {"sourceType": "ATTRIBUTE", "source": "points", "destination": site.own("points")},
        {
            "sourceType": "EXPRESSION",
            "source": "date(since)",
            "destination": site.own("since"),
        },
        {"sourceType": "ATTRIBUTE", "source": "lines[*].sku", "destination": site.own("orders[*].sku")},
    ]  # fmt: skip
    record = {
        "id": 1234,
        "points": "7",
        "since": "2024-05-05 20:39:00",
        "lines": [{"sku": "a"}, {"sku": "b"}],
    }
    body = {"data": record, "mappingSet": site.body(*rules)}
    one = site.web.post(f"{SETS}/preview", json=body).json()
    own = {"points": 7, "since": "2024-05-05T20:39:00Z", "orders": [{"sku": "a"}, {"sku": "b"}]}
    assert one == {"data": {"_id": "1234", f"_{site.tenant}": own}, "errors": None}
    many = site.web.post(
        f"{SETS}/preview", json={**body, "data": [record, {"id": "x", "points": "many"}]}
    ).json()
    assert many[0] == one
    assert many[1]["data"] == {"_id": "x"}
    (error,) = many[1]["errors"]
    assert (error["source"], error["sourceType"]) == ("points", "text/x.schema-path")
    assert error["destination"] == error["columnName"] == site.own("points")
    assert "many" in error["exception"]
    assert site.web.post(f"{SETS}/preview", json={**body, "data": []}).json() == []


def test_a_preview_shows_what_sound_rules_do_beside_broken_ones(site: Site) -> None:
    broken = {"sourceType": "EXPRESSION", "source": "oops(", "destination": site.own("tier")}
    body = {
        "data": [{"firstName": "Ada"}, {}],
        "mappingSet": site.body(NAME_RULE, broken, allowNullValues=True),
    }
    first, second = site.web.post(f"{SETS}/preview", json=body).json()
    assert first["data"] == {"person": {"name": {"firstName": "Ada"}}}
    assert second["data"] == {"person": {"name": {"firstName": None}}}
    assert [e["source"] for e in first["errors"]] == [e["source"] for e in second["errors"]]
    assert first["errors"][0]["sourceType"] == "text/x.aep-xl"


@pytest.mark.parametrize(
    "change", [{"data": "x"}, {"data": [1]}, {"mappingSet": []}, {"mappingSet": {}}]
)
def test_a_preview_without_records_or_rules_is_refused(site: Site, change: dict[str, Any]) -> None:
    body = {"data": {}, "mappingSet": site.body(NAME_RULE), **change}
    refused(site.web.post(f"{SETS}/preview", json=body), 400)


# -- the language -------------------------------------------------------------------------------------------


def test_expressions_are_validated(site: Site) -> None:
    def verdict(body: dict[str, Any]) -> dict[str, Any]:
        answer = site.web.post(f"{BASE}/languages/el/validate", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    sound = {"expression": 'concat("Hi", ",", "there", "!")'}
    good = {"validationStatus": "succeeded", "error": "none"}
    assert verdict(sound) == verdict({"expression": sound}) == good
    assert verdict({**sound, "mappingSetId": site.create(NAME_RULE)}) == good
    bad = verdict({"expression": "cocnat(a)"})
    assert bad["validationStatus"] == "failed"
    assert "did you mean 'concat'" in bad["error"]
    tried = verdict({"expression": "a + b", "sampleData": '{"a": 1, "b": "2"}'})
    assert tried == {**good, "result": 3}
    tried = verdict({"expression": "upper(b)", "sampleData": "a,b\n1,x", "sampleDataType": "csv"})
    assert tried == {**good, "result": "X"}
    failed = verdict({"expression": "a / 0", "sampleData": '{"a": 1}'})
    assert failed["validationStatus"] == "failed"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"expression": 1}, 400),
        ({"expression": "1", "mappingSetId": "none"}, 404),
        ({"expression": "1", "sampleData": "{"}, 400),
        ({"expression": "1", "sampleData": {}}, 400),
        ({"expression": "1", "sampleData": "{}", "sampleDataType": "xml"}, 400),
    ],
)
def test_what_cannot_be_validated_is_refused(site: Site, body: dict[str, Any], status: int) -> None:
    refused(site.web.post(f"{BASE}/languages/el/validate", json=body), status)


def test_the_function_list_is_the_function_table(site: Site) -> None:
    found = {
        item["function"]: item for item in site.web.get(f"{BASE}/languages/el/functions").json()
    }
    assert list(found) == list(FUNCTIONS)
    first, date = found["first"], found["date"]
    assert (first["syntax"], first["returnType"]) == ("T first(T...)", "java.lang.Object")
    (parameter,) = first["params"]
    assert (parameter["dataType"], parameter["position"]) == ("[Ljava.lang.Object;", 1)
    assert date["syntax"] == "ZonedDateTime date(String, String, ZonedDateTime)"
    assert (date["category"], date["returnType"]) == ("Date / Time", "java.time.ZonedDateTime")
    for item in found.values():
        positions = [p["position"] for p in item["params"]]
        assert positions == list(range(1, len(positions) + 1))
        assert item["description"]
        assert item["example"]


def test_the_operator_list_is_complete_and_its_examples_work(site: Site) -> None:
    found = site.web.get(f"{BASE}/languages/el/operators").json()
    keys = [(item["operatorSymbol"], item["numberOfOperands"]) for item in found]
    assert sorted(keys) == sorted([*((s, 2) for s in OPERATORS), *((s, 1) for s in UNARY)])
    published = {
        ("+", 2): ("add", "1 + 2"), ("/", 2): ("divide", "1 / 2"), ("~", 1): ("complement", "~44"),
        ("-", 1): ("negate", "-12"), ("!", 1): ("not", "!cond1"),
    }  # fmt: skip
    for key, item in zip(keys, found, strict=True):
        assert item["operatorSymbol"] in item["example"]
        evaluate(parse(item["example"]), context_of({}))
        if key in published:
            assert (item["methodName"], item["example"]) == published[key]


# -- batch conversions --------------------------------------------------------------------------------------


def test_there_are_no_batch_conversions(site: Site) -> None:
    path = f"{BASE}/xdmBatchConversions"
    body = site.web.get(f"{path}?limit=7&status=success").json()
    assert (body["data"], body["_page"]) == ([], {"count": 0, "limit": 7})
    wanted = "destinationDataSetId=d&sourceBatchId=b&mappingSetId=m"
    assert "dataflow" in refused(site.web.get(f"{path}?{wanted}"), 400)
    for tail in ("/r", "/r/activities", "/r/activities/a", "/r/activities/a/xdmBatchConversions/r"):
        assert "r." in refused(site.web.get(path + tail), 404)
