"""`headrace doctor` on copies of one data directory with flows of every kind of source: that it adds up, and that each
harm done to it by hand is found and named."""

import fcntl
import json
import os
import shutil
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace import cli
from headrace.lake.catalog import Lake
from headrace.lake.replace import live_files, manifests
from headrace.log.frames import LINES, MESSAGES
from headrace.log.segments import read_frames, segments
from headrace.model.flow import FlowRevision
from headrace.runtime.queued import entry_of
from headrace.security.vault import SEALED, Vault
from headrace.services.operator.doctor import page_checks, table_counts
from headrace.services.operator.doctor.checks import BAD, NOTE, OK, Check
from headrace.services.operator.doctor.collection import collect
from headrace.services.operator.doctor.examination import Report, examine
from headrace.services.operator.doctor.table_files import Named
from headrace.services.operator.doctor.table_files import examine as examine_files
from headrace.settings import Settings
from headrace.sources.contract import Message
from headrace.store.documents import Scope
from headrace.store.revisions import Revisions
from headrace.testing import crashpoints
from tests.unit.runtime import test_replay
from tests.unit.runtime.test_rewind import BROKEN, Moved, body
from tests.unit.services.test_operator import RULES, TREE, Site

PUBSUB = "70116022-a743-464a-bbfe-e226a7f8210c"


class Everything(Moved):
    """Flows f and g of the HTTP inlet, p that pulls two partitions, q that takes messages of a queue; and a connection
    with a secret."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(data_dir, monkeypatch)
        scope = Scope(self.org, "prod")
        self.queued = FlowRevision(
            "q", 1, self.org, "prod", "u", "https://ns/s", "1.2", TREE.to_json(), RULES, source=PUBSUB
        )  # fmt: skip
        self.store.create(scope, "dataSets", "u", {"name": "set u"})
        self.store.create(scope, "flows", "q", {"name": "flow q", "state": "enabled"})
        Revisions(self.store).add(self.queued)
        sealed = Vault.at(data_dir / "vault.key", self.store).seal("hush", "c")
        params = {"user": "me", "password": {SEALED: sealed}}
        connection = {"id": "c", "name": "connection", "auth": {"params": params}}
        self.store.create(scope, "connections", "c", connection)

    def fill(self) -> None:
        """Some commits of every flow, failed records, and records that wait."""
        for number in range(3):
            self.accept(
                (MESSAGES, "f", f"request-{number}", 3, b'{"messages":[{"id":"a"},7,{"id":"c"}]}')
            )
            self.land()
        self.accept((LINES, "g", "lines", 2, b'{"id":"a"}\n{"id":"b"}'))
        for number in range(2):
            message = Message(b'[{"id":"m","n":1},{"id":"o","n":2}]', 0, 7, f"m{number}")
            self._deliver(message)
            self.land()
        self.topic.records["0"] = [body(0), BROKEN, body(2)]
        self.pull(0, 2)
        self.topic.records["1"] = [body(5), body(6)]
        self.pull(0, 2, 5, 6)
        for number in range(3):
            self.accept(
                (MESSAGES, "f", f"late-{number}", 2, b'{"messages":[{"id":"x"},{"id":"y"}]}')
            )

    def _deliver(self, message: Message) -> None:
        entry = entry_of(message, self.queued)
        assert entry is not None
        self.accept((entry.layout, "q", message.id, entry.count, entry.body))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data directory's place, which its tables name, and a copy that it is put back from."""
    root = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = Everything(root / "data", monkeypatch)
        with closing(site):
            site.fill()
    with closing(sqlite3.connect(root / "data" / "headrace.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(root / "data", root / "kept")
    return root / "data", root / "kept"


@pytest.fixture
def data_dir(kept: tuple[Path, Path]) -> Path:
    place, copy = kept
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    return place


@contextmanager
def served(data_dir: Path) -> Iterator[None]:
    """As beside a running server."""
    with (data_dir / "serve.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def report(data_dir: Path, *, deep: bool = False) -> Report:
    return examine(Settings(data_dir=data_dir), lambda seconds: None, deep=deep)


def bad(data_dir: Path, *, deep: bool = False) -> list[Check]:
    """Bad checks, but for the server, which is none where a test holds its lock."""
    found = report(data_dir, deep=deep).checks
    return [check for check in found if check.state == BAD and check.name != "server"]


def notes(data_dir: Path) -> dict[str, str]:
    return {check.code: check.detail for check in report(data_dir).checks if check.state == NOTE}


# -- all is well --------------------------------------------------------------------------------------------

BALANCES = {
    "f": (15, 6, 3, 6, {"inlet-0": 9}),
    "g": (2, 2, 0, 0, {"inlet-0": 11}),
    "p": (5, 4, 1, 0, {"0": 3, "1": 2}),
    "q": (4, 4, 0, 0, {"inlet-0": 15}),
}
"""Flow → accepted, landed, failed, pending, and where it stands in each partition."""


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_flows_of_every_kind_of_source_balance_with_each_number(
    data_dir: Path, running: bool
) -> None:
    with served(data_dir) if running else nullcontext():
        assert bad(data_dir) == []
        found = report(data_dir)
    assert found.books is not None
    accounts = found.books.accounts.items()
    assert {
        id: (a.accepted, a.landed, a.failed, a.waiting, a.offsets) for id, a in accounts
    } == BALANCES
    lines = {check.name: check for check in found.checks}
    assert lines["flow p (flow p)"].state == OK
    text = "15 accepted = 6 landed + 3 failed + 0 filtered + 6 pending"
    assert text in lines["flow f (flow f)"].detail


def test_what_was_found_can_be_read_by_programs_and_the_exit_status_says_whether_it_is_bad(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--format", "json", "--data-dir", str(data_dir)]
    assert cli.main([*words, "--deep"]) == 0
    found = json.loads(capsys.readouterr().out)
    parquet = list(data_dir.rglob("data/*.parquet"))
    size = sum(path.stat().st_size for path in parquet)
    assert (found["status"], found["running"]) == ("ok", False)
    assert found["read"] == {"files": len(parquet), "bytes": size}
    (pulled,) = [flow for flow in found["flows"] if flow["id"] == "p"]
    assert pulled["partitions"] == {"0": 3, "1": 2}
    terms = ("accepted", "landed", "failed", "filtered", "pending", "unexplained")
    assert [pulled[name] for name in terms] == [5, 4, 1, 0, 0, 0]
    remove(data_dir, "prod", "d")
    assert cli.main(words) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "bad"
    assert [
        c["code"] for c in found["checks"] if c["state"] == BAD and c["name"] == "table prod.d"
    ] == ["file_missing"]
    assert cli.main(["doctor", "--data-dir", str(tmp_path / "nothing")]) == 2
    assert "there is no data" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["before the tables are read", "after the tables were read"])
def test_a_commit_that_comes_while_a_server_is_looked_at_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    site = Site(tmp_path / "data")
    site.one("1700000000001:7:1")
    site.land()
    read = table_counts.count_tables

    def meanwhile(*words: Any) -> table_counts.Counted:
        early = moment == "before the tables are read"
        found = None if early else read(*words)
        site.one("1700000000002:7:2", body=b"[1]")
        site.one("1700000000003:7:3")
        site.land()
        return found or read(*words)

    monkeypatch.setattr(table_counts, "count_tables", meanwhile)
    books = collect(site.data_dir, running=True)
    assert books.faults(running=True) == {}
    site.close()


# -- harm ---------------------------------------------------------------------------------------------------


def execute(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


def remove(data_dir: Path, sandbox: str, table: str) -> None:
    sorted((data_dir / "lake" / "warehouse" / sandbox / table / "data").glob("*.parquet"))[
        0
    ].unlink()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def manifest_of(data_dir: Path, table: str = "d") -> Path:
    with opened(data_dir) as lake:
        loaded = lake.table("prod", table)
        return Path(
            manifests(loaded.current_snapshot(), loaded)[0].manifest_path.removeprefix("file://")
        )


@contextmanager
def opened(data_dir: Path) -> Iterator[Lake]:
    lake = Lake(data_dir)
    yield lake
    lake.catalog.engine.dispose()


def cut(path: Path, length: int) -> None:
    os.truncate(path, length)


def delete_an_older_commit(data_dir: Path) -> None:
    execute(
        data_dir / "headrace.db",
        "DELETE FROM commits WHERE rowid=(SELECT min(rowid) FROM commits WHERE flow_id='f')",
    )


def delete_the_newest_commit(data_dir: Path) -> None:
    """As a server leaves it that was killed after the commit."""
    execute(
        data_dir / "headrace.db",
        "DELETE FROM commits WHERE replace(replace(commit_id, '-good', ''), '-failed', '') ="
        " (SELECT replace(commit_id, '-good', '') FROM commits WHERE flow_id='f' AND kind='good'"
        " ORDER BY rowid DESC LIMIT 1)",
    )


def delete_a_commit_of_a_pulled_flow(data_dir: Path) -> None:
    execute(
        data_dir / "headrace.db",
        "DELETE FROM commits WHERE rowid=(SELECT min(rowid) FROM commits WHERE flow_id='p')",
    )


def delete_a_data_file(data_dir: Path) -> None:
    remove(data_dir, "prod", "d")


def delete_a_file_of_failed_rows(data_dir: Path) -> None:
    remove(data_dir, "prod", "t_failed")


def shorten_a_data_file(data_dir: Path) -> None:
    path = next((data_dir / "lake" / "warehouse" / "prod" / "t" / "data").glob("*.parquet"))
    cut(path, path.stat().st_size // 2)


def delete_a_manifest(data_dir: Path) -> None:
    manifest_of(data_dir).unlink()


def flip_a_bit_in_the_middle_of_a_manifest(data_dir: Path) -> None:
    path = manifest_of(data_dir)
    flip(path, path.stat().st_size // 2)


def flip_a_bit_in_a_manifests_rows(data_dir: Path) -> None:
    path = manifest_of(data_dir)
    flip(path, path.stat().st_size - 150)


def flip_a_bit_in_a_list_of_manifests(data_dir: Path) -> None:
    with opened(data_dir) as lake:
        snapshot = lake.table("prod", "d").current_snapshot()
    assert snapshot is not None
    path = Path(snapshot.manifest_list.removeprefix("file://"))
    flip(path, path.stat().st_size // 2)


def damage_the_metadata(data_dir: Path) -> None:
    with opened(data_dir) as lake:
        path = Path(lake.table("prod", "d").metadata_location.removeprefix("file://"))
    cut(path, path.stat().st_size // 2)


def logged(data_dir: Path) -> list[Path]:
    return [path for _, path in segments(data_dir / "log")]


def cut_a_segment_within_a_frame(data_dir: Path) -> None:
    path = logged(data_dir)[-2]
    cut(path, path.stat().st_size - 3)


def cut_a_segment_between_frames(data_dir: Path) -> None:
    """What is left is whole: only what follows tells that something is missing."""
    path = logged(data_dir)[-2]
    checkpoint, record = read_frames(path)[0]
    assert (checkpoint.count, record.count) == (0, 2)
    cut(path, path.stat().st_size - record_size(path))


def record_size(path: Path) -> int:
    content = path.read_bytes()
    first = 8 + int.from_bytes(content[:4], "little")
    return len(content) - first


def cut_the_last_segment(data_dir: Path) -> None:
    path = logged(data_dir)[-1]
    cut(path, path.stat().st_size - record_size(path))


def delete_the_last_segment(data_dir: Path) -> None:
    logged(data_dir)[-1].unlink()


def flip_a_bit_in_the_log(data_dir: Path) -> None:
    path = logged(data_dir)[-2]
    flip(path, path.stat().st_size - 5)


def replace_the_key(data_dir: Path) -> None:
    (data_dir / "vault.key").write_text("0" * 64)


def garble_the_key(data_dir: Path) -> None:
    (data_dir / "vault.key").write_text("no key")


def delete_the_key(data_dir: Path) -> None:
    (data_dir / "vault.key").unlink()


def edit_a_secret(data_dir: Path) -> None:
    execute(
        data_dir / "headrace.db",
        "UPDATE documents SET body=replace(body, ':\"v1:', ':\"v1:AA') WHERE kind='connections'",
    )


def take_a_table_back(data_dir: Path) -> None:
    """The catalog names the metadata of the commit before: nothing in the table contradicts it."""
    execute(
        data_dir / "lake" / "catalog.db",
        "UPDATE iceberg_tables SET metadata_location=previous_metadata_location WHERE table_name='t'",
    )


def take_a_pulled_table_back_to_its_first_commit(data_dir: Path) -> None:
    place = data_dir / "lake" / "warehouse" / "prod" / "t" / "metadata"
    first = sorted(place.glob("00001-*.metadata.json"))[0].as_uri()
    execute(
        data_dir / "lake" / "catalog.db",
        "UPDATE iceberg_tables SET metadata_location=? WHERE table_name='t'", first,
    )  # fmt: skip


def edit_a_watermark(data_dir: Path) -> None:
    """The position of one partition, which says nothing about how many records there were."""
    with opened(data_dir) as lake:
        table = lake.table("prod", "t")
        name = next(name for name in table.properties if name.startswith("headrace.watermark."))
        text = table.properties[name].replace('"1":2', '"1":1')
        assert text != table.properties[name]
        with table.transaction() as transaction:
            transaction.set_properties({name: text})


def roll_a_snapshot_back(data_dir: Path) -> None:
    with opened(data_dir) as lake:
        table = lake.table("prod", "d")
        table.manage_snapshots().rollback_to_snapshot(table.snapshots()[0].snapshot_id).commit()


def damage_the_store(data_dir: Path) -> None:
    path = data_dir / "headrace.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * 4096)


def garble_a_commit(data_dir: Path) -> None:
    execute(data_dir / "headrace.db", "UPDATE commits SET body='{' WHERE flow_id='g'")


FLOW_F, FLOW_P = "flow f (flow f)", "flow p (flow p)"
HARMS: Mapping[Callable[[Path], None], tuple[str, str, str]] = {
    delete_an_older_commit: (FLOW_F, "commits_differ", "commits add up to 4 landed and 3 failed"),
    delete_a_commit_of_a_pulled_flow: (FLOW_P, "commits_differ", "watermarks to 4 and 1"),
    delete_a_data_file: ("table prod.d", "file_missing", ".parquet is missing"),
    delete_a_file_of_failed_rows: ("table prod.t_failed", "file_missing", "is missing"),
    shorten_a_data_file: ("table prod.t", "file_size", "bytes, not"),
    delete_a_manifest: ("table prod.d", "file_missing", ".avro is missing"),
    flip_a_bit_in_the_middle_of_a_manifest: ("table prod.d", "manifest_damaged", ".avro"),
    flip_a_bit_in_a_manifests_rows: ("table prod.d", "manifest_damaged", ".avro"),
    flip_a_bit_in_a_list_of_manifests: ("table prod.d", "manifest_damaged", "snap-"),
    damage_the_metadata: ("table prod.d", "metadata_damaged", "metadata cannot be read"),
    cut_a_segment_within_a_frame: ("log", "log_damaged", "2 records, 17 to 18, cannot be read"),
    cut_a_segment_between_frames: ("log", "log_gap", "records 17 to 18"),
    cut_the_last_segment: ("log", "log_damaged", "were synced"),
    delete_the_last_segment: ("log", "log_missing", "is missing"),
    flip_a_bit_in_the_log: ("log", "log_damaged", "2 records, 17 to 18, cannot be read"),
    replace_the_key: ("vault", "vault_key", "does not open"),
    garble_the_key: ("vault", "vault_key", "vault.key"),
    delete_the_key: ("vault", "vault_key", "is missing"),
    edit_a_secret: ("vault", "secret", "connection c: password"),
    take_a_table_back: (FLOW_P, "rolled_back", "counts 2 landed, and 4 had"),
    take_a_pulled_table_back_to_its_first_commit: (FLOW_P, "rolled_back", "taken back"),
    roll_a_snapshot_back: (FLOW_F, "rolled_back", "its rows end at 2, its watermark at 6"),
    edit_a_watermark: (
        FLOW_P,
        "rows_ahead",
        "rows of partition 1 reach offset 1, the watermark stands at 1",
    ),
    damage_the_store: ("store", "database", "headrace.db"),
    garble_a_commit: ("flows", "unreadable", "malformed JSON"),
}
"""Harm → the check that tells of it, its code, and words of it."""


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_harm_done_by_hand_is_found_and_named(
    data_dir: Path, harm: Callable[[Path], None], running: bool
) -> None:
    harm(data_dir)
    name, code, words = HARMS[harm]
    with served(data_dir) if running else nullcontext():
        found = bad(data_dir)
    fits = [check for check in found if (check.name, check.code) == (name, code)]
    assert [check for check in fits if words in check.detail and check.action], found


@pytest.mark.parametrize("harm", [delete_an_older_commit, delete_the_newest_commit])
def test_the_next_start_makes_sums_of_commits_agree_and_the_one_after_leaves_them(
    data_dir: Path, harm: Callable[[Path], None]
) -> None:
    harm(data_dir)
    for _ in range(2):
        site = Site(data_dir)
        site.land()
        site.close()
        assert bad(data_dir) == []
        lines = {check.name: check for check in report(data_dir).checks}
        assert lines[FLOW_F].state == OK


def test_every_bit_of_a_manifest_counts(data_dir: Path) -> None:
    path = manifest_of(data_dir)
    content = path.read_bytes()
    with opened(data_dir) as lake:
        table = lake.table("prod", "d")
        assert examine_files(table)[1] == []
        missed = []
        for at in range(3, len(content), 67):
            flip(path, at)
            if not examine_files(table)[1]:
                missed.append(at)
            path.write_bytes(content)
    assert missed == []


def test_only_a_deep_look_reads_pages_and_names_the_one_that_is_damaged(data_dir: Path) -> None:
    with opened(data_dir) as lake:
        file = next(iter(live_files(lake.table("prod", "d"))))
    path = Path(file.file_path.removeprefix("file://"))
    column = pq.read_metadata(path).row_group(0).column(0)
    flip(path, column.dictionary_page_offset + column.total_compressed_size - 2)
    assert bad(data_dir) == []
    (check,) = bad(data_dir, deep=True)
    assert (check.name, check.code) == ("table prod.d", "page_damaged")
    assert str(path) in check.detail
    assert "CRC" in check.detail


def test_a_file_that_ends_the_process_which_reads_it_is_named_and_the_others_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the Parquet library does over some damaged footers."""
    script = "import os, sys\nfor line in sys.stdin: os.abort() if 'bad' in line else print('[]', flush=True)"
    monkeypatch.setattr(page_checks, "_COMMAND", [sys.executable, "-c", script])
    with closing(page_checks.PageReader()) as reader:
        found = [reader.read(Named(Path(name), 10, 1)) for name in ("a", "bad", "b")]
        assert (reader.files, reader.bytes) == (3, 30)
    assert [[fault.code for fault in faults] for faults in found] == [[], ["page_damaged"], []]


def test_a_log_that_lacks_what_had_landed_is_no_harm_but_told(data_dir: Path) -> None:
    path = logged(data_dir)[1]
    cut(path, path.stat().st_size - record_size(path))
    assert bad(data_dir) == []
    assert "had landed" in notes(data_dir)["log_gap"]


def test_a_mark_of_a_segment_that_was_freed_is_no_harm(data_dir: Path) -> None:
    """The mark is not synced: after a power cut it may be older than the segments."""
    mark = data_dir / "log" / "durable"
    first, path = segments(data_dir / "log")[0]
    mark.write_bytes(struct.pack("<QQ", first, path.stat().st_size))
    path.unlink()
    assert bad(data_dir) == []


def test_a_worker_that_was_left_behind_is_waited_for_and_then_told(data_dir: Path) -> None:
    with (data_dir / "worker.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (check,) = bad(data_dir)
        assert (check.name, check.code) == ("locks", "worker")
        waits: list[float] = []

        def end(seconds: float) -> None:
            waits.append(seconds)
            fcntl.flock(file, fcntl.LOCK_UN)

        found = examine(Settings(data_dir=data_dir), end)
    assert not found.bad
    assert len(waits) == 1


# -- what a server that was killed leaves behind ------------------------------------------------------------


@pytest.mark.parametrize("point", [*test_replay.POINTS])
def test_a_replay_that_was_killed_is_unfinished_and_nothing_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def die(status: int) -> None:
        raise test_replay.Killed

    site = test_replay.Site(tmp_path / "data")
    site.send(1, "bad", "bad", "worse", "bad")
    site.replaying.page_rows = 2
    site.fix()
    site.ask()
    monkeypatch.setattr(os, "_exit", die)
    monkeypatch.setattr(crashpoints, "_NAME", point)
    monkeypatch.setattr(crashpoints, "_left", 1)
    with pytest.raises(test_replay.Killed):
        site.work()
    monkeypatch.setattr(crashpoints, "_NAME", "")
    site.store.connection.close()
    assert bad(site.directory) == []
    found = report(site.directory).checks
    (told,) = [check.detail for check in found if check.name == "replays of flow f"]
    assert "unfinished: the next start completes it, nothing is wrong" in told
    flow = {check.name: check for check in found}["flow f (flow f)"]
    if point == "replay-after-landing":
        assert "3 landed + 2 failed" in flow.detail
        assert (
            "2 of the failed rows have landed by a replay: the next start takes them out"
            in flow.detail
        )


def test_a_commit_that_was_not_written_down_is_explained(data_dir: Path) -> None:
    delete_the_newest_commit(data_dir)
    assert bad(data_dir) == []
    assert "not written down yet: the next start does that" in notes(data_dir)["commit_unwritten"]


def test_rows_that_a_replay_left_in_both_tables_when_it_was_given_up_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = test_replay.Site(tmp_path / "data")
    site.send(1, "bad")
    site.fix()

    def stuck(*words: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(site.replaying, "_open", site.replaying._open)
    monkeypatch.setattr("headrace.lake.replay.Replayer._remove", stuck)
    assert site.replay()["state"] == "failed"
    (check,) = bad(site.directory)
    assert (check.name, check.code) == ("replays of flow f", "replay_left")
    assert "1 failed rows have landed" in check.detail
    assert "headrace replay f" in check.action
    monkeypatch.undo()
    site.replay()
    assert bad(site.directory) == []
