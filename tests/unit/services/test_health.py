"""What /health must know of: a damaged log, revisions that are gone, a worker that hangs. One flow suffers, others run."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.log.frames import SINGLE
from headrace.log.segments import segments
from headrace.runtime.supervisor import Supervisor
from tests.unit.runtime.test_balance import metrics
from tests.unit.services.test_operator import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path / "data", segment_bytes=1)
    found.supervisor.ready = True
    return found


def body(n: int) -> bytes:
    return b'{"id":"x","n":%d}' % n


def reasons(site: Site) -> dict[str, str]:
    """Details of what is not well, by reason."""
    return {each["reason"]: each["detail"] for each in site.supervisor.reasons({}, 300)}


def rows(site: Site, dataset: str) -> list[int]:
    table = site.lake.table("prod" if dataset == "d" else "other", dataset)
    return sorted(row["n"] for row in table.scan().to_arrow().to_pylist())


def test_a_flow_that_lost_records_to_a_bit_flip_stops_before_them_and_the_others_run(
    site: Site,
) -> None:
    for n in range(4):
        site.accept((SINGLE, "f", f"f{n}", 1, body(n)), (SINGLE, "g", f"g{n}", 1, body(n)))
    victim = next(p for _, p in segments(site.data_dir / "log") if b'"n":1}' in p.read_bytes())
    data = bytearray(victim.read_bytes())
    data[data.index(b'"n":1}')] ^= 1
    victim.write_bytes(bytes(data))
    site.land()
    assert rows(site, "d") == [0], "nothing overtakes what was lost"
    assert rows(site, "e") == [0, 1, 2, 3]
    found = reasons(site)
    assert f"segment {victim.name} is damaged" in found["log"]
    assert "1 records, 2 to 2, cannot be read" in found["log"]
    assert "flow f stopped: 1 accepted records before position 4 cannot be read" in found["flow"]
    assert metrics(site.supervisor, site)["pending"] == 3, "what is lost is not called landed"
    site.free()
    assert victim.exists()
    site.close()


def test_a_revision_that_the_store_lacks_stops_its_flow_alone_and_keeps_its_records(
    site: Site,
) -> None:
    site.accept((SINGLE, "f", "f0", 1, body(0)), (SINGLE, "g", "g0", 1, body(0)))
    with site.store.transaction() as db:
        db.execute("DELETE FROM flow_revisions WHERE flow_id='f'")
    site.accept((SINGLE, "f", "f1", 1, body(1)), (SINGLE, "g", "g1", 1, body(1)))
    site.land()
    assert rows(site, "e") == [0, 1]
    assert (
        "flow f stopped: the log names revision 1 of flow f, which the store lacks"
        in (reasons(site)["flow"])
    )
    before = len(segments(site.data_dir / "log"))
    site.accept((SINGLE, "g", "g2", 1, body(2)))
    site.land()
    assert rows(site, "e") == [0, 1, 2]
    site.free()
    assert len(segments(site.data_dir / "log")) >= before, "its records wait in the log"
    site.close()


def test_a_newer_revision_that_is_gone_stops_a_running_flow_behind_what_has_landed(
    site: Site,
) -> None:
    site.one("f0", body=body(0))
    site.land()

    async def append() -> None:
        from headrace.log.writer import LogWriter

        writer = LogWriter(site.data_dir / "log")
        await writer.append(SINGLE, "f", 2, "f1", 1, body(1), 77)
        await writer.close()

    asyncio.run(append())
    site.land()
    site.one("f2", body=body(2))
    site.land()
    assert rows(site, "d") == [0]
    assert "revision 2 of flow f" in reasons(site)["flow"]
    site.close()


@pytest.mark.slow
def test_a_worker_that_somebody_stopped_is_replaced_and_nothing_lands_twice(site: Site) -> None:
    site.accept(*((SINGLE, "f", f"f{n}", 1, body(n)) for n in range(3)))
    site.store.close()

    async def run() -> None:
        supervisor = Supervisor(site.data_dir, 0.05, 1000, worker_patience=2.5)
        site.supervisor = supervisor
        await supervisor.start()
        try:
            await until(lambda: landed(supervisor) == 3)
            first = supervisor._process
            assert first is not None
            os.kill(first.pid, signal.SIGSTOP)
            await asyncio.to_thread(site.accept, (SINGLE, "f", "f3", 1, body(3)))
            await until(lambda: landed(supervisor) == 4)
            assert first.returncode == -signal.SIGKILL
            assert supervisor.restarts == 1
            assert supervisor._process is not None
            assert supervisor._process.pid != first.pid
        finally:
            await supervisor.stop()

    asyncio.run(run())
    assert rows(site, "d") == [0, 1, 2, 3]
    site.close()


def landed(supervisor: Supervisor) -> int:
    return supervisor.flows["f"].landed if "f" in supervisor.flows else 0


async def until(true: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
