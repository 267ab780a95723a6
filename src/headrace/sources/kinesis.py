"""Amazon Kinesis data streams: shards are the partitions, a shard's parents are read before it.

Kinesis numbers records with gaps, so offsets count the records since the flow began; the token (see
`kinesis_records`) is what reading goes on from. Needs ListStreams, DescribeStream, GetShardIterator and GetRecords.

Kinesis does not say that a position is older than what it keeps: it goes on at the oldest record. So the first read
from a position asks for the last record read once more. If it still comes, all that follows is there. If not, and
the time up to which all was read is longer ago than the stream's retention, reading stops: records that arrived in
between are gone, if there were any, which nobody can tell. A quiet shard's position therefore moves on in time when
nothing new comes, and is worth keeping. Not noticed: records lost before the first was read from the beginning of a
shard, and a retention that was lowered and raised again while the flow stood still.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import ConfigurationError, Terminal, Transient
from headrace.sources.contract import (
    EARLIEST,
    LATEST,
    Chunk,
    Connector,
    Partition,
    Position,
    Settings,
    Source,
)
from headrace.sources.kinesis_calls import Api, Throttled, auth_of
from headrace.sources.kinesis_peek import newest, streams
from headrace.sources.kinesis_records import Mark
from headrace.sources.kinesis_shard import HOUR, SURELY_KEPT, Shard

IDLE = 0.5  # seconds between two looks at a shard without news: others read the stream too
BACK_OFF = (0.2, 2.0)  # seconds, first and longest
LOOK_BACK = 2_000  # milliseconds; what arrived longer ago is visible to every read
REFRESH = 600_000  # milliseconds after which the position of a quiet shard moves on in time
COUNTING = 30.0  # seconds that `end` may read
LARGEST = 10_000  # records that one GetRecords may ask for


class KinesisSource:
    """One stream. Iterators and records that were fetched beyond `most` stay here between reads."""

    def __init__(self, api: Api, stream: str) -> None:
        self._api, self._stream = api, stream
        self._shards: dict[str, Shard] = {}
        self._furthest: dict[str, Position] = {}
        self._paces: dict[str, float] = {}
        self._retention: int | None = None  # milliseconds
        self._opened = int(time.time() * 1000)

    def close(self) -> None:
        self._api.close()

    def partitions(self) -> Sequence[Partition]:
        """Parents that the stream no longer lists count as read."""
        shards = self._listed()
        listed = {shard["ShardId"] for shard in shards}
        return tuple(_partition(shard, listed) for shard in shards)

    def start(self, partition: str, reset: str) -> Position:
        """`latest` is an exact place: after the last record of now, or before the first that will come."""
        if reset not in (EARLIEST, LATEST):
            raise ConfigurationError(f"reset must be {EARLIEST} or {LATEST}, not '{reset[:40]}'")
        if reset == EARLIEST:
            return self._seen(partition, Position())
        shard = self._shard(partition, Position())
        since = shard.service_time() - LOOK_BACK
        shard.move(Position(0, str(Mark(time=since))))
        self._run_to_tip(shard, time.monotonic() + COUNTING)
        return self._seen(partition, replace(shard.position, offset=0))

    def end(self, partition: str) -> Position:
        """Counts on from the furthest position that was read here, or else from the oldest record.

        Transient when the end was not reached within half a minute; the next call goes on from there.
        """
        known = self._furthest.get(partition, Position())
        if known.ended:
            return known
        shard = self._shard(partition, known)
        try:
            self._run_to_tip(shard, time.monotonic() + COUNTING)
        finally:
            self._seen(partition, shard.position)
        return shard.position

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        """Transient when the service throttles for as long as `wait`, or cannot be reached."""
        if position.ended:
            return Chunk((), position, 0, 0)
        deadline = time.monotonic() + wait
        shard = self._shards.get(partition)
        if shard is None or not shard.stands_at(position):
            shard = self._shards[partition] = self._shard(partition, position)
        elif self._near_the_horizon(shard):
            shard.reopen()
        back_off = BACK_OFF[0]
        while not shard.items and not shard.closed:
            try:
                shard.fetch(min(most, LARGEST), self._horizon)
            except Throttled:
                if time.monotonic() + back_off > deadline:
                    raise
                time.sleep(random.uniform(back_off / 2, back_off))  # others wait for the same shard
                back_off = min(back_off * 2, BACK_OFF[1])
                continue
            if shard.items or shard.closed:
                break
            pause = IDLE if shard.at_tip else 0.0  # an empty answer may also come before records
            if time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
        messages = shard.take(most)
        if not messages and shard.at_tip and not shard.closed:
            self._refresh(shard)
        self._seen(partition, shard.position)
        behind = shard.behind
        none_left = shard.at_tip and not shard.items
        return Chunk(messages, shard.position, 0 if none_left else None, behind)

    def _shard(self, partition: str, position: Position) -> Shard:
        return Shard(self._api, self._stream, partition, position, self._paces)

    def _seen(self, partition: str, position: Position) -> Position:
        known = self._furthest.get(partition)
        if known is None or position.offset >= known.offset:
            self._furthest[partition] = position
        return position

    def _run_to_tip(self, shard: Shard, deadline: float) -> None:
        """Moves on past all records that are there, without keeping them."""
        while not shard.closed and not shard.at_tip:
            try:
                shard.fetch(LARGEST, self._horizon)
            except Throttled:
                if time.monotonic() + BACK_OFF[1] > deadline:
                    raise
                time.sleep(BACK_OFF[1])
            shard.take(len(shard.items))
            if time.monotonic() > deadline and not shard.at_tip and not shard.closed:
                raise Transient(
                    f"the end of {shard.name} was not reached within {COUNTING:.0f} seconds;"
                    f" {shard.position.offset} records were counted"
                )
        shard.take(0)

    def _refresh(self, shard: Shard) -> None:
        mark = Mark.of(shard.position.token)
        since = self._opened if mark.time is None else mark.time
        read_until = shard.answered - LOOK_BACK
        if read_until - since >= REFRESH:
            shard.move(replace(shard.position, token=str(replace(mark, time=read_until))))

    def _near_the_horizon(self, shard: Shard) -> bool:
        """Whether records may be dropped between two reads, so that the last one must be asked for again."""
        behind = shard.lag + int((time.monotonic() - shard.looked) * 1000)
        if shard.items or behind < SURELY_KEPT:
            return False
        return behind > self._kept() - HOUR // 6

    def _kept(self) -> int:
        if self._retention is None:
            self._listed()
        return self._retention or 0

    def _horizon(self, now: int) -> int:
        self._retention = None  # it may have been changed since
        return now - self._kept()

    def _listed(self) -> Sequence[Mapping[str, Any]]:
        found = self._api.describe(self._stream)
        if found["StreamStatus"] == "DELETING":
            raise Terminal(f"the Kinesis stream {self._stream} is being deleted")
        self._retention = found["RetentionPeriodHours"] * HOUR
        shards: Sequence[Mapping[str, Any]] = found["Shards"]
        return shards


def _partition(shard: Mapping[str, Any], listed: set[str]) -> Partition:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    return Partition(shard["ShardId"], tuple(each for each in parents if each in listed))


def open_source(settings: Settings) -> Source:
    """ConfigurationError names the parameter that is missing."""
    auth_of(settings)
    stream = str(settings.params.get("stream") or "")
    if not stream:
        raise ConfigurationError("a source connection of Amazon Kinesis needs stream")
    return KinesisSource(Api(settings), stream)


def check(settings: Settings) -> None:
    """ListStreams with the credentials."""
    api = Api(settings)
    try:
        api.call("list_streams", "listing streams", Limit=1)
    finally:
        api.close()


def explore(settings: Settings, stream: str | None) -> Sequence[Mapping[str, Any]]:
    """The streams of the account, or up to ten of the newest records of one."""
    api = Api(settings)
    try:
        return streams(api) if stream is None else newest(api, stream)
    finally:
        api.close()


CONNECTOR = Connector(
    name="Amazon Kinesis",
    spec_id="86043421-563b-46ec-8e6c-e23184711bf6",
    open=open_source,
    check=check,
    explore=explore,
)
