"""The lake over power cuts: at every sync of a commit, and before and after the catalog's own.

The catalog is SQLite with `synchronous=FULL`: what it has committed is durable, and nothing else of it. Files are in
the state that a disk may be in which forgets, tears and reorders whatever was not synced.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from headrace.lake.catalog import Lake
from headrace.lake.commit import Committer, Stale
from headrace.lake.query import load_extensions
from headrace.testing.power import Disk
from tests.unit.lake.test_commit import PART, TREE, batch

COMMITS = 3


class Power:
    """Cuts during commits to the lake below `place`/disk: (image, commits that had been answered by then)."""

    def __init__(self, place: Path, choose: Callable[[int], bool]) -> None:
        self.place, self.choose = place, choose
        self.images: list[tuple[Path, int]] = []
        self.moments, self.answered = 0, 0
        (place / "disk").mkdir()
        self.root = place / "disk"
        self.lake = Lake(self.root)
        self.lake.ensure("prod", "set", TREE)
        self.disk = Disk(self.root)

    def moment(self) -> None:
        """The power may go here."""
        self.moments += 1
        if not self.choose(self.moments):
            return
        image = self.place / f"cut-{self.moments}"
        self.disk.cut(image, random.Random(self.moments))
        for file in (image / "lake").glob("catalog.db*"):
            file.unlink()
        with sqlite3.connect(f"file:{self.root}/lake/catalog.db?mode=ro", uri=True) as now:
            with sqlite3.connect(image / "lake" / "catalog.db") as copy:
                now.backup(copy)
        self.images.append((image, self.answered))

    def commit(self, number: int) -> None:
        self.disk.before = self.moment
        real = self.lake.catalog.commit_table

        def around(*arguments: object) -> object:
            self.moment()
            answer = real(*arguments)  # type: ignore[arg-type]
            self.moment()
            return answer

        self.lake.catalog.commit_table = around  # type: ignore[method-assign, assignment]
        try:
            with self.disk.watched():
                failed = [number * 10 + 9] if number % 2 else None
                Committer(self.lake, "prod", "set", "f").commit(
                    batch(number * 10, number * 10 + 10, failed)
                )
        finally:
            self.lake.catalog.commit_table = real  # type: ignore[method-assign]
        self.answered += 1
        self.moment()


def rows(root: Path, catalog: Path, name: str, key: str) -> list[int]:
    """Read by DuckDB from the metadata that the catalog names, which says where the files were."""
    location = Lake(catalog).table("prod", name).metadata_location
    if Lake(catalog).table("prod", name).current_snapshot() is None:
        return []
    found = session().execute(f"SELECT {key} FROM iceberg_scan('{location}') ORDER BY 1")
    return [int(row[0]) for row in found.fetchall()]


session = cache(load_extensions)


def judge(power: Power, image: Path, answered: int) -> None:
    """Put the image in the lake's place, and go on with it as the next process would."""
    aside = power.place / "aside"
    power.root.rename(aside)
    shutil.copytree(image, power.root)
    try:
        lake = Lake(power.root)
        committer = Committer(lake, "prod", "set", "f")
        landed = committer.position().offsets.get(PART, 0) // 10
        assert landed in (answered, answered + 1), f"{answered} answered, {landed} landed"

        def check(landed: int) -> None:
            bad = [n * 10 + 9 for n in range(landed) if n % 2]
            good = [n for n in range(landed * 10) if n not in bad]
            assert rows(power.root, power.root, "set", "n") == good
            assert set(rows(power.root, power.root, "set_failed", '"sourceOffset"')) >= set(bad)

        check(landed)
        with pytest.raises(Stale):
            committer.commit(batch(990, 1000))
        failed = [landed * 10 + 9] if landed % 2 else None
        committer.commit(batch(landed * 10, landed * 10 + 10, failed))
        check(landed + 1)
        have = rows(power.root, power.root, "set_failed", '"sourceOffset"')
        assert len(have) == len(set(have)), "a failed row twice"
    finally:
        shutil.rmtree(power.root)
        aside.rename(power.root)


def play(place: Path, choose: Callable[[int], bool]) -> Power:
    power = Power(place, choose)
    for number in range(COMMITS):
        power.commit(number)
    power.disk.close()
    judge_all(power)
    return power


def judge_all(power: Power) -> None:
    for image, answered in power.images:
        judge(power, image, answered)


def test_p1_after_a_power_cut_the_catalog_names_whole_files_and_each_commit_is_there_or_not(
    tmp_path: Path,
) -> None:
    power = play(tmp_path, lambda moment: moment % 10 == 0)
    assert len(power.images) >= 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_p1_a_power_cut_at_every_sync_of_a_commit_leaves_a_lake_that_goes_on(
    tmp_path: Path,
) -> None:
    power = play(tmp_path, lambda moment: True)
    assert len(power.images) >= 40


def test_files_that_are_not_synced_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model can show it: without the syncs of the lake's files an answered commit cannot be read."""
    power = Power(tmp_path, lambda moment: True)
    monkeypatch.setattr("headrace.lake.files.sync_directory", lambda directory: None)
    monkeypatch.setattr("headrace.lake.files.DurableStream.close", lambda self: self._file.close())
    power.commit(0)
    power.disk.close()
    with pytest.raises(Exception, match=r"(?i)file|metadata|json|directory|parquet"):
        judge_all(power)
