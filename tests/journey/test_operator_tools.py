"""Trace, doctor, backup and restore as an operator runs them, beside a real server under load."""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.disk import local_path
from headrace.services.operator.doctor.checks import BAD
from headrace.services.operator.doctor.examination import examine
from headrace.settings import Settings
from headrace.testing.server import Journey, PlatformClient, ServerProcess

RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
]
BATCH = 7


def headrace(*words: str | Path, status: int = 0) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def bad(data_dir: Path) -> list[str]:
    """The codes of what doctor finds bad; in this process, since the command takes seconds to start."""
    return [
        check.code for check in examine(Settings(data_dir=data_dir)).checks if check.state == BAD
    ]


def send(journey: Journey, ids: list[str]) -> list[str]:
    """Receipts of acknowledged records."""
    answer = httpx.post(
        journey.batch_url, json={"messages": [{"id": id} for id in ids]},
        headers={"x-adobe-flow-id": journey.flow_id}, timeout=20,
    )  # fmt: skip
    assert answer.status_code == 207, answer.text
    return [element["xactionId"] for element in answer.json()["responses"]]


class Sender(threading.Thread):
    """Sends small batches until it is stopped and keeps what was acknowledged, with its receipts."""

    def __init__(self, journey: Journey) -> None:
        super().__init__(daemon=True)
        self.journey = journey
        self.acknowledged: dict[str, str] = {}
        self.error: Exception | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        number = 0
        try:
            while not self._stopping.is_set():
                ids = [f"{self.name}:{number + n}" for n in range(BATCH)]
                self.acknowledged |= dict(zip(ids, send(self.journey, ids), strict=True))
                number += BATCH
                time.sleep(0.1)  # enough for segments to fill and for both flows to commit
        except Exception as error:
            self.error = error

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)
        assert self.error is None


def landed(server: ServerProcess, journey: Journey) -> list[str]:
    rows = server.sql(f'SELECT _id AS id FROM "{journey.dataset_id}"')
    return [row["id"] for row in rows]


def wait_until_idle(server: ServerProcess, journey: Journey) -> dict[str, Any]:
    """How the flow stands when nothing of it is pending any more."""
    client = PlatformClient(server.credentials())
    deadline = time.monotonic() + 60
    while True:
        found: dict[str, Any] = client.call("GET", f"/headrace/flows/{journey.flow_id}")
        if found["pending"] == 0:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_sender_reads_its_own_write_and_its_failure(
    server: ServerProcess, platform: PlatformClient
) -> None:
    journey = platform.create_flow({}, RULES)
    name = uuid.uuid4().hex
    answer = httpx.post(
        journey.batch_url, json={"messages": [{"id": name}, {"q": 1}, 7]},
        headers={"x-adobe-flow-id": journey.flow_id},
    ).json()  # fmt: skip
    good, failing, refused = [element["xactionId"] for element in answer["responses"]]
    found = platform.call("GET", f"/headrace/receipts/{good}?wait=20")
    assert found["state"] == "landed"
    assert landed(server, journey) == [name]
    text = headrace("trace", failing, "--data-dir", server.data_dir, status=1)
    assert "validate DCVS-1106-400 at _id" in text
    assert journey.flow_id in text
    request = good.rpartition("-")[0]
    whole = headrace("trace", request, "--format", "json", "--data-dir", server.data_dir, status=1)
    assert json.loads(whole)["counts"] == {"landed": 1, "failed": 1}
    headrace("trace", refused, "--data-dir", server.data_dir, status=1)
    other = PlatformClient(server.credentials())
    sandbox = f"elsewhere-{uuid.uuid4().hex[:8]}"
    body = {"name": sandbox, "title": sandbox, "type": "development"}
    other.call("POST", "/data/foundation/sandbox-management/sandboxes", body)
    other.http.headers["x-sandbox-name"] = sandbox
    assert other.http.get(f"/headrace/receipts/{good}").status_code == 404


def test_bad_rows_of_a_csv_batch_land_once_when_the_mapping_is_mended(
    server: ServerProcess, platform: PlatformClient
) -> None:
    rules = [RULES[0], {"sourceType": "ATTRIBUTE", "source": "when", "destination": "timestamp"}]
    journey = platform.create_flow({}, rules)
    rows = [
        "good-0,2024-01-01T00:00:00Z,", "bad-0,,2024-01-02T00:00:00Z", "lost,,",
        '"bad,\n""1""",,2024-01-03T00:00:00Z',
    ]  # fmt: skip
    answer = httpx.post(
        journey.batch_url, content="\r\n".join(["id,when,at", *rows]).encode(),
        headers={"x-adobe-flow-id": journey.flow_id, "content-type": "text/csv"},
    )  # fmt: skip
    receipts = [element["xactionId"] for element in answer.json()["responses"]]
    platform.call("GET", f"/headrace/receipts/{receipts[-1]}?wait=20")
    assert landed(server, journey) == ["good-0"]
    failed = f'SELECT header, "receiptId" AS receipt FROM "{journey.dataset_id}_failed"'
    assert {row["receipt"]: row["header"] for row in server.sql(failed)} == dict.fromkeys(
        receipts[1:], "id,when,at"
    )
    replays = f"/headrace/flows/{journey.flow_id}/replays"
    assert platform.call("POST", replays, {"dryRun": True})["wouldLand"] == 0
    change = [{**rules[1], "sourceType": "EXPRESSION", "source": "coalesce(when, at)"}]
    reference = {
        "id": journey.schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"
    }  # fmt: skip
    made = platform.call(
        "PUT", f"/data/foundation/conversion/mappingSets/{journey.mapping_id}",
        {"version": 0, "outputSchema": {"schemaRef": reference}, "mappings": [rules[0], *change]},
    )  # fmt: skip
    params = {"mappingId": journey.mapping_id, "mappingVersion": made["version"]}
    flow = f"/data/foundation/flowservice/flows/{journey.flow_id}"
    etag = platform.call("GET", flow)["items"][0]["etag"]
    value = [{"name": "Mapping", "params": params}]
    platform.call(
        "PATCH", flow, [{"op": "replace", "path": "/transformations", "value": value}],
        **{"if-match": etag},
    )  # fmt: skip
    shown = platform.call("POST", replays, {"dryRun": True})
    assert (shown["wouldLand"], shown["wouldFail"]) == (2, 1)
    assert shown["examples"][0]["after"]["row"]["_id"] == "bad-0"
    for selected, land in ((3, 2), (1, 0)):
        text = headrace(
            "replay", journey.flow_id, "--wait", "--data-dir", server.data_dir, status=1
        )
        assert f"{selected} failed records: {land} landed, 1 failed again" in text
        assert sorted(landed(server, journey)) == ['bad,\n"1"', "bad-0", "good-0"]
        assert [row["receipt"] for row in server.sql(failed)] == [receipts[2]]


@pytest.mark.parametrize("backups", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_backup_under_load_is_restored_with_everything_acknowledged_before_it(
    tmp_path: Path, backups: int
) -> None:
    settings = {"HEADRACE_COMMIT_INTERVAL": "0.3", "HEADRACE_LOG_SEGMENT_BYTES": "2000"}
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    server = ServerProcess(tmp_path / "here" / "data", **settings).start()
    copies = []
    try:
        client = PlatformClient(server.credentials())
        # one flow has landed much before, the other makes its first commits meanwhile
        old, new = client.create_flow({}, RULES), client.create_flow({}, RULES)
        senders = [Sender(old), Sender(new)]
        senders[0].start()
        time.sleep(6)  # the worker frees landed segments every five seconds
        senders[1].start()
        for number in range(backups):
            before = [dict(sender.acknowledged) for sender in senders]
            headrace("backup", tmp_path / f"backup-{number}", "--data-dir", server.data_dir)
            copies.append((tmp_path / f"backup-{number}", before))
            assert bad(server.data_dir) == []
            time.sleep(1)
        for sender in senders:
            sender.stop()
        for journey in (old, new):
            wait_until_idle(server, journey)
        last = list(senders[1].acknowledged.values())[-1]
        text = headrace("doctor", "--deep", "--data-dir", server.data_dir)
        assert "BAD" not in text
        assert "every page fits its checksum" in text
        take_back(server.data_dir, new)
        assert bad(server.data_dir) == ["rolled_back"]
    finally:
        server.stop()
    shutil.rmtree(tmp_path / "here")  # a copy must not need what it was made from
    for backup, before in copies:
        place = tmp_path / "there" / backup.name
        headrace("restore", backup, "--data-dir", place)
        assert bad(place) == []
        restored = ServerProcess(place, **settings).start()
        try:
            for journey, sender, owed in zip((old, new), senders, before, strict=True):
                # offsets are not given twice: what is sent now lands beside what was there
                journey.inlet_url = _moved(journey.inlet_url, restored)
                send(journey, [f"after:{journey.flow_id}"])
                standing = wait_until_idle(restored, journey)
                assert standing["stopped"] is None
                found = landed(restored, journey)
                assert len(found) == len(set(found))
                assert set(found) >= owed.keys() | {f"after:{journey.flow_id}"}
                assert set(found) <= sender.acknowledged.keys() | {f"after:{journey.flow_id}"}
            headrace("trace", last, "--data-dir", place, status=1)
            assert bad(place) == []
            assert "restored" in [check.code for check in examine(Settings(data_dir=place)).checks]
        finally:
            assert restored.stop() == 0


def take_back(data_dir: Path, journey: Journey) -> None:
    """A table as it was some commits ago (the last one may be upkeep's), of which nothing in the lake tells."""
    with closing(sqlite3.connect(data_dir / "lake" / "catalog.db")) as db, db:
        (location,) = db.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_name=?", (journey.dataset_id,)
        ).fetchone()
        earlier = json.loads(local_path(location).read_bytes())["metadata-log"][0]["metadata-file"]
        db.execute(
            "UPDATE iceberg_tables SET metadata_location=? WHERE table_name=?",
            (earlier, journey.dataset_id),
        )


def _moved(url: str, server: ServerProcess) -> str:
    """An inlet's address at another server: the restored one has a port of its own."""
    return f"{server.credentials()['base_url']}/collection/{url.rpartition('/')[2]}"
