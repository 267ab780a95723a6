"""Deciding where each message of a request belongs, from values alone.

A message with `body.xdmEntity` is XDM and must name a schema that its data set has. Any other object is raw and
needs a flow: from the request, from `header.flowId`, or the inlet's only one. Everything that is refused gets a
text that says why; nothing here reads a record's content.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from headrace.model.envelope import Body, Outline, Reference, decode_body, decode_outline
from headrace.model.flow import FlowRevision
from headrace.services.inlet.directory import Directory, Inlet

HEADER_MISSING = "The 'header' field is mandatory. Provide a valid 'header' value and try again."
UNKNOWN_FORMAT = "Message has unknown xdm format"
WRONG_ORGANISATION = "Message has an absent or wrong ims org in the header"


class Header(msgspec.Struct):
    schemaRef: Reference | None = None
    imsOrgId: str | None = None
    datasetId: str | None = None
    flowId: str | None = None


class OutlineMessages(msgspec.Struct):
    messages: list[Outline]


decode_outlines = msgspec.json.Decoder(OutlineMessages).decode
_decode_header = msgspec.json.Decoder(Header).decode


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes: the revision that will read it and whether it carries the XDM envelope."""

    revision: FlowRevision
    envelope: bool


class Refused(Exception):
    """A message that cannot be accepted; the text is for its sender."""


@dataclass(slots=True)
class Router:
    """Routes the messages of one request."""

    directory: Directory
    inlet: Inlet
    flow_id: str | None
    dataset_id: str | None
    _raw: Destination | None = field(default=None)

    def raw_destination(self) -> Destination | None:
        """Where raw messages go by the request's own flow id; Refused when that flow cannot take them."""
        if self.flow_id is None:
            return None
        if self._raw is None:
            self._raw = Destination(self._flow(self.flow_id), envelope=False)
        return self._raw

    def _flow(self, flow_id: str) -> FlowRevision:
        entry = self.directory.flow(flow_id)
        if entry is None or entry.connection_id != self.inlet.connection_id:
            raise Refused(f"The flow [{flow_id}] does not exist for this inlet")
        if not entry.enabled:
            raise Refused(f"The flow [{flow_id}] is not enabled")
        return entry.revision

    def route(self, message: bytes) -> Destination:
        """The destination of one message; Refused says why there is none."""
        try:
            outline = decode_outline(message)
        except msgspec.ValidationError:
            raise Refused(UNKNOWN_FORMAT) from None
        except (msgspec.DecodeError, RecursionError):
            raise Refused("The message is not valid JSON") from None
        if outline.body:
            try:
                body = decode_body(outline.body)
            except (msgspec.ValidationError, RecursionError):
                body = Body()
            if body.xdmEntity:
                return Destination(self._xdm(self._header(outline.header), body), envelope=True)
        try:
            header = self._header(outline.header) if outline.header and outline.body else Header()
        except Refused:
            if self.flow_id is None:
                raise
            header = Header()  # a raw record may have keys of these names that mean something else
        return self._raw_message(header, enveloped=bool(outline.header and outline.body))

    def _header(self, raw: msgspec.Raw) -> Header:
        if not raw:
            raise Refused(HEADER_MISSING)
        try:
            return _decode_header(raw)
        except (msgspec.ValidationError, RecursionError):
            raise Refused(HEADER_MISSING) from None

    def _raw_message(self, header: Header, *, enveloped: bool) -> Destination:
        direct = self.raw_destination()
        if direct is not None:
            return direct
        if enveloped:
            self._check_organisation(header)
        if header.flowId is not None:
            return Destination(self._flow(header.flowId), envelope=False)
        flows = [self.directory.flow(id) for id in self.inlet.flows]
        mapped = [entry.revision for entry in flows if entry and entry.revision.rules is not None]
        if len(mapped) == 1:
            return Destination(mapped[0], envelope=False)
        raise Refused(HEADER_MISSING if not enveloped else UNKNOWN_FORMAT)

    def _check_organisation(self, header: Header) -> None:
        if header.imsOrgId not in (None, self.inlet.scope.org):
            raise Refused(WRONG_ORGANISATION)

    def _xdm(self, header: Header, body: Body) -> FlowRevision:
        self._check_organisation(header)
        meta = body.xdmMeta.schemaRef if body.xdmMeta else None
        named = header.schemaRef or meta
        if named is None or (meta is not None and meta.id != named.id):
            raise Refused(UNKNOWN_FORMAT)
        revision = self._xdm_revision(header)
        if named.id != revision.schema_id or not _major_one(named.contentType):
            raise Refused(UNKNOWN_FORMAT)
        return revision

    def _xdm_revision(self, header: Header) -> FlowRevision:
        dataset_id = header.datasetId or self.dataset_id
        flow_id = self.flow_id or header.flowId
        if flow_id is not None:
            revision = self._flow(flow_id)
            if dataset_id not in (None, revision.dataset_id):
                raise Refused(UNKNOWN_FORMAT)
            return revision
        entries = [self.directory.flow(id) for id in self.inlet.flows]
        fitting = [e.revision for e in entries if e and dataset_id in (None, e.revision.dataset_id)]
        if len(fitting) == 1:
            return fitting[0]
        direct = self.directory.direct(self.inlet, dataset_id) if dataset_id else None
        if direct is None:
            raise Refused(UNKNOWN_FORMAT)
        return direct


def _major_one(content_type: str | None) -> bool:
    """Whether a schema content type asks for major version 1, whatever its minor, blanks or `-notext`."""
    if content_type is None or "version" not in content_type:
        return True
    version = content_type.rsplit("=", 1)[-1].strip().strip('"')
    return version.split(".")[0] == "1"


@dataclass(slots=True)
class Plan:
    """What becomes of a request: messages by destination, and the refusals by index."""

    groups: dict[tuple[str, bool], "Group"] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    total: int = 0


@dataclass(slots=True)
class Group:
    destination: Destination
    indexes: list[int] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


def plan(messages: list[bytes], route: Callable[[bytes], Destination]) -> Plan:
    """Route each message on its own: a refusal never affects a neighbour."""
    result = Plan(total=len(messages))
    for index, message in enumerate(messages):
        try:
            destination = route(message)
        except Refused as refusal:
            result.refused[index] = str(refusal)
            continue
        key = (destination.revision.flow_id, destination.envelope)
        group = result.groups.setdefault(key, Group(destination))
        group.indexes.append(index)
        group.messages.append(message)
    return result
