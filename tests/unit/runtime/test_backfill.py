"""Records of one flow delivered once more to another: each once, whoever dies, and no more than was asked for."""

import asyncio
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.log.frames import DELIMITED, LINES, MESSAGES, SINGLE, Frame
from headrace.log.reader import LogReader
from headrace.log.segments import segments
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime import backfill_frames, backfilling, backfills
from headrace.runtime.backfilling import Backfills
from headrace.runtime.commits import totals
from headrace.runtime.supervisor import Progress
from headrace.security.egress import Egress
from headrace.security.tokens import Tokens
from headrace.services.operator.backup.creation import back_up
from headrace.services.operator.backup.restore import restore
from headrace.services.operator.doctor.collection import collect
from headrace.services.operator.rewind.requests import Rewinds
from headrace.services.operator.routes import LogOf
from headrace.store.documents import Scope
from headrace.store.revisions import Revisions
from headrace.testing import crashpoints
from headrace.testing.calls import InProcess
from tests.unit.services.test_operator import REQUEST, TREE, Site

PLUS = (Rule("ATTRIBUTE", "id", "_id"), Rule("EXPRESSION", "n + 100", "n"))
POINTS = {
    "backfill-before-append": "P1 nothing was copied: it is copied then",
    "backfill-after-append": "P1 the log has copies that nothing else knows of: they are found there",
    "backfill-after-progress": "P1 the next requests follow",
}
KAFKA = "86043421-563b-46ec-8e6c-e23184711bf6"


class Killed(BaseException):
    """The server died."""


class Pair(Site):
    """Flow f into d as before; flow h, whose mapping adds 100, into k; flow x, which takes XDM, into k too."""

    def __init__(self, data_dir: Path, segment_bytes: int = 1) -> None:
        super().__init__(data_dir, segment_bytes)
        scope = Scope(self.org, "prod")
        if Revisions(self.store).latest("h") is None:
            self.store.create(scope, "dataSets", "k", {"name": "set k"})
            for flow, rules, source in (
                ("h", PLUS, "http"),
                ("x", None, "http"),
                ("q", PLUS, KAFKA),
            ):
                self.store.create(
                    scope, "flows", flow, {"name": f"flow {flow}", "state": "enabled"}
                )
                Revisions(self.store).add(
                    FlowRevision(
                        flow, 1, self.org, "prod", "k", "https://ns/s", "1.2", TREE.to_json(), rules, source=source,
                    )
                )  # fmt: skip

    def writer(self, **limits: Any) -> LogWriter:
        landed = {id: (t["position"], t["sequence"]) for id, t in totals(self.store).items()}
        given = {"segment_bytes": self.segment_bytes, "landed": landed} | limits
        return LogWriter(self.data_dir / "log", **given)

    def ask(self, method: str, flow: str = "f", below: str = "", **body: Any) -> httpx.Response:
        log = LogOf()
        log.writer = self.writer()
        moves = Rewinds(self.store, self.supervisor, lambda: self.lake, Egress(""), log)
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", self.installation)
        own = json.loads((self.data_dir / "credentials.json").read_text())
        headers = {
            "x-api-key": own["client_id"],
            "x-gw-ims-org-id": self.org,
            "x-sandbox-name": "prod",
        }
        web = InProcess(build(moves.routes(), gateway, title="t"), headers)
        options = {"json": body} if method == "POST" else {}
        found: httpx.Response = web.request(
            method, f"/headrace/flows/{flow}/rewinds{below}", **options
        )
        asyncio.run(log.writer.close())
        return found

    def into(self, into: str = "h", to: str | int = "earliest", **body: Any) -> httpx.Response:
        return self.ask("POST", **({"to": to, "into": into, "confirm": True} | body))

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET").json()["rewinds"]
        return found

    def copy(self, steps: int = 1000, **limits: Any) -> None:
        """A server that has just started copies what is wanted, some steps of it or all."""
        asyncio.run(self._copy(steps, limits))

    async def _copy(self, steps: int, limits: dict[str, Any]) -> None:
        problem = limits.pop("problem", None)
        writer = self.writer(**limits)
        writer.problem = problem
        server = Backfills(self.store, writer, self.supervisor, asyncio.get_running_loop())

        def work() -> None:
            server.examine()
            for _ in range(steps):
                if not server.step():
                    return

        try:
            await asyncio.to_thread(work)
        finally:
            await writer.close()

    def frames(self, flow: str) -> list[Frame]:
        """What the log has of a flow."""
        with closing(LogReader(self.data_dir / "log")) as reader:
            found = []
            while read := reader.read():
                found += [frame for frame in read if frame.meta.flow_id == flow]
        return found

    def numbers(self, dataset: str) -> list[int]:
        return sorted(row["n"] for row in self.table(dataset))

    def table(self, dataset: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lake.table("prod", dataset).scan().to_arrow().to_pylist()
        return found

    def account(self, flow: str) -> tuple[int, int, int, int]:
        """Accepted, landed, failed and pending, after doctor found no fault with them."""
        account = collect(self.data_dir, running=False).accounts[flow]
        assert account.faults(running=False) == []
        known = self.supervisor.flows[flow].balance(account.logged)
        assert (known.unexplained, known.again, known.lost) == (0, 0, 0)
        return known.accepted, known.landed, known.failed, known.pending

    def free(self) -> int:
        """As the worker does."""
        assert self.worker is not None
        positions = {id: flow.position for id, flow in self.worker.flows.items()}
        return backfills.free(self.store, self.worker.reader.free, positions)

    def afresh(self) -> None:
        """The next landing is that of a worker that has just started."""
        if self.worker is not None:
            self.worker.reader.close()
        self.worker = None


def body(n: int) -> bytes:
    return json.dumps({"id": f"r{n}", "n": n}).encode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Pair]:
    with closing(Pair(tmp_path / "data")) as found:
        yield found


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """die(point, n): whoever reaches the point for the n-th time dies; an empty point: nobody."""

    def killed(status: int) -> None:
        raise Killed

    def arrange(point: str, number: int = 1) -> None:
        monkeypatch.setattr(os, "_exit", killed)
        monkeypatch.setattr(crashpoints, "_NAME", point)
        monkeypatch.setattr(crashpoints, "_left", number)

    return arrange


# -- what is delivered --------------------------------------------------------------------------------------


def test_records_of_a_flow_land_in_another_flows_data_set_by_its_mapping(site: Pair) -> None:
    site.one("1700000000001:7:0", body=body(0))
    csv = b"id,n\na,1\nb,2\n"
    site.accept((LINES, "f", REQUEST, 2, body(3) + b"\n[1]"), indexes=[0, 5])
    site.accept((DELIMITED, "f", "a-csv", 2, csv), (SINGLE, "h", "own", 1, body(9)))
    site.land()
    wanted = site.into(confirm=False)
    assert wanted.status_code == 409
    assert wanted.json()["code"] == "confirm_needed"
    assert (
        "5 records of flow f (3 requests, from offset 0 to 5) are delivered to flow h (flow h)"
        in wanted.text
    )
    assert site.listed() == []
    asked = site.into()
    assert asked.status_code == 202, asked.text
    site.copy()
    (done,) = site.listed()
    assert (done["state"], done["records"], done["copied"], done["done"]) == ("done", 5, 5, True)
    assert (done["from"], done["to"], done["into"]) == ({"inlet-0": "0"}, {"inlet-0": "5"}, "h")
    site.land()
    assert site.numbers("k") == [100, 101, 102, 103, 109]
    assert site.numbers("d") == [0, 1, 2, 3]
    assert site.account("h") == (6, 5, 1, 0)
    assert site.account("f") == (5, 4, 1, 0)


def test_a_copy_keeps_the_time_of_its_original_but_counts_as_accepted_when_it_was_copied(
    site: Pair,
) -> None:
    site.one("1700000000001:7:0", body=body(0))
    site.into()
    site.copy()
    site.land()
    (row,) = site.table("k")
    assert row["_acp_system_metadata"]["ingestTime"] == 1700000000001
    text = "SELECT json_extract(body, '$.received') FROM commits WHERE flow_id=?"
    received = {flow: site.store.connection.execute(text, (flow,)).fetchone()[0] for flow in "fh"}
    assert received["f"] == 1700000000001
    assert received["h"] > 1700000000001 + 24 * 3600 * 1000


def test_trace_tells_where_a_copy_came_from_and_where_copies_went(site: Pair) -> None:
    site.one("1700000000001:7:0", body=body(0))
    site.accept((LINES, "f", REQUEST, 2, body(1) + b"\n" + body(2)), indexes=[0, 5])
    site.land()
    id = site.into().json()["id"]
    site.copy()
    site.one("1700000000009:7:9", body=body(8))
    for freed in (False, True):
        site.land()
        if freed:
            site.free()
            assert not [f for f in site.frames("h") if f.meta.origin]
        for original, copy in (
            ("1700000000001:7:0", f"1700000000001:7:0@{id}"), (f"{REQUEST}-5", f"{REQUEST}@{id}-5"),
        ):  # fmt: skip
            (first,) = site.trace(original)["entries"]
            assert first["copies"] == [{"receipt": copy, "flow": "h", "rewind": id}]
            assert (first["flow"]["id"], "copyOf" in first) == ("f", False)
            (second,) = site.trace(copy)["entries"]
            assert second["copyOf"] == {"receipt": original, "flow": "f", "rewind": id}
            assert (second["state"], second["flow"]["id"], second["dataSetId"]) == (
                "landed",
                "h",
                "k",
            )
        assert len(site.trace(f"{REQUEST}@{id}")["entries"]) == 2
        assert "copies" not in site.trace("1700000000009:7:9")["entries"][0]


def test_bounds_are_kept_and_what_comes_later_is_not_delivered(site: Pair) -> None:
    for n in range(6):
        site.one(f"r{n}", body=body(n))
    assert site.into(to=1, until=3).status_code == 202
    assert site.into(to=4).status_code == 202
    site.one("late", body=body(7))
    site.copy()
    site.land()
    assert site.numbers("k") == [101, 102, 104, 105]


def test_the_same_command_again_delivers_only_what_has_come_since(site: Pair) -> None:
    site.one("r0", body=body(0))
    first = site.into().json()
    assert (site.into().status_code, site.into().json()["id"]) == (200, first["id"])
    site.copy()
    again = site.into()
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (
        200,
        first["id"],
        "done",
    )
    site.one("r1", body=body(1))
    wanted = site.into(confirm=False)
    assert "1 records of flow f (1 requests, from offset 2 to 3)" in wanted.text
    assert f"goes on where rewind {first['id']} ended" in wanted.text
    assert "twice" not in wanted.text
    assert site.into().status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 101]
    other = site.into(to=0, confirm=False)
    assert "2 of them have been delivered to it before: they will be there twice" in other.text
    assert site.into(to=0).status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 100, 101, 101]
    assert site.account("h") == (4, 4, 0, 0)


def test_a_repeated_command_tells_what_was_freed_since_the_last_time(site: Pair) -> None:
    for n in range(4):
        site.one(f"r{n}", body=body(n))
        if n == 0:
            site.into()
            site.copy()
    site.land()
    site.free()
    assert (
        "2 records that came in between are no longer in the log" in site.into(confirm=False).text
    )
    site.into()
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 103]


def test_a_repeated_command_still_fits_when_what_it_took_is_no_longer_in_the_log(
    site: Pair,
) -> None:
    for n in range(3):
        site.one(f"r{n}", body=body(n))
    site.into(to=0)
    site.copy()
    site.one("h0", flow="h", body=body(3))
    site.one("r3", body=body(4))
    site.land()
    site.free()
    assert segments(site.data_dir / "log")[0][0] > 3
    assert "The log no longer goes back to 1" in site.into(to=1).text
    assert site.into(to=0).status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 101, 102, 103, 104]


# -- what is refused ----------------------------------------------------------------------------------------


def test_what_the_log_no_longer_has_is_told_with_what_is_still_there(site: Pair) -> None:
    for n in range(4):
        site.one(f"r{n}", body=body(n))
    site.land()
    site.free()
    oldest = segments(site.data_dir / "log")[0][0]
    answer = site.into(to=0)
    assert answer.status_code == 409
    assert f"it holds the flow's records from {oldest} on" in answer.json()["detail"]
    assert site.into(to=oldest).status_code == 202


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"into": "f"}, 400, "another flow"), ({"into": ""}, 400, "id of a flow"), ({"into": 3}, 400, "id of a flow"),
        ({"into": "nobody"}, 404, "no flow nobody"), ({"into": "g"}, 404, "no flow g"),
        ({"into": "q"}, 409, "a source of its own"), ({"into": "x"}, 409, "has no mapping"),
        ({"to": "latest"}, 400, "`earliest`"), ({"to": "1@x"}, 400, "an offset of the log"),
        ({"until": "table"}, 400, "`until` must be"), ({"until": "0"}, 400, "behind `to`"),
        ({"to": 1}, 409, "it can be 0 or 2"), ({"to": 0, "until": 1}, 409, "it can be 0 or 2"),
        ({"to": 9}, 409, "The log ends at 2"), ({"to": 0, "until": 9}, 409, "The log ends at 2"),
        ({"to": 2}, 409, "nothing to deliver"), ({"into": None, "until": 2}, 400, "with `into`"),
        ({"partition": "7"}, 400, "one partition"),
    ],
)  # fmt: skip
def test_what_cannot_be_delivered_is_refused_and_says_why(
    site: Pair, asked: dict[str, Any], status: int, says: str
) -> None:
    site.accept((LINES, "f", REQUEST, 2, body(1) + b"\n" + body(2)))
    answer = site.into(**({"into": "h"} | asked))
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert site.listed() == []


def test_a_disabled_flow_gets_nothing_and_ends_what_was_on_its_way(site: Pair) -> None:
    site.one("r0", body=body(0))
    assert site.into().status_code == 202
    scope = Scope(site.org, "prod")
    site.store.replace(scope, "flows", "h", {"name": "flow h", "state": "disabled"})
    assert "is disabled: enable it first" in site.into(to=0).json()["detail"]
    site.copy()
    (found,) = site.listed()
    assert (found["state"], found["error"]) == ("failed", "Flow h is not enabled any more.")
    site.store.replace(scope, "flows", "h", {"name": "flow h", "state": "enabled"})
    assert site.into().status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [100]


def test_enveloped_records_fit_only_a_flow_without_mapping_for_their_schema(site: Pair) -> None:
    envelope = b'{"header": {}, "body": {"xdmMeta": {}, "xdmEntity": {"_id": "e", "n": 5}}}'
    site.accept((SINGLE, "f", "r0", 1, envelope), envelope=True)
    assert "XDM envelope" in site.into().json()["detail"]
    revisions = Revisions(site.store)
    xdm = revisions.get("x", 1)
    assert xdm is not None
    revisions.add(replace(xdm, revision=2, schema_id="https://ns/other"))
    assert "takes XDM of schema https://ns/other" in site.into("x").json()["detail"]
    revisions.add(replace(xdm, revision=3))
    assert site.into("x").status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [5]


def test_a_flow_that_is_changed_so_that_records_no_longer_fit_gets_no_more(site: Pair) -> None:
    site.one("r0", body=body(0))
    site.into()
    latest = Revisions(site.store).latest("h")
    assert latest is not None
    Revisions(site.store).add(replace(latest, revision=2, rules=None))
    site.copy()
    (found,) = site.listed()
    assert found["state"] == "failed"
    assert "do not fit it any more" in found["error"]


def test_one_that_is_cancelled_ends_where_it_is_and_the_same_command_goes_on_there(
    site: Pair, monkeypatch: pytest.MonkeyPatch, die: Callable[..., None]
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    for n in range(7):
        site.one(f"r{n}", body=body(n))
    id = site.into().json()["id"]
    site.copy(1)
    die("backfill-after-append")
    with pytest.raises(Killed):
        site.copy()
    die("")
    assert site.ask("DELETE", below="/nothing").status_code == 404
    answer = site.ask("DELETE", below=f"/{id}")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    site.copy()
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("cancelled", 4)
    assert site.ask("DELETE", below=f"/{id}").status_code == 409
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 101, 102, 103]
    assert "3 records of flow f (3 requests, from offset 4 to 7)" in site.into(confirm=False).text
    site.into()
    site.copy()
    site.land()
    assert site.numbers("k") == list(range(100, 107))


def test_one_that_is_cancelled_in_the_middle_of_an_append_counts_that_too(
    site: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    for n in range(5):
        site.one(f"r{n}", body=body(n))
    id = site.into().json()["id"]
    scope, real = Scope(site.org, "prod"), backfilling.append

    async def append(*given: Any) -> Any:
        backfills.cancel(site.store, scope, id)
        return await real(*given)

    monkeypatch.setattr(backfilling, "append", append)
    site.copy()
    site.copy()
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("cancelled", 2)


# -- who dies, and what is in the way -----------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p}: {POINTS[p]}")
@pytest.mark.parametrize("deaths", [1, 3])
def test_a_server_that_dies_while_it_copies_has_copied_every_record_once_in_the_end(
    site: Pair, die: Callable[..., None], monkeypatch: pytest.MonkeyPatch, point: str, deaths: int
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    for n in range(7):
        site.one(f"r{n}", body=body(n))
    site.into()
    for _ in range(deaths):
        die(point)
        with pytest.raises(Killed):
            site.copy()
        die("")
        site.one("live", flow="h", body=body(50))
        site.land()
        site.free()
    site.copy()
    site.land()
    assert site.numbers("k") == [*range(100, 107), *[150] * deaths]
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("done", 7)
    assert site.account("h") == (7 + deaths, 7 + deaths, 0, 0)


def test_a_worker_that_dies_lands_every_copy_once(site: Pair, die: Callable[..., None]) -> None:
    for n in range(3):
        site.one(f"r{n}", body=body(n))
    site.into()
    site.copy()
    for point in ("after-data-file", "after-good-commit", "worker-after-commit"):
        die(point)
        with pytest.raises(Killed):
            site.land()
        site.afresh()
    die("")
    site.land()
    assert site.numbers("k") == [100, 101, 102]


def test_nothing_is_freed_that_has_yet_to_be_copied(site: Pair) -> None:
    for n in range(4):
        site.one(f"r{n}", body=body(n))
    site.into(to=1)
    # copies behind 4 would have to be found after a crash
    assert backfills.held(site.store) == {"f": 1, "h": 4}
    site.land()
    site.free()
    assert [frame.offset for frame in site.frames("f")] == [1, 2, 3]
    site.copy()
    site.free()
    assert [frame.offset for frame in site.frames("f")] == [3]  # where the worker has read last


def test_what_is_freed_while_a_command_is_given_is_not_promised(site: Pair) -> None:
    for n in range(3):
        site.one(f"r{n}", body=body(n))
    site.land()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(site.into(to=0)))

    def remove(positions: dict[str, int]) -> int:
        asking.start()
        asking.join(0.5)  # it has looked at the log, and cannot be written down now
        assert site.worker is not None
        return site.worker.reader.free(positions)

    assert backfills.free(site.store, remove, {"f": 3}) == 2
    asking.join()
    assert answers[0].status_code == 409
    assert "from 2 on" in answers[0].json()["detail"]


def test_copies_wait_while_the_other_flow_has_much_to_land(
    site: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    monkeypatch.setattr(backfilling, "MOST_WAITING", 3)
    for n in range(10):
        site.one(f"r{n}", body=body(n))
    site.into()
    site.copy()
    assert site.listed()[0]["copied"] == 4
    site.land()
    site.copy()
    assert site.listed()[0]["copied"] == 8
    site.supervisor.flows["h"].stopped = "its table is gone"
    site.copy()
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("running", 8)
    assert found["trouble"] == "flow h has stopped: its table is gone"


def test_a_log_that_takes_no_more_is_waited_for_and_then_given_up(
    site: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        site.one(f"r{n}", body=body(n))
    site.into()
    site.copy(max_bytes=1)
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("running", 0)
    assert "more waits to land" in found["trouble"]
    monkeypatch.setattr(backfilling, "GIVE_UP", -1.0)
    site.copy(max_bytes=1)
    (found,) = site.listed()
    assert found["state"] == "failed"
    assert "goes on where this one ended" in found["error"]
    assert backfills.held(site.store) == {}
    assert site.into().status_code == 202
    site.copy()
    site.land()
    assert site.numbers("k") == [100, 101]


def test_what_waits_for_a_stopped_flow_lets_go_of_the_log_when_that_is_full(
    site: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.one("r0", body=body(0))
    site.into()
    site.supervisor.flows["h"] = Progress(stopped="its table is gone")
    site.copy(problem="log: more waits to land than the log may hold")
    assert site.listed()[0]["state"] == "running"
    monkeypatch.setattr(backfilling, "GIVE_UP", -1.0)
    site.copy()
    assert site.listed()[0]["state"] == "running"
    site.copy(problem="log: more waits to land than the log may hold")
    assert site.listed()[0]["state"] == "failed"
    assert backfills.held(site.store) == {}


def test_only_what_the_log_has_synced_counts_as_copied(
    site: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that cannot be written fails as a whole, and is copied again as a whole."""
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 3)
    for n in range(6):
        site.one(f"r{n}", body=body(n))
    site.into()
    real, left = os.fdatasync, [2]

    def failing(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(5, "no")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    monkeypatch.setattr(Backfills, "_refused", lambda *_: None)  # it need not be waited for
    site.copy()
    assert site.listed()[0]["state"] == "done"
    site.land()
    assert site.numbers("k") == [100, 101, 102, 103, 104, 105]
    assert left[0] < 0


def test_damage_in_the_range_is_told_and_the_rest_is_delivered(site: Pair) -> None:
    for n in range(4):
        site.one(f"r{n}", body=body(n))
    victim = next(p for _, p in segments(site.data_dir / "log") if b'"n": 1}' in p.read_bytes())
    victim.write_bytes(victim.read_bytes().replace(b'"n": 1}', b'"n": 3}'))
    assert "1 records in between are damaged and left out" in site.into(confirm=False).text
    site.into()
    site.copy()
    assert (site.listed()[0]["state"], site.listed()[0]["copied"]) == ("done", 3)
    assert [frame.body for frame in site.frames("h")] == [body(0), body(2), body(3)]


# -- backups ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["held", "catalog", "log"])
def test_a_backup_that_is_taken_while_records_are_copied_goes_on_without_a_gap_or_a_second_copy(
    site: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    for n in range(8):
        site.one(f"r{n}", body=body(n))
    site.into()
    site.copy(1)
    site.land()

    def meanwhile(reached: str) -> None:
        if reached == step:
            site.copy(2)
            site.land()

    back_up(site.data_dir, tmp_path / "copy", meanwhile)
    restore(tmp_path / "copy", tmp_path / "restored")
    with closing(Pair(tmp_path / "restored")) as other:
        other.supervisor.know(totals(other.store))
        other.copy()
        other.land()
        assert other.numbers("k") == list(range(100, 108))
        assert other.account("h") == (8, 8, 0, 0)


def test_when_the_log_is_older_than_the_tables_nothing_is_guessed(
    site: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)
    for n in range(4):
        site.one(f"r{n}", body=body(n))
    site.into()
    shutil.copytree(site.data_dir / "log", tmp_path / "older")
    site.copy(1)
    site.land()
    shutil.rmtree(site.data_dir / "log")
    shutil.copytree(tmp_path / "older", site.data_dir / "log")
    site.copy()
    (found,) = site.listed()
    assert (found["state"], found["copied"]) == ("failed", 2)
    assert "cannot be told" in found["error"]
    assert "name other bounds" in site.into().json()["detail"]


# -- whatever happens ---------------------------------------------------------------------------------------


class Lands:
    """A worker of which only this matters: it takes each frame once, in order, and frees what it has taken."""

    def __init__(self, site: Pair) -> None:
        self.site = site
        self.taken: list[Frame] = []
        self.position = 0

    def work(self) -> None:
        with closing(LogReader(self.site.data_dir / "log")) as reader:
            while frames := reader.read():
                self.taken += [frame for frame in frames if frame.offset >= self.position]
            self.position = self.taken[-1].end if self.taken else 0
            positions = dict.fromkeys("fh", self.position)
            backfills.free(self.site.store, reader.free, positions)
        sequences = {f.meta.flow_id: f.meta.sequence + f.count for f in self.taken}
        for flow, sequence in sequences.items():
            self.site.supervisor.flows[flow] = Progress(position=self.position, sequence=sequence)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("fffh"), st.integers(1, 3)),
        st.tuples(st.just("copy"), st.integers(1, 3)),
        st.tuples(st.just("die"), st.sampled_from(sorted(POINTS)), st.integers(1, 3)),
        st.tuples(st.just("land")),
        st.tuples(st.just("ask")),
    ),
    min_size=3, max_size=14,
)  # fmt: skip


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which nothing has happened."""
    directory = tmp_path_factory.mktemp("empty") / "data"
    with closing(Pair(directory)):
        pass
    return directory


@pytest.mark.parametrize(
    "examples", [6, pytest.param(150, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_whatever_happens_every_request_is_copied_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, die: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    empty: Path, examples: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(backfill_frames, "MOST_FRAMES", 2)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(moves=MOVES)
    def whatever(moves: list[tuple[Any, ...]]) -> None:
        directory = tmp_path_factory.mktemp("any") / "data"
        shutil.copytree(empty, directory)
        play(directory, die, moves)

    whatever()


def play(directory: Path, die: Callable[..., None], moves: list[tuple[Any, ...]]) -> None:
    """A history of a data directory, after which each request of flow f was copied once."""
    die("")
    with closing(Pair(directory)) as site:
        worker, serial, wanted = Lands(site), 0, list[str]()
        for move, *details in [("send", "f", 1), ("ask",), *moves, ("ask",), ("copy", 1000)]:
            if move == "send":
                flow, count = details
                records = [{"id": f"{serial}-{n}", "n": n} for n in range(count)]
                text = json.dumps({"messages": records}).encode()
                site.accept((MESSAGES, flow, f"s{serial}", count, text))
                serial += 1
            elif move == "ask":
                there = [f.meta.receipt for f in site.frames("f") if f.meta.receipt not in wanted]
                answer = site.into()
                assert answer.status_code in (200, 202), answer.text
                # 200: the one before is still on its way, and ends where it was meant to
                wanted += there if answer.status_code == 202 else []
            elif move == "land":
                worker.work()
            else:
                point, steps = (details[0], 1000) if move == "die" else ("", details[0])
                die(point, details[-1])
                try:
                    site.copy(steps)
                except Killed:
                    die("")
        site.copy()
        worker.work()
        assert {rewind["state"] for rewind in site.listed()} == {"done"}
        originals = [f for f in worker.taken if f.meta.flow_id == "f"]
        copies = [f for f in worker.taken if f.meta.origin is not None]
        assert [f.meta.receipt.partition("@")[0] for f in copies] == wanted
        assert [f.body for f in copies] == [f.body for f in originals if f.meta.receipt in wanted]
        assert max(Counter(f.meta.receipt for f in worker.taken).values()) == 1
        for flow in "fh":  # no sequence is missing or given twice
            own, reached = [f for f in worker.taken if f.meta.flow_id == flow], 0
            for frame in own:
                assert frame.meta.sequence == reached
                reached += frame.count
