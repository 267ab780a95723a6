"""Faults below the commit: clocks that jump, disks that are full."""

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.errors import HeadraceError
from headrace.lake.catalog import Lake
from headrace.lake.commit import Committer, Stale
from headrace.lake.expiry import expire
from headrace.lake.query import open_session
from tests.unit.lake.test_commit import PART, TREE, batch

HOUR = 3600.0
JUMPS: dict[str, Callable[[float], float]] = {
    "an hour on": lambda now: now + HOUR, "an hour back": lambda now: now - HOUR,
    "a year on and back": lambda now: now + 8760 * HOUR, "to 1970": lambda now: 60.0,
    "over the leap day": lambda now: 1835395199.5,
}  # fmt: skip
"""Where the clock jumps to."""


class Clock:
    """The wall clock with an offset, for what reads `time.time` and the library's `datetime.now`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0.0
        real, clock = time.time, self

        class Moved(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> "Moved":
                return cls.fromtimestamp(real() + clock.offset, tz)

        monkeypatch.setattr(time, "time", lambda: real() + clock.offset)
        monkeypatch.setattr("pyiceberg.table.update.datetime", Moved)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_p2_commits_and_expiry_do_not_depend_on_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: Callable[[float], float]
) -> None:
    now = time.time()
    lake, clock = Lake(tmp_path), Clock(monkeypatch)
    lake.ensure("prod", "set", TREE)
    committer = Committer(lake, "prod", "set", "f")
    for n in range(12):
        clock.offset = jump(now) - now if 4 <= n < 8 else 0.0
        committer.commit(batch(n * 10, n * 10 + 10, failed=[n * 10 + 9]))
    first = lake.table("prod", "set").snapshots()[0]
    assert (
        len({snapshot.timestamp_ms // 60_000 for snapshot in lake.table("prod", "set").snapshots()})
        > 1
    )
    assert expire(lake.table("prod", "set"), keep=3) > 0
    table = lake.table("prod", "set")
    assert first.snapshot_id not in {snapshot.snapshot_id for snapshot in table.snapshots()}
    assert committer.position().offsets == {PART: 120}
    with pytest.raises(Stale):
        Committer(lake, "prod", "set", "f").commit(batch(110, 120))
    with open_session(tmp_path, "") as session:
        for name, rows in (("set", 108), ("set_failed", 12)):
            location = lake.table("prod", name).metadata_location
            query = f"SELECT count(*), count(DISTINCT _id) FROM iceberg_scan('{location}')"
            if name == "set_failed":
                query = query.replace("_id", "sourceOffset")
            assert session.execute(query).fetchone() == (rows, rows)


FULL = """
import json, resource, sys
from pathlib import Path
from headrace.errors import HeadraceError
from headrace.lake.catalog import Lake
from headrace.lake.commit import Committer
from tests.unit.lake.test_commit import batch

before = resource.getrlimit(resource.RLIMIT_FSIZE)
for line in sys.stdin:
    root, most_bytes = json.loads(line)
    lake = Lake(Path(root))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    error = None
    try:
        Committer(lake, "prod", "set", "f", sleep=lambda seconds: None).commit(batch(0, 20000, failed=[1, 2]))
    except (HeadraceError, OSError) as raised:
        error = raised
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print(json.dumps(type(error).__name__ if error else ""), flush=True)
"""
Commit = Callable[[Path, int], str]


@pytest.fixture(scope="module")
def commit_with_files_of() -> Iterator[Commit]:
    """The kind of error of a commit in a process whose files may have so many bytes; one process for all."""
    with subprocess.Popen(
        [sys.executable, "-c", FULL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def commit(root: Path, most_bytes: int) -> str:
            process.stdin.write(json.dumps([str(root), most_bytes]) + "\n")
            process.stdin.flush()
            return str(json.loads(process.stdout.readline()))

        yield commit
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("most_bytes", [1000, 6000, 40_000, 100_000])
def test_p7_p10_a_commit_without_room_lands_nothing_and_lands_all_when_there_is(
    tmp_path: Path, most_bytes: int, commit_with_files_of: Commit
) -> None:
    lake = Lake(tmp_path)
    lake.ensure("prod", "set", TREE)
    error = commit_with_files_of(tmp_path, most_bytes)
    assert error in ("OSError", "Transient"), error
    assert lake.table("prod", "set").scan().to_arrow().num_rows == 0
    committer = Committer(lake, "prod", "set", "f")
    assert committer.position().offsets == {}
    committer.commit(batch(0, 20000, failed=[1, 2]))
    assert lake.table("prod", "set").scan().to_arrow().num_rows == 19998
    assert lake.table("prod", "set_failed").scan().to_arrow().num_rows == 2
    with pytest.raises(HeadraceError):
        committer.commit(batch(0, 20000))


def test_p10_a_data_file_that_could_not_be_written_gives_its_room_back(
    tmp_path: Path, commit_with_files_of: Commit
) -> None:
    lake = Lake(tmp_path)
    lake.ensure("prod", "set", TREE)
    assert commit_with_files_of(tmp_path, 40_000) != ""
    assert [
        p.stat().st_size for p in lake.directory.rglob("*.parquet") if p.stat().st_size == 40_000
    ] == []
