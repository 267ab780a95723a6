"""Replay: failed records land under a changed mapping, each exactly once, whenever the worker dies."""

import asyncio
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.lake.catalog import Lake
from headrace.lake.compaction import Limits
from headrace.lake.expiry import agrees
from headrace.lake.replace import live_files
from headrace.lake.trace import watermark_of
from headrace.lake.upkeep import Policy, Upkeep
from headrace.log.frames import MESSAGES, SINGLE
from headrace.log.reader import LogReader
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.commits import totals
from headrace.runtime.replay_requests import KIND, request
from headrace.runtime.replaying import Replaying
from headrace.runtime.worker import Worker
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing import crashpoints
from headrace.xdm.fields import Field

SCOPE = Scope("org", "prod")
TREE = Field("object", properties={"_id": Field("string"), "n": Field("int")}, required=("n",))
BROKEN = (Rule("ATTRIBUTE", "id", "_id"), Rule("ATTRIBUTE", "n", "n"))
FIXED = (Rule("ATTRIBUTE", "id", "_id"), Rule("EXPRESSION", 'iif(equals(n, "bad"), 0, n)', "n"))


class Killed(BaseException):
    """The worker died."""


class Site:
    """A flow `f` into data set `d`; its mapping fails for records whose `n` is the text `bad`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.store, self.lake = Store(directory / "headrace.db"), Lake(directory)
        self.revisions = Revisions(self.store)
        self.first = FlowRevision(
            "f", 1, "org", "prod", "d", "https://ns/s", "1.0", TREE.to_json(), BROKEN
        )
        self.revisions.add(self.first)
        self.store.create(SCOPE, "dataSets", "d", {"name": "set d"})
        self.store.create(SCOPE, "flows", "f", {"name": "flow f", "state": "enabled"})
        self.serial = 0
        self.events: list[dict[str, Any]] = []
        asyncio.run(self.append())
        self.start()

    def start(self) -> None:
        """A worker, as after a kill: what the last one had in memory is gone."""
        self.worker = Worker(
            self.store, self.lake, LogReader(self.directory / "log"), 0.0, 100_000,
            self.events.append, Upkeep(self.lake),
        )  # fmt: skip
        self.replaying = Replaying(
            self.store, self.lake, self.events.append, self.worker.upkeep, self.worker.flows.get
        )

    async def append(self, *frames: tuple[int, str, int, bytes, int]) -> None:
        """Accept (layout, receipt, records, body, time)."""
        landed = {id: (t["position"], t["sequence"]) for id, t in totals(self.store).items()}
        writer = LogWriter(self.directory / "log", landed=landed)
        for layout, receipt, count, body, received in frames:
            await writer.append(layout, "f", 1, receipt, count, body, received)
        await writer.close()

    def land(self) -> None:
        while self.worker.step():
            pass
        self.worker.finish()

    def send(self, *values: Any) -> list[str]:
        """Accept and land one request of records with these `n`; names of the records."""
        names = [f"r{self.serial + index}" for index in range(len(values))]
        self.serial += len(values)
        records = [{"id": name, "n": n} for name, n in zip(names, values, strict=True)]
        body = json.dumps({"messages": records}).encode()
        frame = (MESSAGES, f"q{self.serial}", len(records), body, self.serial)
        asyncio.run(self.append(frame))
        self.land()
        return names

    def fix(self, rules: tuple[Rule, ...] = FIXED) -> None:
        latest = self.revisions.latest("f")
        assert latest is not None
        self.revisions.add(replace(latest, revision=latest.revision + 1, rules=rules))

    def ask(self, **selection: Any) -> str:
        return request(self.store, SCOPE, "f", selection, "tester").id

    def work(self) -> None:
        """Let the worker do all that was asked for."""
        self.replaying._looked = -1e9
        while self.replaying.step():
            self.replaying._looked = -1e9

    def replay(self, **selection: Any) -> dict[str, Any]:
        id = self.ask(**selection)
        self.work()
        return self.state(id)

    def state(self, id: str) -> dict[str, Any]:
        found = self.store.get(SCOPE, KIND, id)
        assert found is not None
        return found.body

    def good(self) -> dict[str, int]:
        rows = self.lake.table("prod", "d").scan().to_arrow().to_pylist()
        assert max(Counter(row["_id"] for row in rows).values(), default=1) == 1
        return {row["_id"]: row["n"] for row in rows}

    def failed(self) -> list[str]:
        rows = self.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
        return sorted(json.loads(row["original"])["id"] for row in rows)

    def files(self, name: str) -> set[str]:
        return {file.file_path for file in live_files(self.lake.table("prod", name))}

    def counts(self) -> tuple[int, int]:
        """Landed and failed as watermark and rows of commits have them, which must be the same."""
        mark = self.worker._lander.open(self.worker._pipeline("f", 1)).watermark
        known = totals(self.store)["f"]
        assert (known["landed"], known["failed"]) == (mark.landed, mark.failed)
        assert mark.landed + mark.failed == mark.sequence == self.serial
        other = watermark_of(self.lake.table("prod", "d_failed"), "f")
        assert (other.failed if other else 0) == mark.failed == len(self.failed())
        for name in ("d", "d_failed"):
            assert agrees(self.lake.table("prod", name))
        return mark.landed, mark.failed


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def test_a_fixed_mapping_lands_the_failed_records_and_leaves_the_good_ones_alone(
    site: Site,
) -> None:
    site.send(1, "bad", 2, "bad")
    before, log = site.files("d"), site.worker.flows["f"].position
    assert (site.failed(), site.counts()) == (["r1", "r3"], (2, 2))
    site.fix()
    done = site.replay()
    assert (done["state"], done["selected"], done["landed"], done["stillFailed"]) == (
        "done",
        2,
        2,
        0,
    )
    assert site.good() == {"r0": 1, "r1": 0, "r2": 2, "r3": 0}
    assert (site.failed(), site.counts()) == ([], (4, 0))
    assert before < site.files("d")
    assert site.worker.flows["f"].position == log
    assert site.events[-1]["landed"] == 4
    assert site.events[-1]["failed"] == 0


def test_a_second_replay_changes_nothing(site: Site) -> None:
    site.send(1, "bad")
    site.fix()
    site.replay()
    tables = [site.lake.table("prod", name).metadata_location for name in ("d", "d_failed")]
    done = site.replay()
    assert (done["state"], done["selected"], done["landed"]) == ("done", 0, 0)
    assert tables == [site.lake.table("prod", n).metadata_location for n in ("d", "d_failed")]


def test_a_replayed_record_keeps_its_place_its_receipt_and_its_time(site: Site) -> None:
    site.send(1, "bad")
    (failed,) = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
    site.fix()
    site.replay()
    rows = site.lake.table("prod", "d").scan().to_arrow().to_pylist()
    (landed,) = [row["_acp_system_metadata"] for row in rows if row["_id"] == "r1"]
    kept = ("flowId", "sourcePartition", "sourceOffset", "receiptId", "ingestTime")
    assert {name: landed[name] for name in kept} == {name: failed[name] for name in kept}


def test_what_fails_again_keeps_its_row_and_the_replay_says_why(site: Site) -> None:
    site.send("bad", "worse", 3)
    before = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
    site.fix()
    done = site.replay()
    assert (done["landed"], done["stillFailed"]) == (1, 1)
    assert [(reason["path"], reason["count"]) for reason in done["reasons"]] == [("n", 1)]
    assert site.failed() == ["r1"]
    assert site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist() == before[1:]
    assert site.counts() == (2, 1)


def test_only_what_was_asked_for_is_replayed(site: Site) -> None:
    site.send("bad", "bad")
    site.send("bad", "bad")
    site.fix()
    rows = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
    batch = max(row["acp_sourceBatchId"] for row in rows)
    assert site.replay(code="INGEST-0")["selected"] == 0
    assert site.replay(path="_id")["selected"] == 0
    assert site.replay(until=2)["selected"] == 0
    assert site.replay(since=5)["selected"] == 0
    assert site.replay(receipts=["q2-1"])["landed"] == 1
    assert site.failed() == ["r0", "r2", "r3"]
    assert site.replay(receipts=["q2"], path="n")["landed"] == 1
    assert site.failed() == ["r2", "r3"]
    assert site.replay(batch=batch, since=4, until=5)["landed"] == 2
    assert site.counts() == (4, 0)


def test_many_pages_and_compacted_files_end_in_the_same_rows(site: Site) -> None:
    for _ in range(6):
        site.send(1, "bad", "worse")
    policy = Policy(every=1, limits=Limits(least=3))
    upkeep = Upkeep(site.lake, policy)
    upkeep.note("prod", "d_failed")
    while upkeep.step():
        pass
    assert len(site.files("d_failed")) == 1
    site.replaying.page_rows = 5
    site.fix()
    done = site.replay()
    assert (done["selected"], done["landed"], done["stillFailed"]) == (12, 6, 6)
    assert len(done["batches"]) == 3
    assert len(site.good()) == 12
    assert site.counts() == (12, 6)


POINTS = {
    "replay-after-data-file": "P4 a file without its commit lands nothing",
    "replay-after-landing": "P4 rows that are in both tables leave the failed one, and count once",
    "replay-after-removal": "P4 a page that is over is over although nothing says so",
    "replay-after-progress": "P4 the next page follows",
}


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p}: {POINTS[p]}")
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_in_a_replay_lands_every_record_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, point: str, deaths: int
) -> None:
    def die(status: int) -> None:
        raise Killed

    site.send(1, "bad", "bad", "worse", "bad")
    site.send("bad", 2)
    site.replaying.page_rows = 2
    site.fix()
    id = site.ask()
    monkeypatch.setattr(os, "_exit", die)
    for _ in range(deaths):
        monkeypatch.setattr(crashpoints, "_NAME", point)
        monkeypatch.setattr(crashpoints, "_left", 1)
        with pytest.raises(Killed):
            site.work()
        site.start()
        site.replaying.page_rows = 2
    monkeypatch.setattr(crashpoints, "_NAME", "")
    site.send(3, "bad")  # the flow goes on before the replay does
    site.work()
    assert site.good() == {"r0": 1, "r1": 0, "r2": 0, "r4": 0, "r5": 0, "r6": 2, "r7": 3}
    assert site.failed() == ["r3", "r8"]
    assert site.counts() == (7, 2)
    done = site.state(id)
    assert (done["state"], done["landed"], done["stillFailed"], done["open"]) == ("done", 4, 1, [])


def test_a_record_that_has_landed_otherwise_is_left_alone(site: Site) -> None:
    site.send("bad", 1)
    site.fix()
    table = site.lake.table("prod", "d_failed")
    row = table.scan().to_arrow()
    site.replay()
    site.lake.table("prod", "d_failed").append(row)  # as after a rewind
    before = site.lake.table("prod", "d").metadata_location
    done = site.replay()
    assert (done["state"], done["selected"], done["landed"]) == ("done", 1, 0)
    assert site.failed() == ["r0"]
    assert site.lake.table("prod", "d").metadata_location == before


def test_a_record_that_failed_twice_lands_once(site: Site) -> None:
    site.send("bad", 1)
    site.fix()
    table = site.lake.table("prod", "d_failed")
    row = table.scan().to_arrow()
    at = row.schema.get_field_index("acp_sourceBatchId")
    again = row.set_column(at, row.schema.field(at), [["again"]])
    table.append(again)  # as after a rewind
    done = site.replay()
    assert (done["selected"], done["landed"], done["stillFailed"]) == (2, 2, 0)
    assert site.good() == {"r0": 0, "r1": 1}
    assert site.failed() == []
    mark = watermark_of(site.lake.table("prod", "d"), "f")
    assert mark is not None
    assert mark.landed + mark.failed == mark.sequence + mark.again
    assert totals(site.store)["f"]["again"] == mark.again


def test_a_flow_whose_tables_are_gone_fails_the_replay_with_the_reason(site: Site) -> None:
    site.send("bad")
    site.lake.drop("prod", "d")
    done = site.replay()
    assert done["state"] == "failed"
    assert "does not exist any more" in done["error"]


def test_a_frame_of_one_record_is_replayed_too(site: Site) -> None:
    asyncio.run(site.append((SINGLE, "single", 1, b'{"id":"r0","n":"bad"}', 7)))
    site.land()
    site.fix()
    assert site.replay(receipts=["single"])["landed"] == 1
    assert site.good() == {"r0": 0}
