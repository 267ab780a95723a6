"""Runs of dataflows, as they follow from commits."""

import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.stops import Stops
from tests.unit.services.flow_site import HOUR, Site, code

NOW = int(time.time() * 1000)
THIS = NOW // HOUR * HOUR
"""The start of the hour that is not over."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, clock=lambda: NOW / 1000)


def flows(site: Site, count: int) -> list[str]:
    source, target = site.source(site.base()), site.target()
    return [site.flow(source, target, f"f{number}") for number in range(count)]


def ids(site: Site, path: str) -> list[str]:
    return [item["id"] for item in site.get(path)["items"]]


def test_a_run_is_one_flow_in_one_hour_with_the_sums_of_its_commits(site: Site) -> None:
    (flow,) = flows(site, 1)
    hour = THIS - 3 * HOUR
    site.commit(flow, hour + 5, 90, started=hour - 20)
    site.commit(flow, hour + 70, 10)
    site.commit(flow, hour + 70, 0, failed=2)
    (item,) = site.get("/runs")["items"]
    assert uuid.UUID(item["id"]).version == 7
    assert (item["flowId"], item["createdAt"], item["updatedAt"]) == (flow, hour + 5, hour + 70)
    metrics = item["metrics"]
    assert metrics["durationSummary"] == {"startedAtUTC": hour, "completedAtUTC": hour + 70}
    assert metrics["sizeSummary"] == {"inputBytes": 2000, "outputBytes": 1000}
    records = metrics["recordSummary"]
    assert (records["inputRecordCount"], records["createdRecordCount"]) == (102, 100)
    assert records["failedInfo"] == [{"code": "E", "message": "why", "count": 2, "type": "Error"}]
    assert metrics["statusSummary"]["status"] == "partialSuccess"
    (activity,) = item["activities"]
    assert metrics["statusSummary"]["activityRefs"] == [activity["id"]]
    extensions = activity["statusSummary"]["extensions"]
    assert extensions["manifest"]["failedRecords"] == (
        "http://localhost/data/foundation/export/batches/batch2/meta?path=row_errors"
    )
    assert [error["code"] for error in extensions["errors"]] == ["INGEST-1212-400", "E"]
    batches = activity["targetInfo"][0]["reference"]["ids"]
    assert batches == ["batch2", "batch1", "batch0"]
    random, *middle, stamp = item["etag"].strip('"').split("-")
    assert (len(random), middle, int(stamp[:8], 16)) == (
        8, ["0000", "0200", "0000"], (hour + 70) // 1000,
    )  # fmt: skip
    assert site.item(f"/runs/{item['id']}") == item


def test_a_run_ends_with_its_hour(site: Site) -> None:
    good, bad, open_ = flows(site, 3)
    site.commit(good, THIS - HOUR, 1)
    site.commit(bad, THIS - HOUR + 1, 0, failed=1)
    site.commit(open_, THIS, 1)
    found = {item["flowId"]: item["metrics"] for item in site.get("/runs")["items"]}
    states = {flow: metrics["statusSummary"]["status"] for flow, metrics in found.items()}
    assert states == {good: "success", bad: "failed", open_: "inProgress"}
    assert "completedAtUTC" not in found[open_]["durationSummary"]
    for query, flow in (
        ("state==Failed", bad), ("metrics.statusSummary.status==success", good), ("state==INPROGRESS", open_),
    ):  # fmt: skip
        items = site.get(f"/runs?property={query}")["items"]
        assert [item["flowId"] for item in items] == [flow]
        assert site.get(f"/runs?property={query}&count=true") == {"count": 1}


def test_a_new_commit_in_the_same_hour_changes_run_and_etag(site: Site) -> None:
    (flow,) = flows(site, 1)
    site.commit(flow, THIS, 1)
    before = site.get("/runs")["items"][0]
    site.commit(flow, THIS + 1, 5)
    after = site.get("/runs")["items"][0]
    assert after["id"] == before["id"]
    assert after["etag"] != before["etag"]
    assert after["metrics"]["recordSummary"]["inputRecordCount"] == 6


@pytest.mark.parametrize("count", [3, 80])  # looked up flow by flow, or window by window
def test_pages_of_runs_give_each_once_in_both_directions(site: Site, count: int) -> None:
    some = flows(site, count)
    for number, flow in enumerate(some):
        for hour in range(4 if number < 3 else 1):
            # many begin in the same millisecond
            site.commit(flow, THIS - (hour + 1) * HOUR + number % 2, 1)
    total = count + 3 * 3
    assert site.get("/runs?count=true") == {"count": total}
    for order in ("", "&orderby=createdAt", "&orderby=-updatedAt", "&orderby=flowId"):
        found: list[dict[str, Any]] = []
        path = f"/runs?limit=7{order}"
        while path:
            page = site.get(path)
            found += page["items"]
            path = page["_links"].get("next", {}).get("href", "")
        assert len({item["id"] for item in found}) == len(found) == total
        times = [item["createdAt"] for item in found]
        if "flowId" not in order:
            assert times == sorted(times, reverse="=createdAt" not in order)
    for item in found[:3]:
        assert site.item(f"/runs/{item['id']}") == item


@pytest.mark.parametrize("count", [1, 80])
def test_times_choose_windows(site: Site, count: int) -> None:
    flow = flows(site, count)[0]
    for hour in range(1, 7):
        site.commit(flow, THIS - hour * HOUR + 10, hour)
    started = "property=metrics.durationSummary.startedAtUTC"
    for query, hours in (
        (f"{started}>={THIS - 2 * HOUR}", [1, 2]),
        (f"{started}>{THIS - 4 * HOUR + 5}&{started}<{THIS - 2 * HOUR}", [3]),
        (f"property=createdAt=={THIS - 3 * HOUR + 10}", [3]),
        (f"property=createdAt<={THIS - 5 * HOUR + 9}", [6]),
        (f"property=updatedAt<{THIS - 5 * HOUR + 10}", [6]),
        (f"property=createdAt>{THIS}", []),
        ("property=metrics.recordSummary.inputRecordCount>=5", [5, 6]),
    ):
        items = site.get(f"/runs?{query}")["items"]
        counts = [item["metrics"]["recordSummary"]["inputRecordCount"] for item in items]
        assert counts == hours, query
        assert site.get(f"/runs?{query}&count=true") == {"count": len(hours)}
    run = site.get("/runs?limit=1&orderby=createdAt")["items"][0]["id"]
    assert ids(site, f"/runs?property=id=={run}") == [run]
    assert ids(site, "/runs?property=id==nobody") == []


def test_one_page_reads_the_commits_of_its_own_windows_only(site: Site) -> None:
    (flow,) = flows(site, 1)
    for hour in range(50):
        site.commit(flow, THIS - hour * HOUR, 1)
    read: list[str] = []
    history = site.service.runs._history
    measure = history._measure

    def watched(flow: Any, run: Any, now: int) -> Any:
        read.append(run.start)
        return measure(flow, run, now)

    history._measure = watched  # type: ignore[method-assign]
    page = site.get(f"/runs?property=flowId=={flow}&limit=3")
    assert len(page["items"]) == 3
    assert set(read) == {THIS - hour * HOUR for hour in range(4)}
    read.clear()
    site.get(page["_links"]["next"]["href"])
    assert set(read) == {THIS - hour * HOUR for hour in range(3, 7)}
    read.clear()
    assert site.get("/runs?count=true") == {"count": 50}
    assert read == []


def test_the_runs_of_a_flow_have_an_address_of_their_own(site: Site) -> None:
    mine, other = flows(site, 2)
    for hour in range(3):
        site.commit(mine, THIS - hour * HOUR, 1)
        site.commit(other, THIS - hour * HOUR, 1)
    runs = ids(site, f"/runs?property=flowId=={mine}")
    assert len(runs) == 3
    page = site.get(f"/flows/{mine}/runs?limit=2")
    assert [item["id"] for item in page["items"]] == runs[:2]
    assert ids(site, page["_links"]["next"]["href"]) == runs[2:]
    token = page["_links"]["next"]["href"].partition("?")[2]
    assert ids(site, f"/flows/{mine}/runs?{token}") == runs[2:]
    assert site.get(f"/flows/{mine}/runs?count=true") == {"count": 3}
    assert code(site.send("GET", "/flows/nobody/runs")) == "FLOW-1439-404"
    body = {"queryString": f"flowId=={mine}", "orderby": "createdAt"}
    searched = site.send("POST", "/runs/search", body).json()["items"]
    assert [item["id"] for item in searched] == runs[::-1]
    assert code(site.send("GET", "/runs?continuationToken=eyJwIjpbXSwibyI6IiIsImwiOjEsImEiOltdfQ")) == "FLOW-1452-400"  # fmt: skip


def test_a_flow_tells_its_last_run_and_is_found_by_it(site: Site) -> None:
    good, bad, idle = flows(site, 3)
    site.commit(good, THIS - 5 * HOUR, 0, failed=1)
    site.commit(good, THIS - HOUR + 7, 1, started=THIS - HOUR + 3)
    site.commit(bad, THIS - 2 * HOUR, 0, failed=1)
    run = site.get(f"/runs?property=flowId=={good}")["items"][0]["id"]
    expected = {
        "id": run, "state": "success", "startedAtUTC": THIS - HOUR + 3, "completedAtUTC": THIS - HOUR + 7,
    }  # fmt: skip
    assert site.item(f"/flows/{good}")["lastRunDetails"] == expected
    listed = {item["id"]: item.get("lastRunDetails") for item in site.get("/flows")["items"]}
    assert listed[good] == expected
    assert listed[idle] is None
    assert ids(site, "/flows?property=lastRunDetails.state==failed") == [bad]
    assert ids(site, f"/flows?property=lastRunDetails.startedAtUTC>={THIS - HOUR}") == [good]
    both = "/flows?property=lastRunDetails.completedAtUTC>0&orderby=name"
    assert ids(site, both) == [good, bad]
    assert ids(site, f"{both}&property=name==f1") == [bad]
    assert site.get("/flows?property=lastRunDetails.state==failed&count=true") == {"count": 1}
    second = site.get(f"{both}&limit=1")["_links"]["next"]["href"]
    assert ids(site, second) == [bad]
    ranked = ids(site, "/flows?orderby=-lastRunDetails.startedAtUTC")
    assert ranked == [good, bad, idle]
    following = site.get("/flows?orderby=-lastRunDetails.startedAtUTC&limit=1")["_links"]["next"]
    assert ids(site, following["href"]) == [bad]
    keys = site.get("/flows?property=name,lastRunDetails&property=name==f0")["items"][0]
    assert keys == {"id": good, "name": "f0", "lastRunDetails": expected}


def test_runs_are_not_written_by_users(site: Site) -> None:
    (flow,) = flows(site, 1)
    site.commit(flow, THIS, 1)
    run = ids(site, "/runs")[0]
    for body, expected in (
        ({"flowId": flow, "status": "active"}, "CONNECTOR-1385-400"),
        ({"flowId": ""}, "FLOW-1446-400"),
        ({}, "FLOW-1446-400"),
        ({"flowId": "nobody"}, "FLOW-1430-400"),
        ({"flowId": flow, "predecessors": [{"flowId": "nobody"}]}, "FLOW-1429-400"),
        (
            {"flowId": flow, "predecessors": [{"flowId": flow, "flowRunId": "no"}]},
            "FLOW-1428-400",
        ),
        (
            {"flowId": flow, "predecessors": [{"flowId": flow, "flowRunId": run}]},
            "CONNECTOR-1385-400",
        ),
    ):
        assert code(site.send("POST", "/runs", body)) == expected
    assert code(site.send("PUT", f"/runs/{run}", {}, **{"if-match": "*"})) == "FLOW-1427-400"
    assert code(site.send("POST", f"/runs/{run}/action?op=RE_TRIGGER")) == "CONNECTOR-1333-400"
    assert code(site.send("POST", f"/runs/{run}/action?op=x")) == "FLOW-1434-400"
    for method, path in (("GET", ""), ("PUT", ""), ("POST", "/action?op=re_trigger")):
        for unknown in ("nobody", str(uuid.uuid4()), str(uuid.UUID(int=7 << 76))):
            answer = site.send(method, f"/runs/{unknown}{path}", {} if method == "PUT" else None)
            assert code(answer) == "FLOW-1439-404"
            assert answer.json()["report"]["type"] == "runs"


def test_runs_go_with_their_flow_and_data_sets_without_one_have_none(site: Site) -> None:
    (flow,) = flows(site, 1)
    site.commit(flow, THIS, 1)
    site.commit("dataset-d", THIS, 1)
    assert site.get("/runs?count=true") == {"count": 1}
    assert site.send("DELETE", f"/flows/{flow}").status_code == 204
    assert site.get("/runs")["items"] == []


# -- flows that stopped -------------------------------------------------------------------------------------------


def stops_of(site: Site, at: int) -> Stops:
    """What notes stops, at a moment (milliseconds since the epoch)."""
    return Stops(site.store, clock=lambda: at / 1000)


def states(site: Site, query: str = "") -> list[tuple[str, str]]:
    found = site.get(f"/runs?{query}")["items"]
    return [(item["flowId"], item["metrics"]["statusSummary"]["status"]) for item in found]


@pytest.mark.parametrize("count", [2, 80])  # looked up flow by flow, or window by window
def test_a_flow_that_stopped_has_a_failed_run_with_the_reason(site: Site, count: int) -> None:
    stopped, well, *_ = flows(site, count)
    site.commit(well, THIS + 1, 1)
    stops_of(site, THIS + 2).note(stopped, "the credentials were refused")
    assert states(site) == [(stopped, "failed"), (well, "inProgress")]
    (item,) = site.get(f"/runs?property=state==failed&property=flowId=={stopped}")["items"]
    error = {"code": "CONNECTOR-1001-500", "message": "the credentials were refused"}
    assert item["metrics"]["statusSummary"]["errors"] == [error]
    assert item["metrics"]["durationSummary"] == {
        "startedAtUTC": THIS + 2, "completedAtUTC": THIS + 2
    }  # fmt: skip
    assert item["metrics"]["recordSummary"]["inputRecordCount"] == 0
    assert item["activities"][0]["statusSummary"]["extensions"]["errors"] == [error]
    assert site.item(f"/runs/{item['id']}") == item
    assert site.get("/runs?property=state==failed&count=true") == {"count": 1}
    assert site.get("/runs?count=true") == {"count": 2}
    details = site.item(f"/flows/{stopped}")["lastRunDetails"]
    assert (details["id"], details["state"], details["errors"]) == (item["id"], "failed", [error])
    assert ids(site, "/flows?property=lastRunDetails.state==failed") == [stopped]
    assert "errors" not in site.item(f"/flows/{well}")["lastRunDetails"]


def test_a_stop_that_is_over_stays_in_the_run_of_its_hour(site: Site) -> None:
    (flow,) = flows(site, 1)
    for hour, records in ((3, 0), (2, 5)):
        began = THIS - hour * HOUR
        if records:
            site.commit(flow, began + 1, records)
        stops_of(site, began + 2).note(flow, f"reason {hour}")
        assert states(site)[0] == (flow, "failed")
        before = site.get("/runs?limit=1")["items"][0]["etag"]
        stops_of(site, began + 9).note(flow, None)
        after = site.get("/runs?limit=1")["items"][0]
        assert after["etag"] != before or not records
        assert after["updatedAt"] == began + 9
    site.commit(flow, THIS - HOUR, 1)
    assert [state for _, state in states(site)] == ["success", "partialSuccess", "failed"]
    assert [state for _, state in states(site, "orderby=createdAt&limit=2")] == [
        "failed", "partialSuccess"
    ]  # fmt: skip
    assert site.item(f"/flows/{flow}")["lastRunDetails"]["state"] == "success"


@pytest.mark.parametrize("jump", [5 * 24 * HOUR, -5 * 24 * HOUR], ids=["days on", "days back"])
def test_a_clock_that_jumps_by_days_moves_runs_and_loses_none(site: Site, jump: int) -> None:
    """The clock is wrong for a while: what happened then has runs of that time, each whole and within its hour."""
    flow, other = flows(site, 2)
    site.commit(flow, THIS + 1, 10)
    site.commit(flow, THIS + jump + 2, 20, failed=1, started=THIS + 2)  # begun before the jump
    stops_of(site, THIS + jump + 3).note(flow, "why")
    stops_of(site, THIS + 4).note(flow, None)  # the clock is right again
    site.commit(flow, THIS + 5, 30, started=THIS + jump + 5)
    site.commit(other, THIS + 6, 1, started=THIS + jump + 6)
    items = site.get(f"/runs?property=flowId=={flow}")["items"]
    records = {
        item["createdAt"] // HOUR * HOUR - THIS: item["metrics"]["recordSummary"] for item in items
    }
    counts = {at: (found["createdRecordCount"], found["failedRecordCount"]) for at, found in records.items()}  # fmt: skip
    assert counts == {0: (40, 0), jump: (20, 1)}
    for item in site.get("/runs")["items"]:
        start = item["createdAt"] // HOUR * HOUR
        assert start <= item["createdAt"] <= item["updatedAt"] < start + HOUR
        metrics = item["metrics"]
        began = metrics["durationSummary"]["startedAtUTC"]
        assert start <= began <= metrics["durationSummary"].get("completedAtUTC", start + HOUR)
        assert 0 <= metrics["latencySummary"]["minMs"] <= metrics["latencySummary"]["avgMs"]
        assert site.item(f"/runs/{item['id']}") == item
    assert ids(site, f"/runs?property=flowId=={flow}&orderby=createdAt") == [
        item["id"] for item in sorted(items, key=lambda item: item["createdAt"])
    ]
    assert site.get("/runs?count=true") == {"count": 3}


def test_telling_the_same_stop_again_changes_nothing_and_old_ones_are_forgotten(site: Site) -> None:
    (flow,) = flows(site, 1)
    for at in (1, 2):
        stops_of(site, THIS + at).note(flow, "why")
    (stop,) = Stops(site.store).all()[flow]
    assert (stop.at, stop.until, stop.reason) == (THIS + 1, None, "why")
    stops_of(site, THIS + 3).note(flow, "something else")
    assert [(s.reason, s.until) for s in Stops(site.store).all()[flow]] == [
        ("why", THIS + 3), ("something else", None)
    ]  # fmt: skip
    for number in range(50):
        stops_of(site, THIS + 4).note(flow, f"reason {number}")
    assert [s.reason for s in Stops(site.store).all()[flow]] == [
        f"reason {number}" for number in range(30, 50)
    ]
    Stops(site.store).note("nobody", "why")
    assert set(Stops(site.store).all()) == {flow}
    assert site.send("DELETE", f"/flows/{flow}").status_code == 204
    assert Stops(site.store).all() == {}
    assert site.get("/runs")["items"] == []
