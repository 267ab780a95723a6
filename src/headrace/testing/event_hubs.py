"""An Event Hubs emulator of our own: hubs in memory behind AMQP 1.0, enough for the official clients' unmodified code.

It knows SASL, tokens with their signatures and scopes, hub and partition properties, batches, partition keys,
receivers with positions, epochs and credit, retention moved by hand, and the refusals that tests ask for. It has no
TLS, no websockets, no Azure Active Directory and no checks of rights beyond a token's scope. Written after the
protocol guide and the client's behaviour, not after the service itself.
"""

import asyncio
import sys
import threading
import zlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from headrace.testing.event_hubs_link import Connection
from headrace.testing.event_hubs_log import Hub, Partition, now


class Emulator:
    """Hubs with their numbers of partitions, at a port of this machine. What they hold outlives `stop`.

    With `keys` (names of policies and their keys) tokens must be signed by one of them; without, anything goes.
    """

    def __init__(
        self,
        hubs: Mapping[str, int],
        keys: Mapping[str, str] | None = None,
        groups: Sequence[str] = ("$Default",),
    ) -> None:
        self.hubs = {name: Hub(name, count) for name, count in hubs.items()}
        self.keys = dict(keys or {})
        self.groups = tuple(groups)
        self.port = 0
        self.refusals: list[tuple[str, str]] = []
        """Conditions and descriptions with which the next receivers are refused, one each."""
        self.connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listens, at the same port as before where it was stopped."""
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name="emulator", daemon=True
        )
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        """Ends the port and every connection; to be started again."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._do(self._close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        self._loop = self._thread = None

    def connection_string(self, hub: str, policy: str = "policy") -> str:
        """For the official clients; any key will do where the emulator has none."""
        key = self.keys.get(policy, "anything")
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName={policy};"
            f"SharedAccessKey={key};UseDevelopmentEmulator=true;EntityPath={hub}"
        )

    def trim(self, hub: str, partition: str, kept: int) -> None:
        """Retention: only the newest `kept` events stay."""
        self._call(lambda: self.partition(hub, partition).trim(kept))

    def recreate(self, hub: str) -> None:
        """The hub is deleted and made anew, its numbers begin again."""
        count = len(self.hubs[hub].partitions)
        self._call(lambda: self.hubs.__setitem__(hub, Hub(hub, count)))
        self.break_connections()

    def break_connections(self) -> None:
        """Ends open connections without a word."""

        def end() -> None:
            for connection in list(self.connections):
                connection.abort()

        self._call(end)

    def change_keys(self, keys: Mapping[str, str]) -> None:
        """From now on only these keys sign; links that were opened before are told so and end."""

        def change() -> None:
            self.keys = dict(keys)
            for connection in list(self.connections):
                connection.revoke()

        self._call(change)

    def partition(self, hub: str, id: str) -> Partition:
        return self.hubs[hub].partitions[int(id)]

    def append(
        self, hub: Hub, target: Partition | None, messages: Sequence[bytes], key: str | None
    ) -> None:
        """Events of one transfer, all into the same partition."""
        if target is None:
            turn = zlib.crc32(key.encode()) if key else hub.next_turn()
            target = hub.partitions[turn % len(hub.partitions)]
        for message in messages:
            target.append(message, now())
        for reader in list(target.readers):
            reader.pump()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        loop.run_forever()
        loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 22
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await connection.run()
        self.connections.discard(connection)
        connection.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()
        while self.connections:
            await asyncio.sleep(0.005)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, change: Callable[[], object]) -> None:
        async def run() -> None:
            change()

        self._do(run())


def main(arguments: Sequence[str]) -> None:
    """`python -m headrace.testing.event_hubs clicks=4 views=2`: prints connection strings, serves until interrupted."""
    hubs = {name: int(count or 1) for name, _, count in (each.partition("=") for each in arguments)}
    with suppress(KeyboardInterrupt), Emulator(hubs) as emulator:
        for name in hubs:
            print(emulator.connection_string(name), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
