"""Connections, sessions and links of the Event Hubs emulator, and what its nodes answer."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from headrace.testing import amqp
from headrace.testing.amqp import Code, Section, Symbol, described, uint
from headrace.testing.event_hubs_log import Beyond, Hub, Partition, Reader
from headrace.testing.event_hubs_nodes import Refused, authorize, covers, manage, path_of

if TYPE_CHECKING:
    from headrace.testing.event_hubs import Emulator

_RECEIVER = re.compile(r"(?P<hub>.+?)/ConsumerGroups/(?P<group>[^/]+)/Partitions/(?P<id>\d+)", re.I)
_SENDER = re.compile(r"(?P<hub>.+?)(?:/Partitions/(?P<id>\d+))?", re.I)
MAX_FRAME = 64 * 1024
MAX_MESSAGE = 1024 * 1024
MAX_RECEIVERS = 5
"""Receivers without an epoch that a partition has in one consumer group."""
_CREDIT = 1000
_WINDOW = 1 << 30
_NODES = ("$cbs", "$management")


@dataclass(eq=False, slots=True)
class Session:
    channel: int
    frames: int = 0
    deliveries: int = 0
    window: int = _WINDOW

    def opened(self, flow: list[Any]) -> None:
        """The peer's window after one of its flows: from its next incoming id on, less what is on its way."""
        self.window = (flow[0] or 0) + flow[1] - self.frames


@dataclass(eq=False, slots=True)
class Link:
    """`sends` is whether events go from us to the client."""

    connection: "Connection"
    session: Session
    name: str
    handle: int
    address: str
    sends: bool
    credit: int = 0
    count: int = 0
    hub: Hub | None = None
    partition: Partition | None = None
    group: str = ""
    epoch: int | None = None
    next: int = 0
    news: bool = False
    format: int | None = None
    delivery: int | None = None
    parts: list[bytes] = field(default_factory=list)

    def pump(self) -> None:
        """Sends events for as long as there are any, and credit for them."""
        partition = self.partition
        while partition and self.credit > 0 and self.session.window > 0:
            self.next = max(self.next, partition.begin)
            if self.next >= partition.end:
                return
            event = partition.events[self.next - partition.begin]
            self.next += 1
            self.credit -= 1
            self.connection.deliver(self, event.encoded(partition.last if self.news else None))

    def steal(self) -> None:
        self.connection.detach(
            self, "amqp:link:stolen", "New receiver with higher epoch is created"
        )


class Connection:
    """One client. `granted` are the paths that its tokens open."""

    def __init__(
        self, emulator: "Emulator", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._emulator = emulator
        self._reader = reader
        self._writer = writer
        self._sessions: dict[int, Session] = {}
        self._links: dict[tuple[int, int], Link] = {}
        self._max_frame = 512
        self.granted: set[str] = set()

    async def run(self) -> None:
        """Serves the client until it goes."""
        closing = False
        while not closing:
            head = await self._reader.readexactly(8)
            if head[:4] == amqp.PROTOCOL:
                self._writer.write(head)
                if head[4] == 3:
                    names = [Symbol(name) for name in ("MSSBCBS", "PLAIN", "ANONYMOUS")]
                    self._send(0, Code.SASL_MECHANISMS, names, kind=amqp.SASL)
                continue
            size, skip, kind, channel = amqp.frame_head(head)
            body = await self._reader.readexactly(size)
            if len(body) == skip:
                self._writer.write(amqp.EMPTY_FRAME)
                continue
            code, fields, payload = amqp.performative(body, skip)
            if kind == amqp.SASL:
                self._send(0, Code.SASL_OUTCOME, amqp.ubyte(0), kind=amqp.SASL)
            else:
                closing = self._on_frame(channel, code, fields, payload)
            await self._writer.drain()

    def close(self) -> None:
        for link in self._links.values():
            self._forget(link)
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    def revoke(self) -> None:
        """What was granted before holds no longer."""
        self.granted.clear()
        for link in [link for link in self._links.values() if link.address not in _NODES]:
            self.detach(link, "amqp:unauthorized-access", "ExpiredToken: The token is expired.")

    def deliver(self, link: Link, message: bytes) -> None:
        """One message, in as many frames as it takes."""
        session = link.session
        step = min(self._max_frame, MAX_FRAME) - 256
        number = session.deliveries
        session.deliveries += 1
        link.count += 1
        for start in range(0, len(message), step):
            more = start + step < len(message)
            session.frames += 1
            session.window -= 1
            self._send(
                session.channel, Code.TRANSFER, uint(link.handle), uint(number), number.to_bytes(4, "big"),
                uint(0), True, more, payload=message[start : start + step],
            )  # fmt: skip

    def detach(self, link: Link, condition: str, text: str) -> None:
        error = described(Code.ERROR, Symbol(condition), text)
        self._forget(link)
        self._links.pop((link.session.channel, link.handle), None)
        self._send(link.session.channel, Code.DETACH, uint(link.handle), True, error)

    def _send(
        self, channel: int, code: int, *fields: Any, payload: bytes = b"", kind: int = amqp.AMQP
    ) -> None:
        if not self._writer.is_closing():
            self._writer.write(amqp.frame(channel, code, *fields, payload=payload, kind=kind))

    def _on_frame(self, channel: int, code: int, fields: list[Any], payload: bytes) -> bool:
        match code:
            case Code.OPEN:
                self._max_frame = fields[2] or MAX_FRAME
                self._send(
                    0, Code.OPEN, "emulator", None, uint(MAX_FRAME), amqp.ushort(65535), uint(240_000)
                )  # fmt: skip
            case Code.BEGIN:
                self._sessions[channel] = Session(channel)
                window = uint(_WINDOW)
                self._send(channel, Code.BEGIN, amqp.ushort(channel), uint(0), window, window, uint(65535))  # fmt: skip
            case Code.ATTACH:
                self._on_attach(self._sessions[channel], fields)
            case Code.FLOW:
                self._on_flow(self._sessions[channel], fields)
            case Code.TRANSFER:
                link = self._links.get((channel, fields[0]))
                if link:
                    self._on_transfer(link, fields, payload)
            case Code.DETACH:
                link = self._links.pop((channel, fields[0]), None)
                if link:
                    self._forget(link)
                    self._send(channel, Code.DETACH, uint(link.handle), True)
            case Code.END:
                self._send(channel, Code.END)
            case Code.CLOSE:
                self._send(0, Code.CLOSE)
                return True
        return False

    def _on_flow(self, session: Session, fields: list[Any]) -> None:
        session.opened(fields)
        link = self._links.get((session.channel, fields[4])) if fields[4] is not None else None
        if link and link.sends:
            link.credit = (fields[5] or 0) + (fields[6] or 0) - link.count
        for each in [link] if link else list(self._links.values()):
            if each.partition and each.sends:
                each.pump()

    def _on_attach(self, session: Session, fields: list[Any]) -> None:
        sends = bool(fields[2])
        terminus = (fields[5] if sends else fields[6]).value
        link = Link(self, session, fields[0], fields[1], path_of(terminus[0] or ""), sends)
        self._links[session.channel, link.handle] = link
        self._send(
            session.channel, Code.ATTACH, link.name, uint(link.handle), not fields[2], amqp.ubyte(0), amqp.ubyte(0),
            described(Code.SOURCE, link.address), described(Code.TARGET, link.address), None, None,
            uint(0) if sends else None, amqp.ulong(MAX_MESSAGE),
        )  # fmt: skip
        try:
            if link.address not in _NODES:
                self._resolve(link, terminus, fields)
        except Refused as refusal:
            self.detach(link, refusal.condition, str(refusal))
            return
        if not sends:
            self._grant(link)

    def _resolve(self, link: Link, terminus: list[Any], attach: list[Any]) -> None:
        """What the address of a link names; Refused says why it names nothing that may be used."""
        emulator = self._emulator
        found = (_RECEIVER if link.sends else _SENDER).fullmatch(link.address)
        hub = emulator.hubs.get(found["hub"]) if found else None
        known = [part.id for part in hub.partitions] if hub else []
        if not found or not hub or (found["id"] is not None and found["id"] not in known):
            raise Refused("amqp:not-found", f"The messaging entity '{link.address}' could not be found.")  # fmt: skip
        if emulator.keys and not any(covers(path, link.address) for path in self.granted):
            raise Refused("amqp:unauthorized-access", f"Unauthorized access to '{link.address}'.")
        link.hub = hub
        partition = hub.partitions[int(found["id"])] if found["id"] is not None else None
        if not link.sends or partition is None:
            link.partition = partition
            return
        if emulator.refusals:
            raise Refused(*emulator.refusals.pop(0))
        link.group = found["group"].lower()
        if link.group not in [group.lower() for group in emulator.groups]:
            raise Refused("amqp:not-found", f"The consumer group '{found['group']}' could not be found.")  # fmt: skip
        link.epoch = (attach[13] or {}).get("com.microsoft:epoch")
        link.news = "com.microsoft:enable-receiver-runtime-metric" in (attach[12] or [])
        self._admit(link, partition)
        for chosen in (terminus[7] if len(terminus) > 7 and terminus[7] else {}).values():
            selector = chosen.value if isinstance(chosen, amqp.Described) else chosen
            try:
                link.next = partition.seek(selector)
            except Beyond as error:
                raise Refused("com.microsoft:argument-error", str(error)) from None
        link.partition = partition
        partition.readers.append(link)

    @staticmethod
    def _admit(link: Link, partition: Partition) -> None:
        """Epochs: a receiver that has one drives out all that have a lower one or none."""
        others = [reader for reader in partition.readers if reader.group == link.group]
        highest = max((reader.epoch for reader in others if reader.epoch is not None), default=None)
        if highest is not None and (link.epoch is None or link.epoch < highest):
            raise Refused("amqp:link:stolen", f"At least one receiver for the endpoint is created with epoch of '{highest}'.")  # fmt: skip
        if link.epoch is None and len(others) >= MAX_RECEIVERS:
            raise Refused("amqp:resource-limit-exceeded", "Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5.")  # fmt: skip
        if link.epoch is not None:
            for reader in others:
                reader.steal()

    def _on_transfer(self, link: Link, fields: list[Any], payload: bytes) -> None:
        if link.delivery is None:
            link.delivery, link.format = fields[1], fields[3]
        link.parts.append(payload)
        if fields[5]:
            return
        message, number, settled = b"".join(link.parts), link.delivery, fields[4]
        link.parts, link.delivery = [], None
        link.count += 1
        if link.address not in _NODES:
            self._store(link, message)
        if not settled:
            self._send(
                link.session.channel, Code.DISPOSITION, True, uint(number), uint(number), True,
                described(Code.ACCEPTED),
            )  # fmt: skip
        if link.address in _NODES:
            self._answer(link, message)
        link.credit -= 1
        if link.credit <= _CREDIT // 2:
            self._grant(link)

    def _grant(self, link: Link) -> None:
        link.credit = _CREDIT
        self._send(
            link.session.channel, Code.FLOW, uint(0), uint(_WINDOW), uint(link.session.frames), uint(_WINDOW),
            uint(link.handle), uint(link.count), uint(_CREDIT),
        )  # fmt: skip

    def _store(self, link: Link, message: bytes) -> None:
        found: list[tuple[Any, Any, Any]] = list(amqp.sections(message))
        batch = [value for code, value, _ in found if code == Section.DATA]
        notes: dict[Any, Any] = next(
            (v for code, v, _ in found if code == Section.MESSAGE_ANNOTATIONS), {}
        )
        key = notes.get("x-opt-partition-key")
        messages = batch if link.format == amqp.BATCH_FORMAT else [message]
        if link.hub:
            self._emulator.append(link.hub, link.partition, messages, key)

    def _answer(self, link: Link, message: bytes) -> None:
        """The answer of a node, on the link that the same session has from it."""
        request = {code: value for code, value, _ in amqp.sections(message)}
        to = next((each for each in self._links.values() if each.sends and each.address == link.address and each.session is link.session), None)  # fmt: skip
        if to is None:
            return
        body = None
        answer: dict[str, Any]
        try:
            if link.address == "$cbs":
                self.granted.add(authorize(request, self._emulator.keys))
                answer = {"status-code": amqp.int32(202), "status-description": "Accepted"}
            else:
                body = manage(request, self._emulator.hubs, self._emulator.keys)
                answer = {"status-code": amqp.int32(200), "status-description": "OK"}
        except Refused as refusal:
            answer = {
                "status-code": amqp.int32(refusal.status),
                "status-description": str(refusal),
                "error-condition": Symbol(refusal.condition),
            }
        number = request[Section.PROPERTIES][0]
        self.deliver(
            to,
            amqp.encode(described(Section.PROPERTIES, None, None, None, None, None, number))
            + amqp.encode(described(Section.APPLICATION_PROPERTIES)._replace(value=answer))
            + amqp.encode(amqp.Described(int(Section.VALUE), body)),
        )

    def _forget(self, link: Link) -> None:
        if link.sends and link.partition and link in link.partition.readers:
            link.partition.readers.remove(cast(Reader, link))
