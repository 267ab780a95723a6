"""One flipped bit anywhere below the lake and the store: told, or without effect; never other rows than were landed."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import HeadraceError
from headrace.lake.catalog import Lake
from headrace.lake.commit import Committer
from headrace.lake.compaction import Compaction, Limits
from headrace.store.documents import Scope, Store
from headrace.testing.faults import flip
from tests.unit.lake.test_commit import PART, TREE, batch

ROWS = [(n, str(n), f"p{n}") for n in range(40)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.ensure("prod", "set", TREE)
    for n in range(4):
        Committer(lake, "prod", "set", "f").commit(batch(n * 10, n * 10 + 10))
    return lake


def files(lake: Lake, pattern: str) -> list[Path]:
    location = Path(lake.table("prod", "set").location().removeprefix("file://"))
    return sorted(location.rglob(pattern))


def flips(path: Path, count: int) -> Iterator[int]:
    """Flip bits of a file one after the other; the file is whole again after each."""
    whole = path.read_bytes()
    randomness = random.Random(path.suffix)
    for _ in range(count):
        at = randomness.randrange(len(whole) * 8)
        flip(path, at)
        yield at
        path.write_bytes(whole)


def test_p8_every_flipped_bit_in_the_pages_of_a_data_file_is_found_by_its_checksum(
    lake: Lake,
) -> None:
    path = files(lake, "*.parquet")[0]
    metadata = pq.read_metadata(path)
    spans = [
        (c.dictionary_page_offset or c.data_page_offset, c.total_compressed_size)
        for c in (metadata.row_group(0).column(n) for n in range(metadata.num_columns))
    ]
    whole, sound = path.read_bytes(), pq.read_table(path)
    silent = []
    for start, length in spans:
        for at in range(start * 8, (start + length) * 8, 7 * max(1, length // 8)):
            flip(path, at)
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    if not file.read().equals(sound):
                        silent.append(at)
            except (OSError, pa.ArrowException, UnicodeDecodeError):
                pass
            path.write_bytes(whole)
    assert len(spans) > 5
    assert silent == []


def test_p8_a_damaged_data_file_is_not_merged_and_its_neighbours_stay(lake: Lake) -> None:
    victim = files(lake, "*.parquet")[1]
    whole = victim.read_bytes()
    before = lake.table("prod", "set").current_snapshot()
    table = lake.table("prod", "set")
    inputs = [task.file for task in table.scan().plan_files()]
    assert len(inputs) == 4
    flip(victim, silent_bit(victim))
    compaction = Compaction(table, inputs, Limits())
    with pytest.raises((OSError, pa.ArrowException, HeadraceError)):
        finish(compaction, lake)
    compaction.drop()
    assert lake.table("prod", "set").current_snapshot() == before
    assert len(files(lake, "*.parquet")) == 4
    victim.write_bytes(whole)
    assert lake.table("prod", "set").scan().to_arrow().num_rows == 40


def test_p8_a_flipped_bit_in_the_metadata_never_shows_other_rows_as_if_nothing_were(
    lake: Lake,
) -> None:
    """A reader fails, the flow stops, or what was landed is found."""
    silent = list[str]()
    metadata = Path(lake.table("prod", "set").metadata_location.removeprefix("file://"))
    for at in flips(metadata, 25):
        try:
            table = Lake(lake.directory.parent).table("prod", "set")
            rows = table.scan().to_arrow().sort_by("n").to_pylist()
            Committer(lake, "prod", "set", "f").position()  # stops the flow where rows are gone
            found = [(row["n"], row["_id"], row["person"]["name"]) for row in rows]
        except Exception:  # whatever it is, it is told
            continue
        if found != ROWS:
            silent.append(f"bit {at}: {len(found)} rows")
    assert silent == []
    assert Committer(lake, "prod", "set", "f").position().offsets == {PART: 40}


def finish(compaction: Compaction, lake: Lake) -> None:
    for _ in range(20):
        compaction.advance(lambda: lake.table("prod", "set"))


def silent_bit(path: Path) -> int:
    """A bit whose flip changes values, and which a reader notices by the checksum alone."""
    whole, sound = path.read_bytes(), pq.read_table(path)
    metadata = pq.read_metadata(path)
    for n in range(metadata.num_columns):
        column = metadata.row_group(0).column(n)
        start = column.dictionary_page_offset or column.data_page_offset
        for at in range(start * 8, (start + column.total_compressed_size) * 8, 5):
            flip(path, at)
            try:
                if not pq.read_table(path).equals(sound):
                    return at
            except (OSError, pa.ArrowException, UnicodeDecodeError):
                pass
            finally:
                path.write_bytes(whole)
    raise AssertionError("each flip is noticed without checksums")


@pytest.mark.parametrize("database", ["catalog", "store"])
def test_p8_a_damaged_page_of_a_database_is_an_error_and_no_wrong_answer(
    lake: Lake, tmp_path: Path, database: str
) -> None:
    path = tmp_path / "lake" / "catalog.db"
    if database == "store":
        path = tmp_path / "headrace.db"
        store = Store(path)
        for n in range(200):
            store.create(Scope("o", "s"), "things", f"id{n}", {"n": n})
        store.close()
    else:
        lake.catalog.engine.dispose()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    copy = tmp_path / "copy.db"
    pages = path.stat().st_size // size
    told = 0
    for page in range(pages):
        shutil.copy(path, copy)
        flip(copy, (page * size) * 8 + 3)  # the page's type, or the file's magic
        damaged = sqlite3.connect(copy)
        try:
            told += damaged.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
        except sqlite3.DatabaseError:
            told += 1
        damaged.close()
    assert told == pages
