"""Receiving from one partition of an event hub: the library calls back in a thread, the source takes from a buffer."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import HeadraceError, Transient
from headrace.sources.contract import Message
from headrace.sources.event_hubs_client import Account, Extent, Refused, conditions

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventHubConsumerClient

MOST_BYTES = 4 * 2**20
"""Bytes of bodies that wait to be taken; a batch more may come on top of them."""
BATCH = 300
"""Events of one call back, and those the service may send ahead."""
PROMPT = 0.05
"""Seconds that events which have arrived may wait for others."""
SETTLED = 60.0
"""Seconds after which a refusal means that something changed, not that the credentials never worked."""


class Receiver:
    """Begins with the event numbered `next`. One thread takes; the call backs come from another."""

    def __init__(self, account: Account, partition: str, next: int, extent: Extent) -> None:
        self.next = next
        self.newest, self.newest_at = extent.end - 1, extent.at
        """Number and time of the newest event of the partition that is known of."""
        self.heard = time.monotonic()
        """When events came last, or the hub was asked about them."""
        self._account = account
        self._partition = partition
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._first = self._arrived = next
        self._fault: HeadraceError | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._since = time.monotonic()
        self._client = account.client()
        # the library would open another connection to ask, for each receiver, whether there is such a partition
        self._client.get_partition_ids = lambda: [partition]  # type: ignore[method-assign]
        hand_on_promptly(self._client)
        name = f"event-hubs-{partition}"
        self._thread = threading.Thread(target=self._run, args=(next,), name=name, daemon=True)
        self._thread.start()

    def take(self, most: int, wait: float) -> list[Message]:
        """Messages with numbers in a row from `next` on; waits for the first. Ends before a gap: see `gap`."""
        with self._changed:
            if not self._waiting and self._fault is None:
                self._changed.wait_for(lambda: self._waiting or self._fault is not None, wait)
            if not self._waiting and self._fault is not None:
                raise self._fault
            taken: list[Message] = []
            while self._waiting and len(taken) < most and self._waiting[0].offset == self.next:
                message = self._waiting.popleft()
                taken.append(message)
                self._bytes -= len(message.body)
                self.next = message.offset + 1
            if taken:
                self._changed.notify_all()
            return taken

    @property
    def gap(self) -> int:
        """How many numbers are missing before the next message that waits."""
        with self._changed:
            return self._waiting[0].offset - self.next if self._waiting else 0

    def skip(self, count: int) -> None:
        """Goes on after numbers that no event has any more."""
        self.next += count

    def compare(self, extent: Extent) -> None:
        """Transient where events that were known of the last time have not come: the library loses some failures."""
        with self._changed:
            missing = self.newest >= self._arrived and not self._waiting
            self._newer(extent.end - 1, extent.at)
            self.heard = time.monotonic()
        if missing:
            raise Transient(f"Azure Event Hubs, {self._doing}: events are there and do not come")

    def close(self) -> None:
        """Lets the thread end by itself: the library takes up to a second for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._client.close()

    def _run(self, next: int) -> None:
        conditions.forget()
        try:
            self._client.receive_batch(
                self._on_batch,
                max_batch_size=BATCH,
                prefetch=BATCH,
                partition_id=self._partition,
                # before the first event there is no number to begin after
                starting_position=next - 1 if next > 0 else "-1",
                starting_position_inclusive=False,
                track_last_enqueued_event_properties=True,
                on_error=self._on_error,
            )
        except Exception as error:
            self._fail(error)
        with self._changed:
            if self._fault is None:
                self._fault = Transient(f"Azure Event Hubs, {self._doing}: the receiver ended")
            self._changed.notify_all()

    @property
    def _doing(self) -> str:
        where = f"partition {self._partition} of hub {self._account.hub}"
        return f"reading {where} from event {self._first} on"

    def _on_batch(self, context: Any, events: "list[EventData]") -> None:
        account = self._account
        messages = [message_of(event, account.hub, self._partition) for event in events]
        told = context.last_enqueued_event_properties or {}
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < MOST_BYTES or self._closing)
            self.heard = time.monotonic()
            for message in messages:
                if message.offset >= self._arrived:
                    self._waiting.append(message)
                    self._bytes += len(message.body)
                    self._arrived = message.offset + 1
                    self._newer(message.offset, message.at)
            if told.get("sequence_number") is not None and told.get("enqueued_time"):
                self._newer(int(told["sequence_number"]), milliseconds(told["enqueued_time"]))
            self._changed.notify_all()

    def _newer(self, number: int, at: int) -> None:
        if number > self.newest:
            self.newest, self.newest_at = number, at

    def _on_error(self, context: Any, error: Exception) -> None:
        """Ends the receiver: left alone, the library would begin again where this one began."""
        self._fail(error)
        self._client.close()

    def _fail(self, error: Exception) -> None:
        fault = self._account.fault(error, self._doing)
        settled = time.monotonic() - self._since > SETTLED or self._arrived > self._first
        if isinstance(fault, Refused) and settled:
            # a token that ended, or a key that changed: the next question to the hub tells which
            fault = Transient(str(fault))
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()


class Steps:
    """How many frames one turn of the library may read: more while they come fast, fewer when they are waited for.

    `credit` tells how many events the service may still send; who waits for more waits in vain.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        credit: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._credit, self._clock = work, credit, clock
        self._most = BATCH

    def __call__(self, batch: int = BATCH) -> Any:
        credit = self._credit()
        began = self._clock()
        try:
            return self._work(batch=min(self._most, credit if credit > 0 else batch))
        finally:
            slow = self._clock() - began > PROMPT
            self._most = max(1, self._most // 4) if slow else min(BATCH, self._most * 2)


def hand_on_promptly(client: "EventHubConsumerClient") -> None:
    """Left alone, the library hands events on when it has read as many frames as it asks the service for, or none
    came for a fifth of a second: at 100 events a second after three seconds."""
    create = client._create_consumer

    def consumer(*given: Any, **named: Any) -> Any:
        made: Any = create(*given, **named)
        build = made._create_handler

        def handler(auth: Any) -> None:
            build(auth)
            receiving = made._handler
            receiving.do_work = Steps(
                receiving.do_work,
                lambda: int(receiving._link.current_link_credit) if receiving._link else 0,
            )

        made._create_handler = handler
        return made

    client._create_consumer = consumer  # type: ignore[method-assign]


def message_of(event: "EventData", hub: str, partition: str) -> Message:
    """An event as it came: application properties are headers, beside its content type and partition key."""
    number = event.sequence_number
    assert number is not None  # the service gives every event one
    headers = {_text(key): _text(value) for key, value in (event.properties or {}).items()}
    system: Mapping[Any, Any] = event.system_properties
    for name in ("content-type", "content-encoding"):
        if system.get(name.encode()):
            headers.setdefault(name, _text(system[name.encode()]))
    if event.partition_key:
        headers.setdefault("x-opt-partition-key", _text(event.partition_key))
    at = milliseconds(event.enqueued_time) if event.enqueued_time else 0
    return Message(body_of(event), number, at, f"{hub}/{partition}/{number}", headers)


def body_of(event: "EventData") -> bytes:
    """Data sections one after another; a value or a sequence of AMQP, which is not bytes, as JSON."""
    from azure.eventhub.amqp import AmqpMessageBodyType

    body: Any = event.body
    if event.body_type == AmqpMessageBodyType.DATA:
        return body if isinstance(body, bytes) else b"".join(body)
    if event.body_type == AmqpMessageBodyType.SEQUENCE:
        rows = [_plain(row) for row in body]
        return msgspec.json.encode(rows[0] if len(rows) == 1 else rows)
    return body if isinstance(body, bytes) else msgspec.json.encode(_plain(body))


def milliseconds(moment: Any) -> int:
    seconds: float = moment.timestamp()
    return round(seconds * 1000)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Mapping):
        return {_text(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
