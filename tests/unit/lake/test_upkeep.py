"""Upkeep: rows and watermarks stay right whatever is merged, expired and removed, and wherever it stops."""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.types import LongType

from headrace.disk import local_path
from headrace.errors import Terminal
from headrace.lake import compaction, expiry, orphans, replace
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer
from headrace.lake.compaction import Compaction, Limits, Progress, pick
from headrace.lake.expiry import agrees
from headrace.lake.orphans import LEDGER, needed, sweep
from headrace.lake.query import load_extensions
from headrace.lake.replace import live_files, manifests
from headrace.lake.upkeep import Done, Policy, Upkeep
from headrace.xdm.arrow import FAILED_SCHEMA, table_schema
from headrace.xdm.fields import Field

STRING = Field("string")
TREE = Field(
    "object",
    properties={
        "n": Field("int"),
        "person": Field("object", properties={"name": STRING, "age": Field("int")}),
        "items": Field("array", items=Field("object", properties={"sku": STRING})),
        "ids": Field("map", values=Field("array", items=STRING)),
    },
)
PART = "inlet-0"
POINTS = [
    "compaction-after-row-group", "compaction-after-data-file", "replace-before-commit", "replace-after-commit",
    "expiry-before-commit", "expiry-after-commit", "orphans-after-ledger", "orphans-before-removal",
]  # fmt: skip
SMALL = Policy(
    keep=2, most=4, every=1, manifests=3, grace=100, sweep_every=10,
    limits=Limits(least=3, step_rows=5),
)  # fmt: skip


class Crash(BaseException):
    """As a kill: nothing catches it."""


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def rows(flow: str, start: int, end: int, part: str = PART) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "n": n, "person": {"name": f"{flow}{n}"}, "items": [{"sku": "a"}, {"sku": str(n)}] if n % 3 else None,
                "ids": [("Email", [str(n)])],
                "_acp_system_metadata": {"flowId": flow, "sourcePartition": part, "sourceOffset": n},
            }
            for n in range(start, end)
        ],
        schema=table_schema(TREE),
    )  # fmt: skip


def failed_rows(flow: str, offsets: list[int]) -> pa.Table:
    values = [
        {"original": b"x", "flowId": flow, "sourcePartition": PART, "sourceOffset": n}
        for n in offsets
    ]
    return pa.Table.from_pylist(values, schema=FAILED_SCHEMA)


def batch(flow: str, start: int, end: int, failed: int = 0) -> CommitBatch:
    """Records from `start` to `end`, the last `failed` of which fail."""
    good = end - failed
    return CommitBatch(
        good=rows(flow, start, good), failed=failed_rows(flow, list(range(good, end))) if failed else None,
        start={PART: start}, next={PART: end}, sequence=end, landed=good - start, failed_count=failed, warnings=0,
        batch_id="b",
    )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.ensure("prod", "set", TREE)
    return lake


def fill(lake: Lake, flow: str, commits: int, size: int = 4) -> Committer:
    committer = Committer(lake, "prod", "set", flow)
    for n in range(commits):
        committer.commit(batch(flow, n * size, (n + 1) * size))
    return committer


def drain(upkeep: Upkeep) -> list[Done]:
    done = []
    while (one := upkeep.step()) is not None:
        done.append(one)
        assert len(done) < 2000, done[-5:]
    return done


def tended(
    lake: Lake, policy: Policy = SMALL, *, clock: Callable[[], float] | None = None,
    timer: Callable[[], float] | None = None,
) -> Upkeep:  # fmt: skip
    clock = clock or Clock()
    upkeep = Upkeep(lake, policy, clock=clock, timer=timer or clock)
    for name in ("set", "set_failed"):
        upkeep.note("prod", name)
    return upkeep


def paths(table: Table) -> list[str]:
    return [file.file_path for file in live_files(table)]


def landed(table: Table) -> list[tuple[str, int]]:
    found = table.scan().to_arrow()
    if "_acp_system_metadata" in found.column_names:
        source = [row["_acp_system_metadata"] for row in found.to_pylist()]
    else:
        source = found.to_pylist()
    return sorted((row["flowId"], row["sourceOffset"]) for row in source)


@cache
def session() -> duckdb.DuckDBPyConnection:
    return load_extensions()


def by_duckdb(table: Table) -> list[tuple[str, int]]:
    if table.current_snapshot() is None:
        return []
    source = (
        "_acp_system_metadata." if "_acp_system_metadata" in table.schema().column_names else ""
    )
    return (
        session()
        .execute(
            f"SELECT {source}flowId, {source}sourceOffset FROM iceberg_scan('{table.metadata_location}') ORDER BY ALL"
        )
        .fetchall()
    )


def on_disk(table: Table) -> set[str]:
    directory = local_path(table.location())
    return {p.name for folder in ("data", "metadata") for p in (directory / folder).glob("*")}


@pytest.fixture
def crash_at() -> Iterator[Callable[[str | None], None]]:
    """Arms one point, once; the modules' own `reach` is put back afterwards."""
    armed: list[str | None] = [None]

    def reach(name: str) -> None:
        if armed[0] == name:
            armed[0] = None
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        for module in (compaction, expiry, orphans, replace):
            patch.setattr(module, "reach", reach)
        yield lambda name: armed.__setitem__(0, name)


def run(lake: Lake, one: Compaction) -> Progress:
    while (progress := one.advance(lambda: lake.table("prod", "set"))) is Progress.RUNNING:
        pass
    return progress


# --- compaction


def test_small_files_become_one_in_source_order_and_nothing_else_changes(lake: Lake) -> None:
    committer = fill(lake, "f", 9)
    before, mark = lake.table("prod", "set"), committer.position()
    expected = before.scan().to_arrow().sort_by("n")
    done = drain(tended(lake, Policy()))
    table = lake.table("prod", "set")
    assert ("compaction", 9) in {(d.what, d.count) for d in done}
    (path,) = paths(table)
    assert table.scan().to_arrow().sort_by("n").equals(expected)
    file = pq.read_table(local_path(path))
    assert file["n"].to_pylist() == list(range(36))
    assert committer.position() == mark
    assert table.metadata.properties == before.metadata.properties
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.operation.value == "replace"
    totals = snapshot.summary.additional_properties
    assert (totals["total-records"], totals["total-data-files"]) == ("36", "1")
    assert not any(name.startswith("headrace.watermark") for name in totals)
    assert by_duckdb(table) == [("f", n) for n in range(36)]
    committer.commit(batch("f", 36, 38))
    assert landed(lake.table("prod", "set")) == [("f", n) for n in range(38)]


def test_the_merged_file_has_field_ids_statistics_and_no_columns_that_its_inputs_lack(
    lake: Lake,
) -> None:
    committer = Committer(lake, "prod", "set", "f")
    for n in range(8):
        one = batch("f", n, n + 1)
        assert one.good is not None
        one.good = one.good.drop_columns(["items", "ids"] if n else ["ids"])
        committer.commit(one)
    drain(tended(lake, Policy()))
    table = lake.table("prod", "set")
    (file,) = live_files(table)
    schema = pq.read_schema(local_path(file.file_path))
    assert schema.names == ["n", "person", "items", "_acp_system_metadata"]
    ids = {f.name: f.field_id for f in table.schema().fields}
    assert {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in schema} == {
        name: ids[name] for name in schema.names
    }
    n = table.schema().find_field("n").field_id
    assert (file.value_counts[n], file.null_value_counts[n]) == (8, 0)
    assert file.lower_bounds[n] < file.upper_bounds[n]
    assert table.scan("n == 7").to_arrow()["n"].to_pylist() == [7]


def test_files_of_older_schemas_merge_with_newer_ones(lake: Lake) -> None:
    """Renamed, added and widened columns, at the top and inside: all by field id."""
    fill(lake, "f", 4)
    table = lake.table("prod", "set")
    with table.update_schema() as update:
        update.update_column("n", LongType())
    with table.update_schema() as update:
        update.rename_column("n", "number")
        update.rename_column("person.name", "fullName")
        update.add_column(("person", "email"), LongType())
        update.delete_column("ids")
    table = lake.table("prod", "set")
    assert len(paths(table)) == 4
    expected = table.scan().to_arrow().sort_by("number")
    assert run(lake, Compaction(table, list(live_files(table)), Limits())) is Progress.LANDED
    table = lake.table("prod", "set")
    assert len(paths(table)) == 1
    assert table.scan().to_arrow().sort_by("number").equals(expected)
    assert expected["number"].to_pylist() == list(range(16))
    assert expected["person"][5].as_py() == {"fullName": "f5", "age": None, "email": None}


def test_a_row_is_rewritten_once_a_tier() -> None:
    """Files of one tier only: else each merge would rewrite all that was merged before."""

    class File:
        file_format = "PARQUET"
        lower_bounds = None

        def __init__(self, name: str, size: int) -> None:
            self.file_path, self.file_size_in_bytes = name, size

    limits = Limits()
    files: dict[str, Any] = {}
    written = added = 0
    random.seed(7)
    for number in range(3000):
        size = random.randrange(70_000, 500_000)
        files[str(number)] = File(str(number), size)
        added += size
        while group := pick(files.values(), limits):  # type: ignore[arg-type]
            assert limits.least <= len(group) <= limits.most_files
            total = sum(file.file_size_in_bytes for file in group)
            assert total <= limits.most_bytes
            assert all(file.file_size_in_bytes < limits.small for file in group)
            for file in group:
                del files[file.file_path]
            merged = File(f"m{number}-{total}", total)
            files[merged.file_path] = merged
            written += total
    assert len(files) < 60
    assert written < 4 * added


def test_flows_are_merged_each_for_itself(lake: Lake) -> None:
    for flow in ("one-flow", "two-flow"):
        fill(lake, flow, 8)
    drain(tended(lake, Policy()))
    table = lake.table("prod", "set")
    flows = [
        set(pq.read_table(local_path(p))["_acp_system_metadata"].combine_chunks().field("flowId").to_pylist())
        for p in paths(table)
    ]  # fmt: skip
    assert sorted(map(sorted, flows)) == [["one-flow"], ["two-flow"]]
    assert len(landed(table)) == 64


def test_an_append_in_between_costs_the_compaction_a_try_and_loses_nothing(lake: Lake) -> None:
    committer = fill(lake, "f", 8)
    table = lake.table("prod", "set")
    compaction = Compaction(table, list(live_files(table)), Limits())
    calls = 0

    def load() -> Table:
        nonlocal calls
        calls += 1
        old = lake.table("prod", "set")
        if calls == 1:
            committer.commit(batch("f", 32, 34))  # after the table was loaded
        return old

    while (progress := compaction.advance(load)) is Progress.RUNNING:
        pass
    assert (progress, calls) == (Progress.LANDED, 2)
    table = lake.table("prod", "set")
    assert len(paths(table)) == 2
    assert landed(table) == by_duckdb(table) == [("f", n) for n in range(34)]


def test_of_two_compactions_of_the_same_files_one_is_dropped(lake: Lake) -> None:
    fill(lake, "f", 8)
    table = lake.table("prod", "set")
    both = [Compaction(table, list(live_files(table)), Limits()) for _ in range(2)]
    assert [run(lake, one) for one in both] == [Progress.LANDED, Progress.DROPPED]
    assert landed(lake.table("prod", "set")) == [("f", n) for n in range(32)]


@pytest.mark.parametrize("lands", [True, False])
def test_an_unknown_outcome_is_looked_up(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, lands: bool
) -> None:
    fill(lake, "f", 8)
    real = lake.catalog.commit_table

    def lie(*arguments: object) -> object:
        monkeypatch.undo()
        if lands:
            real(*arguments)  # type: ignore[arg-type]
        raise CommitStateUnknownException("the answer was lost")

    monkeypatch.setattr(lake.catalog, "commit_table", lie)
    done = drain(tended(lake, Policy()))
    assert ("compaction", 8) in {(d.what, d.count) for d in done}
    table = lake.table("prod", "set")
    assert len(paths(table)) == 1
    assert len(landed(table)) == 32
    assert sum(s.summary.operation.value == "replace" for s in table.snapshots() if s.summary) == 1


def test_a_file_that_would_lose_rows_is_not_committed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, "f", 8)
    table = lake.table("prod", "set")
    one = Compaction(table, list(live_files(table)), Limits())
    real = one._batches
    monkeypatch.setattr(one, "_batches", lambda target: list(real(target))[1:])
    with pytest.raises(Terminal, match="32 rows gave 28"):
        run(lake, one)
    before = on_disk(lake.table("prod", "set"))
    one.drop()
    assert len(before - on_disk(lake.table("prod", "set"))) == 1
    assert len(landed(lake.table("prod", "set"))) == 32


def test_memory_of_a_step_is_bounded_by_its_limits(lake: Lake) -> None:
    fill(lake, "f", 8, size=50)
    table = lake.table("prod", "set")
    one = Compaction(table, list(live_files(table)), Limits(step_rows=100))
    steps = 0
    while one.advance(lambda: lake.table("prod", "set")) is Progress.RUNNING:
        steps += 1
    assert steps >= 4
    (path,) = paths(lake.table("prod", "set"))
    metadata = pq.read_metadata(local_path(path))
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [100] * 4


# --- manifests, expiry


def test_manifests_of_a_writer_that_does_not_merge_are_merged(lake: Lake) -> None:
    table = lake.table("prod", "set")
    for n in range(7):
        with table.transaction() as transaction:
            transaction.set_properties({"commit.manifest-merge.enabled": "false"})
            transaction.append(rows("f", n, n + 1))
    assert len(manifests(table.current_snapshot(), table)) == 7
    expected = paths(table)
    done = drain(tended(lake, Policy(manifests=5, limits=Limits(least=100))))
    table.refresh()
    with table.transaction() as transaction:  # its own merges obey the property
        transaction.set_properties({"commit.manifest-merge.enabled": "true"})
    done += drain(tended(lake, Policy(manifests=5, limits=Limits(least=100))))
    table.refresh()
    assert ("manifests", 6) in {(d.what, d.count) for d in done}
    assert len(manifests(table.current_snapshot(), table)) == 1
    assert sorted(paths(table)) == sorted(expected)
    assert by_duckdb(table) == [("f", n) for n in range(7)]


def test_a_table_that_was_rolled_back_is_left_alone(lake: Lake) -> None:
    """Also when what is left no longer names the flow: its rows are in a snapshot outside."""
    two = fill(lake, "two", 1)
    fill(lake, "one", 6)
    table = lake.table("prod", "set")
    assert agrees(table)
    back = table.snapshots()[3].snapshot_id
    two.commit(batch("two", 4, 8))
    table.refresh()
    assert agrees(table)
    with table.manage_snapshots() as manage:
        manage.rollback_to_snapshot(back)
    before = on_disk(lake.table("prod", "set"))
    clock = Clock()
    upkeep = tended(lake, clock=clock)
    for _ in range(4):
        clock.now += 1000
        upkeep.note("prod", "set")
        assert [d for d in drain(upkeep) if d.table[1] == "set"] == []
    assert on_disk(lake.table("prod", "set")) == before
    assert len(lake.table("prod", "set").snapshots()) == 8


def test_expiry_keeps_the_newest_and_what_a_tag_names(lake: Lake) -> None:
    committer = fill(lake, "f", 3)
    table = lake.table("prod", "set")
    tagged = table.snapshots()[0].snapshot_id
    with table.manage_snapshots() as manage:
        manage.create_tag(tagged, "audit")
    for n in range(3, 8):
        committer.commit(batch("f", n * 4, n * 4 + 4))
    mark = committer.position()
    newest = [s.snapshot_id for s in lake.table("prod", "set").snapshots()][-2:]
    policy = Policy(keep=2, most=4, every=1, limits=Limits(least=100))
    drain(tended(lake, policy))
    table = lake.table("prod", "set")
    assert [s.snapshot_id for s in table.snapshots()] == [tagged, *newest]
    assert committer.position() == mark
    assert table.scan(snapshot_id=tagged).to_arrow().num_rows == 4


def test_an_idle_flow_whose_rows_only_a_tag_still_names_is_no_disagreement(lake: Lake) -> None:
    idle = fill(lake, "idle", 1)
    table = lake.table("prod", "set")
    with table.manage_snapshots() as manage:
        manage.create_tag(table.snapshots()[0].snapshot_id, "audit")
    fill(lake, "f", 4)
    table = lake.table("prod", "set")
    assert expiry.expire(table, 2) == 2
    assert agrees(lake.table("prod", "set"))
    assert idle.position().landed == 4


def test_an_expiry_that_meets_another_snapshot_expires_nothing(lake: Lake) -> None:
    committer = fill(lake, "f", 5)
    old = lake.table("prod", "set")
    committer.commit(batch("f", 20, 21))
    assert expiry.expire(old, 1) == 0
    assert len(lake.table("prod", "set").snapshots()) == 6


# --- removal of files


def swept(lake: Lake, now: float, grace: float = 100) -> int:
    found = sweep(lambda: lake.table("prod", "set"), now, grace)
    return max((so_far.removed for so_far in found), default=0)


def test_a_file_goes_when_it_is_old_and_has_been_unneeded_for_the_grace_period(lake: Lake) -> None:
    fill(lake, "f", 3)
    table = lake.table("prod", "set")
    data = local_path(table.location()) / "data"
    orphan = data / "0f0e0d0c-0000-0000-0000-000000000000.parquet"
    foreign = data / "notes.txt"
    foreign.write_text("not ours")
    before = on_disk(table)
    orphan.write_bytes(b"of a failed commit")
    now = time.time()
    assert swept(lake, now + 99) == 0  # too young to be looked at
    assert swept(lake, now + 150) == 0  # old, and now known to be unneeded
    assert swept(lake, now + 249) == 0
    assert orphan.exists()
    assert swept(lake, now + 251) == 1
    assert on_disk(lake.table("prod", "set")) == before
    assert swept(lake, now + 10_000) == 0
    assert len(landed(lake.table("prod", "set"))) == 12


def test_a_reader_keeps_its_files_for_the_grace_period_though_they_are_old(lake: Lake) -> None:
    fill(lake, "f", 8)
    reader = lake.table("prod", "set")  # planned now, read later
    clock = Clock()
    clock.now += 100_000  # every file is old
    upkeep = tended(lake, SMALL, clock=clock)
    for _ in range(5):
        upkeep.note("prod", "set")
        drain(upkeep)
        clock.now += 18
        Committer(lake, "prod", "set", "g").commit(
            batch("g", *(lambda at: (at, at + 1))(lake_offset(lake, "g")))
        )
    assert reader.metadata.current_snapshot_id not in {
        s.snapshot_id for s in lake.table("prod", "set").snapshots()
    }
    assert landed(reader) == by_duckdb(reader) == [("f", n) for n in range(32)]
    clock.now += 101
    upkeep.note("prod", "set")
    drain(upkeep)
    clock.now += 101
    drain(upkeep)
    with pytest.raises(OSError, match=r"parquet|avro|No such"):
        landed(reader)
    assert len(landed(lake.table("prod", "set"))) == 37


def lake_offset(lake: Lake, flow: str) -> int:
    return Committer(lake, "prod", "set", flow).position().offsets.get(PART, 0)


def test_only_needed_files_stay_and_removals_are_synced(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, "f", 12)
    clock = Clock()
    upkeep = tended(lake, clock=clock)
    drain(upkeep)
    synced: list[Path] = []
    monkeypatch.setattr(orphans, "sync_directory", synced.append)
    committer = Committer(lake, "prod", "set", "f")
    for at in range(48, 60, 2):
        clock.now += 101
        committer.commit(batch("f", at, at + 2))
        upkeep.note("prod", "set")
        drain(upkeep)
    clock.now += 101
    drain(upkeep)
    clock.now += 101
    drain(upkeep)
    table = lake.table("prod", "set")
    keeping = {name for part in needed(table) for name in part}
    assert on_disk(table) == keeping
    directory = local_path(table.location())
    assert {directory / "data", directory / "metadata"} <= set(synced)
    assert landed(table) == by_duckdb(table) == [("f", n) for n in range(60)]


def test_nothing_is_removed_when_a_manifest_cannot_be_read(lake: Lake) -> None:
    fill(lake, "f", 2)
    table = lake.table("prod", "set")
    orphan = local_path(table.location()) / "data" / "x.parquet"
    orphan.write_bytes(b"x")
    now = time.time()
    swept(lake, now + 101)
    local_path(manifests(table.current_snapshot(), table)[0].manifest_path).unlink()
    with pytest.raises(OSError, match=r"No such file|avro"):
        swept(lake, now + 1000)
    assert orphan.exists()


def test_a_damaged_ledger_and_a_clock_put_back_only_delay(lake: Lake) -> None:
    fill(lake, "f", 1)
    directory = local_path(lake.table("prod", "set").location())
    orphan = directory / "data" / "x.parquet"
    orphan.write_bytes(b"x")
    now = time.time()
    swept(lake, now + 101)
    (directory / LEDGER).write_bytes(b'{"half')
    assert swept(lake, now + 1000) == 0
    (directory / LEDGER).write_text(json.dumps({"data/x.parquet": now + 10**9}))
    assert swept(lake, now + 1001) == 0
    assert swept(lake, now + 1100) == 0
    assert swept(lake, now + 1101) == 1


@pytest.mark.parametrize("days", [[3], [3, -3], [-3], [3, 3]], ids=str)
def test_a_clock_that_jumps_by_days_takes_no_file_before_its_grace_period_has_passed(
    lake: Lake, days: list[int]
) -> None:
    """What was found unneeded a moment before the jump may be what a reader is reading."""
    fill(lake, "f", 2)
    orphan = local_path(lake.table("prod", "set").location()) / "data" / "x.parquet"
    orphan.write_bytes(b"x")
    clock, timer = Clock(), Clock()
    upkeep = tended(lake, clock=clock, timer=timer)

    def later(seconds: float) -> None:
        clock.now += seconds
        timer.now += seconds
        drain(upkeep)

    later(101)
    later(11)
    assert orphan.exists()
    for jump in days:
        clock.now += jump * 86_400
        for _ in range(4):
            later(11)
    assert orphan.exists()
    clock.now -= sum(days) * 86_400  # the time by which the file is as old as it is
    for _ in range(3):
        later(101)
    assert not orphan.exists()


# --- the whole


def test_an_error_of_one_table_leaves_the_others_their_turn(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, "f", 8)
    upkeep = Upkeep(lake, Policy(), clock=Clock())
    upkeep.note("prod", "gone")
    upkeep.note("prod", "set")
    done = drain(upkeep)
    assert [d.table[1] for d in done if d.what == "failed"] == ["gone"]
    assert ("set", "compaction", 8) in {(d.table[1], d.what, d.count) for d in done}


def test_a_busy_caller_gives_no_more_than_the_share(lake: Lake) -> None:
    fill(lake, "f", 8)
    now = [0.0]

    def timer() -> float:
        now[0] += 0.5  # each look at it: a step takes half a second
        return now[0]

    upkeep = Upkeep(lake, Policy(share=0.1, limits=Limits(step_rows=4)), clock=Clock(), timer=timer)
    upkeep.note("prod", "set")
    worked = sum(upkeep.step(busy=True) is not None for _ in range(20))
    assert 1 <= worked <= 3
    assert upkeep.step() is not None


def test_nothing_to_do_costs_no_look_at_the_catalog(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake, "f", 2)
    upkeep = tended(lake, Policy(every=1))
    drain(upkeep)
    monkeypatch.setattr(lake, "table", lambda *name: pytest.fail("the table was loaded"))
    assert upkeep.step() is None


operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("ab"), st.integers(0, 2)),
        st.tuples(st.just("step"), st.integers(1, 6), st.none()),
        st.tuples(st.just("crash"), st.sampled_from(POINTS), st.integers(4, 12)),
        st.tuples(st.just("wait"), st.sampled_from([11, 60, 101]), st.none()),
        st.tuples(st.just("read"), st.none(), st.none()),
    ),
    min_size=10,
    max_size=20,
)


@settings(
    max_examples=4, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(plan=operations)
def test_any_interleaving_keeps_rows_and_watermarks(
    plan: list[tuple[str, Any, Any]], crash_at: Callable[[str | None], None]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        run_plan(Path(directory), plan, crash_at)


def run_plan(
    root: Path, plan: list[tuple[str, Any, Any]], crash_at: Callable[[str | None], None]
) -> None:
    clock = Clock()
    lake = Lake(root)
    lake.ensure("prod", "set", TREE)
    upkeep = tended(lake, clock=clock)
    offsets, good, bad = {"a": 0, "b": 0}, list[tuple[str, int]](), list[tuple[str, int]]()

    def check() -> None:
        for name, expected in (("set", good), ("set_failed", bad)):
            table = lake.table("prod", name)
            assert landed(table) == by_duckdb(table) == sorted(expected)
        for flow, offset in offsets.items():
            mark = Committer(lake, "prod", "set", flow).position()
            counts = [sum(f == flow for f, _ in table) for table in (good, bad)]
            assert (mark.offsets.get(PART, 0), mark.landed, mark.failed) == (offset, *counts)

    for what, first, second in plan:
        if what == "append":
            start = offsets[first]
            end = start + 3
            Committer(lake, "prod", "set", first).commit(batch(first, start, end, failed=second))
            good += [(first, n) for n in range(start, end - second)]
            bad += [(first, n) for n in range(end - second, end)]
            offsets[first] = end
            upkeep.note("prod", "set")
            upkeep.note("prod", "set_failed")
        elif what == "wait":
            clock.now += first
        elif what == "read":
            check()
        else:
            if what == "crash":
                crash_at(first)
            try:
                for _ in range(second or first):
                    if (done := upkeep.step()) is None:
                        break
                    assert done.what != "failed", done
            except Crash:
                lake = Lake(root)
                upkeep = tended(lake, clock=clock)
                check()
            crash_at(None)
    for _ in range(4):
        clock.now += 101
        assert all(done.what != "failed" for done in drain(upkeep))
    check()
    for name in ("set", "set_failed"):
        table = lake.table("prod", name)
        assert on_disk(table) == {name for part in needed(table) for name in part}
        assert len(table.snapshots()) <= SMALL.most
        assert len(paths(table)) <= 2 * 2 * SMALL.limits.least


@pytest.mark.parametrize("point", POINTS)
def test_every_crash_point_is_reached_and_recovered_from(
    tmp_path: Path, point: str, crash_at: Callable[[str | None], None]
) -> None:
    plan: list[tuple[str, Any, Any]] = [("append", f, n % 2) for n in range(4) for f in "ab"]
    aged = [("wait", 101, None), ("step", 300, None)] * 2 if point.startswith("orphans") else []
    more: list[tuple[str, Any, Any]] = [("append", "a", 1), ("append", "b", 0)]
    crashed = []
    real = crash_at

    def watched(name: str | None) -> None:
        crashed.append(name)
        real(name)

    run_plan(tmp_path, [*plan, *aged, ("wait", 101, None), ("crash", point, 300), *more], watched)
    assert point in crashed


KILLED = """
import sys, time
from pathlib import Path
from headrace.lake.catalog import Lake
from headrace.lake.compaction import Limits
from headrace.lake.upkeep import Policy, Upkeep
late = [0.0]
policy = Policy(keep=2, most=4, every=1, grace=100, sweep_every=10, limits=Limits(least=3, step_rows=5))
upkeep = Upkeep(
    Lake(Path(sys.argv[1])), policy, clock=lambda: time.time() + late[0], timer=lambda: time.monotonic() + late[0]
)
upkeep.note("prod", "set")
for _ in range(3):
    while upkeep.step():
        pass
    late[0] += 101
"""


def test_a_killed_process_leaves_a_table_that_the_next_one_finishes(lake: Lake) -> None:
    committer = fill(lake, "f", 8)
    root = lake.directory.parent
    for point in ("replace-after-commit", "orphans-before-removal", ""):
        environment = {**os.environ, "HEADRACE_CRASH_AT": point}
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, str(root)], env=environment, timeout=60, check=False
        )
        assert ended.returncode == (137 if point else 0), point
        table = Lake(root).table("prod", "set")
        at = committer.position().offsets[PART]
        assert landed(table) == by_duckdb(table) == [("f", n) for n in range(at)]
        for _ in range(3):  # so that there is something to do for the next one
            committer.commit(batch("f", at, at + 2))
            at += 2


def test_a_committer_goes_on_while_another_thread_tends(lake: Lake) -> None:
    """Both retry; neither loses or repeats a row, and the reader sees whole commits at every moment."""
    fill(lake, "old", 8)
    drain(tended(lake))
    now = time.time()
    for path in (lake.directory / "warehouse").rglob("*"):
        os.utime(path, (now - 1000, now - 1000))
    assert swept(lake, now - 500) == 0  # from here on the old files may go, while others come
    stop = threading.Event()
    errors: list[BaseException] = []
    done: list[Done] = []
    policy = Policy(
        keep=3, most=6, every=1, grace=100, sweep_every=0.1, retry=0.05, limits=Limits(least=4)
    )

    def tend() -> None:
        other = Lake(lake.directory.parent)
        upkeep = Upkeep(other, policy)
        try:
            while not stop.is_set():
                upkeep.note("prod", "set")
                if (one := upkeep.step()) is not None:
                    done.append(one)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=tend)
    thread.start()
    committers = {flow: Committer(lake, "prod", "set", flow) for flow in "ab"}
    at = 0
    try:
        for at in range(0, 60, 3):
            for flow, committer in committers.items():
                committer.commit(batch(flow, at, at + 3))
            if at % 15 == 0:
                table = Lake(lake.directory.parent).table("prod", "set")
                assert len(landed(table)) == 32 + 2 * (at + 3)
        deadline = time.monotonic() + 30  # a sweep of a busy machine takes its time
        while not any(d.what == "sweep" and d.count for d in done):
            assert time.monotonic() < deadline, done
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    assert errors == []
    assert [d for d in done if d.what == "failed"] == []
    assert any(d.what == "compaction" and d.count for d in done)
    table = lake.table("prod", "set")
    ends = {"a": 60, "b": 60, "old": 32}
    expected = sorted((flow, n) for flow, end in ends.items() for n in range(end))
    assert landed(table) == by_duckdb(table) == expected
    assert {f: c.position().offsets for f, c in committers.items()} == {
        "a": {PART: 60},
        "b": {PART: 60},
    }
