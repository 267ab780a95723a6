"""Reading one shard: its iterator, what was fetched and not yet given, and the proof that nothing was dropped."""

import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import Terminal
from headrace.sources.contract import ENDED, Message, Position
from headrace.sources.kinesis_calls import Api, ArgumentRefused, IteratorExpired, server_time
from headrace.sources.kinesis_records import Item, Mark, items, milliseconds, text_of

PACE = 0.2  # seconds between two GetRecords of a shard: it answers five in a second
HOUR = 3_600_000  # milliseconds
CLOCK_SLACK = 10_000  # milliseconds: the service's time is known to the second, arrivals roughly
SURELY_KEPT = 23 * HOUR  # no stream keeps records for less than a day


class Shard:
    """`paces` has the moment at which each shard may be asked again, shared by all who read the stream."""

    def __init__(
        self,
        api: Api,
        stream: str,
        id: str,
        position: Position,
        paces: MutableMapping[str, float],
    ) -> None:
        self._api, self._stream, self.id, self._paces = api, stream, id, paces
        self.position = position
        self._mark = Mark.of(position.token)
        self.items: deque[Item] = deque()
        self._iterator: str | None = None
        self._sought: Mark | None = None
        self._last_at = 0
        self.closed = False
        self.at_tip = False
        self.lag = 0
        self.looked = time.monotonic()
        self.answered = 0

    @property
    def name(self) -> str:
        return f"shard {self.id} of stream {self._stream}"

    @property
    def behind(self) -> int | None:
        """Milliseconds that the position is behind the newest record; None before the first answer."""
        if not self.answered:
            return None
        waiting = self._last_at - self._mark_time() if self.items else 0
        return self.lag + max(0, waiting)

    def _mark_time(self) -> int:
        return self._last_at if self._mark.time is None else self._mark.time

    def stands_at(self, position: Position) -> bool:
        if self.position == position:
            return True
        if self.position.ended or position.offset != self.position.offset:
            return False
        return self._mark.same_place(Mark.of(position.token))

    def move(self, position: Position) -> None:
        """The same place, said otherwise."""
        self.position = position
        self._mark = Mark.of(position.token)

    def reopen(self) -> None:
        """The next fetch takes a new iterator from the position."""
        self._iterator, self.at_tip = None, False
        self.items.clear()

    def take(self, most: int) -> Sequence[Message]:
        """Up to `most` messages of what was fetched; the position moves behind them, and to ENDED at the end."""
        messages: list[Message] = []
        offset = self.position.offset
        while self.items and (len(messages) < most or self.items[0].message is None):
            item = self.items.popleft()
            if item.message is not None:
                messages.append(replace(item.message, offset=offset))
                offset += 1
            self._mark = item.mark
            self.position = Position(offset, str(item.mark))
        if self.closed and not self.items:
            self.position = Position(offset, ENDED)
        return messages

    def fetch(self, most: int, horizon: Callable[[int], int]) -> None:
        """One GetRecords. Throttled or another Transient leaves everything as it was.

        `horizon` gives the arrival before which records are no longer kept, for the service's time.
        """
        try:
            answer = self._records(most)
        except (IteratorExpired, ArgumentRefused):  # refused: a server that started anew
            self.reopen()
            answer = self._records(most)
        records: Sequence[Mapping[str, Any]] = answer["Records"]
        now = server_time(answer, time.time())
        lag = int(answer.get("MillisBehindLatest") or 0)
        closed = not answer.get("NextShardIterator")
        at_tip = closed or (lag == 0 and len(records) < most)
        skip = 0
        if self._sought is not None and (records or at_tip):
            first = records[0] if records else None
            if first is not None and first["SequenceNumber"] == self._sought.sequence:
                skip = self._sought.done or 0
                records = records if self._sought.done is not None else records[1:]
            else:
                self._not_kept(self._sought, first, now, horizon)
            self._sought = None
        for number, record in enumerate(records):
            self.items.extend(items(self.id, record, skip if number == 0 else 0))
        if records:
            self._last_at = milliseconds(records[-1]["ApproximateArrivalTimestamp"])
        self._iterator = answer.get("NextShardIterator")
        self.lag, self.closed, self.at_tip = lag, closed, at_tip
        self.looked, self.answered = time.monotonic(), now

    def _records(self, most: int) -> dict[str, Any]:
        if self._iterator is None:
            self._open()
        time.sleep(max(0.0, self._paces.get(self.id, 0.0) - time.monotonic()))
        self._paces[self.id] = time.monotonic() + PACE
        more = 1 if self._sought is not None and self._sought.sequence else 0
        return self._api.call(
            "get_records", self.name, ShardIterator=self._iterator, Limit=min(most + more, 10_000)
        )

    def _open(self) -> None:
        mark = self._mark
        if mark.sequence:
            answer = self._iterator_at("AT_SEQUENCE_NUMBER", StartingSequenceNumber=mark.sequence)
        elif mark.time is not None:
            answer = self._iterator_at("AT_TIMESTAMP", Timestamp=f"{mark.time / 1000:.3f}")
        else:
            answer = self._iterator_at("TRIM_HORIZON")
        self._iterator = answer["ShardIterator"]
        self._sought = None if mark == Mark() else mark

    def _iterator_at(self, kind: str, **where: str) -> dict[str, Any]:
        return self._api.call(
            "get_shard_iterator", self.name, StreamName=self._stream, ShardId=self.id,
            ShardIteratorType=kind, **where,
        )  # fmt: skip

    def service_time(self) -> int:
        """The service's clock, in milliseconds cut to the second."""
        return server_time(self._iterator_at("LATEST"), time.time())

    def _not_kept(
        self,
        sought: Mark,
        first: Mapping[str, Any] | None,
        now: int,
        horizon: Callable[[int], int],
    ) -> None:
        """The record at the position is gone. Terminal unless all that arrived since is still kept."""
        read_until = sought.time or 0
        if sought.done is None and read_until >= now - SURELY_KEPT:
            return
        oldest = horizon(now + CLOCK_SLACK)
        if sought.done is None and read_until >= oldest:
            return
        until = milliseconds(first["ApproximateArrivalTimestamp"]) if first else oldest
        there = f"record {first['SequenceNumber']}" if first else "nothing"
        raise Terminal(
            f"{self.name} no longer keeps the record at position {self.position.offset}"
            f" ({self.position.token}); the next that it keeps is {there}."
            f" Gap: what arrived from {text_of(read_until)} to {text_of(until)} cannot be read."
        )
