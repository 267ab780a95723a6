"""Queues into the log. The queue is a fake in memory that keeps what was not acknowledged and delivers it again; log
and store are real, and so are the deaths: a child process ends at a crash point."""

import asyncio
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Overloaded, Terminal, Transient
from headrace.log.frames import CHECKPOINT, Frame
from headrace.log.payloads import records
from headrace.log.reader import LogReader
from headrace.log.segments import read_frames, segments
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime import delivered as delivered_module
from headrace.runtime import queued
from headrace.runtime import queues as queues_module
from headrace.runtime.delivered import Delivered
from headrace.runtime.pulled import frame_of
from headrace.runtime.queued import entry_of
from headrace.runtime.queues import Queues
from headrace.runtime.stops import Stops
from headrace.sources.contract import (
    Chunk,
    Connector,
    Delivery,
    Message,
    Position,
    Queue,
    Settings,
)
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions

ROOT = Path(__file__).parents[3]
SPEC = "70116022-a743-464a-bbfe-e226a7f8210c"
SCOPE = Scope("org", "prod")
FLOW = "flow-1"


@dataclass
class Broker:
    """A subscription in memory. `acknowledging` is called before an acknowledgement counts, `receiving` before a
    receive answers."""

    waiting: list[Message] = field(default_factory=list)
    leased: dict[str, Message] = field(default_factory=dict)
    acknowledged: Counter[str] = field(default_factory=Counter)
    received: list[str] = field(default_factory=list)
    opened: list[Settings] = field(default_factory=list)
    closed: int = 0
    at_once: int = 1000
    acknowledging: Callable[[Sequence[str]], None] = lambda ids: None
    receiving: Callable[[], None] = lambda: None

    def publish(self, count: int, start: int = 0, at: int = 1_700_000_000_000) -> None:
        for number in range(start, start + count):
            body = json.dumps({"n": number}).encode()
            self.waiting.append(Message(body, 0, at + number, f"m{number}"))

    def open(self, settings: Settings) -> Queue:
        self.opened.append(settings)
        return MemoryQueue(self)

    def find(self, spec_id: str) -> Connector:
        if spec_id != SPEC:
            raise ConfigurationError(f"no connector for {spec_id}")
        return Connector(
            "memory", SPEC, self.open, lambda s: None, lambda s, n: [], replayable=False
        )


@dataclass
class MemoryQueue:
    broker: Broker
    serial: int = 0

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        self.broker.receiving()
        part = self.broker.waiting[: min(most, self.broker.at_once)]
        del self.broker.waiting[: len(part)]
        if not part:
            time.sleep(0.02)
        found = []
        for message in part:
            self.serial += 1
            handle = f"h{id(self)}-{self.serial}"
            self.broker.leased[handle] = message
            self.broker.received.append(message.id)
            found.append(Delivery(message, handle))
        return found

    def acknowledge(self, handles: Sequence[str]) -> None:
        self.broker.acknowledging([self.broker.leased[handle].id for handle in handles])
        for handle in handles:
            self.broker.acknowledged[self.broker.leased.pop(handle).id] += 1

    def behind(self) -> int | None:
        return len(self.broker.waiting)

    def close(self) -> None:
        self.broker.closed += 1
        self.broker.waiting = [*self.broker.leased.values(), *self.broker.waiting]
        self.broker.leased.clear()


def revision(number: int = 1, **changed: Any) -> FlowRevision:
    params = {"connectionId": "base-1", "params": {"subscriptionName": "s"}, "reset": "earliest"}
    values: dict[str, Any] = {
        "payload": "raw",
        "format": "json",
        "rules": None,
        "source_params": params,
    }
    return FlowRevision(
        FLOW, number, "org", "prod", "data-1", "schema-1", "1.0", {}, source=SPEC, **values | changed
    )  # fmt: skip


def flow(state: str = "enabled", number: int = 1) -> dict[str, Any]:
    sources = [{"id": "source-1", "connectionSpec": {"id": SPEC, "version": "1.0"}}]
    return {
        "state": state, "revision": number, "baseConnectionId": "base-1",
        "inheritedAttributes": {"sourceConnections": sources},
    }  # fmt: skip


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(queues_module, "LOOK_EVERY", 0.05)
    prepare(tmp_path)
    return tmp_path


def prepare(data_dir: Path) -> None:
    store = Store(data_dir / "headrace.db")
    store.create(Scope("org", ""), "sandboxes", "prod", {"name": "prod"})
    auth = {"specName": "Project Based Authentication", "params": {"projectId": "p"}}
    store.create(SCOPE, "connections", "base-1", {"state": "enabled", "auth": auth})
    store.create(SCOPE, "flows", FLOW, flow())
    Revisions(store).add(revision())
    store.close()


@dataclass
class Running:
    queues: Queues
    log: LogWriter
    store: Store
    events: list[dict[str, Any]]

    async def until(self, true: Callable[[], bool], patience: float = 10.0) -> None:
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline, (self.events, self.queues.reasons())
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(data_dir: Path, broker: Broker, **options: Any) -> Any:
    store = Store(data_dir / "headrace.db")
    log = LogWriter(data_dir / "log", **options)
    events: list[dict[str, Any]] = []
    stops = Stops(store)
    queues = Queues(
        store, Revisions(store), data_dir, log, events.append, broker.find, note=stops.note
    )
    await queues.start()
    try:
        yield Running(queues, log, store, events)
    finally:
        await queues.stop()
        await log.close()
        store.close()


def frames(data_dir: Path) -> list[Frame]:
    found = []
    for _, path in segments(data_dir / "log"):
        found += [f for f in read_frames(path)[0] if f.meta.layout != CHECKPOINT]
    return found


def ids(data_dir: Path) -> list[str]:
    return [frame.meta.receipt for frame in frames(data_dir)]


def names(count: int, start: int = 0) -> list[str]:
    return [f"m{number}" for number in range(start, start + count)]


def test_messages_are_durable_in_the_log_before_they_are_acknowledged(data_dir: Path) -> None:
    broker = Broker(at_once=30)
    broker.publish(100)
    durable: set[str] = set()
    early: list[str] = []

    def acknowledging(acknowledged: Sequence[str]) -> None:
        reader = LogReader(data_dir / "log")
        while found := reader.read():
            durable.update(frame.meta.receipt for frame in found)
        reader.close()
        early.extend(set(acknowledged) - durable)

    broker.acknowledging = acknowledging

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 100)
            assert now.queues.counts()[FLOW].logged == 100

    asyncio.run(go())
    assert early == []
    assert ids(data_dir) == names(100)
    assert set(broker.acknowledged.values()) == {1}
    written = frames(data_dir)
    assert [f.meta.sequence for f in written] == list(range(100))
    assert {(f.meta.flow_id, f.meta.revision, f.meta.envelope) for f in written} == {
        (FLOW, 1, False)
    }
    assert [f.received - 1_700_000_000_000 for f in written] == list(range(100))
    assert written[7].body == b'{"n": 7}'
    assert broker.opened[0].auth == {"projectId": "p"}
    assert broker.opened[0].params == {"subscriptionName": "s"}


def test_a_message_that_comes_again_is_acknowledged_and_dropped(data_dir: Path) -> None:
    broker = Broker()
    broker.publish(20)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 20)
            broker.publish(20)
            broker.publish(5, start=20)
            await now.until(lambda: sum(broker.acknowledged.values()) == 45)
            assert now.queues.counts()[FLOW].again == 20
        async with running(data_dir, broker) as now:  # and by another process
            broker.publish(25)
            await now.until(lambda: sum(broker.acknowledged.values()) == 70)

    asyncio.run(go())
    assert ids(data_dir) == names(25)


def test_one_message_twice_in_one_answer_is_logged_once(data_dir: Path) -> None:
    broker = Broker()
    for _ in range(3):
        broker.publish(4)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: sum(broker.acknowledged.values()) == 12)

    asyncio.run(go())
    assert ids(data_dir) == names(4)


def test_an_id_that_is_given_again_at_another_time_is_another_message(data_dir: Path) -> None:
    broker = Broker()
    broker.publish(3)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: sum(broker.acknowledged.values()) == 3)
            broker.publish(3, at=1_700_000_100_000)
            await now.until(lambda: sum(broker.acknowledged.values()) == 6)

    asyncio.run(go())
    assert ids(data_dir) == [*names(3), *names(3)]


def test_what_the_log_cannot_take_waits_in_order(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log takes a part of a batch only, then nothing for a while."""
    monkeypatch.setattr(Overloaded, "__init__", _impatient)
    broker = Broker()
    broker.publish(60)

    async def go() -> None:
        async with running(data_dir, broker, pending_bytes=150) as now:
            await now.until(lambda: len(broker.acknowledged) >= 15)
            now.log._keep_free, now.log._space_checked = 2**62, 0.0
            await now.until(lambda: any("free space" in r["detail"] for r in now.queues.reasons()))
            before, received = sum(broker.acknowledged.values()), len(broker.received)
            broker.publish(5, start=60)
            await asyncio.sleep(0.3)
            assert (sum(broker.acknowledged.values()), len(broker.received)) == (before, received)
            now.log._keep_free, now.log._pending_limit = 0, 2**20
            await now.until(lambda: len(broker.acknowledged) == 65, 15)
            await now.until(lambda: now.queues.reasons() == [])

    asyncio.run(go())
    assert ids(data_dir) == names(65)
    assert len(broker.received) == 65


def test_a_sync_that_fails_loses_and_doubles_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(at_once=10)
    broker.publish(40)
    calls = iter(range(1000))
    real = os.fdatasync

    def failing(descriptor: int) -> None:
        if next(calls) in (2, 3):
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    monkeypatch.setattr(Overloaded, "__init__", _impatient)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 40)
            assert any("disk" in event["reason"] for event in now.events)

    asyncio.run(go())
    assert ids(data_dir) == names(40)


def _impatient(self: Overloaded, message: str, retry_after: float = 1) -> None:
    Transient.__init__(self, message)
    self.retry_after = 0.02  # type: ignore[assignment]


def test_what_could_not_be_remembered_is_not_logged_again(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = Broker(at_once=10)
    broker.publish(30)
    failures = iter([False, True, True])
    write = Delivered._write

    def failing(self: Delivered, rows: Any) -> None:
        if rows and next(failures, False):
            raise sqlite3.OperationalError("database is locked")
        write(self, rows)

    monkeypatch.setattr(Delivered, "_write", failing)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 30)
            assert {event["reason"] for event in now.events} == {"store: database is locked"}

    asyncio.run(go())
    assert ids(data_dir) == names(30)


def test_an_acknowledgement_that_is_lost_doubles_nothing(data_dir: Path) -> None:
    broker = Broker(at_once=10)
    broker.publish(30)
    failures = iter([False, True, True, False])

    def acknowledging(acknowledged: Sequence[str]) -> None:
        if next(failures, False):
            raise Transient("no connection")

    broker.acknowledging = acknowledging

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 30)

    asyncio.run(go())
    assert ids(data_dir) == names(30)
    assert broker.closed >= 2


def test_a_flow_that_is_disabled_gives_back_what_it_holds_and_goes_on_when_enabled(
    data_dir: Path,
) -> None:
    broker = Broker()

    async def go() -> None:
        async with running(data_dir, broker) as now:
            broker.publish(3)
            await now.until(lambda: len(broker.acknowledged) == 3)
            now.store.replace(SCOPE, "flows", FLOW, flow("disabled"))
            await now.until(lambda: broker.closed == 1)
            broker.publish(3, start=3)
            await asyncio.sleep(0.2)
            assert len(broker.received) == 3
            assert now.queues.counts() == {}
            now.store.replace(SCOPE, "flows", FLOW, flow("enabled"))
            await now.until(lambda: len(broker.acknowledged) == 6)

    asyncio.run(go())
    assert ids(data_dir) == names(6)


def test_a_new_revision_is_followed_without_opening_the_queue_again(data_dir: Path) -> None:
    broker = Broker()
    broker.publish(3)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 3)
            Revisions(now.store).add(revision(2, payload="xdm"))
            now.store.replace(SCOPE, "flows", FLOW, flow(number=2))
            await now.until(lambda: now.queues.intakes[FLOW].revision.revision == 2)
            broker.publish(3, start=3)
            await now.until(lambda: len(broker.acknowledged) == 6)
            connection = now.store.get(SCOPE, "connections", "base-1")
            assert connection is not None
            now.store.replace(SCOPE, "connections", "base-1", connection.body)
            await now.until(lambda: len(broker.opened) == 2)

    asyncio.run(go())
    assert [frame.meta.revision for frame in frames(data_dir)] == [1, 1, 1, 2, 2, 2]


def test_a_terminal_failure_stops_the_flow_until_its_connection_changes(data_dir: Path) -> None:
    broker = Broker()
    refused = threading.Event()
    refused.set()

    def receiving() -> None:
        if refused.is_set():
            raise Terminal("the subscription does not exist")

    broker.receiving = receiving

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: bool(now.events))  # the last of what a stop does
            detail = f"flow {FLOW} stopped: the subscription does not exist"
            assert now.queues.reasons() == [{"reason": "flow", "detail": detail}]
            assert [event["event"] for event in now.events] == ["stopped"]
            (stop,) = Stops(now.store).all()[FLOW]
            assert (stop.reason, stop.until) == ("the subscription does not exist", None)
            refused.clear()
            broker.publish(2)
            connection = now.store.get(SCOPE, "connections", "base-1")
            assert connection is not None
            now.store.replace(SCOPE, "connections", "base-1", connection.body)
            await now.until(lambda: len(broker.acknowledged) == 2)
            assert now.queues.reasons() == []
            (stop,) = Stops(now.store).all()[FLOW]
            assert stop.until is not None

    asyncio.run(go())


def test_only_flows_of_queues_are_taken(data_dir: Path) -> None:
    broker = Broker()
    store = Store(data_dir / "headrace.db")
    other = flow()
    other["inheritedAttributes"]["sourceConnections"][0]["connectionSpec"]["id"] = "http"
    store.create(SCOPE, "flows", "flow-2", other)
    store.close()

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: list(now.queues.intakes) == [FLOW])

    asyncio.run(go())
    assert len(broker.opened) == 1


# -- death ------------------------------------------------------------------------------------------------------

COUNT, AT_ONCE = 25, 10
POINTS = [
    ("queue-before-append", 2),
    ("log-after-write", 3),
    ("queue-after-append", 2),
    ("queue-after-remember", 2),
    ("queue-after-acknowledge", 3),
]


def child(data_dir: Path) -> None:
    """What dies: an intake whose broker offers every message, as if no acknowledgement had ever arrived."""
    broker = Broker(at_once=AT_ONCE)
    broker.publish(COUNT)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == COUNT)

    asyncio.run(go())


def logged_by_child(data_dir: Path, point: str, number: int) -> int:
    """Let a child die at a point; how many messages the log then has."""
    text = "import sys, pathlib; from tests.unit.runtime.test_queues import child; child(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"HEADRACE_CRASH_AT": f"{point}:{number}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", text, str(data_dir)],
        env=environment,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 137, point
    return len(ids(data_dir))


@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_death_between_log_and_acknowledgement_doubles_nothing(
    data_dir: Path, point: str, number: int
) -> None:
    held = logged_by_child(data_dir, point, number)
    broker = Broker(at_once=7)
    broker.publish(COUNT)
    broker.publish(5, start=COUNT)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == COUNT + 5)

    asyncio.run(go())
    assert ids(data_dir) == names(COUNT + 5)
    if point.startswith("queue-after"):
        assert held >= AT_ONCE


# -- what is remembered -----------------------------------------------------------------------------------------


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time by our clock, in milliseconds: change its only element."""
    now = [10**13]
    monkeypatch.setattr(delivered_module, "_now", lambda: now[0])
    return now


def known(delivered: Delivered, flow_id: str, messages: list[Message]) -> list[int]:
    """The positions of those messages that are remembered."""
    fresh = {message.id for message in delivered.fresh(flow_id, messages)}
    return [n for n, message in enumerate(messages) if message.id not in fresh]


def test_old_ones_and_too_many_are_forgotten(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, moment: list[int]
) -> None:
    store = Store(data_dir / "headrace.db")
    delivered = Delivered(store)
    monkeypatch.setattr(delivered_module, "MOST_KEPT", 10)
    monkeypatch.setattr(delivered_module, "_PRUNED_AT_ONCE", 3)
    flows: dict[str, list[Message]] = {"old": [], "many": []}

    def come(flow_id: str, count: int) -> None:
        first = len(flows[flow_id])
        flows[flow_id] += [Message(b"", 0, moment[0], f"m{first + n}") for n in range(count)]
        delivered.add(flow_id, flows[flow_id][first:])

    def left() -> tuple[list[int], list[int]]:
        old, many = (known(delivered, flow_id, each) for flow_id, each in flows.items())
        return old, many

    come("old", 5)
    moment[0] += delivered_module.KEPT_MS // 2
    come("old", 1)
    for _ in range(14):
        moment[0] += 1
        come("many", 1)
    assert delivered.prune() == 3
    assert left() == ([0, 1, 2, 3, 4, 5], list(range(3, 14)))
    moment[0] += delivered_module.KEPT_MS // 2
    assert delivered.prune() == 0, "nothing tells that it is later at the queue"
    come("old", 1)
    assert delivered.prune() == 5
    assert left() == ([5, 6], list(range(3, 14)))
    moment[0] += delivered_module.KEPT_MS + 1
    for flow_id in flows:
        come(flow_id, 1)
    assert delivered.prune() == 13
    assert left() == ([7], [14])
    store.close()


@pytest.mark.parametrize("days", [30, -30])
def test_p2_a_clock_that_jumps_by_weeks_does_not_make_us_forget_what_a_queue_may_send_again(
    data_dir: Path, moment: list[int], days: int
) -> None:
    store = Store(data_dir / "headrace.db")
    delivered = Delivered(store)
    queue = moment[0]
    messages = [Message(b"", 0, queue + n, f"m{n}") for n in range(8)]
    delivered.add(FLOW, messages[:4])
    moment[0] += days * 86_400_000
    delivered.add(FLOW, messages[4:])
    assert delivered.prune() == 0
    assert Delivered(store).prune() == 0, "nor after a restart"
    assert delivered.fresh(FLOW, messages) == []
    moment[0] = queue + 2
    assert delivered.prune() == 0
    assert delivered.fresh(FLOW, messages) == []
    store.close()


def test_more_of_one_moment_than_are_kept_stay(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long log is completed from in one go: none of it may be forgotten at once."""
    store = Store(data_dir / "headrace.db")
    monkeypatch.setattr(delivered_module, "MOST_KEPT", 10)
    delivered = Delivered(store)
    messages = [Message(b"", 0, 5, f"m{number}") for number in range(1200)]
    delivered.add(FLOW, messages)
    assert delivered.prune() == 0
    assert delivered.fresh(FLOW, messages) == []
    store.close()


# -- frames of messages -----------------------------------------------------------------------------------------

RULES = (Rule("ATTRIBUTE", "a", "b"),)
ENVELOPE = b'{"header":{"x":1},"body":{"xdmMeta":{},"xdmEntity":{"a":%d}}}'
BODIES: Mapping[str, bytes] = {
    "object": b'{"a":1}',
    "array": b' [{"a":1}, {"a": 2},3]',
    "array of one": b'[{"a":1}]',
    "empty array": b"[]",
    "no JSON": b"\xff\xfe",
    "nothing": b"",
    "torn array": b'[{"a":1},',
    "gzip": gzip.compress(b'[{"a":1},{"a":2}]'),
    "torn gzip": gzip.compress(b'[{"a":1},{"a":2}]')[:-9],
    "enveloped": ENVELOPE % 1,
    "enveloped array": b"[" + ENVELOPE % 1 + b"," + ENVELOPE % 2 + b"]",
    "mixed array": b"[" + ENVELOPE % 1 + b',{"a":2}]',
}
CSV = {
    "rows": b"a,b\n1,2\n3,4\n",
    "compressed": gzip.compress(b"a\n1\n2\n"),
    "header only": b"a,b\n",
    "no header": b"a,a\n1,2\n",
}


def texts(message: Message, chosen: FlowRevision) -> list[tuple[bytes, str]]:
    """(what is decoded, receipt) of every record as the pipeline sees it in a frame of the log."""
    from headrace.runtime.pipeline import _open, _receipts

    entry = entry_of(message, chosen)
    if entry is None:
        return []
    meta = delivered_meta(entry, chosen)
    frame = Frame(0, entry.count, message.at, meta, entry.body)
    found = records(frame)
    assert len(found) == entry.count
    decoded = []
    for _, text in found:
        try:
            decoded.append(json.dumps(_open(text, entry.envelope)).encode())
        except Exception:
            decoded.append(b"")
    return list(zip(decoded, _receipts(frame, range(entry.count)), strict=True))


def delivered_meta(entry: queued.Entry, chosen: FlowRevision) -> Any:
    from headrace.log.frames import Meta

    return Meta(entry.layout, FLOW, chosen.revision, 0, entry.message.id, entry.envelope)


def pulled(message: Message, chosen: FlowRevision) -> list[tuple[bytes, str]]:
    """The same of a source that is read without the log."""
    from headrace.runtime.pipeline import _open

    frame = frame_of("p", Chunk([message], Position(1)), FLOW, 1, 0, chosen.payload, chosen.format)
    decoded = []
    for _, text in frame.parts:
        try:
            decoded.append(json.dumps(_open(text, False)).encode())
        except Exception:
            decoded.append(b"")
    return list(zip(decoded, frame.receipts, strict=True))


@pytest.mark.parametrize("rules", [None, RULES], ids=["no mapping", "mapping"])
@pytest.mark.parametrize("payload", ["raw", "xdm"])
@pytest.mark.parametrize("name", BODIES)
def test_a_message_holds_the_records_that_a_pulled_source_would_give(
    name: str, payload: str, rules: Any
) -> None:
    message = Message(BODIES[name], 0, 5, "m1")
    chosen = revision(payload=payload, rules=rules)
    assert texts(message, chosen) == pulled(message, chosen)


@pytest.mark.parametrize("name", CSV)
def test_delimited_messages_too(name: str) -> None:
    message = Message(CSV[name], 0, 5, "m1")
    chosen = revision(format="delimited", rules=RULES)
    assert texts(message, chosen) == pulled(message, chosen)
    assert (
        len(texts(message, chosen))
        == {"rows": 2, "compressed": 2, "header only": 0, "no header": 1}[name]
    )


def test_an_envelope_is_kept_where_nothing_maps_it() -> None:
    kept = entry_of(Message(ENVELOPE % 1, 0, 5, "m1"), revision(payload="xdm"))
    assert kept is not None
    assert (kept.envelope, kept.body) == (True, ENVELOPE % 1)


def test_what_inflates_without_bound_or_nests_too_deep_is_one_record_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deep = b'[{"a":' + b"[" * 950 + b"]" * 950 + b'},{"a":1}]'
    monkeypatch.setattr(queued, "MOST_BYTES", 10_000)
    for body in (
        gzip.compress(b"[" + b" " * 20_000 + b"1,2]"),
        gzip.compress(gzip.compress(b"[1,2]")),
        deep,
    ):
        message = Message(body, 0, 5, "m1")
        entry = entry_of(message, revision())
        assert entry == queued.Entry(message, 0, body)
        assert texts(message, revision()) == [(b"", "m1")]


def test_a_message_that_trips_a_defect_of_ours_is_one_record_that_fails(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = queued.records_of

    def tripping(message: Message, payload: str, format: str) -> Any:
        if message.id == "m1":
            raise ZeroDivisionError
        return split(message, payload, format)

    monkeypatch.setattr(queued, "records_of", tripping)
    broker = Broker()
    broker.publish(3)

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 3)

    asyncio.run(go())
    assert ids(data_dir) == names(3)


def test_an_empty_message_list_needs_no_log_but_is_acknowledged(data_dir: Path) -> None:
    broker = Broker()
    broker.waiting = [Message(b"[]", 0, 5, "m0"), Message(b'{"n": 1}', 0, 6, "m1")]

    async def go() -> None:
        async with running(data_dir, broker) as now:
            await now.until(lambda: len(broker.acknowledged) == 2)

    asyncio.run(go())
    assert ids(data_dir) == ["m1"]
