"""Metrics computed from rows of `commits`, asked for as clients ask."""

import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aepp
import httpx
import pytest
import uvicorn
from aepp.observability import Observability

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.tokens import Tokens
from headrace.services import ims
from headrace.services.observability import InletCalls, metrics, query, routes, series
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.testing.calls import InProcess
from headrace.xdm.check import CODES

PATH = "/data/infrastructure/observability/insights/metrics"
INGESTION, COLLECTION = "timeseries.ingestion.dataset", "timeseries.data.collection"
RECORDS = f"{INGESTION}.recordsuccess.count"


def at(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


class Site:
    """Data sets a and b, flow fa with inlet ia into a, fb without one into b; another sandbox with data set x."""

    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "store.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        self.client = json.loads((directory / "credentials.json").read_text())
        org = self.client["org_id"]
        self.scope, self.other = Scope(org, "prod"), Scope(org, "other")
        self.store.create(Scope(org, ""), "sandboxes", "other", {
            "id": "o", "name": "other", "title": "o", "state": "active", "type": "development",
            "region": "VA7", "isDefault": False, "createdBy": "t", "lastModifiedBy": "t",
        })  # fmt: skip
        for scope, ids in ((self.scope, "ab"), (self.other, "x")):
            for id in ids:
                self.store.create(scope, "dataSets", id, {"name": id})
                flow = {"name": id, "baseConnectionId": f"c{id}"}
                self.store.create(scope, "flows", f"f{id}", flow)
        inlet = {"auth": {"params": {"inletId": "ia"}}}
        self.store.create(self.scope, "connections", "ca", inlet)
        self.store.create(self.scope, "connections", "cb", {"auth": {"params": {}}})
        tokens = Tokens(b"k" * 32)
        gateway = Gateway(self.store, tokens, "off", installation)
        self.counts: dict[str, tuple[int, int]] = {}
        self.now = at("2024-03-04T08:30:10") / 1000
        places = {"ia": (self.scope, "ia"), "ca": (self.scope, "ia"), "ix": (self.other, "ix")}
        self.calls = InletCalls(self.store, lambda: self.counts, places.get, lambda: self.now)
        table = [
            *routes(self.store, self.calls.keep),
            *ims.routes(self.store, tokens, installation),
        ]
        self.app = build(table, gateway, title="t")
        headers = {"x-api-key": self.client["client_id"], "x-gw-ims-org-id": org}
        self.web = InProcess(self.app, headers)
        self._commits = 0

    def commit(
        self, when: str, dataset: str, records: int = 0, *, flow: str = "", errors: dict[str, int] | None = None,
        failed: int = 0, size: int = 0, received: int = 0,
    ) -> None:  # fmt: skip
        """A row as the worker writes it: good, or failed when there are failed records."""
        self._commits += 1
        failed = failed or sum((errors or {}).values())
        body = {
            "records": records, "failed": failed, "warnings": 0, "bytes": size, "input_bytes": received,
            "files": [], "errors": [
                {"code": code, "description": "d", "recordCount": n} for code, n in (errors or {}).items()
            ],
        }  # fmt: skip
        row = (
            f"commit-{self._commits}", f"batch-{self._commits}", flow or f"f{dataset}", dataset,
            "failed" if failed else "good", at(when), json.dumps(body),
        )  # fmt: skip
        with self.store.transaction() as db:
            db.execute("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def post(self, *metrics: dict[str, Any], **others: Any) -> httpx.Response:
        body = {
            "start": "2024-03-01T00:00:00.000Z", "end": "2024-03-31T00:00:00.000Z", "granularity": "day",
            "metrics": list(metrics), **others,
        }  # fmt: skip
        sandbox = body.pop("sandbox", "prod")
        sent = {name: value for name, value in body.items() if value is not None}
        return self.web.post(PATH, json=sent, headers={"x-sandbox-name": sandbox})

    def datapoints(self, name: str, filters: Any = None, **others: Any) -> list[dict[str, Any]]:
        functions: dict[str, Any] = {
            k: others.pop(k) for k in ("aggregator", "downsample") if k in others
        }
        metric: dict[str, Any] = {"name": name, "aggregator": "sum", "filters": filters or []}
        metric |= functions
        answer = self.post(metric, **others)
        assert answer.status_code == 200, answer.text
        (response,) = answer.json()["metricResponses"]
        assert (response["metric"], response["filters"]) == (name, metric["filters"])
        points: list[dict[str, Any]] = response["datapoints"]
        return points

    def dps(self, name: str, filters: Any = None, **others: Any) -> dict[str, float]:
        (point,) = self.datapoints(name, filters, **others)
        assert point["groupBy"] == {}
        found: dict[str, float] = point["dps"]
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def busy(site: Site) -> Site:
    site.commit("2024-03-04T08:00:00", "a", 10, size=1000, received=3000)
    site.commit("2024-03-04T08:00:30", "a", 20, size=2000, received=5000)
    site.commit("2024-03-04T20:00:00", "a", errors={CODES["required"]: 3, CODES["type"]: 1})
    site.commit("2024-03-04T09:00:00", "b", 6, size=500, received=900)
    site.commit("2024-03-06T00:00:00", "b", 8, size=700, received=1100)
    site.commit("2024-03-04T10:00:00", "x", 1000, size=99999, received=99999)
    return site


def by(name: str, value: str = "", group: bool = False) -> list[dict[str, Any]]:
    return [{"name": name, "value": value, "groupBy": group}]


DAY = 86_400
D4, D5, D6 = (f"2024-03-0{day}T00:00:00Z" for day in (4, 5, 6))


def test_records_by_day_over_all_data_sets(busy: Site) -> None:
    assert busy.dps(RECORDS) == {D4: 36.0, D6: 8.0}
    assert busy.dps(RECORDS, sandbox="other") == {D4: 1000.0}


def test_granularity_is_answered_in_capitals(busy: Site) -> None:
    answer = busy.post({"name": RECORDS, "aggregator": "sum"}, granularity="Month").json()
    (response,) = answer["metricResponses"]
    assert response["granularity"] == "MONTH"
    assert response["datapoints"] == [{"groupBy": {}, "dps": {"2024-03-01T00:00:00Z": 44.0}}]
    assert response["filters"] == []


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        ("minute", {"2024-03-04T08:00:00Z": 30, "2024-03-04T09:00:00Z": 6, D6: 8}),
        ("hour", {"2024-03-04T08:00:00Z": 30, "2024-03-04T09:00:00Z": 6, D6: 8}),
        ("week", {D4: 44}),
        ("year", {"2024-01-01T00:00:00Z": 44}),
        (None, {"2024-03-01T00:00:00Z": 44}),
    ],
)
def test_intervals(busy: Site, granularity: str | None, expected: dict[str, float]) -> None:
    assert busy.dps(RECORDS, granularity=granularity) == expected


def test_start_and_end_belong_to_the_period(busy: Site) -> None:
    period = {"start": "2024-03-04T08:00:30Z", "end": "2024-03-06T01:00:00+01:00"}
    assert busy.dps(RECORDS, **period) == {D4: 26, D6: 8}
    assert busy.dps(RECORDS, **period | {"end": "2024-03-05T23:59:59.999"}) == {D4: 26}
    assert busy.dps(RECORDS, start="2024-03-05", end="2024-03-05") == {}


def test_filters_choose_and_group(busy: Site) -> None:
    assert busy.dps(RECORDS, by("dataSetId", "a")) == {D4: 30}
    for name in ("dataSetId", "dataSetID", "dataSets"):
        assert busy.datapoints(RECORDS, by(name, "b|a|none", group=True)) == [
            {"groupBy": {name: "b"}, "dps": {D4: 6, D6: 8}},
            {"groupBy": {name: "a"}, "dps": {D4: 30}},
            {"groupBy": {name: "none"}, "dps": {}},
        ]
    assert busy.dps(RECORDS, by("flowId", "fb")) == {D4: 6, D6: 8}
    assert busy.dps(RECORDS, by("flowId", "fb") + by("dataSetId", "a")) == {}
    assert busy.dps(RECORDS, by("inletId", "ia")) == {D4: 30}


def test_groups_without_values_are_those_with_samples(busy: Site) -> None:
    busy.commit("2024-03-04T11:00:00", "a", 5, flow="second")
    found = busy.datapoints(RECORDS, by("dataSetId", group=True) + by("flowId", group=True))
    assert {tuple(point["groupBy"].values()): point["dps"] for point in found} == {
        ("a", "fa"): {D4: 30},
        ("a", "second"): {D4: 5},
        ("b", "fb"): {D4: 6, D6: 8},
    }


def test_nothing_of_another_sandbox_shows(busy: Site) -> None:
    assert busy.dps(RECORDS, by("dataSetId", "x")) == {}
    assert busy.dps(RECORDS, by("flowId", "fx")) == {}
    busy.commit("2024-03-04T10:00:00", "x", 500, flow="deleted")
    assert busy.dps(RECORDS) == {D4: 36, D6: 8}
    assert busy.dps(RECORDS, sandbox="other") == {D4: 1500}
    for name, metric in metrics.METRICS.items():
        given = by("dataSetId", "x") if "dataset" in metric.filters else []
        given += by("namespaceId", "E") if metric.series == "namespace" else []
        given += by("graphStrength", "weak") if metric.series == "strength" else []
        assert busy.dps(name, given) == {}, name


def test_of_two_data_sets_with_one_id_the_flow_decides_whose_commit_it_is(busy: Site) -> None:
    busy.store.create(busy.scope, "dataSets", "x", {"name": "x"})
    assert busy.dps(RECORDS, by("dataSetId", "x")) == {}
    assert busy.dps(RECORDS, sandbox="other") == {D4: 1000}


def test_a_data_set_that_was_deleted_is_not_counted(busy: Site) -> None:
    busy.store.delete(busy.scope, "dataSets", "a")
    assert busy.dps(RECORDS) == {D4: 6, D6: 8}


@pytest.mark.parametrize(
    ("aggregator", "expected"),
    [
        ("sum", 36), ("avg", 18), ("min", 6), ("max", 30), ("count", 2), ("dev", 12), ("median", 18),
        ("p50", 6), ("p95", 30), ("SUM", 36),
    ],
)  # fmt: skip
def test_aggregators_combine_the_series_of_data_sets(
    busy: Site, aggregator: str, expected: float
) -> None:
    assert busy.dps(RECORDS, aggregator=aggregator)[D4] == expected


@pytest.mark.parametrize(
    ("downsample", "expected"),
    [("sum", 30), ("avg", 15), ("min", 10), ("max", 20), ("count", 2), ("first", 10), ("last", 20)],
)
def test_downsampling_reduces_commits_of_an_interval(
    busy: Site, downsample: str, expected: float
) -> None:
    assert busy.dps(RECORDS, by("dataSetId", "a"), downsample=downsample) == {D4: expected}


def test_batches_and_sizes(busy: Site) -> None:
    assert busy.dps(f"{INGESTION}.batchsuccess.count") == {D4: 3, D6: 1}
    assert busy.dps(f"{INGESTION}.batchfailed.count") == {D4: 1}
    assert busy.dps(f"{INGESTION}.dailysize") == {D4: 3500, D6: 700}
    month = {"granularity": "month", "filters": by("dataSets", "b")}
    assert busy.dps(f"{INGESTION}.dailysize", downsample="avg", **month) == {
        "2024-03-01T00:00:00Z": 600
    }


def test_size_is_all_that_was_ever_ingested(busy: Site) -> None:
    busy.commit("2024-02-20T00:00:00", "b", 1, size=40)
    period = {"start": "2024-03-03", "end": "2024-03-06T12:00:00"}
    name = f"{INGESTION}.size"
    expected = {"2024-03-03T00:00:00Z": 40, D4: 3540, D5: 3540, D6: 4240}
    assert busy.dps(name, **period) == expected
    assert busy.dps(name, by("dataSetId", "a"), **period) == {D4: 3000, D5: 3000, D6: 3000}
    ahead = busy.dps(name, start="2024-03-06", end="2999-01-01", granularity="year")
    assert next(iter(ahead)) == "2024-01-01T00:00:00Z"
    assert len(ahead) == datetime.now(UTC).year - 2023


def test_invalid_messages_split_into_categories_without_rest(busy: Site) -> None:
    busy.commit(
        "2024-03-04T21:00:00", "a",
        errors={CODES["additionalProperties"]: 2, CODES["minimum"]: 5, "INGEST-1401-400": 7}, failed=20,
    )  # fmt: skip
    validation = f"{COLLECTION}.validation"
    found = {
        name: busy.dps(f"{validation}.category.{name}.count")[D4]
        for name in ("type", "range", "format", "pattern", "presence", "enum", "unclassified", "unknown")
    }  # fmt: skip
    assert found == {
        "type": 1, "range": 5, "format": 0, "pattern": 0, "presence": 3, "enum": 0, "unclassified": 2,
        "unknown": 13,
    }  # fmt: skip
    total, valid, invalid = (
        busy.dps(f"{validation}.{name}.messages.rate")[D4] for name in ("total", "valid", "invalid")
    )
    assert (total, valid, invalid) == (60, 36, 24)
    assert sum(found.values()) == invalid


def test_inlets_count_messages_of_their_flows_and_of_direct_messages(busy: Site) -> None:
    busy.commit("2024-03-06T00:00:00", "a", 2, flow="dataset-a", received=50)
    received = f"{COLLECTION}.inlet.total.messages.received"
    sizes = f"{COLLECTION}.inlet.total.messages.size.received"
    assert busy.dps(received) == {D4: 34, D6: 2}
    assert busy.dps(sizes) == {D4: 8000, D6: 50}
    grouped = busy.datapoints(received, by("inletId", "ia", group=True))
    assert grouped == [{"groupBy": {"inletId": "ia"}, "dps": {D4: 34}}]


def test_calls_of_inlets_are_counted_by_outcome_and_over_restarts(busy: Site) -> None:
    success, failure = f"{COLLECTION}.inlet.success", f"{COLLECTION}.inlet.failure"
    assert busy.dps(success) == {}
    busy.counts = {"ia": (5, 1), "ix": (100, 100), "gone": (7, 7)}
    assert busy.dps(success) == {D4: 5.0}
    busy.counts = {"ia": (8, 1), "ca": (1, 0)}  # an inlet may be called by its connection's id
    busy.now += 60
    assert busy.dps(success, granularity="minute") == {
        "2024-03-04T08:30:00Z": 5.0, "2024-03-04T08:31:00Z": 4.0
    }  # fmt: skip
    assert busy.dps(failure, granularity="hour") == {"2024-03-04T08:00:00Z": 1.0}
    assert busy.dps(success, by("inletId", "ia")) == {D4: 9.0}
    assert busy.dps(success, by("inletId", "ix")) == {}
    assert busy.dps(success, sandbox="other") == {D4: 100.0}
    grouped = busy.datapoints(failure, by("inletId", "ia|nothing", group=True))
    assert [point["dps"] for point in grouped] == [{D4: 1.0}, {}]
    # both ends of the period belong to it, and nothing beyond
    for start, end, expected in (
        ("2024-03-04T08:31:00Z", "2024-03-04T23:00:00Z", 4.0),
        ("2024-03-04T00:00:00Z", "2024-03-04T08:30:59Z", 5.0),
        ("2024-03-04T08:30:00Z", "2024-03-04T08:31:00Z", 9.0),
    ):
        assert sum(busy.dps(success, start=start, end=end).values()) == expected
    # another process counts from zero again
    place = (busy.scope, "ia")
    InletCalls(busy.store, lambda: {"ia": (2, 0)}, lambda id: place, lambda: busy.now + DAY).keep()
    assert busy.dps(success) == {D4: 9.0, D5: 2.0}


def test_created_data_sets_are_counted(site: Site) -> None:
    name, day = f"{INGESTION}.new.count", time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime())
    found = site.dps(name, start="2024-01-01", end="2999-01-01", aggregator="max")
    assert sum(found.values()) == 2
    assert day in found


def test_metrics_of_absent_services_are_known_and_empty(busy: Site) -> None:
    name = "timeseries.identity.dataset.namespacecode.recordfailed.count"
    assert busy.datapoints(name, by("namespaceId", "ECID", group=True)) == [
        {"groupBy": {"namespaceId": "ECID"}, "dps": {}}
    ]
    assert busy.dps("timeseries.gdpr.jobs.totaljobs.count") == {}
    answer = busy.post({"name": name, "aggregator": "sum"})
    assert answer.status_code == 400
    assert "namespace" in answer.json()["title"]


GOOD = {"name": RECORDS, "aggregator": "sum"}


@pytest.mark.parametrize(
    ("metric", "others", "says"),
    [
        ({"name": "no.such.metric", "aggregator": "sum"}, {}, "no.such.metric"),
        ({"name": 5, "aggregator": "sum"}, {}, "'5'"),
        ({"aggregator": "sum"}, {}, "name"),
        ({"name": RECORDS}, {}, "aggregator"),
        ({**GOOD, "aggregator": "most"}, {}, "most"),
        ({**GOOD, "aggregator": ["sum"]}, {}, "aggregator"),
        ({**GOOD, "downsample": "none"}, {}, "downsample"),
        ({**GOOD, "filters": by("color", "red")}, {}, "color"),
        ({**GOOD, "filters": by("namespaceId", "E")}, {}, "namespaceId"),
        ({**GOOD, "filters": by("dataSetId")}, {}, "value"),
        ({**GOOD, "filters": [{"name": "dataSetId", "value": 7}]}, {}, "value"),
        ({**GOOD, "filters": [{"name": "dataSetId", "value": "a", "groupBy": "x"}]}, {}, "groupBy"),
        ({**GOOD, "filters": {"name": "dataSetId"}}, {}, "array"),
        ({**GOOD, "filters": by("dataSetId", "|".join(map(str, range(1001))))}, {}, "1000"),
        (GOOD, {"metrics": []}, "metrics"),
        (GOOD, {"metrics": ["x"]}, "object"),
        (GOOD, {"start": "2024-04-01T00:00:00Z"}, "Start date cannot be after end date."),
        (GOOD, {"start": None}, "start"),
        (GOOD, {"end": "tomorrow"}, "end"),
        (GOOD, {"granularity": "blink"}, "blink"),
    ],
)
def test_bad_payloads(
    site: Site, metric: dict[str, Any], others: dict[str, Any], says: str
) -> None:
    answer = site.post(metric, **others)
    body = answer.json()
    assert answer.status_code == body["status"] == 400
    assert body["type"] == "http://ns.adobe.com/aep/errors/INSGHT-1000-400"
    assert body["title"].startswith("Bad Request - ")
    assert says in body["title"]
    tenant = body["report"]["tenantInfo"]
    assert (tenant["sandboxName"], tenant["imsOrgId"]) == ("prod", site.client["org_id"])
    assert body["report"]["additionalContext"] is None
    (link,) = body["error-chain"]
    assert link["errorCode"] == "INSGHT-1000-400"
    assert link["serviceId"] == link["invokingServiceId"] == "INSGHT"
    assert abs(link["unixTimeStampMs"] - time.time() * 1000) < 60_000


def test_a_body_that_is_no_json_object(site: Site) -> None:
    for content in (b"{", b"[]", b""):
        answer = site.web.post(PATH, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["type"].endswith("/INSGHT-1000-400")


def test_too_many_intervals(site: Site) -> None:
    answer = site.post(GOOD, granularity="minute", start="2023-01-01", end="2024-01-01")
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("/INSGHT-1001-400")


def test_extreme_times_are_cut(busy: Site) -> None:
    period = {"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:59:59-12:00"}
    for granularity in ("month", "year", "all"):
        assert sum(busy.dps(RECORDS, **period, granularity=granularity).values()) == 44
    latest = "9999-12-31T23:59:59-12:00"
    assert busy.dps(f"{INGESTION}.size", start=latest, end=latest, granularity="all") == {}


def test_a_store_that_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Iterator[metrics.Sample]:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(query, "read", fail)
    answer = site.post(GOOD)
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("/INSGHT-1001-500")
    assert "disk" not in answer.text


def test_version_one(busy: Site) -> None:
    size = f"{INGESTION}.size"
    url = (
        f"{PATH}?metric={RECORDS}&metric={size}&dateRange=2024-03-04T00:00:00Z/2024-03-06T12:00:00Z"
    )
    (answer,) = busy.web.get(f"{url}&id=b").json()
    assert (answer["id"], answer["imsOrgId"]) == ("b", busy.client["org_id"])
    assert answer["stats"] == {}
    series = answer["timeseries"]
    assert (series["granularity"], series["_page"], series["_links"]) == ("DAY", None, None)
    assert series["items"] == [
        {"timestamp": D6, "metrics": {RECORDS: 8, size: 1200}},
        {"timestamp": D5, "metrics": {size: 500}},
        {"timestamp": D4, "metrics": {RECORDS: 6, size: 500}},
    ]
    (whole,) = busy.web.get(url).json()
    assert whole["timeseries"]["items"][0]["metrics"] == {RECORDS: 8, size: 4200}


def test_version_one_chooses_granularity_and_period(site: Site) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    site.commit(now, "a", 4)
    (recent,) = site.web.get(f"{PATH}?metric={RECORDS}").json()
    assert [item["metrics"] for item in recent["timeseries"]["items"]] == [{RECORDS: 4}]
    for dates, unit in (("2024-01-01/2024-01-02", "HOUR"), ("2024-01-01/2024-12-31", "MONTH")):
        (answer,) = site.web.get(f"{PATH}?metric={RECORDS}&dateRange={dates}").json()
        assert answer["timeseries"]["granularity"] == unit


@pytest.mark.parametrize(
    "parameters",
    [
        "", "metric=nonsense", f"metric={RECORDS}&dateRange=2024-01-01",
        f"metric={RECORDS}&dateRange=2024-01-02/2024-01-01",
        "&".join(f"metric={name}" for name in list(metrics.METRICS)[:7]),
        "metric=timeseries.identity.dataset.namespacecode.recordfailed.count",
    ],
)  # fmt: skip
def test_version_one_refuses(site: Site, parameters: str) -> None:
    answer = site.web.get(f"{PATH}?{parameters}")
    assert answer.status_code == 400
    assert set(answer.json()) == {"errorCode", "httpStatus", "title", "details"}
    assert (answer.json()["errorCode"], answer.json()["httpStatus"]) == ("INSGHT-1000-400", 400)


@pytest.mark.parametrize("granularity", series.GRANULARITIES)
def test_intervals_follow_one_another_without_gap(granularity: str) -> None:
    start, until = at("2023-12-30T12:34:56"), at("2024-01-03T00:00:00")
    if granularity in ("MONTH", "YEAR"):
        until = at("2026-02-01T00:00:00")
    found = list(series.intervals(start, until, granularity))
    assert found[0][0] <= start
    assert found[-1][1] == until
    for (_, last), (following, _) in itertools.pairwise(found):
        assert following == last + 1
    for begin, last in found:
        assert {series.interval_start(t, granularity, start) for t in (begin, last)} == {begin}


@contextmanager
def listening(app: Any) -> Iterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.filterwarnings("ignore")
def test_the_client_aepp_gets_its_report(busy: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(busy.app) as base:
        configuration = {
            "org_id": "org_id",
            "client_id": "client_id",
            "secret": "client_secret",
            "scopes": "scopes",
        }
        aepp.configure(
            **{name: busy.client[key] for name, key in configuration.items()}, sandbox="prod"
        )
        # configuring sets both anew
        monkeypatch.setitem(aepp.config.endpoints, "global", base)
        monkeypatch.setitem(
            aepp.config.config_object, "oauthTokenEndpointV2", f"{base}/ims/token/v3"
        )
        client = Observability()
        asked = client.POST_METRICS | {
            "start": "2024-03-01T00:00:00.000Z",
            "end": "2024-03-31T00:00:00.000Z",
        }
        asked["metrics"][0]["filters"][0]["value"] = "a|b"
        asked["metrics"][1]["filters"][0]["value"] = "b"
        counts, sizes = client.createMetricsReport(asked)["metricResponses"]
    assert counts["datapoints"] == [
        {"groupBy": {"dataSetId": "a"}, "dps": {D4: 30}},
        {"groupBy": {"dataSetId": "b"}, "dps": {D4: 6, D6: 8}},
    ]
    assert (counts["granularity"], counts["metric"]) == ("DAY", RECORDS)
    assert sizes["datapoints"] == [{"groupBy": {}, "dps": {D4: 500, D6: 700}}]
