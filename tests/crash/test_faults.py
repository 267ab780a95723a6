"""Faults done to a running server, each named by the promise that must hold."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headrace.lake.catalog import Lake
from headrace.lake.query import open_session
from headrace.log.segments import segments
from headrace.testing.oracle import Answer, Findings, rows_of
from tests.crash.rig import Rig, wait_for

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A healthy flow, beside which the others are broken."""
    rig = Rig(
        tmp_path_factory.mktemp("faults"), HEADRACE_LANDING_DELAY_ALERT="1", HEADRACE_LOG_SEGMENT_BYTES="10000000",
    )  # fmt: skip
    yield rig
    rig.close()


@pytest.fixture
def rig(shared: Rig, tmp_path: Path) -> Iterator[Rig]:
    """A flow of its own on the shared server."""
    rig = Rig(tmp_path / "flow", beside=shared)
    yield rig
    for sender in rig.senders:
        sender.stop()
    rig.oracle.close()


def reasons(rig: Rig, kind: str) -> list[str]:
    """Details of /health of one kind that concern the flow."""
    found = rig.health().get("reasons", [])
    return [
        r["detail"] for r in found if r["reason"] == kind and rig.journey.flow_id in r["detail"]
    ]


def send_some(rig: Rig, name: str, records: int = 300, **options: float) -> None:
    sender = rig.send(name, "messages", 1, budget=records, **options)
    sender.join(60)
    assert not sender.is_alive()


def lands(rig: Rig, name: str) -> Findings:
    """The verdict after some more records."""
    before = len(rig.oracle.attempts())
    send_some(rig, name)
    answers = {attempt.answer for attempt in rig.oracle.attempts()[before:]}
    assert Answer.ACKNOWLEDGED in answers
    return rig.verdict()


def table(rig: Rig, suffix: str = "") -> tuple[Lake, tuple[str, str]]:
    return Lake(rig.server.data_dir), (
        rig.client.credentials["sandbox"],
        rig.journey.dataset_id + suffix,
    )


# -- what is sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 1.0], ids=["1 %", "100 %"])
def test_p2_p8_a_flood_of_poison_fails_alone_with_a_reason_each(
    rig: Rig, shared: Rig, share: float
) -> None:
    for kind in ("messages", "lines"):
        rig.send(kind, kind, 5, budget=3000, poison=share)
    for sender in rig.senders:
        sender.join(120)
    findings = rig.verdict()
    assert findings.faults() == {}
    poison = sum(len(a.poison) for a in rig.oracle.attempts() if a.answer is Answer.ACKNOWLEDGED)
    assert findings.failed == poison > 0
    assert (findings.landed == 0) == (share == 1.0)
    query = f'SELECT count(*) FROM "{rig.journey.dataset_id}_failed" WHERE code IS NULL OR message IS NULL'
    with open_session(rig.server.data_dir, query) as session:
        assert session.execute(query).fetchall() == [(0,)]
    assert lands(shared, f"after-flood-{share}").faults() == {}


# -- the table ----------------------------------------------------------------------------------------------


def test_p6_rows_that_others_append_meanwhile_change_nothing(rig: Rig) -> None:
    rig.send("busy", "messages", 1, budget=4000)
    for _ in range(5):
        rig.append_foreign(7)
    findings = rig.verdict()
    assert findings.faults() == {}
    assert findings.landed > rig.foreign > 0


# -- processes ----------------------------------------------------------------------------------------------


def test_p6_a_second_server_on_the_directory_is_refused_also_while_the_first_is_paused(
    shared: Rig,
) -> None:
    os.kill(shared.pid, signal.SIGSTOP)
    try:
        done = shared.second_server()
    finally:
        os.kill(shared.pid, signal.SIGCONT)
    assert done.returncode == 1
    assert b"another process serves" in done.stderr
    assert lands(shared, "after-second").faults() == {}


def test_p3_a_worker_that_hangs_is_reported_while_records_are_accepted_and_all_land_when_it_goes_on(
    rig: Rig,
) -> None:
    assert lands(rig, "before").faults() == {}
    rig.signal_worker(signal.SIGSTOP)
    try:
        send_some(rig, "meanwhile")
        found = wait_for("the delay is reported", lambda: reasons(rig, "lake"))
        assert found == [f"flow {rig.journey.flow_id}: nothing lands"]
        assert rig.measured()["pending"] > 0
    finally:
        rig.signal_worker(signal.SIGCONT)
    assert rig.verdict().faults() == {}
    wait_for("the report ends", lambda: not reasons(rig, "lake"))


# -- the disk -----------------------------------------------------------------------------------------------


def test_p1_a_flipped_bit_in_the_log_refuses_to_start_and_says_where(shared: Rig) -> None:
    shared.signal_worker(signal.SIGSTOP)  # what is sent now is in the log alone
    worker = shared.worker()
    send_some(shared, "only-in-the-log")
    shared.kill_server()
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    path = segments(shared.server.data_dir / "log")[-1][1]
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"only-in-the-log")] ^= 1
    path.write_bytes(bytes(damaged))
    done = shared.second_server()
    assert done.returncode != 0
    assert f"segment {path.name} is damaged after byte" in done.stderr.decode()
    assert path.read_bytes() == bytes(damaged)
    path.write_bytes(whole)
    shared.launch()
    assert shared.verdict().faults() == {}


def test_p1_a_torn_tail_is_cut_and_reported(shared: Rig) -> None:
    send_some(shared, "before-torn")
    shared.kill_server()
    path = segments(shared.server.data_dir / "log")[-1][1]
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])  # a frame's beginning that was never synced
    shared.launch()
    assert b"cut a torn tail of 30 bytes" in (shared.root / "server.log").read_bytes()
    assert lands(shared, "after-torn").faults() == {}


# -- flows that stop: last on the shared server, which is not well after them ----------------------------------


def test_p2_a_dropped_table_stops_its_flow_and_no_other_and_is_not_made_anew(
    rig: Rig, shared: Rig
) -> None:
    assert lands(rig, "before").faults() == {}
    lake, name = table(rig)
    lake.catalog.drop_table(name)
    send_some(rig, "after")
    detail = wait_for("the flow stops", lambda: reasons(rig, "flow"))[0]
    assert "does not exist" in detail
    measured = rig.measured()
    assert measured["pending"] > 0
    assert measured["unexplained"] == 0
    assert not lake.catalog.table_exists(name)
    assert lands(shared, "beside-dropped").faults() == {}


def test_p2_a_table_that_was_rolled_back_stops_its_flow_and_both_positions_are_named(
    rig: Rig, shared: Rig
) -> None:
    assert lands(rig, "one").faults() == {}
    lake, name = table(rig)
    snapshot = lake.catalog.load_table(name).current_snapshot()
    assert snapshot is not None
    assert lands(rig, "two").faults() == {}
    with lake.catalog.load_table(name).manage_snapshots() as manage:
        manage.rollback_to_snapshot(snapshot.snapshot_id)
    rows = len(rows_of(rig.server.data_dir, rig.journey.dataset_id)[0])
    send_some(rig, "three")
    detail = wait_for("the flow stops", lambda: reasons(rig, "flow"))[0]
    assert "snapshots say" in detail
    assert "property says" in detail
    assert len(rows_of(rig.server.data_dir, rig.journey.dataset_id)[0]) == rows
    assert lands(shared, "beside-rolled-back").faults() == {}


# -- a disk of its own ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 48 MB."""
    directory = tmp_path / "small" / "data"
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize("keep_free", ["0", "4000000"], ids=["to the last byte", "with room kept"])
def test_p7_p10_a_full_disk_refuses_with_retry_after_and_all_goes_on_when_there_is_room(
    small_disk: Path, keep_free: str
) -> None:
    rig = Rig(small_disk.parent, HEADRACE_LOG_KEEP_FREE=keep_free)
    try:
        assert lands(rig, "before").faults() == {}
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        sender = rig.send("full", "messages", 2)
        wait_for("a refusal", lambda: sender.statuses.get(503, 0) > 3)
        assert set(sender.statuses) <= {207, 400, 503}
        answer = httpx.post(
            rig.journey.inlet_url,
            json={"id": "probe:0"},
            headers={"x-adobe-flow-id": rig.journey.flow_id},
        )
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert any(r["reason"] == "disk" for r in rig.health()["reasons"])
        ballast.unlink()
        accepted = sender.statuses.get(207, 0)
        wait_for("acceptance", lambda: sender.statuses.get(207, 0) > accepted + 5, 60)
        findings = rig.verdict()
        assert findings.faults() == {}
        assert wait_for("health", lambda: rig.health()["status"] == "ok", 60)
    finally:
        rig.close()
