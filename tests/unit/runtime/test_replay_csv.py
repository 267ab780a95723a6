"""Failed rows of CSV land under a changed mapping like any other record, also in a data directory whose tables of failed
records were made before they kept the header."""

import asyncio
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from headrace.errors import Transient
from headrace.lake import catalog
from headrace.lake.catalog import Lake
from headrace.lake.compaction import Limits
from headrace.lake.query import run as sql
from headrace.lake.replay_rows import Selection, page
from headrace.lake.upkeep import Policy, Upkeep
from headrace.log.frames import DELIMITED, LOG_PARTITION
from headrace.runtime.batch import Batch
from headrace.runtime.pipeline import Pipeline
from headrace.runtime.rehearsal import rehearse
from headrace.runtime.replay_preview import preview
from headrace.services.operator.rehearsal_records import newest
from headrace.testing import crashpoints
from headrace.xdm.arrow import FAILED_SCHEMA
from tests.unit.runtime.test_replay import TREE, Killed, Site

OLD_SCHEMA = FAILED_SCHEMA.remove(FAILED_SCHEMA.get_field_index("header"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def send_csv(site: Site, *values: Any, header: str = "id,n") -> None:
    """Accept and land a CSV batch of rows with these `n`, in the order of the header's columns."""
    lines = []
    for value in values:
        cells = {"id": f"r{site.serial}", "n": str(value)}
        lines.append(",".join(cells.get(name, "") for name in header.split(",")))
        site.serial += 1
    body = "\r\n".join([header, *lines, ""]).encode()
    asyncio.run(site.append((DELIMITED, f"q{site.serial}", len(values), body, site.serial)))
    site.land()


def failed_rows(site: Site) -> list[tuple[bytes, str | None]]:
    rows = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
    return sorted((row["original"], row["header"]) for row in rows)


@contextmanager
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The version before headers were kept, as far as tables of failed records go."""
    current = Batch.failed

    def without_header(batch: Batch, batch_id: str) -> pa.Table | None:
        rows = current(batch, batch_id)
        return None if rows is None else rows.select(OLD_SCHEMA.names)

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "FAILED_SCHEMA", OLD_SCHEMA)
        patch.setattr(Batch, "failed", without_header)
        yield


def headers_by_sql(site: Site) -> list[tuple[str, str | None]]:
    out = io.StringIO()
    query = 'SELECT "receiptId" AS receipt, header FROM d_failed ORDER BY receipt'
    assert sql(site.directory, query, "json", out) == 0
    return [(row["receipt"], row["header"]) for row in json.loads(out.getvalue())]


def columns(site: Site) -> list[str]:
    return [field.name for field in site.lake.table("prod", "d_failed").schema().fields]


def test_failed_rows_of_csv_land_once_whenever_the_worker_dies_and_however_often_it_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(status: int) -> None:
        raise Killed

    send_csv(site, 1, "bad", "worse", "bad")
    send_csv(site, "bad", 2, header="n,other,id")
    site.send("bad", 3)
    assert failed_rows(site)[:4] == [
        (b"bad,,r4", "n,other,id"), (b"r1,bad", "id,n"), (b"r2,worse", "id,n"), (b"r3,bad", "id,n"),
    ]  # fmt: skip
    assert [header for _, header in failed_rows(site)[4:]] == [None]
    site.replaying.page_rows = 2
    assert site.replay()["landed"] == 0
    site.fix()
    monkeypatch.setattr(os, "_exit", die)
    for point in ("replay-after-landing", "replay-after-removal"):
        monkeypatch.setattr(crashpoints, "_NAME", point)
        monkeypatch.setattr(crashpoints, "_left", 1)
        id = site.ask()
        with pytest.raises(Killed):
            site.work()
        site.start()
        site.replaying.page_rows = 2
    monkeypatch.setattr(crashpoints, "_NAME", "")
    site.work()
    assert site.state(id)["state"] == "done"
    again = site.replay()
    assert (again["selected"], again["landed"]) == (1, 0)
    assert site.good() == {"r0": 1, "r1": 0, "r3": 0, "r4": 0, "r5": 2, "r6": 0, "r7": 3}
    assert failed_rows(site) == [(b"r2,worse", "id,n")]


def test_a_preview_and_a_rehearsal_read_failed_rows_of_csv_as_the_replay_does(
    site: Site, tmp_path: Path
) -> None:
    send_csv(site, 1, "bad", "worse", header="n,id")
    before = Pipeline(site.first)
    site.fix()
    latest = site.revisions.latest("f")
    assert latest is not None
    found = preview(site.lake, latest, {})
    assert (found["selected"], found["wouldLand"], found["wouldFail"]) == (2, 1, 1)
    assert found["examples"][0]["after"] == {"row": {"_id": "r1", "n": 0}}
    gone = tmp_path / "no-log"
    gone.mkdir()
    records = newest(gone, site.lake, before, 100, lambda: True)
    assert (records.logged, records.failed) == (0, 2)
    differences, _ = rehearse(before, Pipeline(latest), records.frames, 100, lambda: True)
    counts = differences.listed()["counts"]
    assert (counts["failedToLanded"], counts["failedBoth"]) == (1, 1)
    assert site.replay()["landed"] == 1


def test_a_table_of_the_version_before_gets_the_column_when_its_flow_is_opened(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older(monkeypatch):
        site.send(1, "bad")
        send_csv(site, "bad", 2)
    assert columns(site) == OLD_SCHEMA.names
    selection = Selection("f", {LOG_PARTITION: 100})
    rows = page(site.lake.table("prod", "d_failed"), selection, None, 10, 10**6)
    assert rows is not None
    assert rows["header"].to_pylist() == [None, None]
    assert headers_by_sql(site) == [("q2-1", None), ("q4-0", None)]
    site.lake.ensure("prod", "d", TREE)
    assert columns(site) == FAILED_SCHEMA.names
    assert headers_by_sql(site) == [("q2-1", None), ("q4-0", None)]
    site.start()
    send_csv(site, "bad", 3)
    assert failed_rows(site)[0] == (b"r2,bad", None)
    assert failed_rows(site)[1] == (b"r4,bad", "id,n")
    assert failed_rows(site)[2][1] is None
    assert headers_by_sql(site) == [("q2-1", None), ("q4-0", None), ("q6-0", "id,n")]
    site.fix()
    done = site.replay()
    assert (done["selected"], done["landed"], done["stillFailed"]) == (3, 2, 1)
    assert site.good() == {"r0": 1, "r1": 0, "r3": 2, "r4": 0, "r5": 3}
    assert failed_rows(site) == [(b"r2,bad", None)]  # its header was never kept


def test_a_table_of_the_version_before_gets_the_column_with_the_commit_that_needs_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older(monkeypatch):
        send_csv(site, 1, "bad")
    send_csv(site, "bad")  # the same worker: nothing was opened anew
    assert columns(site) == FAILED_SCHEMA.names
    assert failed_rows(site) == [(b"r1,bad", None), (b"r2,bad", "id,n")]
    site.fix()
    assert site.replay()["landed"] == 1
    assert site.good() == {"r0": 1, "r2": 0}


def test_two_writers_that_bring_a_table_up_to_date_at_once_add_one_column_and_lose_no_row(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older(monkeypatch):
        site.send(1, "bad")
    other, load = Lake(site.directory), site.lake.catalog.load_table
    raced = list[str]()

    def late(name: tuple[str, str]) -> Table:
        table = load(name)
        if name[1] == "d_failed" and not raced:
            raced.append(name[1])
            other.failed("prod", "d")
        return table

    monkeypatch.setattr(site.lake.catalog, "load_table", late)
    with pytest.raises(Transient):
        site.lake.failed("prod", "d")
    assert columns(site) == FAILED_SCHEMA.names
    site.send("bad", 2)
    assert (site.failed(), site.counts()) == (["r1", "r2"], (2, 2))


def test_a_replay_of_a_table_of_the_version_before_leaves_its_other_rows_as_they_were(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older(monkeypatch):
        site.send("bad", "worse", 1)
        before = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
        site.fix()
    done = site.replay()
    assert (done["selected"], done["landed"]) == (2, 1)
    (left,) = site.lake.table("prod", "d_failed").scan().to_arrow().to_pylist()
    assert left.pop("header") is None
    assert left in before
    assert site.counts() == (2, 1)


def test_compaction_of_old_and_new_files_keeps_every_header(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with older(monkeypatch):
        send_csv(site, "bad")
    site.start()
    for header in ("id,n", "n,id", "n,x,id"):
        send_csv(site, "bad", header=header)
    before = failed_rows(site)
    upkeep = Upkeep(site.lake, Policy(every=1, limits=Limits(least=3)))
    upkeep.note("prod", "d_failed")
    while upkeep.step():
        pass
    assert len(site.files("d_failed")) == 1
    assert failed_rows(site) == before
    site.fix()
    assert site.replay()["landed"] == 3
    assert site.good() == {"r1": 0, "r2": 0, "r3": 0}
    assert failed_rows(site) == [(b"r0,bad", None)]


def test_a_page_of_rows_with_long_headers_is_as_small_as_one_of_long_records(site: Site) -> None:
    send_csv(site, *["bad"] * 5, header="id,n," + "x" * 10_000)
    table = site.lake.table("prod", "d_failed")
    rows = page(table, Selection("f", {LOG_PARTITION: 100}), None, 10, 25_000)
    assert rows is not None
    assert rows.num_rows == 2
