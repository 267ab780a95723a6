"""Messages of a queue as frames of the log: one frame a message, so that it is in the log as a whole or not at all.

A frame's receipt is the message's id and its time the one at the source; together they tell a message that comes
again. Ids alone would not: an emulator counts them from 1 at each start.
"""

from dataclasses import dataclass, replace

import msgspec

from headrace.log.frames import DELIMITED, MESSAGES, SINGLE
from headrace.model.flow import FlowRevision
from headrace.runtime.pulled import records_of
from headrace.security.inflate import InflateRefused, inflate_gzip
from headrace.sources.contract import Message

MOST_BYTES = 32 * 2**20
"""Bytes of one frame's body; a message that inflates to more is one record that fails."""
_GZIP = b"\x1f\x8b"
_DEEPER = 60
"""Levels of nesting that must be left when an array is split, since the worker splits it deeper in its stack."""
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Entry:
    """What of a message goes into the log."""

    message: Message
    layout: int
    body: bytes
    count: int = 1
    envelope: bool = False


def entry_of(message: Message, revision: FlowRevision) -> Entry | None:
    """The frame of a message; None when there is no record in it. What cannot be split is one record that fails."""
    whole = Entry(message, SINGLE, message.body)
    try:
        return _split_up(message, revision, whole)
    except Exception:  # a defect of ours must not let one message hold up all others
        return whole


def _split_up(message: Message, revision: FlowRevision, whole: Entry) -> Entry | None:
    body = message.body
    if body[:2] == _GZIP:
        try:
            body = inflate_gzip(body, MOST_BYTES)
        except InflateRefused:
            return whole
        if body[:2] == _GZIP:
            return whole
    parts = records_of(replace(message, body=body), revision.payload, revision.format)
    if not parts:
        return None
    if not all(text for _, text in parts):
        return whole
    if revision.format == "delimited":
        return Entry(message, DELIMITED, body, len(parts))
    # a mapping reads the entity; without one the envelope is kept, as a failed record shows what came
    enveloped = revision.rules is None and all(text != original for original, text in parts)
    bodies = [original if enveloped else text for original, text in parts]
    if len(bodies) == 1:
        return Entry(message, SINGLE, bodies[0], envelope=enveloped)
    joined = b'{"messages":[' + b",".join(bodies) + b"]}"
    if len(joined) > MOST_BYTES or not _shallow(joined):
        return whole
    return Entry(message, MESSAGES, joined, len(bodies), enveloped)


def _shallow(text: bytes) -> bool:
    try:
        _split(b"[" * _DEEPER + text + b"]" * _DEEPER)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
