"""Moving a flow on an operator's command: what comes again, what is passed over, and that all of it is counted."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Terminal
from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.lake import rewind as lake_rewind
from headrace.lake.commit import Committer, Stale
from headrace.lake.rewind import Standing, rewound
from headrace.lake.upkeep import Upkeep
from headrace.lake.watermark import Watermark
from headrace.log.frames import SINGLE
from headrace.log.segments import segments
from headrace.model.flow import FlowRevision
from headrace.runtime import pulling
from headrace.runtime.balance import balance
from headrace.security.clients import add_client
from headrace.security.egress import Egress
from headrace.security.tokens import Tokens
from headrace.services.operator.doctor.collection import collect
from headrace.services.operator.rewind import requests as rewind
from headrace.sources.contract import Chunk, Connector, Message, Partition, Position, Settings
from headrace.store.documents import Scope
from headrace.store.revisions import Revisions
from headrace.testing.calls import InProcess
from tests.unit.lake.test_commit import batch
from tests.unit.services.test_operator import RULES, TREE, Site

counts = st.integers(0, 1000)
PULLED = "test-source"
BROKEN = b"{"


@given(st.dictionaries(st.sampled_from("abc"), counts), st.dictionaries(st.sampled_from("abc"), counts), counts,
       st.one_of(st.none(), counts))  # fmt: skip
def test_a_flow_balances_after_whatever_move(
    old: dict[str, int], new: dict[str, int], landed: int, sequence: int | None
) -> None:
    before = Watermark(offsets=old, sequence=landed + 3, landed=landed, failed=3)
    after = rewound(
        Standing(before, before, agrees=True), {id: (at, "") for id, at in new.items()}, sequence
    )
    found = balance(
        0, after.sequence, after.landed, after.failed, again=after.again, lost=after.lost
    )
    assert found.unexplained == 0
    assert (after.landed, after.failed, after.epoch) == (landed, 3, 1)
    assert after.offsets == old | new


def test_offsets_that_are_passed_in_the_source_are_nobodys_records() -> None:
    """They were never accepted, so that nothing of ours is lost."""
    before = Watermark(offsets={"0": 10}, sequence=10, landed=10)
    after = rewound(Standing(before, before, agrees=True), {"0": (50, "")}, None)
    assert (after.sequence, after.again, after.lost) == (10, 0, 0)


class Topic:
    """Partitions of numbered records, the oldest of which may be gone. It stands in for a broker."""

    def __init__(self) -> None:
        self.records: dict[str, list[bytes]] = {"0": [], "1": []}
        self.oldest = 0

    def partitions(self) -> Sequence[Partition]:
        return [Partition(id) for id in self.records]

    def start(self, partition: str, reset: str) -> Position:
        return Position(self.oldest if reset == "earliest" else len(self.records[partition]))

    def end(self, partition: str) -> Position:
        return Position(len(self.records[partition]))

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        if position.offset < self.oldest:
            raise Terminal(f"a gap from {position.offset} to {self.oldest}")
        found = self.records[partition][position.offset :][:most]
        messages = [
            Message(body, position.offset + n, 0, f"{partition}-{position.offset + n}")
            for n, body in enumerate(found)
        ]
        return Chunk(messages, Position(position.offset + len(found)))

    def close(self) -> None: ...


class Moved(Site):
    """Flows f and g of the log, and p, which reads a topic into data set t."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(data_dir, segment_bytes=1)
        self.topic = Topic()
        found = Connector(
            "test", PULLED, lambda settings: self.topic, lambda settings: None, lambda settings, path: []
        )  # fmt: skip
        for module in (rewind, pulling):
            monkeypatch.setattr(module, "connector", lambda spec: found)
            monkeypatch.setattr(module, "known", lambda spec: spec == PULLED)
        settings = Settings("none", {}, {}, "p")
        for module in (rewind, pulling):
            monkeypatch.setattr(module, "settings_of", lambda *_: settings)
        scope = Scope(self.org, "prod")
        self.store.create(scope, "dataSets", "t", {"name": "set t"})
        source = {"id": "s", "connectionSpec": {"id": PULLED, "version": "1.0"}}
        self.store.create(
            scope, "flows", "p",
            {"name": "flow p", "state": "enabled", "revision": 1, "baseConnectionId": "b",
             "inheritedAttributes": {"sourceConnections": [source]}},
        )  # fmt: skip
        Revisions(self.store).add(
            FlowRevision(
                "p", 1, self.org, "prod", "t", "https://ns/s", "1.2", TREE.to_json(), RULES, source=PULLED,
                source_params={"connectionId": "b", "params": {}, "reset": "earliest"},
            )
        )  # fmt: skip

    def pull(self, *wanted: int, stops: bool = False) -> None:
        """A worker that has just started reads the topic to its end, or until the flow stops."""
        run = pulling.Pulling(
            self.data_dir, self.store, self.lake, 0.0, 1000, self.supervisor._hear, Upkeep(self.lake), Egress("")
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if not run.step():
                time.sleep(0.005)
            if run.flows.keys() == {"p"}:
                ends = {id: len(records) for id, records in self.topic.records.items()}
                offsets = run.flows["p"].state.watermark.offsets
                if all(offsets.get(id, 0) == end for id, end in ends.items()):
                    break
            elif stops and self.supervisor.flows["p"].stopped:
                break
        run.finish()
        assert self.numbers("t") == sorted(wanted), self.supervisor.flows
        assert bool(self.supervisor.flows["p"].stopped) == stops

    def again(self) -> None:
        """A worker that has just started lands what the log has."""
        if self.worker is not None:
            self.worker.reader.close()
        self.worker = None
        self.land()

    def numbers(self, dataset: str) -> list[int]:
        try:
            table = self.lake.table("prod", dataset)
        except Terminal:
            return []
        return sorted(row["n"] for row in table.scan().to_arrow().to_pylist())

    def move(self, flow: str, to: str | int, **body: Any) -> httpx.Response:
        answer: httpx.Response = self.operator().post(
            f"/headrace/flows/{flow}/rewinds", json={"to": to, "confirm": True} | body
        )
        return answer

    def operator(self, auth: str = "off", token: str = "", client: str = "") -> InProcess:
        moves = rewind.Rewinds(self.store, self.supervisor, lambda: self.lake, Egress(""))
        gateway = Gateway(self.store, Tokens(b"k" * 32), auth, self.installation)
        own = json.loads((self.data_dir / "credentials.json").read_text())
        headers = {
            "x-api-key": client or own["client_id"], "x-gw-ims-org-id": self.org, "x-sandbox-name": "prod",
        }  # fmt: skip
        if token:
            headers["authorization"] = f"Bearer {token}"
        return InProcess(build(moves.routes(), gateway, title="t"), headers)

    def account(self, flow: str) -> Mapping[str, int]:
        """The flow's terms, after doctor found no fault with them."""
        account = collect(self.data_dir, running=False).accounts[flow]
        assert account.faults(running=False) == []
        known = self.supervisor.flows[flow].balance(account.logged)
        assert known.unexplained == 0
        return {
            n: getattr(known, n)
            for n in ("accepted", "again", "landed", "failed", "lost", "pending")
        }


def terms(accepted: int, landed: int, **others: int) -> Mapping[str, int]:
    return {
        "accepted": accepted,
        "again": 0,
        "landed": landed,
        "failed": 0,
        "lost": 0,
        "pending": 0,
    } | others


def body(n: int) -> bytes:
    return json.dumps({"id": "x", "n": n}).encode()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moved]:
    found = Moved(tmp_path / "data", monkeypatch)
    with closing(found):
        yield found


# -- pulled sources -----------------------------------------------------------------------------------------


def test_a_pulled_flow_reads_again_from_a_position_and_its_failed_records_too(site: Moved) -> None:
    site.topic.records["0"] = [body(0), body(1), BROKEN, body(3)]
    site.pull(0, 1, 3)
    refused = site.move("p", 1, partition="0", confirm=False)
    assert refused.status_code == 409
    assert "0 from 4 to 1" in refused.json()["detail"]
    assert "3 records are read again and land in data set t again" in refused.json()["detail"]
    assert "confirm" in refused.json()["detail"]
    assert site.account("p") == terms(4, 3, failed=1)
    done = site.move("p", 1, partition="0")
    assert done.status_code == 200, done.text
    site.pull(0, 1, 1, 3, 3)
    assert site.account("p") == terms(4, 5, failed=2, again=3)
    assert len(site.lake.table("prod", "t_failed").scan().to_arrow()) == 2
    listed = site.operator().get("/headrace/flows/p/rewinds").json()["rewinds"]
    assert [(r["from"]["0"], r["to"]["0"], r["again"], r["done"]) for r in listed] == [
        ("4", "1", 3, True)
    ]
    assert listed[0]["by"]


def test_a_gap_is_passed_only_on_command_and_costs_none_of_ours(site: Moved) -> None:
    site.topic.records["0"] = [body(n) for n in range(3)]
    site.pull(0, 1, 2)
    site.topic.records["0"] += [body(n) for n in range(3, 9)]
    site.topic.oldest = 6
    site.pull(0, 1, 2, stops=True)
    assert "a gap from 3 to 6" in str(site.supervisor.flows["p"].stopped)
    assert "a gap from 2 to 6" in site.move("p", 2, partition="0").json()["detail"]
    assert site.move("p", "earliest").status_code == 200
    site.topic.records["1"] = [body(0)] * 6
    site.pull(0, 1, 2, 6, 7, 8)
    assert site.supervisor.flows["p"].stopped is None
    assert site.account("p") == terms(6, 6)


def test_a_flow_that_has_never_run_begins_where_it_is_told(site: Moved) -> None:
    """So records that have landed elsewhere are read into another data set."""
    site.topic.records["0"] = [body(n) for n in range(5)]
    assert site.move("p", 3, partition="0").status_code == 200
    site.pull(3, 4)
    assert site.account("p") == terms(2, 2)


@pytest.mark.parametrize("point", ["rewind-before-commit", "rewind-after-commit"])
def test_a_process_that_dies_while_it_moves_a_flow_leaves_it_here_or_there(
    site: Moved, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    class Died(BaseException):
        pass

    def die(name: str) -> None:
        if name == point:
            raise Died

    site.topic.records["0"] = [body(n) for n in range(4)]
    site.pull(0, 1, 2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(lake_rewind, "reach", die)
        with pytest.raises(Died):
            site.move("p", 2, partition="0")
    moved = point == "rewind-after-commit"
    site.topic.records["0"].append(body(4))
    site.pull(0, 1, 2, 3, 4, *((2, 3) if moved else ()))
    assert site.account("p") == terms(5, 7 if moved else 5, again=2 if moved else 0)


def test_a_batch_that_was_read_before_a_move_does_not_land_after_it(site: Moved) -> None:
    """A worker that was believed dead comes back with a batch from where the flow stood."""

    site.one("r0", body=body(0))
    site.land()
    zombie = batch(1, 3)
    assert site.move("f", "latest").status_code == 200
    with pytest.raises(Stale):
        Committer(site.lake, "prod", "d", "f").commit(zombie)


# -- tables that were changed outside -----------------------------------------------------------------------


def test_a_flow_whose_table_was_rolled_back_goes_on_from_what_is_left_and_nothing_is_there_twice(
    site: Moved,
) -> None:
    site.topic.records["0"] = [body(0), body(1)]
    site.pull(0, 1)
    left = site.lake.table("prod", "t").current_snapshot()
    assert left is not None
    site.topic.records["0"] += [body(2), body(3), BROKEN]
    site.pull(0, 1, 2, 3)
    site.lake.table("prod", "t").manage_snapshots().rollback_to_snapshot(left.snapshot_id).commit()
    site.pull(0, 1, stops=True)
    assert "snapshots say" in str(site.supervisor.flows["p"].stopped)
    assert site.move("p", "table").status_code == 200
    site.pull(0, 1, 2, 3)
    assert site.supervisor.flows["p"].stopped is None
    assert site.account("p") == terms(5, 6, failed=2, again=3)


def test_a_flow_whose_table_was_dropped_fills_a_new_one(site: Moved) -> None:
    site.topic.records["0"] = [body(0), body(1), BROKEN]
    site.pull(0, 1)
    site.lake.drop("prod", "t")
    site.pull(stops=True)
    assert "does not exist any more" in str(site.supervisor.flows["p"].stopped)
    assert site.move("p", "earliest").status_code == 200
    site.pull(0, 1)
    assert site.account("p") == terms(3, 4, failed=2, again=3)


# -- flows that are fed by the log --------------------------------------------------------------------------


def test_a_flow_of_the_log_goes_back_as_far_as_the_log_does(site: Moved) -> None:
    for n in range(4):
        site.accept((SINGLE, "f", f"f{n}", 1, body(n)), (SINGLE, "g", f"g{n}", 1, body(n)))
    site.land()
    assert site.move("f", 4).status_code == 200
    site.again()
    assert site.numbers("d") == [0, 1, 2, 2, 3, 3]
    assert site.account("f") == terms(4, 6, again=2)
    assert site.account("g") == terms(4, 4)
    site.free()
    held = int(segments(site.data_dir / "log")[0][1].stem)
    answer = site.move("f", 0)
    assert answer.status_code == 409
    assert "The log no longer goes back to 0" in answer.json()["detail"]
    assert held > 0
    site.one("later", body=body(9))
    site.again()
    assert site.numbers("d") == [0, 1, 2, 2, 3, 3, 9]
    assert site.account("f") == terms(5, 7, again=2)


def test_records_that_the_log_lost_are_passed_only_on_command_and_counted_as_lost(
    site: Moved,
) -> None:
    for n in range(3):
        site.one(f"f{n}", body=body(n))
    victim = next(p for _, p in segments(site.data_dir / "log") if b'"n": 1}' in p.read_bytes())
    victim.write_bytes(victim.read_bytes().replace(b'"n": 1}', b'"n": 3}'))
    site.land()
    stopped = str(site.supervisor.flows["f"].stopped)
    assert "1 accepted records before position 2 cannot be read" in stopped
    command = stopped.split("headrace rewind f --to ")[1]
    answer = site.move("f", command, confirm=False)
    assert "1 accepted records are passed over and will never land" in answer.json()["detail"]
    assert site.move("f", command).status_code == 200
    site.again()
    assert site.numbers("d") == [0, 2]
    known = site.supervisor.flows["f"].balance(3)
    assert (known.unexplained, known.lost, known.landed, known.pending) == (0, 1, 2, 0)


# -- who may, and what is refused ---------------------------------------------------------------------------


def test_clients_that_may_only_read_move_nothing(site: Moved) -> None:
    site.one("r0", body=body(0))
    site.land()
    client, _ = add_client(site.store, site.org, "reader", read_only=True)
    token, _ = Tokens(b"k" * 32).issue(client.id, site.org, client.scopes, client.user_id)
    reader = site.operator("on", token, client.id)
    assert reader.get("/headrace/flows/f/rewinds").json() == {"rewinds": []}
    answer = reader.post("/headrace/flows/f/rewinds", json={"to": 0, "confirm": True})
    assert answer.status_code == 403
    assert site.account("f") == terms(1, 1)


@pytest.mark.parametrize(
    ("flow", "asked", "status", "says"),
    [
        ("f", {"to": "yesterday"}, 400, "`to` must be"), ("f", {"to": -1}, 400, "`to` must be"),
        ("f", {"to": True}, 400, "`to` must be"), ("f", {}, 400, "`to` must be"),
        ("f", {"to": 1, "dataset": "e"}, 400, "make a flow for that data set"),
        ("f", {"to": 1, "confirm": "yes"}, 400, "`confirm`"), ("f", {"to": 1, "partition": 3}, 400, "`partition`"),
        ("f", {"to": "1@x"}, 400, "are offsets"), ("f", {"to": 1, "partition": "7"}, 400, "one partition"),
        ("p", {"to": 1}, 400, "reads 2 partitions"), ("p", {"to": 1, "partition": "9"}, 400, "no partition '9'"),
        ("nobody", {"to": 1}, 404, "no flow nobody"), ("g", {"to": 1}, 404, "no flow g"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_and_says_what_would_be_right(
    site: Moved, flow: str, asked: dict[str, Any], status: int, says: str
) -> None:
    answer = site.operator().post(f"/headrace/flows/{flow}/rewinds", json=asked)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
