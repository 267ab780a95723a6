"""Replays and rehearsals over the API, in one process: what they answer, refuse, and leave alone."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.errors import ApiError
from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.lake.catalog import Lake
from headrace.lake.upkeep import Upkeep
from headrace.log.frames import MESSAGES
from headrace.log.reader import LogReader
from headrace.log.segments import segments
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.replaying import Replaying
from headrace.runtime.worker import Worker
from headrace.security.clients import add_client
from headrace.security.tokens import Tokens
from headrace.services.conversion.service import MappingSet
from headrace.services.operator.rehearsals import rehearsal_routes
from headrace.services.operator.replays import MOST_OPEN, replay_routes
from headrace.services.operator.routes import LogOf
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing.calls import InProcess
from headrace.xdm.fields import Field

TREE = Field("object", properties={"_id": Field("string"), "n": Field("int")}, required=("n",))
STRICT = Field(
    "object", properties={"_id": Field("string", max_length=2), "n": Field("int")}, required=("n",)
)
ID, N = Rule("ATTRIBUTE", "id", "_id"), Rule("ATTRIBUTE", "n", "n")
FIX = 'iif(equals(n, "bad"), 0, n)'
SETS = {
    ("m", 0): MappingSet("m", 0, (ID, N), False, "s"),
    ("m", 1): MappingSet("m", 1, (ID, Rule("EXPRESSION", FIX, "n")), False, "s"),
}


class Site:
    """Flow `f` of sandbox prod, whose mapping fails for the text `bad`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.store, self.lake = Store(directory / "headrace.db"), Lake(directory)
        self.installation = bootstrap(self.store, directory, "http://localhost")
        self.org = self.installation.org_id
        self.own = json.loads((directory / "credentials.json").read_text())
        self.scope = Scope(self.org, "prod")
        self.store.create(Scope(self.org, ""), "sandboxes", "other", {
            "id": "o", "name": "other", "title": "o", "state": "active", "type": "development",
            "region": "VA7", "isDefault": False, "createdBy": "t", "lastModifiedBy": "t",
        })  # fmt: skip
        self.store.create(self.scope, "dataSets", "d", {"name": "set d"})
        self.revision = FlowRevision(
            "f", 1, self.org, "prod", "d", "s", "1.0", TREE.to_json(), (ID, N)
        )
        Revisions(self.store).add(self.revision)
        self.log = LogOf()

    def send(self, *requests: list[Any]) -> None:
        """Accept requests of records with these `n`, and land them."""
        asyncio.run(self._append(requests))
        self.log.writer = type("Log", (), {"directory": self.directory / "log"})()  # type: ignore[assignment]
        worker = Worker(
            self.store, self.lake, LogReader(self.directory / "log"), 0.0, 100_000, lambda event: None,
            Upkeep(self.lake),
        )  # fmt: skip
        while worker.step():
            pass
        worker.finish()
        worker.reader.close()

    async def _append(self, requests: Sequence[list[Any]]) -> None:
        writer, serial = LogWriter(self.directory / "log"), 0
        for number, values in enumerate(requests):
            records = [{"id": f"r{serial + i}", "n": n} for i, n in enumerate(values)]
            serial += len(records)
            body = json.dumps({"messages": records}).encode()
            await writer.append(MESSAGES, "f", 1, f"q{number}", len(records), body, 1000 + number)
        await writer.close()

    def schema_tree(self, scope: Scope, id: str) -> tuple[str, str, Field]:
        if id != "strict":
            raise ApiError(404, "x", "Not found", "none")
        return id, "1.1", STRICT

    def reader(self) -> str:
        """A client that may only read."""
        return add_client(self.store, self.org, "reader", read_only=True)[0].id

    def web(self, sandbox: str = "prod", client: str | None = None) -> InProcess:
        routes = [
            *replay_routes(self.store, lambda: self.lake),
            *rehearsal_routes(
                self.store, self.log, lambda: self.lake,
                lambda scope, id, version: SETS.get((id, 1 if version is None else version)),
                self.schema_tree,
            ),
        ]  # fmt: skip
        tokens = Tokens(b"k" * 32)
        gateway = Gateway(self.store, tokens, "off", self.installation)
        headers = {
            "x-api-key": client or self.own["client_id"], "x-gw-ims-org-id": self.org, "x-sandbox-name": sandbox,
        }  # fmt: skip
        return InProcess(build(routes, gateway, title="t"), headers)

    def post(self, what: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.web(**options).post(f"/headrace/flows/f/{what}", json=body or {})

    def work(self) -> None:
        replaying = Replaying(
            self.store, self.lake, lambda event: None, Upkeep(self.lake), lambda id: None
        )
        while replaying.step():
            replaying._looked = -1e9

    def publish(self) -> None:
        Revisions(self.store).add(replace(self.revision, revision=2, rules=SETS["m", 1].rules))

    def state(self) -> list[str]:
        """What a call that only computes must not change."""
        tables = [self.lake.table("prod", name).metadata_location for name in ("d", "d_failed")]
        return [*tables, str(self.store.list(self.scope, "replays"))]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def test_a_preview_says_what_would_land_and_does_nothing(site: Site) -> None:
    site.send([1, "bad", "worse"])
    before = site.state()
    found = site.post("replays", {"dryRun": True}).json()
    assert (found["selected"], found["wouldLand"], found["wouldFail"]) == (2, 0, 2)
    assert found["examples"] == []
    site.publish()
    found = site.post("replays", {"dryRun": True}).json()
    assert (found["examined"], found["wouldLand"], found["wouldFail"]) == (2, 1, 1)
    (example,) = found["examples"]
    assert example["after"] == {"row": {"_id": "r1", "n": 0}}
    assert (example["receipt"], example["before"]["path"]) == ("q0-1", "n")
    assert site.state() == before
    assert site.web().get("/headrace/flows/f/replays").json() == {"replays": []}


def test_a_replay_is_asked_for_done_by_the_worker_and_read_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.send([1, "bad"], ["bad", "worse"])
    site.publish()
    with caplog.at_level("INFO", "headrace.replay"):
        asked = site.post("replays", {"receipts": ["q1"], "since": "1970-01-01T00:00:01Z"})
    assert (asked.status_code, asked.json()["state"]) == (202, "queued")
    assert asked.json()["selection"] == {"receipts": ["q1"], "since": 1000}
    (line,) = caplog.records
    audit = line.fields  # type: ignore[attr-defined]
    assert audit["flow"] == "f"
    assert audit["client"] == site.own["client_id"]
    assert audit["replay"] == asked.json()["id"]
    site.work()
    found = site.web().get(f"/headrace/flows/f/replays/{asked.json()['id']}").json()
    assert (found["state"], found["selected"], found["landed"]) == ("done", 2, 1)
    assert found["reasons"][0]["count"] == 1
    assert found["revision"] == 2
    assert site.web().get("/headrace/flows/f/replays").json() == {"replays": [found]}
    assert {"after", "below", "open"}.isdisjoint(found)


def test_a_batch_is_named_by_its_good_or_its_failed_half(site: Site) -> None:
    site.send([1, "bad"])
    rows = site.store.connection.execute("SELECT kind, batch_id FROM commits").fetchall()
    assert {kind for kind, _ in rows} == {"good", "failed"}
    for _, batch_id in rows:
        found = site.post("replays", {"batchId": batch_id, "dryRun": True}).json()
        assert found["selected"] == 1
    assert site.post("replays", {"batchId": "none"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"batch": "x"}, "known are batchId"),
        ({"code": 7}, "code must be a text"),
        ({"since": "yesterday"}, "since must be a time"),
        ({"until": True}, "until must be a time"),
        ({"receipts": []}, "receipts must be a list"),
        ({"dryRun": "yes"}, "dryRun must be true or false"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused_with_the_reason(
    site: Site, body: dict[str, Any], says: str
) -> None:
    answer = site.post("replays", body)
    assert answer.status_code == 400
    assert says in answer.text


def test_replays_that_wait_are_bounded(site: Site) -> None:
    for _ in range(MOST_OPEN):
        assert site.post("replays").status_code == 202
    assert site.post("replays").status_code == 429


def test_other_sandboxes_and_clients_that_only_read_cannot_replay(site: Site) -> None:
    site.send([1, "bad"])
    made = site.post("replays").json()["id"]
    for path in ("replays", f"replays/{made}"):
        assert site.web("other").get(f"/headrace/flows/f/{path}").status_code == 404
    assert site.web("other").post("/headrace/flows/f/replays", json={}).status_code == 404
    body = {"mapping": {"id": "m"}}
    assert site.web("other").post("/headrace/flows/f/rehearsals", json=body).status_code == 404
    reader = site.web(client=site.reader())
    assert reader.post("/headrace/flows/f/replays", json={}).status_code == 403
    assert reader.post("/headrace/flows/f/replays", json={"dryRun": True}).status_code == 403
    assert reader.get("/headrace/flows/f/replays").status_code == 200
    assert reader.post("/headrace/flows/f/rehearsals", json=body).status_code == 200


def test_a_rehearsal_shows_what_a_mapping_would_change_and_writes_nothing(site: Site) -> None:
    site.send([1, "bad"], [2, "worse"])
    before = site.state()
    found = site.post("rehearsals", {"mapping": {"id": "m", "version": 1}}).json()
    assert found["sources"] == {"log": 4, "failedRecords": 0}
    assert (found["records"], found["complete"]) == (4, True)
    assert found["mapping"] == {"id": "m", "version": 1}
    assert found["counts"] == {
        "landedBefore": 2, "landedAfter": 3, "landedToFailed": 0, "failedToLanded": 1, "failedBoth": 1,
        "changed": 0, "same": 2,
    }  # fmt: skip
    (record,) = found["failedToLanded"]
    assert record["after"] == {"_id": "r1", "n": 0}
    rules = [
        {"sourceType": "EXPRESSION", "source": "concat(id, '!')", "destination": "_id"},
        {"sourceType": "ATTRIBUTE", "source": "n", "destination": "n"},
    ]
    found = site.post("rehearsals", {"mappings": rules, "last": 2}).json()
    assert (found["requested"], found["records"], found["counts"]["changed"]) == (2, 2, 1)
    (field,) = found["fields"]
    assert field["path"] == "_id"
    assert field["examples"] == [{"receipt": "q1-0", "before": "r2", "after": "r2!"}]
    found = site.post("rehearsals", {"mappings": rules, "schema": "strict"}).json()
    assert found["counts"]["landedToFailed"] == 2
    assert found["landedToFailed"][0]["before"]["_id"] in ("r0", "r2")
    assert {reason["path"] for reason in found["reasons"]} == {"_id", "n"}
    assert site.state() == before


def test_without_the_log_a_rehearsal_says_that_only_failed_records_are_left(site: Site) -> None:
    site.send([1, "bad"], ["bad", 3])
    for segment in (site.directory / "log").glob("*.log"):
        segment.unlink()
    assert segments(site.directory / "log") == []
    found = site.post("rehearsals", {"mapping": {"id": "m"}, "last": 1}).json()
    assert found["sources"] == {"log": 0, "failedRecords": 1}
    (record,) = found["failedToLanded"]
    assert record["receipt"] == "q1-0"
    found = site.post("rehearsals", {"mapping": {"id": "m"}}).json()
    assert (found["requested"], found["records"]) == (1000, 2)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "needs a mapping"),
        ({"mapping": {"id": "m"}, "mappings": []}, 400, "needs a mapping"),
        ({"mapping": "m"}, 400, "mapping must be an object"),
        ({"mapping": {"id": "none"}}, 404, "no mapping set none"),
        ({"mapping": {"id": "m", "version": 9}}, 404, "of version 9"),
        ({"mappings": [{"source": "a"}]}, 400, "Mapping 1"),
        ({"mappings": [{"source": "a", "destination": "nowhere"}]}, 400, "does not fit"),
        ({"schema": "none"}, 404, "no schema none"),
        ({"schema": "strict", "last": 10_001}, 400, "last must be a number from 1 to 10000"),
    ],
)
def test_a_rehearsal_that_makes_no_sense_is_refused_with_the_reason(
    site: Site, body: dict[str, Any], status: int, says: str
) -> None:
    answer = site.post("rehearsals", body)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
