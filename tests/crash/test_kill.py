"""A server that is killed while records arrive: nothing acknowledged is lost, nothing lands twice."""

import collections
import json
import os
import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, ServerProcess

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "20"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", str(random.randrange(2**32))))


class Sender(threading.Thread):
    """Sends batches until told to stop; keeps what was attempted and what was acknowledged."""

    def __init__(self, number: int, journey: Journey) -> None:
        super().__init__(daemon=True)
        self.number, self.journey = number, journey
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.stopping = False

    def run(self) -> None:
        serial = 0
        with httpx.Client(timeout=5) as client:
            while not self.stopping:
                ids = [f"{self.number}-{serial + n}" for n in range(50)]
                serial += 50
                # every tenth record breaks the schema, so both tables are exercised
                messages = [{"id": i, "n": n if n % 10 else "none"} for n, i in enumerate(ids)]
                self.attempted |= set(ids)
                try:
                    answer = client.post(
                        self.journey.batch_url,
                        json={"messages": messages},
                        headers={"x-adobe-flow-id": self.journey.flow_id},
                    )
                except httpx.HTTPError:
                    time.sleep(0.05)
                    continue
                if answer.status_code == 207:
                    self.acknowledged |= set(ids)
                else:
                    time.sleep(0.05)


@pytest.mark.timeout(280)
def test_every_acknowledged_record_is_landed_once_or_failed_once_after_many_kills(
    tmp_path: Path,
) -> None:
    print(f"seed {SEED}")
    randomness = random.Random(SEED)
    server = ServerProcess(tmp_path / "data", HEADRACE_COMMIT_INTERVAL="0.2").start()
    client = PlatformClient(server.credentials())
    tenant = f"_{client.credentials['tenant_id']}"
    journey = client.create_flow(
        {"n": {"type": "integer"}},
        [
            {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
            {
                "sourceType": "EXPRESSION",
                "source": 'iif(n == "none", null, now())',
                "destination": "timestamp",
            },
            {"sourceType": "ATTRIBUTE", "source": "n", "destination": f"{tenant}.n"},
        ],
    )
    senders = [Sender(number, journey) for number in range(2)]
    for sender in senders:
        sender.start()
    for _ in range(KILLS):
        time.sleep(randomness.uniform(0.2, 0.8))
        server.kill()
        server.start()
    time.sleep(0.5)
    for sender in senders:
        sender.stopping = True
    for sender in senders:
        sender.join(15)
    assert server.stop() == 0
    server.start()
    attempted = set().union(*(sender.attempted for sender in senders))
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    dataset = journey.dataset_id
    deadline = time.monotonic() + 60
    while True:
        good = collections.Counter(row["_id"] for row in server.sql(f'SELECT _id FROM "{dataset}"'))
        failed = collections.Counter(
            json.loads(row["original"])["id"]
            for row in server.sql(f'SELECT decode(original) AS original FROM "{dataset}_failed"')
        )
        if acknowledged <= good.keys() | failed.keys() or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    server.stop()
    assert len(acknowledged) > 100 * KILLS / 20
    assert acknowledged - good.keys() - failed.keys() == set(), "acknowledged but lost"
    assert [i for i, n in good.items() if n > 1] == [], "landed twice"
    assert [i for i, n in failed.items() if n > 1] == [], "failed twice"
    assert good.keys() & failed.keys() == set(), "in both tables"
    assert (good.keys() | failed.keys()) <= attempted, "never sent"
    assert len(failed) > 0
