"""The emulator of Kinesis for tests, in a process of its own, and what is asked of a source that reads it."""

import itertools
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator

from headrace.sources.contract import Message, Position, Settings, Source
from headrace.sources.kinesis import CONNECTOR

SERVER = Path(__file__).parents[2] / ".venv-servers/bin/roto-server"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


class Roto:
    """The emulator on a port of its own; `stop` and `start` again keep what it holds."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [
            str(SERVER),
            "--port",
            str(self.port),
            "--data-dir",
            str(directory),
            *options,
        ]
        self.start()
        self.client = boto3.session.Session().client(
            "kinesis", endpoint_url=self.url, region_name="eu-west-1",
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the emulator did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def stream(self, name: str, shards: int = 1) -> None:
        self.client.create_stream(StreamName=name, ShardCount=shards)

    def put(self, stream: str, *bodies: bytes, key: str = "k", **more: str) -> None:
        for body in bodies:
            self.client.put_record(StreamName=stream, Data=body, PartitionKey=key, **more)

    def shards(self, stream: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.list_shards(StreamName=stream)["Shards"]
        return found


AUTH = {"accessKeyId": "AKIDEXAMPLE", "secretKey": "wJalrXUtnFEMI/K7MDENG", "region": "eu-west-1"}
AUTH_SPEC = "Aws Kinesis authentication credentials"
names = (f"orders-{number}" for number in itertools.count())


def settings(url: str, stream: str = "orders", auth: Mapping[str, Any] = AUTH) -> Settings:
    return Settings(AUTH_SPEC, {**auth, "endpointUrl": url}, {"stream": stream}, "flow-1")


def only_shard(source: Source) -> str:
    (partition,) = source.partitions()
    return partition.id


def all_from(
    source: Source, shard: str, position: Position, count: int, most: int = 100
) -> tuple[list[Message], Position]:
    """`count` messages, and none more in the next look."""
    found: list[Message] = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        chunk = source.read(shard, position, most, 1)
        found += chunk.messages
        position = chunk.next
    chunk = source.read(shard, position, most, 0)
    assert not chunk.messages
    return found, position


def bodies(messages: list[Message]) -> list[bytes]:
    return [message.body for message in messages]


def aggregate(*contents: bytes) -> bytes:
    """One record of the producer library's form with several user records."""
    aggregator = RecordAggregator()
    for number, body in enumerate(contents):
        aggregator.add_user_record(f"key-{number}", body)
    data: bytes = aggregator.clear_and_get().get_contents()[2]
    return data


class RotoHarness:
    """A stream of two shards. Restarting the emulator forgets its iterators but no record."""

    secrets = (AUTH["secretKey"],)

    def __init__(self, roto: Roto) -> None:
        self._roto, self._name = roto, next(names)
        roto.stream(self._name, 2)

    def open(self) -> Source:
        return CONNECTOR.open(settings(self._roto.url, self._name))  # type: ignore[return-value]

    def open_unknown(self) -> Source:
        return CONNECTOR.open(settings(self._roto.url, "nowhere"))  # type: ignore[return-value]

    def partitions(self) -> Sequence[str]:
        return [shard["ShardId"] for shard in self._roto.shards(self._name)]

    def produce(self, partition: str, bodies: Sequence[bytes]) -> None:
        (shard,) = (s for s in self._roto.shards(self._name) if s["ShardId"] == partition)
        hash_key = shard["HashKeyRange"]["StartingHashKey"]
        self._roto.put(self._name, *bodies, ExplicitHashKey=hash_key)

    def split(self) -> None:
        self._roto.client.split_shard(
            StreamName=self._name, ShardToSplit=self.partitions()[0], NewStartingHashKey="1000"
        )

    def stop_server(self) -> None:
        self._roto.stop()

    def start_server(self) -> None:
        self._roto.start()
