"""Faults at the commit: each step fails in its turn, answers are lost, others write the same table meanwhile."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitStateUnknownException
from sqlalchemy.exc import OperationalError

from headrace.errors import HeadraceError, WatermarkConflict
from headrace.lake.catalog import Lake
from headrace.lake.commit import Committer, Stale
from headrace.lake.query import load_extensions
from headrace.testing.faults import NthCall
from tests.unit.lake.test_commit import PART, TREE, batch

ROOT = Path(__file__).parents[2]
ERRORS: dict[str, Callable[[], Exception]] = {
    "the catalog is locked": lambda: OperationalError("commit", None, Exception("locked")),
    "no answer in time": TimeoutError,
    "answers 500": lambda: CommitStateUnknownException("500"),
    "the disk fails": lambda: OSError(5, "Input/output error"),
}


def lake_at(root: Path) -> Lake:
    lake = Lake(root)
    lake.ensure("prod", "set", TREE)
    return lake


def rows(root: Path, name: str, key: str) -> list[int]:
    """The rows' numbers, read by DuckDB."""
    location = Lake(root).table("prod", name).metadata_location
    with load_extensions() as session:
        found = session.execute(
            f"SELECT {key} FROM iceberg_scan('{location}') WHERE {key} >= 0 ORDER BY 1"
        )
        return [int(row[0]) for row in found.fetchall()]


def land(lake: Lake, end: int, tries: int = 10) -> None:
    """Land records up to `end` in tens, of which each ninth fails, as a worker does: again after each failure, from
    where the table stands."""
    committer = Committer(lake, "prod", "set", "f", sleep=lambda seconds: None)
    for _ in range(tries):
        try:
            at = committer.position().offsets.get(PART, 0)
            while at < end:
                at = committer.commit(batch(at, at + 10, [at + 9])).watermark.offsets[PART]
        except WatermarkConflict:
            raise
        except (HeadraceError, OSError, OperationalError, CommitStateUnknownException):
            continue
        return
    raise AssertionError("it never ends")


def judge(root: Path, end: int) -> None:
    assert rows(root, "set", "n") == [n for n in range(end) if n % 10 != 9]
    assert rows(root, "set_failed", '"sourceOffset"') == [n for n in range(end) if n % 10 == 9]
    mark = Committer(Lake(root), "prod", "set", "f").position()
    assert (mark.landed, mark.failed, mark.sequence) == (end * 9 // 10, end // 10, end)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_p2_p10_whichever_call_to_the_catalog_fails_or_lies_each_record_lands_once(
    tmp_path: Path, error: Callable[[], Exception], after: bool
) -> None:
    lake, which, end = lake_at(tmp_path), 0, 0
    calls = 1
    while which < calls:
        which, end = which + 1, end + 10
        nth = NthCall(which, error, after=after)
        spoiled = Lake(tmp_path)
        nth.spoil_catalog(spoiled)
        land(spoiled, end)
        calls = nth.calls if which == 1 else calls
    assert which >= 5
    judge(tmp_path, end)
    with pytest.raises(Stale):
        Committer(lake, "prod", "set", "f").commit(batch(0, 10))


@pytest.mark.parametrize("call", ["open", "fsync", "replace of the directory"])
def test_p2_p10_whichever_file_cannot_be_written_each_record_lands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    lake_at(tmp_path)
    end = 0
    target = {
        "open": "headrace.lake.files.make_directories", "fsync": "headrace.lake.files.os.fsync",
        "replace of the directory": "headrace.lake.files.sync_directory",
    }[call]  # fmt: skip
    import headrace.lake.files as files

    owner, name = (files.os, "fsync") if call == "fsync" else (files, target.rsplit(".", 1)[1])
    for which in (1, 2, 3, 5, 8, 13):
        end += 10
        nth = NthCall(which, ERRORS["the disk fails"])
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, nth.wrap(getattr(owner, name)))
            land(Lake(tmp_path), end)
    judge(tmp_path, end)


FOREIGN = """
import itertools
import sys
from pathlib import Path
import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from headrace.lake.catalog import Lake

lake = Lake(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
done = 0
for n in itertools.count():
    if n >= int(sys.argv[2]) and done:
        break
    table = lake.catalog.load_table(("prod", "set"))
    try:
        if n % 3 == 2:
            table.overwrite(table.scan(row_filter="n < 0").to_arrow(), overwrite_filter="n < 0")
        else:
            table.append(pa.table({"n": pa.array([-1 - n], pa.int32())}))
    except CommitFailedException:
        continue
    done += 1
print(done)
"""


def test_p2_p6_another_process_that_appends_and_rewrites_meanwhile_changes_nothing(
    tmp_path: Path,
) -> None:
    lake_at(tmp_path)
    command = [sys.executable, "-c", FOREIGN, str(tmp_path), "3"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("\n")
        other.stdin.flush()
        end = 0
        while other.poll() is None or end < 30:
            end += 10
            land(Lake(tmp_path), end, tries=100)
        assert int(other.stdout.read()) > 0
    judge(tmp_path, end)


def test_p2_p6_committers_of_one_flow_that_race_land_each_record_once(tmp_path: Path) -> None:
    """Zombies: each believes that it is the only one, and loses again and again."""
    lake_at(tmp_path)
    start, faults = threading.Barrier(3), list[BaseException]()

    def run() -> None:
        try:
            start.wait()
            land(Lake(tmp_path), 60, tries=200)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    judge(tmp_path, 60)


class Sleeper:
    """Before its `which`-th call to the catalog somebody else lands records up to `upto`."""

    def __init__(self, lake: Lake, which: int, upto: int) -> None:
        self.which, self.upto, self.calls, self.root = which, upto, 0, lake.directory.parent
        for name in ("load_table", "commit_table"):
            setattr(lake.catalog, name, self.waking(getattr(lake.catalog, name)))

    def waking(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            self.calls += 1
            if self.calls == self.which:
                land(Lake(self.root), self.upto)
            return real(*arguments)

        return call


@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_p6_a_zombie_that_wakes_at_any_step_of_its_commit_lands_nothing_again(
    tmp_path: Path, which: int
) -> None:
    """While it sleeps another takes its range and more; `which` counts its calls to the catalog."""
    zombie = lake_at(tmp_path)
    sleeper = Sleeper(zombie, which, 20)
    committer = Committer(zombie, "prod", "set", "f", sleep=lambda seconds: None)
    with pytest.raises(Stale) as stale:
        committer.commit(batch(0, 10, [9]))
    assert stale.value.watermark.offsets == {PART: 20}
    assert sleeper.calls >= which
    judge(tmp_path, 20)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_p2_p6_races_with_random_failures_land_each_record_once(tmp_path: Path, seed: int) -> None:
    lake_at(tmp_path)
    randomness = random.Random(seed)

    def run(own: random.Random) -> None:
        for _ in range(20):
            lake = Lake(tmp_path)
            error = own.choice(list(ERRORS.values()))
            NthCall(own.randint(1, 20), error, after=own.random() < 0.5).spoil_catalog(lake)
            land(lake, 200, tries=300)

    threads = [
        threading.Thread(target=run, args=(random.Random(randomness.random()),)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    judge(tmp_path, 200)
