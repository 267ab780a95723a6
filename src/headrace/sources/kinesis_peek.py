"""What a Kinesis account holds, for people who set a flow up."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.sources.contract import Message, Position
from headrace.sources.kinesis_calls import Api
from headrace.sources.kinesis_records import Mark, text_of
from headrace.sources.kinesis_shard import Shard

RECORDS = 10
SECONDS = 10.0  # for all shards together
SHARDS = 8
_SINCE = (1_000, 60_000, 3_600_000, None)  # milliseconds back; None is all that is kept


def streams(api: Api) -> Sequence[Mapping[str, Any]]:
    """All streams of the account and region, in the order of their names."""
    found: list[Mapping[str, Any]] = []
    arguments: dict[str, Any] = {}
    while True:
        page = api.call("list_streams", "listing streams", **arguments)
        for name in page["StreamNames"]:
            found.append(
                {"type": "stream", "name": name, "path": name, "canPreview": True, "canFetchSchema": False}
            )  # fmt: skip
        if not page["HasMoreStreams"] or not page["StreamNames"]:
            return found
        arguments["ExclusiveStartStreamName"] = page["StreamNames"][-1]


def newest(api: Api, stream: str) -> Sequence[Mapping[str, Any]]:
    """Up to ten records, the newest first: `partition`, `id`, `at`, and the body as `text`.

    Kinesis cannot be read backwards: longer and longer times are looked back over, in at most eight shards (open
    ones first), for ten seconds. A busy stream's answer may therefore lack its very newest records.
    """
    deadline = time.monotonic() + SECONDS
    described = api.describe(stream)
    shards = described["Shards"]
    shards.sort(key=lambda shard: "EndingSequenceNumber" in shard["SequenceNumberRange"])
    paces: dict[str, float] = {}
    last: list[tuple[str, Message]] = []
    for since in _SINCE:
        token = "" if since is None else str(Mark(time=described["Time"] - since))
        last = []
        for each in shards[:SHARDS]:
            shard = Shard(api, stream, each["ShardId"], Position(0, token), paces)
            last += [(shard.id, message) for message in _tail(shard, deadline)]
        if len(last) >= RECORDS or time.monotonic() > deadline:
            break
    last.sort(key=lambda found: found[1].at, reverse=True)
    return [
        {
            "partition": shard_id,
            "id": message.id,
            "at": text_of(message.at),
            "text": message.body.decode(errors="replace"),
        }
        for shard_id, message in last[:RECORDS]
    ]


def _tail(shard: Shard, deadline: float) -> Sequence[Message]:
    last: list[Message] = []
    while True:
        shard.fetch(1_000, lambda now: 0)  # what is no longer kept is not missed here
        last = [*last, *shard.take(len(shard.items))][-RECORDS:]
        if shard.at_tip or shard.closed or time.monotonic() > deadline:
            return last
