"""What changes or stalls while records are in flight, in one process: mapping and schema, a slow lake, a burst."""

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from headrace.errors import DataDirectoryInUse, Overloaded
from headrace.lake.query import open_session
from headrace.log.frames import LINES, SINGLE
from headrace.log.writer import LogWriter
from headrace.model.flow import Rule
from headrace.runtime import landing
from headrace.runtime.commits import totals
from headrace.runtime.worker import Worker
from headrace.server import owned
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field
from tests.unit.services.test_operator import TREE, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def append(site: Site, frames: Iterable[tuple[int, int, int, bytes]]) -> None:
    """Append (layout, revision, count, body) for flow `f`, each synced before the next."""

    async def run() -> None:
        landed = {id: (t["position"], t["sequence"]) for id, t in totals(site.store).items()}
        writer = LogWriter(site.data_dir / "log", landed=landed)
        for number, (layout, revision, count, body) in enumerate(frames):
            await writer.append(layout, "f", revision, f"r{number}", count, body, 77)
        await writer.close()

    asyncio.run(run())


def publish(site: Site, revision: int, rules: tuple[Rule, ...], **fields: Field) -> None:
    """A revision with another mapping, and a schema that has these fields too."""
    first = Revisions(site.store).get("f", 1)
    assert first is not None
    tree = Field("object", properties={**TREE.properties, **fields})
    Revisions(site.store).add(
        dataclasses.replace(
            first, revision=revision, rules=rules, schema=tree.to_json(), mapping_version=revision
        )
    )


def found(site: Site, columns: str, table: str = "d") -> list[Any]:
    with open_session(site.data_dir, table) as session:
        return session.execute(f'SELECT {columns} FROM "{table}" ORDER BY 1').fetchall()


def one(n: int) -> bytes:
    return b'{"id":"%03d","n":%d,"deep":{"x":"t%d"}}' % (n, n, n)


PLUS = (Rule("ATTRIBUTE", "id", "_id"), Rule("EXPRESSION", "n + 1000", "n"))
DEEP = (*PLUS, Rule("ATTRIBUTE", "deep.x", "more.x"))
MORE = Field("object", properties={"x": Field("string")})


@pytest.mark.parametrize("die", [None, 0, 1, 2], ids=lambda n: "" if n is None else f"dies {n}")
def test_p12_each_record_is_mapped_by_the_revision_that_accepted_it_also_when_it_is_replayed(
    site: Site, monkeypatch: pytest.MonkeyPatch, die: int | None
) -> None:
    """Mapping and schema are published while records of the older ones wait; late ones of the older come after."""
    publish(site, 2, PLUS)
    publish(site, 3, DEEP, more=MORE)
    order = [1, 1, 2, 2, 3, 3, 2, 1, 3]
    append(site, [(SINGLE, revision, 1, one(n)) for n, revision in enumerate(order)])
    if die is not None:

        class Died(BaseException):
            pass

        left = [die]

        def crash(name: str) -> None:
            if name == "after-good-commit":
                left[0] -= 1
                if left[0] < 0:
                    raise Died

        with monkeypatch.context() as patch:
            patch.setattr("headrace.lake.commit.reach", crash)
            with pytest.raises(Died):
                site.land()
        assert site.worker is not None
        site.worker.reader.close()
        site.worker = None
    site.land()
    expected = [
        (f"{n:03d}", n + (1000 if revision > 1 else 0), f"t{n}" if revision == 3 else None)
        for n, revision in enumerate(order)
    ]
    assert found(site, "_id, n, more.x") == expected
    site.close()


def test_p9_rows_from_before_a_field_was_added_read_null_and_widened_numbers_keep_their_values(
    site: Site,
) -> None:
    append(site, [(SINGLE, 1, 1, one(1))])
    site.land()
    publish(site, 2, DEEP, more=MORE, n=Field("long"))
    big = b'{"id":"002","n":9000000000,"deep":{"x":"y"}}'
    append(site, [(SINGLE, 2, 1, big), (SINGLE, 1, 1, one(3))])
    site.land()
    assert found(site, "_id, n, more.x") == [
        ("001", 1, None), ("002", 9000001000, "y"), ("003", 3, None),
    ]  # fmt: skip
    assert found(site, "*", "d_failed") == []
    site.close()


def test_p7_a_slow_lake_makes_commits_larger_not_more_and_the_waiting_rows_stay_bounded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records wait in the log, not in memory."""
    bound, frames, size = 2000, 120, 50
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", bound)
    lines = [b"\n".join(one(n * size + i) for i in range(size)) for n in range(frames)]
    append(site, [(LINES, 1, size, body) for body in lines])
    site.one("begin")
    commits, waiting = list[int](), list[int]()
    real = site.lake.catalog.commit_table

    def slow(*arguments: Any) -> Any:
        time.sleep(0.05)
        commits.append(1)
        return real(*arguments)

    monkeypatch.setattr(site.lake.catalog, "commit_table", slow)
    from headrace.lake.upkeep import Upkeep
    from headrace.log.reader import LogReader

    reader = LogReader(site.data_dir / "log")
    real_read = reader.read
    monkeypatch.setattr(reader, "read", lambda most_bytes=20_000: real_read(20_000))
    worker = Worker(
        site.store, site.lake, reader, 0.0, 1_000_000, lambda event: None, Upkeep(site.lake)
    )
    while worker.step():
        waiting.append(sum(flow.batch.records for flow in worker.flows.values() if flow.batch))
    worker.finish()
    reader.close()
    total = frames * size
    assert found(site, "count(*)") == [(total + 1,)]
    assert max(waiting) <= bound + 20_000 // 40
    assert len(commits) < frames / 2
    site.close()


def test_p7_large_records_wait_in_the_log_not_in_memory_while_the_lake_does_not_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, count, full = 100_000, 60, 500_000
    monkeypatch.setattr(landing, "FULL_BYTES", full)
    monkeypatch.setattr(landing, "LONGEST_PAUSE", 0.0)
    site.one("begin")
    site.land()
    append(
        site,
        [(SINGLE, 1, 1, one(n)[:-1] + b',"blank":"%s"}' % (b" " * large)) for n in range(count)],
    )
    site.one("other", "g")
    refused, waiting = list[int](), list[int]()
    real = site.lake.catalog.commit_table

    def locked(*arguments: Any) -> Any:
        if len(refused) < 5:
            refused.append(1)
            raise OperationalError("", None, Exception("database is locked"))
        return real(*arguments)

    monkeypatch.setattr(site.lake.catalog, "commit_table", locked)
    monkeypatch.setattr("headrace.lake.commit.ATTEMPTS", 1)
    worker = site.worker
    assert worker is not None
    for _ in range(100):
        worker.step()
        waiting.append(sum(f.batch.input_bytes for f in worker.flows.values() if f.batch))
    worker.finish()
    assert len(refused) == 5
    assert max(waiting) < full + 2 * large
    assert found(site, "count(*)") == [(count + 1,)]
    assert found(site, "count(*)", "e") == [(1,)]
    site.close()


PADDED = Rule("EXPRESSION", "rpad(id, 2500, 'x')", "_id")


@pytest.mark.parametrize(
    "rules",
    [
        (PADDED,),
        (PADDED, Rule("EXPRESSION", "nullify()", "n")),
        (Rule("EXPRESSION", "[rpad(id, 1250, 'x'), rpad(id, 1250, 'y')]", "tags"),),
        (Rule("STATIC", "x" * 2_500, "_id"),),
    ],
    ids=["a text", "a text, record by record", "an array", "a constant"],
)
@pytest.mark.parametrize("together", [1, 20])
def test_p7_what_a_mapping_makes_of_small_records_waits_in_the_log_not_in_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch, rules: tuple[Rule, ...], together: int
) -> None:
    full, count, made = 500_000, 600, 2_500
    monkeypatch.setattr(landing, "FULL_BYTES", full)
    site.one("begin")
    site.land()
    publish(site, 2, rules, tags=Field("array", items=Field("string")))
    bodies = [b"\n".join(one(n + i) for i in range(together)) for n in range(0, count, together)]
    append(site, [(LINES, 2, together, body) for body in bodies])
    worker = site.worker
    assert worker is not None
    waiting = list[int]()
    real = worker._run

    def run(frame: Any) -> bool:
        taken = real(frame)
        waiting.append(sum(f.batch.records for f in worker.flows.values() if f.batch))
        return taken

    monkeypatch.setattr(worker, "_run", run)
    worker.interval = 3600.0
    while worker.step():
        pass
    worker.finish()
    assert max(waiting) * made < full * 1.5
    assert found(site, "count(*)") == [(count + 1,)]
    site.close()


@pytest.mark.parametrize(("bad", "commits"), [(False, 4), (True, 2)])
def test_a_batch_with_failures_takes_twice_as_many_records_for_its_two_commits(
    site: Site, bad: bool, commits: int
) -> None:
    site.one("begin")
    site.land()
    wrong = b"17"
    append(site, [(SINGLE, 1, 1, wrong if bad and n % 10 == 5 else one(n)) for n in range(40)])
    worker = site.worker
    assert worker is not None
    worker.commit_rows, worker.interval = 10, 3600.0
    before = len(site.lake.table("prod", "d").snapshots())
    while worker.step():
        pass
    worker.finish()
    assert len(site.lake.table("prod", "d").snapshots()) - before == commits
    assert found(site, "count(*)") == [(41 - 4 * bad,)]
    assert found(site, "count(*)", "d_failed") == [(4 * bad,)]
    site.close()


def test_p7_a_flow_that_stopped_keeps_nothing_in_memory_and_holds_up_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "MOST_ROWS_WAITING", 5)
    site.one("begin")
    site.land()
    site.lake.drop("prod", "d")
    append(site, [(SINGLE, 1, 1, one(n)) for n in range(10)])
    site.land()
    assert site.worker is not None
    stopped = site.worker.flows["f"]
    assert (stopped.stopped, stopped.batch) == ("the table prod.d does not exist", None)
    site.one("other", "g")
    site.land()
    assert found(site, "count(*)", "e") == [(1,)]
    site.close()


def test_p7_a_burst_beyond_what_the_disk_takes_is_refused_and_what_waits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten times what a slow disk can take: refusals are Overloaded (503), all that was accepted is synced."""
    import os

    real = os.fdatasync
    most, body = 20_000, b"x" * 1000

    def slow(descriptor: int) -> None:
        time.sleep(0.05)
        real(descriptor)

    async def run() -> tuple[int, int, int]:
        writer = LogWriter(tmp_path, pending_bytes=most, keep_free=0)
        monkeypatch.setattr(os, "fdatasync", slow)
        accepted, refused, greatest = list[Any](), 0, 0
        for _ in range(20):
            for _ in range(50):
                try:
                    accepted.append(writer.append(SINGLE, "f", 1, "r", 1, body, 0))
                except Overloaded:
                    refused += 1
                greatest = max(greatest, writer._pending)
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await asyncio.gather(*accepted)
        assert time.monotonic() - began < 2
        await writer.append(SINGLE, "f", 1, "r", 1, body, 0)
        await writer.close()
        return len(accepted), refused, greatest

    accepted, refused, greatest = asyncio.run(run())
    assert refused > accepted > 0
    assert greatest <= most


def test_p2_p8_nothing_but_poison_fills_the_failed_table_and_the_flow_beside_it_lands(
    site: Site,
) -> None:
    poison = [b'{"id":"%d","n":' % n for n in range(300)]
    site.accept(
        *((LINES, "f", f"p{n}", 100, b"\n".join(poison[n : n + 100])) for n in (0, 100, 200))
    )
    site.one("good", flow="g")
    site.land()
    assert found(site, "count(*)") == [(0,)]
    assert found(site, "count(DISTINCT original), count(*)", "d_failed") == [(300, 300)]
    assert found(site, "DISTINCT code IS NULL, message IS NULL", "d_failed") == [(False, False)]
    assert found(site, "count(*)", "e") == [(1,)]
    site.close()


def test_p6_a_second_server_on_the_directory_is_refused_at_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "headrace",
        "serve",
        "--data-dir",
        str(tmp_path),
        "--port",
        "0",
    ]
    with owned(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        with pytest.raises(DataDirectoryInUse), owned(tmp_path):
            pass
    assert done.returncode == 1
    assert "another process serves the data directory" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["serve.lock"]
