"""Kinesis records: the marks by which reading goes on, and the user records inside one that a producer aggregated.

A mark is the token of a `Position`:

- `""`: the oldest record that the shard keeps,
- `at:<ms>`: the first record that arrived at or after a time,
- `<sequence>@<ms>`: after that record,
- `<sequence>:<n>@<ms>`: inside that record, after its first `n` user records.

The time says up to when everything that had arrived was read: the arrival of the record, or a later moment at which
the shard had nothing more. It is needed once the record itself is no longer kept: what arrived after that time may
then be lost, what arrived before is not.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.errors import ConfigurationError
from headrace.sources.contract import Message

_TOKEN = re.compile(r"(?:at:(?P<at>\d+)|(?P<sequence>\d+)(?::(?P<done>\d+))?@(?P<time>\d+))?")
_MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """A token, read. `done` counts the user records read of an aggregated record, None when all of it was read."""

    sequence: str = ""
    done: int | None = None
    time: int | None = None

    @classmethod
    def of(cls, token: str) -> "Mark":
        """ConfigurationError for a token that no Kinesis shard gave."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise ConfigurationError(f"'{token[:80]}' is no position in a Kinesis shard")
        time = found["at"] or found["time"]
        done = found["done"]
        return cls(
            found["sequence"] or "",
            int(done) if done is not None else None,
            int(time) if time is not None else None,
        )

    def __str__(self) -> str:
        if not self.sequence:
            return "" if self.time is None else f"at:{self.time}"
        inside = "" if self.done is None else f":{self.done}"
        return f"{self.sequence}{inside}@{self.time or 0}"

    def same_place(self, other: "Mark") -> bool:
        """Whether the same record comes next: with a record to hold on to, the time says nothing about that."""
        if self.sequence or other.sequence:
            return (self.sequence, self.done) == (other.sequence, other.done)
        return self.time == other.time


@dataclass(frozen=True, slots=True)
class Item:
    """A user record and the mark after it. Its message is None when a record holds no user record at all."""

    message: Message | None
    mark: Mark


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def text_of(time: int) -> str:
    """A time in milliseconds since the epoch, for people."""
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def items(shard: str, record: Mapping[str, Any], skip: int = 0) -> Iterator[Item]:
    """The user records of a record as GetRecords gives it, without the first `skip`.

    A record that is aggregated in form but not whole is given as it is: it then fails where failures are recorded.
    User records are given also when their key belongs to another shard. Java consumers drop those, as the producer
    library sends them again after a split; other aggregators put any key anywhere and would lose records.
    """
    sequence, at = record["SequenceNumber"], milliseconds(record["ApproximateArrivalTimestamp"])
    inner = unpacked(record["Data"])
    if inner is None:
        body = bytes(record["Data"])
        headers = {"partitionKey": record["PartitionKey"]}
        message = Message(body, 0, at, f"{shard}:{sequence}", headers)
        yield Item(message, Mark(sequence, None, at))
        return
    if skip >= len(inner):
        yield Item(None, Mark(sequence, None, at))
    for number, (key, body) in enumerate(inner):
        if number < skip:
            continue
        done = None if number + 1 == len(inner) else number + 1
        message = Message(body, 0, at, f"{shard}:{sequence}:{number}", {"partitionKey": key})
        yield Item(message, Mark(sequence, done, at))


def unpacked(data: bytes) -> list[tuple[str, bytes]] | None:
    """Partition key and body of each user record in an aggregated record; None when it is not one."""
    if not data.startswith(_MAGIC) or len(data) <= len(_MAGIC) + _DIGEST:
        return None
    content, digest = data[len(_MAGIC) : -_DIGEST], data[-_DIGEST:]
    if hashlib.md5(content, usedforsecurity=False).digest() != digest:
        return None
    return _records(content)


def _records(content: bytes) -> list[tuple[str, bytes]] | None:
    # the library's own loop prints a record that is not whole, and loses its rest: only its message type is used
    path = list(sys.path)
    try:
        from aws_kinesis_agg import deaggregator  # type: ignore[import-untyped]
    finally:
        sys.path[:] = path  # the library puts its own directory first
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    aggregated = deaggregator.messages_pb2.AggregatedRecord()
    try:
        aggregated.ParseFromString(content)
        keys = aggregated.partition_key_table
        return [(keys[each.partition_key_index], each.data) for each in aggregated.records]
    except (DecodeError, IndexError):
        return None
