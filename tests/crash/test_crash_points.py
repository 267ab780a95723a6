"""Every named crash point once: what each promises holds at the moment of death, and all of it after recovery.

A process dies at the point while records arrive. The tables and the log that it leaves are examined before anything
starts again; the server that dies at the next point is also the one that recovers from the last.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.log.payloads import records
from headrace.log.segments import read_frames, segments
from headrace.testing.oracle import Answer, rows_of
from tests.crash.rig import Rig, crash_points, wait_for

POINTS = {
    "log-before-write": (5, "P1 not acknowledged: the request is not in the log"),
    "log-after-write": (5, "P1 not acknowledged: the request may be in the log"),
    "log-after-sync": (5, "P1 synced: the record lands although no answer came"),
    "log-rotated": (1, "P1 both segments are readable, no offset is given twice"),
    "log-before-unlink": (1, "P1 a landed segment that is still there lands nothing again"),
    "after-failed-commit": (1, "P2 failed rows are there without the good ones: only these follow"),
    "after-data-file": (1, "P2 a data file without its commit is no row"),
    "after-good-commit": (1, "P2 the table's watermark counts, not the process's memory"),
    "worker-after-commit": (1, "P3 totals are right although the commit's row is missing"),
}

TESTS = Path(__file__).parents[1]
"""Parts with crash points of their own (upkeep, queues) have suites that die at each."""


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("points"), HEADRACE_LOG_SEGMENT_BYTES="20000")
    yield rig
    rig.close()


def logged(log: Path) -> Counter[str]:
    """Names of the records that the log holds, as the next start will recover them."""
    found = Counter[str]()
    for _, path in segments(log):
        for frame in read_frames(path)[0]:
            found.update(
                text.split(b'"id": "')[1].split(b'"')[0].decode() for text, _ in records(frame)
            )
    return found


def die_at(rig: Rig, point: str, number: int) -> bool:
    """Send records to a server that is to die at the point, and leave it dead; whether it was reached."""
    rig.server.kill()
    log = rig.root / "server.log"
    before = log.stat().st_size
    lived = rig.launch(f"{point}:{number}")
    for kind in ("single", "messages"):
        rig.send(f"{point}-{kind}", kind, 1, poison=0.2, largest=20, pause=0.02)
    deadline = time.monotonic() + 60
    reached = not lived
    while not reached and time.monotonic() < deadline:
        assert rig.server.process is not None
        reached = (
            rig.server.process.poll() is not None or b"status 137" in log.read_bytes()[before:]
        )
        time.sleep(0.02)
    rig.server.kill()
    for sender in rig.senders:
        sender.stop()
    rig.senders = []
    # the worker of a killed server ends by itself; until then it may still commit
    wait_for("the old worker ends", lambda: _free(rig.server.data_dir / "worker.lock"))
    return reached


def _free(lock: Path) -> bool:
    import fcntl

    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_every_crash_point_of_the_code_is_in_a_test() -> None:
    assert POINTS.keys() <= set(crash_points())
    others = "".join(
        path.read_text() for path in TESTS.rglob("*.py") if path.parent.name != "crash"
    )
    assert [n for n in crash_points() if n not in POINTS and f'"{n}"' not in others] == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p}: {POINTS[p][1]}")
def test_what_a_crash_leaves_behind_keeps_the_promise(rig: Rig, point: str) -> None:
    number, _ = POINTS[point]
    assert die_at(rig, point, number), f"{point} was never reached"
    data = rig.server.data_dir
    good, failed = rows_of(data, rig.journey.dataset_id)
    landed, waiting = Counter(row.name for row in (*good, *failed)), logged(data / "log")
    attempts = rig.oracle.attempts()
    everywhere = landed.keys() | waiting.keys()
    acknowledged = {
        a.name(n) for a in attempts for n in range(a.count) if a.verdict(n) is Answer.ACKNOWLEDGED
    }
    assert acknowledged - everywhere == set(), "acknowledged, and neither landed nor in the log"
    assert everywhere <= {a.name(n) for a in attempts for n in range(a.count)}
    assert [name for name, count in landed.items() if count > 1] == []
    assert [name for name, count in waiting.items() if count > 1] == []
    unanswered = [a for a in attempts if a.sender.startswith(point) and a.answer is Answer.UNKNOWN]
    found = [{a.name(n) in everywhere for n in range(a.count)} for a in unanswered]
    assert {True, False} not in found, (
        "a request that was not acknowledged is there whole or not at all"
    )
    if point == "log-before-write":
        assert {False} in found
    if point == "log-after-sync":
        assert {True} in found
    if point == "log-rotated":
        assert segments(data / "log")[-1][1].stat().st_size == 0
    if point == "log-before-unlink":
        assert len(segments(data / "log")) > 1
        assert landed.keys() & waiting.keys()


@pytest.mark.timeout(120)
def test_after_all_of_them_everything_acknowledged_is_there_once_and_the_balance_holds(
    rig: Rig,
) -> None:
    rig.server.kill()
    rig.launch()
    findings = rig.verdict()
    assert findings.faults() == {}
    assert findings.acknowledged > 200
    assert findings.landed > 0
    assert findings.failed > 0
