"""A flow whose table is in trouble holds up no other, and lands everything once when the trouble is over."""

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.disk import local_path
from headrace.lake import commit
from headrace.lake.query import open_session
from headrace.lake.upkeep import Upkeep
from headrace.log.frames import SINGLE
from headrace.log.reader import LogReader
from headrace.runtime import behind, landing
from headrace.runtime.worker import Worker
from headrace.sources.contract import Settings
from headrace.store.documents import Scope
from headrace.store.revisions import Revisions
from tests.sources.kinesis_fake import FakeKinesis
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC
from tests.sources.pulled_flow import FLOW, PulledFlow
from tests.sources.streams import KINESIS
from tests.unit.services.test_operator import Site

SHARD = "shardId-000000000000"
SETS = {"f": "d", "g": "e", "h": "k"}


class Trouble:
    """What befalls the writing of files of some tables."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *tables: str, error: Exception | None = None
    ) -> None:
        self.tables, self.error = set(tables), error or OSError(5, "broken")
        real = commit.write_parquet

        def write(table: Any, rows: pa.Table) -> Any:
            if table.name()[-1] in self.tables:
                raise self.error
            return real(table, rows)

        monkeypatch.setattr(commit, "write_parquet", write)


class Flows(Site):
    """Flows `f`, `g` and `h`; a batch of five records is full."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, segment_bytes=1000)
        first = Revisions(self.store).get("f", 1)
        assert first is not None
        self.store.create(Scope(self.org, "prod"), "dataSets", "k", {"name": "set k"})
        Revisions(self.store).add(dataclasses.replace(first, flow_id="h", dataset_id="k"))
        self.sent = Counter[str]()
        self.send(*SETS)
        self.worker = self.new_worker(5)

    def new_worker(self, commit_rows: int) -> Worker:
        return Worker(
            self.store, self.lake, LogReader(self.data_dir / "log"), 0.0, commit_rows, self.supervisor._hear,
            Upkeep(self.lake),
        )  # fmt: skip

    def send(self, *flows: str) -> None:
        frames = []
        for flow in flows:
            body = b'{"id":"%s%04d","n":%d}' % (flow.encode(), self.sent[flow], self.sent[flow])
            self.sent[flow] += 1
            frames.append((SINGLE, flow, f"r-{flow}{self.sent[flow]}", 1, body))
        self.accept(*frames)

    def steps(self, count: int = 20) -> None:
        assert self.worker is not None
        for _ in range(count):
            self.worker.step()

    def landed(self, flow: str) -> list[str]:
        dataset = SETS[flow]
        with open_session(self.data_dir, dataset) as session:
            order = "_acp_system_metadata.sourceOffset"
            rows = session.execute(f'SELECT _id FROM "{dataset}" ORDER BY {order}').fetchall()
        return [id for (id,) in rows]

    def expected(self, flow: str) -> list[str]:
        return [f"{flow}{n:04d}" for n in range(self.sent[flow])]

    def check_all_land(self) -> None:
        self.land()
        for flow in SETS:
            assert self.landed(flow) == self.expected(flow)

    def waiting(self, flow: str) -> int:
        assert self.worker is not None
        batch = self.worker.flows[flow].batch
        return batch.records if batch else 0


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flows]:
    monkeypatch.setattr(landing, "LONGEST_PAUSE", 0.0)
    found = Flows(tmp_path / "data")
    found.land()
    yield found
    found.close()


@pytest.mark.parametrize(
    "error", [PermissionError(13, "denied"), ValueError("damaged")], ids=["disk", "library"]
)
def test_p7_a_flow_that_cannot_land_holds_up_no_other_and_lands_all_when_it_can(
    flows: Flows, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trouble = Trouble(monkeypatch, "d", error=error)
    for _ in range(4):
        flows.send(*"fffffg")
    flows.steps()
    assert flows.landed("g") == flows.expected("g")
    assert flows.landed("f") == ["f0000"]
    assert flows.waiting("f") <= 5
    trouble.tables.clear()
    flows.send(*"gfffg")
    flows.land()
    flows.send(*"fg")
    flows.land()
    assert flows.landed("f") == flows.expected("f")
    assert flows.landed("g") == flows.expected("g")


def test_p7_flows_that_cannot_land_hold_up_no_other_though_together_they_fill_the_memory(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", 6)
    trouble = Trouble(monkeypatch, "d", "k")
    flows.send(*"ffffhhhh")
    flows.steps(1)
    for _ in range(3):
        flows.send(*"fgh")
        flows.steps(5)
    assert flows.landed("g") == flows.expected("g")
    trouble.tables.clear()
    flows.check_all_land()


def test_p7_a_table_whose_metadata_is_away_for_a_while_delays_its_flow_alone(flows: Flows) -> None:
    path = local_path(flows.lake.table("prod", "d").metadata_location)
    path.rename(path.with_suffix(".away"))
    flows.send(*"ffffffffg")
    flows.steps()
    assert flows.landed("g") == flows.expected("g")
    path.with_suffix(".away").rename(path)
    flows.land()
    assert flows.landed("f") == flows.expected("f")


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "before it is opened"])
def test_p7_damaged_metadata_of_a_table_stop_its_flow_alone(flows: Flows, running: bool) -> None:
    path = local_path(flows.lake.table("prod", "d").metadata_location)
    path.write_bytes(b"{" + path.read_bytes()[20:])
    if not running:
        flows.worker = None
    flows.send(*"fg")
    flows.land()
    assert flows.landed("g") == flows.expected("g")
    assert flows.worker is not None
    text = "the metadata of the table prod.d cannot be read: `headrace doctor` says more"
    assert flows.worker.flows["f"].stopped == text


def test_p7_when_too_many_flows_cannot_land_the_log_waits_and_then_lands_all_of_them(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behind, "MOST", 1)
    trouble = Trouble(monkeypatch, "d", "k")
    flows.send(*"ffffffhhhhhhg")
    flows.steps()
    assert flows.landed("g") == ["g0000"]
    trouble.tables.clear()
    flows.check_all_land()


def test_p2_what_a_flow_has_caught_up_with_is_not_taken_again_when_the_log_goes_on(
    flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log waits for `h` before records that `f`, which was left behind, has in memory by then."""
    monkeypatch.setattr(behind, "MOST", 1)
    assert flows.worker is not None
    flows.worker.interval = 3600.0
    trouble = Trouble(monkeypatch, "d", "k")
    flows.send(*"ffffffhhhhhhff")
    flows.steps()
    trouble.tables = {"k"}
    flows.steps()
    assert flows.waiting("f") == 3
    trouble.tables.clear()
    flows.check_all_land()


def test_p2_records_that_another_process_landed_meanwhile_are_not_landed_again(
    flows: Flows,
) -> None:
    """It landed more than fills a batch of this one, which knows nothing of it."""
    flows.send(*"ffffffff")
    other = flows.new_worker(100)
    while other.step():
        pass
    other.finish()
    other.reader.close()
    assert flows.landed("f") == flows.expected("f")
    flows.land()
    flows.send("f")
    flows.land()
    assert flows.landed("f") == flows.expected("f")


def test_p7_a_pulled_flow_that_cannot_land_takes_no_more_and_lands_all_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what it holds keep another one from taking more."""
    monkeypatch.setattr(landing, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", 1)
    trouble = Trouble(monkeypatch, "data-1")
    kinesis = FakeKinesis(SHARD)
    auth = {**AUTH, "endpointUrl": kinesis.url}
    flow = PulledFlow(tmp_path, KINESIS, Settings(AUTH_SPEC, auth, {"stream": "orders"}, FLOW))
    flow.add("beside", "data-2")
    try:
        kinesis.shards[SHARD].put(b'{"n": 0}')
        flow.until(lambda: flow.told("retry") != [])
        for n in range(1, 4):
            kinesis.shards[SHARD].put(b'{"n": %d}' % n)
            tries = len(flow.told("retry"))
            flow.until(lambda tries=tries: len(flow.told("retry")) > tries + 2)  # type: ignore[misc]
        state = flow.pulling.state(FLOW)
        assert state is not None
        assert state.batch is not None
        assert state.batch.records == 1
        beside = flow.pulling.state("beside")
        assert beside is not None
        flow.until(lambda: beside.watermark.landed == 4)
        trouble.tables.clear()
        flow.until(lambda: state.watermark.landed == 4)
        for dataset_id in ("data-1", "data-2"):
            assert sorted(row["n"] for row in flow.rows(dataset_id=dataset_id)) == [0, 1, 2, 3]
    finally:
        flow.close()
        kinesis.close()


def test_p7_pulled_flows_take_no_more_while_what_they_hold_together_waits_to_land(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", 1)
    kinesis = FakeKinesis(SHARD)
    auth = {**AUTH, "endpointUrl": kinesis.url}
    flow = PulledFlow(tmp_path, KINESIS, Settings(AUTH_SPEC, auth, {"stream": "orders"}, FLOW))
    flow.pulling.interval = 3600.0

    def waiting() -> int:
        state = flow.pulling.state(FLOW)
        return state.batch.records if state and state.batch else 0

    try:
        kinesis.shards[SHARD].put(b'{"n": 0}')
        flow.until(lambda: waiting() == 1)
        for n in range(1, 4):
            kinesis.shards[SHARD].put(b'{"n": %d}' % n)
        puller = flow.pulling.flows[FLOW].puller
        flow.until(lambda: puller._bytes > 0 or waiting() > 1)
        for _ in range(20):
            flow.pulling.step()
        assert waiting() == 1
        flow.pulling.interval = 0.0
        flow.until(lambda: flow.landed == 4)
        assert sorted(row["n"] for row in flow.rows()) == [0, 1, 2, 3]
    finally:
        flow.close()
        kinesis.close()


@pytest.mark.parametrize("seed", range(4))
def test_p2_whatever_tables_are_in_trouble_when_each_record_lands_once_and_in_order(
    flows: Flows, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(behind, "MOST", dice.choice([1, 2, 8]))
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", dice.choice([7, 100]))
    trouble = Trouble(monkeypatch)
    for _ in range(25):
        match dice.randrange(4):
            case 0:
                trouble.tables ^= {dice.choice(list(SETS.values()))}
            case 1:
                assert flows.worker is not None
                flows.worker._freed = 0.0  # what has landed is freed in the next step
                flows.steps(1)
            case _:
                flows.send(*dice.choices(list(SETS), k=dice.randint(1, 12)))
                flows.steps(dice.randint(0, 3))
    trouble.tables.clear()
    flows.check_all_land()
