"""The JSON protocol of Kinesis with what no emulator shows: trimmed records, throttling, expired iterators, refusals.

One stream, `orders`. Like AWS, a read from a record that is no longer kept goes on at the oldest one without a word.
"""

import base64
import json
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOUR = 3_600_000
EXPIRED_TOKEN = (
    400,
    "ExpiredTokenException",
    "The security token included in the request is expired",
)


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Record:
    sequence: int
    at: int
    data: bytes


@dataclass
class FakeShard:
    records: list[Record] = field(default_factory=list)
    closed: bool = False
    parents: tuple[str, ...] = ()
    next_sequence: int = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898

    def put(self, data: bytes, at: int | None = None) -> str:
        """Sequence numbers have gaps, as those of AWS do."""
        self.next_sequence += 7
        self.records.append(Record(self.next_sequence, now_ms() if at is None else at, data))
        return str(self.next_sequence)

    def trim(self, count: int) -> None:
        del self.records[:count]


class FakeKinesis:
    """`faults[operation]` are answered first, one a call: (status, code, text), or a function for anything else."""

    def __init__(self, *shards: str) -> None:
        self.shards = {id: FakeShard() for id in shards}
        self.retention_hours = 24
        self.ahead = 0  # milliseconds by which the service's time is later than ours
        self.empty_answers = 0
        self.session: str | None = None  # the only token that is good
        self.least_lag = 1  # milliseconds behind while there is more to read
        self.faults: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        self.calls: list[tuple[str, dict[str, Any], float]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                operation = self.headers["X-Amz-Target"].rsplit(".", 1)[1]
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.calls.append((operation, body, time.monotonic()))
                if fake.session not in (None, self.headers.get("X-Amz-Security-Token")):
                    fake.faults[operation].insert(0, EXPIRED_TOKEN)
                status, answer = fake.answer(operation, body)
                if status == 0:  # the connection breaks
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(fake.now() / 1000)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def now(self) -> int:
        return now_ms() + self.ahead

    def count(self, operation: str) -> int:
        return sum(1 for name, _, _ in self.calls if name == operation)

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if self.faults[operation]:
            status, code, text = self.faults[operation].pop(0)
            if code == "raw":
                return status, text.encode()
            return status, json.dumps({"__type": code, "message": text}).encode()
        return 200, json.dumps(getattr(self, f"_{operation}")(body)).encode()

    def _ListStreams(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"StreamNames": ["orders"], "HasMoreStreams": False}

    def _DescribeStream(self, body: dict[str, Any]) -> dict[str, Any]:
        """One shard a page."""
        names = [n for n in self.shards if n > body.get("ExclusiveStartShardId", "")]
        listed = []
        for name in names[:1]:
            shard = self.shards[name]
            numbers = {"StartingSequenceNumber": "0"}
            if shard.closed:
                numbers["EndingSequenceNumber"] = str(shard.next_sequence)
            entry = {"ShardId": name, "SequenceNumberRange": numbers,
                     "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}  # fmt: skip
            listed.append(
                entry | dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents))  # noqa: B905
            )
        return {"StreamDescription": {
            "StreamName": "orders", "StreamARN": "arn:aws:kinesis:eu-west-1:1:stream/orders",
            "StreamStatus": "ACTIVE", "Shards": listed, "HasMoreShards": len(names) > 1,
            "RetentionPeriodHours": self.retention_hours, "StreamCreationTimestamp": 0,
            "EnhancedMonitoring": [],
        }}  # fmt: skip

    def _GetShardIterator(self, body: dict[str, Any]) -> dict[str, Any]:
        shard, kind = self.shards[body["ShardId"]], body["ShardIteratorType"]
        start = 0
        if kind == "LATEST":
            start = shard.next_sequence + 1
        elif kind == "AT_SEQUENCE_NUMBER":
            start = int(body["StartingSequenceNumber"])
        elif kind == "AT_TIMESTAMP":
            since = float(body["Timestamp"]) * 1000
            later = [r.sequence for r in shard.records if r.at >= since]
            start = later[0] if later else shard.next_sequence + 1
        return {"ShardIterator": f"{body['ShardId']}|{start}"}

    def _GetRecords(self, body: dict[str, Any]) -> dict[str, Any]:
        name, start = body["ShardIterator"].split("|")
        shard = self.shards[name]
        rest = [r for r in shard.records if r.sequence >= int(start)]
        found = rest[: body["Limit"]]
        if self.empty_answers and rest:
            self.empty_answers -= 1
            found = []
        left = rest[len(found) :]
        answer: dict[str, Any] = {
            "Records": [
                {"SequenceNumber": str(r.sequence), "ApproximateArrivalTimestamp": r.at / 1000,
                 "Data": base64.b64encode(r.data).decode(), "PartitionKey": "k"}
                for r in found
            ],
            "MillisBehindLatest": max(self.least_lag, self.now() - left[0].at) if left else 0,
        }  # fmt: skip
        if left or not shard.closed:
            after = found[-1].sequence + 1 if found else int(start)
            answer["NextShardIterator"] = f"{name}|{after}"
        return answer
