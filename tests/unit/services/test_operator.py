"""Tracing receipts, examining a data directory, backing it up and restoring it, in one process."""

import asyncio
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError
from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.lake.catalog import Lake
from headrace.lake.compaction import Limits
from headrace.lake.query import open_session
from headrace.lake.upkeep import Policy, Upkeep
from headrace.log.frames import LINES, MESSAGES, SINGLE
from headrace.log.reader import LogReader
from headrace.log.segments import segments
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.commits import totals
from headrace.runtime.supervisor import Supervisor
from headrace.runtime.worker import Worker
from headrace.security.tokens import Tokens
from headrace.security.vault import Vault
from headrace.services.operator.backup.copying import CONTENT, Altered, Listing
from headrace.services.operator.backup.creation import back_up
from headrace.services.operator.backup.restore import restore
from headrace.services.operator.doctor.checks import BAD, Check
from headrace.services.operator.doctor.examination import examine
from headrace.services.operator.log_search import find
from headrace.services.operator.receipts import receipt_routes
from headrace.services.operator.routes import LogOf
from headrace.settings import Settings
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing.calls import InProcess
from headrace.xdm.fields import Field

TREE = Field("object", properties={"_id": Field("string"), "n": Field("int")})
RULES = (Rule("ATTRIBUTE", "id", "_id"), Rule("ATTRIBUTE", "n", "n"))
REQUEST = "0f0e0d0c-1111-2222-3333-444455556666"


class Site:
    """Flow `f` into data set `d` of sandbox prod, flow `g` into `e` of sandbox other."""

    def __init__(self, data_dir: Path, segment_bytes: int = 1 << 20) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(exist_ok=True)
        self.segment_bytes = segment_bytes
        self.store = Store(data_dir / "headrace.db")
        self.installation = bootstrap(self.store, data_dir, "http://localhost")
        self.org = self.installation.org_id
        Vault.at(data_dir / "vault.key", self.store)
        self.lake = Lake(data_dir)
        self.supervisor = Supervisor(data_dir, 0, 1)
        if Revisions(self.store).latest("f") is None:
            self._create()
        self.worker: Worker | None = None

    def _create(self) -> None:
        self.store.create(Scope(self.org, ""), "sandboxes", "other", {
            "id": "o", "name": "other", "title": "o", "state": "active", "type": "development",
            "region": "VA7", "isDefault": False, "createdBy": "t", "lastModifiedBy": "t",
        })  # fmt: skip
        for flow, dataset, sandbox in (("f", "d", "prod"), ("g", "e", "other")):
            scope = Scope(self.org, sandbox)
            self.store.create(scope, "dataSets", dataset, {"name": f"set {dataset}"})
            self.store.create(scope, "flows", flow, {"name": f"flow {flow}", "state": "enabled"})
            Revisions(self.store).add(
                FlowRevision(
                    flow, 1, self.org, sandbox, dataset, "https://ns/s", "1.2", TREE.to_json(), RULES,
                    mapping_id="m", mapping_version=3,
                )
            )  # fmt: skip

    def accept(self, *frames: tuple[int, str, str, int, bytes], **options: Any) -> None:
        """Append (layout, flow, receipt, count, body)."""

        async def run() -> None:
            landed = {id: (t["position"], t["sequence"]) for id, t in totals(self.store).items()}
            writer = LogWriter(
                self.data_dir / "log", segment_bytes=self.segment_bytes, landed=landed
            )
            for layout, flow, receipt, count, body in frames:
                received = int(receipt[:13]) if receipt[:13].isdigit() else 77
                await writer.append(layout, flow, 1, receipt, count, body, received, **options)
            await writer.close()

        asyncio.run(run())

    def one(self, receipt: str, flow: str = "f", body: bytes = b'{"id":"x","n":1}') -> None:
        self.accept((SINGLE, flow, receipt, 1, body))

    def land(self) -> None:
        """Land what the log has, as one batch a flow."""
        if self.worker is None:
            self.worker = Worker(
                self.store, self.lake, LogReader(self.data_dir / "log"), 0.0, 100_000,
                lambda event: self.supervisor._hear(event), Upkeep(self.lake),
            )  # fmt: skip
        while self.worker.step():
            pass
        self.worker.finish()

    def free(self) -> int:
        """Free the segments that have landed."""
        assert self.worker is not None
        flows = self.worker.flows
        return self.worker.reader.free({id: flow.position for id, flow in flows.items()})

    def web(self, sandbox: str = "prod") -> InProcess:
        log = LogOf()
        log.writer = type("Log", (), {"directory": self.data_dir / "log"})()
        table = receipt_routes(self.store, self.supervisor, log, lambda: self.lake)
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", self.installation)
        own = json.loads((self.data_dir / "credentials.json").read_text())
        headers = {
            "x-api-key": own["client_id"], "x-gw-ims-org-id": self.org, "x-sandbox-name": sandbox,
        }  # fmt: skip
        return InProcess(build(table, gateway, title="t"), headers)

    def trace(self, receipt: str, query: str = "") -> dict[str, Any]:
        answer = self.web().get(f"/headrace/receipts/{receipt}{query}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def rows(self, name: str = "d") -> list[Any]:
        with open_session(self.data_dir, name) as session:
            return session.execute(f'SELECT count(*) FROM "{name}"').fetchall()

    def close(self) -> None:
        if self.worker is not None:
            self.worker.reader.close()
        self.store.close()
        self.lake.catalog.engine.dispose()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def checks(data_dir: Path) -> dict[str, Check]:
    found = examine(Settings(data_dir=data_dir)).checks
    return {check.name: check for check in found}


def bad(data_dir: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for check in examine(Settings(data_dir=data_dir)).checks:
        if check.state == BAD:
            found[check.name] = "; ".join(filter(None, (found.get(check.name), check.detail)))
    return found


# -- trace --------------------------------------------------------------------------------------------------


def test_a_receipt_is_pending_until_it_lands_and_says_by_what_rules(site: Site) -> None:
    receipt = "1700000000001:7:0"
    site.one(receipt)
    pending = site.trace(receipt)
    assert (pending["state"], pending["counts"]) == ("pending", {"pending": 1})
    site.land()
    landed = site.trace(receipt)
    (entry,) = landed["entries"]
    assert landed["state"] == entry["state"] == "landed"
    assert entry["flow"] == {"id": "f", "name": "flow f", "revision": 1}
    assert entry["mapping"] == {"id": "m", "version": 3}
    assert entry["schema"] == {"id": "https://ns/s", "version": "1.2"}
    assert (entry["dataSetId"], entry["partition"], entry["offset"]) == ("d", "inlet-0", 0)
    snapshot = site.lake.table("prod", "d").current_snapshot()
    assert snapshot is not None
    assert entry["snapshotId"] == snapshot.snapshot_id
    assert entry["batchId"]
    assert entry["failure"] is None


def test_a_record_that_failed_is_traced_to_its_reason(site: Site) -> None:
    site.one("1700000000001:7:0", body=b"[1]")
    site.land()
    (entry,) = site.trace("1700000000001:7:0")["entries"]
    assert entry["state"] == "failed"
    assert entry["failure"]["stage"] == "decode"
    assert entry["failure"]["code"]
    assert entry["flow"]["revision"] == 1


@pytest.mark.parametrize("freed", [False, True])
def test_a_request_of_several_records_has_an_entry_for_each(tmp_path: Path, freed: bool) -> None:
    site = Site(tmp_path / "data", segment_bytes=1)
    site.accept((LINES, "f", REQUEST, 3, b'{"id":"a"}\n[1]\n{"id":"c"}'), indexes=[0, 2, 5])
    site.accept((MESSAGES, "f", "another-request", 2, b'{"messages":[{"id":"x"},{"id":"y"}]}'))
    site.land()
    if freed:
        site.one("1700000000009:7:9")
        site.land()
        assert site.free() > 0
        assert find(site.data_dir / "log", REQUEST) == ([], True)
    found = site.trace(REQUEST)
    states = {entry["receipt"]: entry["state"] for entry in found["entries"]}
    assert states == {f"{REQUEST}-0": "landed", f"{REQUEST}-2": "failed", f"{REQUEST}-5": "landed"}
    assert found["state"] == "failed"
    (one,) = site.trace(f"{REQUEST}-5")["entries"]
    assert (one["state"], one["offset"]) == ("landed", 2)
    assert site.web().get(f"/headrace/receipts/{REQUEST}-1").status_code == 404


def test_a_receipt_is_found_after_files_were_merged(tmp_path: Path) -> None:
    site = Site(tmp_path / "data", segment_bytes=1)
    for n in range(6):
        site.one(f"170000000000{n}:7:{n}")
        site.land()
    before = site.trace("1700000000003:7:3")
    upkeep = Upkeep(site.lake, Policy(every=1, limits=Limits(least=2)))
    upkeep.note("prod", "d")
    done: list[str] = []
    while (step := upkeep.step()) is not None and len(done) < 100:
        done.append(step.what)
    assert "compaction" in done
    assert site.free() > 0
    assert find(site.data_dir / "log", "1700000000003:7:3") == ([], True)
    assert site.trace("1700000000003:7:3") == before


def test_no_other_sandbox_learns_of_a_receipt(site: Site) -> None:
    site.one("1700000000001:7:0", flow="g")
    hidden = site.web().get("/headrace/receipts/1700000000001:7:0")
    unknown = site.web().get("/headrace/receipts/1700000000002:7:0")
    assert hidden.status_code == unknown.status_code == 404
    site.land()
    assert site.web().get("/headrace/receipts/1700000000001:7:0").status_code == 404
    assert site.web("other").get("/headrace/receipts/1700000000001:7:0").status_code == 200


def test_waiting_ends_as_soon_as_the_record_has_landed(site: Site) -> None:
    site.one("1700000000001:7:0")

    async def both() -> tuple[dict[str, Any], float]:
        started = time.monotonic()
        asking = asyncio.to_thread(site.trace, "1700000000001:7:0", "?wait=20")
        waiting = asyncio.ensure_future(asking)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(site.land)
        return await waiting, time.monotonic() - started

    found, seconds = asyncio.run(both())
    assert found["state"] == "landed"
    assert seconds < 10
    refused = site.web().get("/headrace/receipts/1700000000001:7:0?wait=1000")
    assert refused.status_code == 400


def test_a_row_that_somebody_deleted_is_unknown_not_landed(site: Site) -> None:
    site.one("1700000000001:7:0")
    site.land()
    site.lake.table("prod", "d").delete()
    found = site.trace("1700000000001:7:0")
    assert found["state"] == "unknown"
    assert "neither table" in found["entries"][0]["note"]


# -- doctor -------------------------------------------------------------------------------------------------


def test_all_is_well_and_pending_records_are_counted_in_the_log(site: Site) -> None:
    site.accept((MESSAGES, "f", REQUEST, 3, b'{"messages":[{"id":"a"},7,{"id":"c"}]}'))
    site.land()
    site.one("1700000000002:7:1")
    files = {p: p.stat().st_mtime_ns for p in site.data_dir.rglob("*") if p.is_file()}
    found = checks(site.data_dir)
    assert {n: c.detail for n, c in found.items() if c.state == BAD} == {}
    assert (
        "4 accepted = 2 landed + 1 failed + 0 filtered + 1 pending"
        in found["flow f (flow f)"].detail
    )
    shared = {p for p in site.data_dir.rglob("*") if p.is_file() and p.name.endswith("-shm")}
    now = {p: p.stat().st_mtime_ns for p in site.data_dir.rglob("*") if p.is_file()}
    assert {p: t for p, t in now.items() if p not in shared} == {
        p: t for p, t in files.items() if p not in shared
    }


def remove_a_data_file(site: Site) -> None:
    next((site.data_dir / "lake").rglob("data/*.parquet")).unlink()


def remove_the_log(site: Site) -> None:
    """A record that is accepted and not landed disappears."""
    site.accept((SINGLE, "f", "1700000000005:7:5", 1, b'{"id":"y"}'))
    path = segments(site.data_dir / "log")[-1][1]
    site.accept((SINGLE, "f", "1700000000006:7:6", 1, b'{"id":"z"}'))
    path.unlink()


def damage_the_log(site: Site) -> None:
    path = segments(site.data_dir / "log")[0][1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def forget_a_commit(site: Site) -> None:
    site.store.connection.execute("UPDATE commits SET body=json_set(body, '$.records', 9)")


def delete_rows(site: Site) -> None:
    site.lake.table("prod", "d").delete()


def replace_the_key(site: Site) -> None:
    (site.data_dir / "vault.key").write_text("0" * 64)


def lose_a_revision(site: Site) -> None:
    site.one("1700000000005:7:5")
    site.store.connection.execute("DELETE FROM flow_revisions")


def drop_a_table(site: Site) -> None:
    site.lake.drop("prod", "d")


@pytest.mark.parametrize(
    ("harm", "check", "words"),
    [
        (remove_a_data_file, "table prod.d", "is missing"),
        (remove_the_log, "flow f (flow f)", "3 accepted"),
        (damage_the_log, "log", "checksum"),
        (forget_a_commit, "flow f (flow f)", "commits add up to 9"),
        (delete_rows, "flow f (flow f)", "0 rows in the table, its watermark counts 1"),
        (replace_the_key, "vault", "does not open"),
        (lose_a_revision, "revisions", "flow f revision 1"),
        (drop_a_table, "flow f (flow f)", "is gone"),
    ],
)
def test_each_harm_is_named(
    tmp_path: Path, harm: Callable[[Site], None], check: str, words: str
) -> None:
    site = Site(tmp_path / "data", segment_bytes=1)
    site.one("1700000000001:7:0")
    site.land()
    assert bad(site.data_dir) == {}
    harm(site)
    found = bad(site.data_dir)
    assert check in found
    assert words in found[check]


def test_a_stopped_flow_whose_last_commit_is_not_written_down_is_explained(site: Site) -> None:
    site.one("1700000000001:7:0")
    site.land()
    site.store.connection.execute("DELETE FROM commits")
    assert bad(site.data_dir) == {}
    assert "next start" in checks(site.data_dir)["flow f (flow f)"].detail


# -- backup and restore -------------------------------------------------------------------------------------


def test_a_backup_restored_elsewhere_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    site.accept((MESSAGES, "f", REQUEST, 3, b'{"messages":[{"id":"a"},7,{"id":"c"}]}'))
    site.land()
    site.one("1700000000002:7:1")
    back_up(site.data_dir, tmp_path / "backup")
    site.close()
    shutil.rmtree(site.data_dir)  # nothing may be read from the old place
    restore(tmp_path / "backup", tmp_path / "new")
    assert bad(tmp_path / "new") == {}
    again = Site(tmp_path / "new")
    assert (again.rows(), again.rows("d_failed")) == ([(2,)], [(1,)])
    again.land()
    again.one("1700000000003:7:2")
    again.land()
    assert again.rows() == [(4,)]
    assert bad(tmp_path / "new") == {}
    assert again.trace("1700000000002:7:1")["state"] == "landed"
    old = str(site.data_dir).encode()
    names = [p for p in (tmp_path / "new").rglob("*.json") if old in p.read_bytes()]
    assert names == []


@pytest.mark.parametrize("step", ["held", "catalog", "log", "store"])
def test_what_lands_and_is_freed_while_a_backup_runs_is_in_it_once(
    tmp_path: Path, step: str
) -> None:
    """The worst moments: the log's segments go after the catalog was copied and before the log is."""
    site = Site(tmp_path / "data", segment_bytes=1)
    for n in range(3):
        site.one(f"170000000000{n}:7:{n}")
    if step != "held":
        site.land()
    for n in range(3, 6):
        site.one(f"170000000000{n}:7:{n}")

    def meanwhile(reached: str) -> None:
        if reached == step:
            site.land()
            for n in range(6, 8):
                site.one(f"170000000000{n}:7:{n}")
            site.land()
            assert site.free() > 3

    back_up(site.data_dir, tmp_path / "backup", meanwhile)
    restore(tmp_path / "backup", tmp_path / "new")
    again = Site(tmp_path / "new", segment_bytes=1)
    again.one("1700000000009:7:9")
    again.land()
    with open_session(tmp_path / "new", "d") as session:
        query = 'SELECT _acp_system_metadata."receiptId" FROM "d"'
        found = sorted(row[0] for row in session.execute(query).fetchall())
    assert len(found) == len(set(found))
    assert set(found) >= {f"170000000000{n}:7:{n}" for n in (0, 1, 2, 3, 4, 5, 9)}
    assert bad(tmp_path / "new") == {}


def test_commits_after_the_copy_of_the_catalog_are_not_in_the_copy_of_the_store(
    site: Site, tmp_path: Path
) -> None:
    """A first commit in between would stop the restored flow: rows of commits and a table without a watermark."""
    site.lake.ensure("prod", "d", TREE)
    site.one("1700000000001:7:0")
    back_up(site.data_dir, tmp_path / "b", lambda step: site.land() if step == "log" else None)
    with sqlite3.connect(tmp_path / "b" / CONTENT / "headrace.db") as db:
        assert db.execute("SELECT count(*) FROM commits").fetchone() == (0,)
    restore(tmp_path / "b", tmp_path / "new")
    again = Site(tmp_path / "new")
    again.land()
    assert again.worker is not None
    assert again.worker.flows["f"].stopped is None
    assert again.rows() == [(1,)]


def test_an_altered_backup_is_refused_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.one("1700000000001:7:0")
    site.land()
    back_up(site.data_dir, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="not empty"):
        back_up(site.data_dir, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(tmp_path / "backup", site.data_dir)
    path = next((tmp_path / "backup").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(Altered, match="checksum"):
        restore(tmp_path / "backup", tmp_path / "new")
    path.unlink()
    with pytest.raises(Altered, match="missing"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))
    with pytest.raises(Altered, match="there is no directory"):
        restore(tmp_path / "bakcup", tmp_path / "new")
    (tmp_path / "backup" / "manifest.json").unlink()
    with pytest.raises(ConfigurationError, match="a backup that was not finished"):
        back_up(site.data_dir, tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="must lie outside"):
        back_up(site.data_dir, site.data_dir / "copy")
    assert not (site.data_dir / "copy").exists()
    with pytest.raises(Altered, match="no finished backup"):
        Listing.read(tmp_path / "backup")


def test_what_was_acknowledged_after_the_backup_is_said_to_be_lost(
    site: Site, tmp_path: Path
) -> None:
    back_up(site.data_dir, tmp_path / "backup")
    receipt = f"{int(time.time() * 1000)}:7:0"
    site.one(receipt)
    time.sleep(0.01)
    restore(tmp_path / "backup", tmp_path / "new")
    again = Site(tmp_path / "new")
    again.one("1700000000001:7:1")
    answer = again.web().get(f"/headrace/receipts/{receipt}")
    assert answer.status_code == 404
    assert "restored at" in answer.json()["detail"]
    older = again.web().get("/headrace/receipts/1600000000001:7:0")
    assert "restored at" not in older.json()["detail"]
    assert "restored" in checks(tmp_path / "new")
