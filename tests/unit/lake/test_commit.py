"""The commit protocol: each range lands once, whoever commits and whatever fails."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitStateUnknownException

from headrace.errors import Terminal, Transient, WatermarkConflict
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer, Stale
from headrace.lake.expiry import expire
from headrace.lake.query import open_session
from headrace.runtime.columns import table as build
from headrace.xdm.arrow import FAILED_SCHEMA, SYSTEM_METADATA
from headrace.xdm.fields import Field

STRING = Field("string")
TREE = Field(
    "object",
    properties={
        "_id": STRING,
        "n": Field("int"),
        "person": Field("object", properties={"name": STRING, "age": Field("int")}),
        "items": Field("array", items=Field("object", properties={"sku": STRING})),
        "ids": Field(
            "map", values=Field("array", items=Field("object", properties={"id": STRING}))
        ),
    },
)
PART = "inlet-0"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.ensure("prod", "set", TREE)
    return lake


def good_rows(start: int, end: int, tree: Field = TREE) -> pa.Table:
    rows = [
        {
            "_id": str(n), "n": n, "person": {"name": f"p{n}"}, "items": [{"sku": "a"}, {"sku": "b"}],
            "ids": {"Email": [{"id": str(n)}]},
        }
        for n in range(start, end)
    ]  # fmt: skip
    count = end - start
    values = {
        "flowId": ["f"] * count, "sourcePartition": [PART] * count, "sourceOffset": list(range(start, end)),
        "receiptId": ["r"] * count, "ingestTime": [0] * count, "acp_sourceBatchId": ["b"] * count,
    }  # fmt: skip
    arrays = build(tree, rows)
    children = [pa.array(values[f.name], f.type) for f in SYSTEM_METADATA]
    arrays["_acp_system_metadata"] = pa.StructArray.from_arrays(
        children, fields=list(SYSTEM_METADATA)
    )
    return pa.table(arrays)


def failed_rows(offsets: list[int]) -> pa.Table:
    rows = [
        {"original": b"x", "flowId": "f", "sourcePartition": PART, "sourceOffset": offset}
        for offset in offsets
    ]
    return pa.Table.from_pylist(rows, schema=FAILED_SCHEMA)


def batch(start: int, end: int, failed: list[int] | None = None) -> CommitBatch:
    bad = failed or []
    kept = end - start - len(bad)
    return CommitBatch(
        good=good_rows(start, start + kept) if kept else None, failed=failed_rows(bad) if bad else None,
        start={PART: start}, next={PART: end}, sequence=end, landed=kept, failed_count=len(bad),
        warnings=0, batch_id="b",
    )  # fmt: skip


def count(lake: Lake, name: str = "set") -> int:
    return int(lake.table("prod", name).scan().to_arrow().num_rows)


def test_rows_and_watermark_become_visible_together(lake: Lake) -> None:
    committer = Committer(lake, "prod", "set", "f")
    assert committer.position().offsets == {}
    committer.commit(batch(0, 10, failed=[8, 9]))
    mark = committer.position()
    assert (mark.offsets, mark.sequence, mark.landed, mark.failed) == ({PART: 10}, 10, 8, 2)
    assert (count(lake), count(lake, "set_failed")) == (8, 2)


def test_the_same_range_by_a_second_committer_is_refused_and_lands_once(lake: Lake) -> None:
    first, second = Committer(lake, "prod", "set", "f"), Committer(lake, "prod", "set", "f")
    first.commit(batch(0, 10))
    with pytest.raises(Stale) as stale:
        second.commit(batch(0, 10))
    assert stale.value.watermark.offsets == {PART: 10}
    assert count(lake) == 10


def test_a_zombie_that_loaded_the_table_before_is_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie = Committer(lake, "prod", "set", "f")
    old = lake.table("prod", "set")
    Committer(lake, "prod", "set", "f").commit(batch(0, 10))
    monkeypatch.setattr(zombie, "_load", lambda suffix: old)  # it still sees the table of then
    with pytest.raises(Stale):
        zombie.commit(batch(0, 10))
    assert count(lake) == 10


def test_a_foreign_append_in_between_is_passed_over(lake: Lake) -> None:
    committer = Committer(lake, "prod", "set", "f")
    committer.commit(batch(0, 5))
    lake.table("prod", "set").append(lake.table("prod", "set").scan(limit=1).to_arrow())
    committer.commit(batch(5, 10))
    assert committer.position().landed == 10
    assert count(lake) == 11


def test_two_flows_of_one_table_have_watermarks_of_their_own(lake: Lake) -> None:
    one, two = Committer(lake, "prod", "set", "one"), Committer(lake, "prod", "set", "two")
    one.commit(batch(0, 5))
    two.commit(batch(0, 3))
    one.commit(batch(5, 6))
    assert (one.position().offsets, two.position().offsets) == ({PART: 6}, {PART: 3})
    assert count(lake) == 9


def test_a_crash_between_the_two_commits_repeats_only_the_second(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(name: str) -> None:
        if name == "after-failed-commit":
            raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("headrace.lake.commit.reach", crash)
        with pytest.raises(Crash):
            Committer(lake, "prod", "set", "f").commit(batch(0, 10, failed=[9]))
    assert (count(lake), count(lake, "set_failed")) == (0, 1)
    Committer(lake, "prod", "set", "f").commit(batch(0, 12, failed=[9, 11]))
    assert (count(lake), count(lake, "set_failed")) == (10, 2)


def test_a_commit_that_landed_but_was_reported_unknown_is_not_repeated(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lake.catalog.commit_table

    def lie(*arguments: object) -> object:
        real(*arguments)  # type: ignore[arg-type]
        raise CommitStateUnknownException("the answer was lost")

    monkeypatch.setattr(lake.catalog, "commit_table", lie)
    result = Committer(lake, "prod", "set", "f", sleep=lambda s: None).commit(batch(0, 10))
    monkeypatch.undo()
    assert result.watermark.offsets == {PART: 10}
    assert count(lake) == 10


def test_a_lake_that_cannot_be_reached_is_transient_and_lands_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> object:
        raise CommitStateUnknownException("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(lake.catalog, "commit_table", fail)
        with pytest.raises(Transient):
            Committer(lake, "prod", "set", "f", sleep=lambda s: None).commit(batch(0, 10))
    assert count(lake) == 0
    Committer(lake, "prod", "set", "f").commit(batch(0, 10))
    assert count(lake) == 10


def test_expiring_snapshots_keeps_the_watermark(lake: Lake) -> None:
    committer = Committer(lake, "prod", "set", "f")
    for n in range(4):
        committer.commit(batch(n, n + 1))
    lake.table("prod", "set").append(lake.table("prod", "set").scan(limit=1).to_arrow())
    assert expire(lake.table("prod", "set"), keep=1) == 4
    assert committer.position().offsets == {PART: 4}
    committer.commit(batch(4, 5))
    assert count(lake) == 6


def test_a_table_that_was_rolled_back_stops_the_flow_and_states_both_positions(lake: Lake) -> None:
    committer = Committer(lake, "prod", "set", "f")
    committer.commit(batch(0, 5))
    committer.commit(batch(5, 10))
    table = lake.table("prod", "set")
    first = table.snapshots()[0].snapshot_id
    with table.manage_snapshots() as manage:
        manage.rollback_to_snapshot(first)
    with pytest.raises(WatermarkConflict, match=r"5.*10"):
        committer.commit(batch(10, 12))


def test_a_dropped_table_stops_the_flow(lake: Lake) -> None:
    committer = Committer(lake, "prod", "set", "f")
    lake.drop("prod", "set")
    with pytest.raises(Terminal, match="does not exist"):
        committer.commit(batch(0, 1))


def test_every_file_is_synced_before_the_catalog_names_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[int] = set()
    real_sync, real_commit = os.fsync, lake.catalog.commit_table

    def sync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        real_sync(descriptor)

    unsynced: list[Path] = []
    before = {p for p in lake.directory.rglob("*") if p.is_file()}

    def commit(*arguments: object) -> object:
        return real_commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(lake.catalog, "commit_table", commit)
    Committer(lake, "prod", "set", "f").commit(batch(0, 3))
    written = {
        p for p in lake.directory.rglob("*") if p.is_file() and p.name != "catalog.db"
    } - before
    unsynced = [p for p in written if p.stat().st_ino not in synced]
    assert len(written) >= 4  # data, manifest, manifest list, metadata
    assert unsynced == []


def test_new_fields_anywhere_in_the_tree_appear_and_old_rows_read_null(
    lake: Lake, tmp_path: Path
) -> None:
    committer = Committer(lake, "prod", "set", "f")
    committer.commit(batch(0, 2))
    wider = Field(
        "object",
        properties={
            **TREE.properties,
            "person": Field(
                "object", properties={"name": STRING, "age": Field("int"), "email": STRING}
            ),
            "items": Field(
                "array", items=Field("object", properties={"sku": STRING, "price": Field("number")})
            ),
            "ids": Field(
                "map",
                values=Field(
                    "array",
                    items=Field("object", properties={"id": STRING, "primary": Field("boolean")}),
                ),
            ),
            "late": Field("date-time"),
        },
    )
    lake.ensure("prod", "set", wider)
    committer.commit(batch(2, 3))
    rows = lake.table("prod", "set").scan().to_arrow().sort_by("n").to_pylist()
    assert rows[0]["person"] == {"name": "p0", "age": None, "email": None}
    assert rows[0]["items"][0] == {"sku": "a", "price": None}
    assert rows[0]["ids"] == [("Email", [{"id": "0", "primary": None}])]
    assert rows[0]["late"] is None
    location = lake.table("prod", "set").metadata_location
    session = open_session(tmp_path, "")
    found = session.execute(
        f"SELECT person, items, ids, late FROM iceberg_scan('{location}') ORDER BY n"
    )
    assert found.fetchone() == (
        {"name": "p0", "age": None, "email": None},
        [{"sku": "a", "price": None}, {"sku": "b", "price": None}],
        {"Email": [{"id": "0", "primary": None}]},
        None,
    )


def test_another_type_for_a_field_is_refused_once_there_are_rows(lake: Lake) -> None:
    changed = Field("object", properties={**TREE.properties, "n": STRING})
    lake.ensure("prod", "set", changed)
    lake.ensure("prod", "set", TREE)
    Committer(lake, "prod", "set", "f").commit(batch(0, 1))
    with pytest.raises(Terminal, match="n"):
        lake.ensure("prod", "set", changed)
