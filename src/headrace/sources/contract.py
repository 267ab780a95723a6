"""What a source must be able to do: partitions whose ranges can be read again.

The lake's watermark decides where reading goes on; a source's own checkpoints are for display at most. The contract
has what Spark's `DataSourceStreamReader` asks for: `initialOffset` is `start` of every partition, `latestOffset` is
`end`, and a range between two positions is read by `read` until its end is reached.

Every method may raise `Transient` (the caller waits and tries again) or `Terminal` (the flow stops and says why:
credentials refused, a stream that does not exist, records that the source no longer keeps). A source is used by one
thread at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

EARLIEST, LATEST = "earliest", "latest"
ENDED = "ended"
"""Token of the position after the last record of a partition that will never have another."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading of a partition goes on.

    `offset` is a number that grows along the partition, that of the next record: the source's own where it has one
    (Kafka offset, Event Hubs sequence number), else a count of the records before it. `token` is the source's own
    mark for going on (a Kinesis sequence number), opaque to everyone else.
    """

    offset: int = 0
    token: str = ""

    @property
    def ended(self) -> bool:
        return self.token == ENDED


@dataclass(frozen=True, slots=True)
class Partition:
    """`parents` must be read to their end before this one begins (resharding)."""

    id: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came. `offset` is its number in the partition, `at` its time at the source in milliseconds
    since the epoch, `id` what identifies it to an operator of the source."""

    body: bytes
    offset: int
    at: int
    id: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a partition is behind its end; None where the source does not say."""

    records: int | None = None
    milliseconds: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition in order, and the position after them (also when there are none).

    `behind_records` and `behind_ms` say how far the position is from the end of the partition, as far as is known.
    """

    messages: Sequence[Message]
    next: Position
    behind_records: int | None = None
    behind_ms: int | None = None

    @property
    def lag(self) -> Lag:
        return Lag(self.behind_records, self.behind_ms)


class Source(Protocol):
    """An open connection to one stream, topic, hub or subscription."""

    def partitions(self) -> Sequence[Partition]:
        """All partitions that can be read now, ended ones included for as long as the source knows them."""
        ...

    def start(self, partition: str, reset: str) -> Position:
        """Where a flow that never read the partition begins: `earliest` or `latest`."""
        ...

    def end(self, partition: str) -> Position:
        """The position behind the newest record."""
        ...

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        """Up to `most` messages from a position on; waits up to `wait` seconds for the first.

        Terminal, naming both positions, when the source no longer keeps the record at the position.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a queue and the handle by which it is acknowledged."""

    message: Message
    handle: str


class Queue(Protocol):
    """An open connection to a subscription that cannot be read again: it is acknowledged once our log has it.

    A message that is not acknowledged comes back, perhaps after it was logged: its `id` tells.
    """

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Up to `most` messages; waits up to `wait` seconds for the first."""
        ...

    def acknowledge(self, handles: Sequence[str]) -> None: ...

    def behind(self) -> int | None:
        """Messages that wait at the source, as far as is known."""
        ...

    def close(self) -> None: ...


def anywhere(host: str, port: int) -> str:
    """The rule of those who may connect to whatever they name."""
    return host


@dataclass(frozen=True, slots=True)
class Settings:
    """What a reader is opened with: the connection's authentication and the source connection's parameters.

    `auth_spec` names which of the connector's authentication specs `auth` follows. `reach` gives the address to connect
    to for a host and port that a user or a broker named; Terminal where that is not allowed, Transient where the name
    has no address now.
    """

    auth_spec: str
    auth: Mapping[str, Any]
    params: Mapping[str, Any]
    flow_id: str
    reach: Callable[[str, int], str] = anywhere


@dataclass(frozen=True, slots=True)
class Connector:
    """A kind of source. `extra` names the package extra that its client library comes with, if any.

    `open` connects; `check` proves that the credentials work (Transient or Terminal otherwise); `explore` lists
    objects of the account (streams, topics, hubs) or, with an object's name, returns up to ten of its newest records as
    texts. `exclusive` gives a key that two enabled flows may not share (a consumer group, a subscription), or None.
    """

    name: str
    spec_id: str
    open: Callable[[Settings], Source | Queue]
    check: Callable[[Settings], None]
    explore: Callable[[Settings, str | None], Sequence[Mapping[str, Any]]]
    exclusive: Callable[[Settings], str | None] = lambda settings: None
    extra: str | None = None
    replayable: bool = True
    """Whether `open` gives a `Source`; else a `Queue`, which goes through our log."""
