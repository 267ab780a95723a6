"""What the checks of a source need of a server: a `Harness`, abilities beyond it, and readings held to the contract."""

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headrace.errors import HeadraceError, Terminal, Transient
from headrace.sources.contract import Chunk, Message, Position, Source

PATIENCE = 15.0
"""Seconds until what a server was made to do must be seen."""


class NotConforming(AssertionError):
    """The source does something that the contract does not allow."""


class Harness(Protocol):
    """A stream at a running server. `secrets` are texts that no error may contain."""

    secrets: Sequence[str]

    def open(self) -> Source:
        """A new source on the stream; the check closes it."""
        ...

    def partitions(self) -> Sequence[str]:
        """Ids of the stream's partitions as the server knows them, two or more."""
        ...

    def produce(self, partition: str, bodies: Sequence[bytes]) -> None:
        """Appends to one partition in order; returns when the server has them. Thread-safe."""
        ...


class Trims(Harness, Protocol):
    def trim(self, partition: str, kept: int) -> None:
        """The server forgets all but the newest `kept` messages of the partition."""
        ...


class Splits(Harness, Protocol):
    def split(self) -> None:
        """The stream gets at least one more partition."""
        ...


class Stops(Harness, Protocol):
    def stop_server(self) -> None:
        """Nothing answers from now on."""
        ...

    def start_server(self) -> None:
        """The server is back with what it held."""
        ...


class Breaks(Harness, Protocol):
    def break_connections(self) -> None:
        """Open connections end; new ones work."""
        ...


class Refuses(Harness, Protocol):
    def open_refused(self) -> Source:
        """Opens a source with credentials that the server refuses; may raise Terminal already."""
        ...


class Misses(Harness, Protocol):
    def open_unknown(self) -> Source:
        """Opens a source on a stream that does not exist; may raise Terminal already."""
        ...


class Expires(Harness, Protocol):
    def expire_credentials(self) -> None:
        """What an open source authenticated with is refused from now on."""
        ...


def require(holds: bool, complaint: str) -> None:
    if not holds:
        raise NotConforming(complaint)


def bodies(name: str, count: int, start: int = 0) -> list[bytes]:
    return [b'{"id": "%s-%d"}' % (name.encode(), n) for n in range(start, start + count)]


def read_until(
    source: Source, partition: str, position: Position, count: int
) -> tuple[list[Message], Position]:
    """Messages from a position on, in as many chunks as it takes, each held against the contract."""
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        require(
            time.monotonic() < deadline,
            f"{len(found)} of {count} messages of partition {partition} came within {PATIENCE} s",
        )
        chunk = source.read(partition, position, count - len(found), 0.5)
        check_chunk(chunk, position, count - len(found))
        found += chunk.messages
        position = chunk.next
    return found, position


def check_chunk(chunk: Chunk, position: Position, most: int) -> None:
    """What holds of every answer: no more than asked for, offsets that grow, a next position behind them."""
    offsets = [message.offset for message in chunk.messages]
    require(len(offsets) <= most, f"{len(offsets)} messages came, {most} were asked for")
    require(
        all(a < b for a, b in zip([position.offset - 1, *offsets], offsets, strict=False)),
        f"offsets from {position.offset} on do not grow: {offsets[:10]}",
    )
    least = offsets[-1] + 1 if offsets else position.offset
    require(
        chunk.next.ended or chunk.next.offset >= least,
        f"the next position {chunk.next.offset} lies before {least}",
    )
    ids = {message.id for message in chunk.messages}
    require(len(ids) == len(offsets), "messages of one chunk share an id")
    for behind in (chunk.behind_records, chunk.behind_ms):
        require(behind is None or behind >= 0, f"behind by {behind}")


def check_harmless(error: BaseException, secrets: Sequence[str]) -> None:
    """No secret in an error, nor in what it was raised from."""
    text = "".join(traceback.format_exception(error)) + repr(error)
    require(not any(secret in text for secret in secrets), "an error contains a secret")


def raised_by(
    action: Callable[[], Any], wanted: type[HeadraceError], secrets: Sequence[str], doing: str
) -> HeadraceError:
    """The error of an action that is repeated until it fails, for PATIENCE seconds; it must be a `wanted`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            action()
        except wanted as error:
            check_harmless(error, secrets)
            return error
        except Exception as error:
            check_harmless(error, secrets)
            if wanted is Terminal and isinstance(error, Transient):
                continue
            raise NotConforming(f"{doing}: {error!r} instead of {wanted.__name__}") from error
        time.sleep(0.05)
    raise NotConforming(f"{doing}: no {wanted.__name__} within {PATIENCE} s")


def patiently(action: Callable[[], Any], secrets: Sequence[str], doing: str) -> Any:
    """The answer of an action that may raise Transient for PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except Transient as error:
            check_harmless(error, secrets)
            if time.monotonic() > deadline:
                raise NotConforming(f"{doing}: still {error!r} after {PATIENCE} s") from error
            time.sleep(0.1)


def same_bodies(found: Sequence[Message], wanted: Sequence[bytes], doing: str) -> None:
    got = [message.body for message in found]
    require(got == list(wanted), f"{doing}: {got[:5]} … ({len(got)}), not {list(wanted)[:5]} …")
