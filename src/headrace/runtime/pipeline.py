"""Records in, rows out: a pure function of (frames, flow revision).

No clock, network or state: what functions such as `now()` see comes from the frame, so replaying a range gives
the same rows and the same failures. One bad record never affects its neighbours.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa

from headrace.log.frames import MESSAGES, SINGLE, Frame
from headrace.log.payloads import messages_near_an_end, records
from headrace.mapping.apply import CompiledMapping, apply, compile_rules, place
from headrace.mapping.functions.definition import Context
from headrace.mapping.limits import MAX_VALUE, weight_of
from headrace.mapping.syntax import Literal
from headrace.model.flow import FlowRevision
from headrace.runtime import columns as column_building
from headrace.runtime.batch import UNHOLDABLE, Batch, Failure
from headrace.runtime.generate import GeneratedFunction, Generator
from headrace.runtime.pulled import Pulled, csv_header
from headrace.runtime.shapes import Column, NoShape, columns_of
from headrace.runtime.sources import ABSENT
from headrace.runtime.validator import validator
from headrace.runtime.weight import growing, weight_of_columns
from headrace.xdm.check import Violation, conform
from headrace.xdm.fields import Field

DECODE_CODE = "INGEST-1401-400"
WRITE_CODE = "DCVS-1116-400"
DEFECT_CODE = "DCVS-1117-500"
"""Ours, for what the original publishes no code for."""
MOST_WARNING_KINDS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EnvelopeBody(msgspec.Struct, gc=False):
    xdmEntity: msgspec.Raw


class Envelope(msgspec.Struct, gc=False):
    body: EnvelopeBody


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_any = msgspec.json.Decoder().decode


class Pipeline:
    """Compiled once per revision."""

    def __init__(self, revision: FlowRevision) -> None:
        self.revision = revision
        self.tree = Field.from_json(revision.schema)
        self._validate = validator(self.tree)
        self.mapping: CompiledMapping | None = None
        self.columns: list[Column] = []
        self.generated: GeneratedFunction | None = None
        self.plain_because: str | None = None
        if revision.rules is not None:
            self.mapping = compile_rules(
                revision.rules, self.tree, allow_null_values=revision.allow_null_values
            )
            try:
                if revision.allow_null_values or any(rule.nullifies for rule in self.mapping.rules):
                    raise NoShape("nulls are written on purpose")
                nodes = [
                    Literal(rule.rule.source) if rule.node is None else rule.node
                    for rule in self.mapping.rules
                ]
                self._destinations = [rule.rule.destination for rule in self.mapping.rules]
                self._steps = [rule.destination.steps for rule in self.mapping.rules]
                self.columns = columns_of(self._steps, self.tree)
                self.generated = Generator(nodes, self.columns, self.tree).build()
                self._growing = growing(nodes, self.columns)
            except NoShape as reason:
                self.plain_because = str(reason)
        if self.generated is not None:
            kind: Any = self.generated.record_type
            messages: Any = msgspec.defstruct("Frame", [("messages", list[kind])], gc=False)
            self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
            self._decode_messages: Callable[[bytes], Any] = msgspec.json.Decoder(messages).decode

    def batch(self, envelope: bool) -> Batch:
        batch = Batch(self, envelope)
        if self.generated is not None and not envelope:
            batch.values = [[] for _ in self.columns]
        return batch

    def run(self, frame: Frame, batch: Batch) -> None:
        if self.generated is not None and not batch.envelope:
            self._run_generated(frame, batch, self.generated)
        else:
            for index, (original, text) in enumerate(split(frame)):
                self._run_plain(frame, batch, index, original, text)

    def weight(self, batch: Batch, start: int) -> int:
        """Bytes, roughly, of what the mapping made for the rows from `start` on, its mere copies of input left out."""
        if self.mapping is None:
            return 0
        if batch.values:
            return weight_of_columns(self._growing, batch.values, start)
        return sum(weight_of(row, MAX_VALUE) for row in batch.rows[start:])

    # -- generated ------------------------------------------------------------------------------------------

    def _run_generated(self, frame: Frame, batch: Batch, function: GeneratedFunction) -> None:
        positions: Sequence[int]
        parts: Sequence[tuple[bytes, bytes]] | None = None
        decoded: list[Any] = []
        aside: list[int] = []
        try:
            decoded = self._decode_frame(frame)
            positions = range(len(decoded))
            headers = [record.header_ for record in decoded]
            if headers.count(ABSENT) != len(headers) and any(map(_enveloped, decoded)):
                raise ValueError
        except Exception:
            parts = split(frame)
            positions, decoded = [], []
            for index, (_, text) in enumerate(parts):
                try:
                    record = self._decode(text)
                    if _enveloped(record):
                        record = self._decode(record.body_)
                except Exception:
                    aside.append(index)
                else:
                    positions.append(index)
                    decoded.append(record)
        failed: list[tuple[int, list[Any]]] = []
        warned: list[tuple[Any, ...]] = []
        before = [len(column) for column in batch.values]
        try:
            function.run(
                decoded, batch.values, failed, warned, lambda i: self._context(frame, positions[i])
            )  # fmt: skip
        except Exception:  # a defect of ours met a record: one by one, the others still land
            for column, length in zip(batch.values, before, strict=True):
                del column[length:]
            parts = split(frame)
            positions, decoded, failed, warned, aside = [], [], [], [], list(range(len(parts)))
        for rule, message, *below in warned:
            self._warn(batch, ".".join((self._destinations[rule], *filter(None, below))), message)
        kept = positions
        if failed:
            broken = [positions[i] for i, _ in failed]
            originals = None if parts else self._excerpt(frame, broken, decoded)
            if originals is None:
                parts = parts or split(frame)
                originals = [parts[index][0] for index in broken]
            aside += self._explain(
                frame, batch, zip(broken, originals, (found for _, found in failed), strict=True)
            )
            kept = list(positions)
            for i, _ in reversed(failed):
                del kept[i]
        batch.offsets += frame.offsets_of(kept)
        batch.receipts += _receipts(frame, kept)
        batch.partitions += [frame.partition] * len(kept)
        batch.received += frame.received_of(kept)
        if aside:
            self._run_aside(frame, batch, aside, parts or split(frame), before)

    def _explain(
        self, frame: Frame, batch: Batch, broken: Iterable[tuple[int, bytes, Sequence[Any]]]
    ) -> list[int]:
        """Fail records, given as (index, bytes, values of the rules), for what the plain evaluator would name first.

        Returns the indexes of those in which it finds nothing: it has the last word.
        """
        sound = []
        for index, original, values in broken:
            row: dict[str, Any] = {}
            for steps, value in zip(self._steps, values, strict=True):
                if value is not None:
                    place(row, steps, value)
            violations: list[Violation] = []
            conform(row, self.tree, "", violations)
            if violations:
                self._fail_validation(frame, batch, index, original, violations[0])
            else:
                sound.append(index)
        return sound

    def _excerpt(self, frame: Frame, indexes: list[int], decoded: list[Any]) -> list[bytes] | None:
        """The bytes of some records of a frame that was decoded whole; None when it must be split for them."""
        if frame.meta.layout != MESSAGES or isinstance(frame, Pulled):
            return None
        found = messages_near_an_end(frame.body, indexes, frame.count)
        if found is None:
            return None
        try:
            again = list(map(self._decode, found))
        except msgspec.MsgspecError:
            return None
        return found if again == [decoded[index] for index in indexes] else None

    def _decode_frame(self, frame: Frame) -> list[Any]:
        if frame.meta.layout == MESSAGES:
            found: list[Any] = self._decode_messages(frame.body).messages
            return found
        if frame.meta.layout == SINGLE:
            return [self._decode(frame.body)]
        return [self._decode(text) for _, text in split(frame)]

    def _run_aside(
        self,
        frame: Frame,
        batch: Batch,
        aside: list[int],
        parts: Sequence[tuple[bytes, bytes]],
        before: list[int],
    ) -> None:
        """Records that the pruned type could not hold go through the plain evaluator, then into the columns."""
        for index in aside:
            row = self._plain_row(frame, batch, index, *parts[index])
            if row is None:
                continue
            for column, values in zip(self.columns, batch.values, strict=True):
                value: Any = row
                for step in column.path:
                    value = value.get(step) if isinstance(value, dict) else None
                values.append(value)
            batch.offsets += frame.offsets_of([index])
            batch.receipts += _receipts(frame, [index])
            batch.partitions.append(frame.partition)
            batch.received += frame.received_of([index])
        start = len(batch.offsets) - (len(batch.values[0]) - before[0]) if batch.values else 0
        tail = batch.offsets[start:]
        order = sorted(range(len(tail)), key=tail.__getitem__)
        for values in (*batch.values, batch.offsets, batch.receipts, batch.received):
            values[start:] = [values[start + n] for n in order]

    # -- plain ----------------------------------------------------------------------------------------------

    def _run_plain(
        self, frame: Frame, batch: Batch, index: int, original: bytes, text: bytes
    ) -> None:
        row = self._plain_row(frame, batch, index, original, text)
        if row is not None:
            batch.rows.append(row)
            batch.offsets += frame.offsets_of([index])
            batch.receipts += _receipts(frame, [index])
            batch.partitions.append(frame.partition)
            batch.received += frame.received_of([index])

    def _plain_row(
        self, frame: Frame, batch: Batch, index: int, original: bytes, text: bytes
    ) -> dict[str, Any] | None:
        try:
            record = _open(text, batch.envelope)
        except Exception as error:
            message = f"The record is not a JSON object: {error}"
            self._fail(frame, batch, index, original, "decode", DECODE_CODE, "", message)
            return None
        try:
            row, violations = self.finish(
                record, batch.envelope, self._context(frame, index, record),
                lambda destination, message: self._warn(batch, destination, message),
            )  # fmt: skip
        except Exception as error:  # a defect of ours must not stop a flow
            message = f"The record could not be processed: {type(error).__name__}"
            self._fail(frame, batch, index, original, "validate", DEFECT_CODE, "", message)
            return None
        if violations:
            self._fail_validation(frame, batch, index, original, violations[0])
            return None
        return row

    def finish(
        self,
        record: dict[str, Any],
        envelope: bool,
        context: Context,
        warn: Callable[[str, str], None],
    ) -> tuple[dict[str, Any], list[Violation]]:
        """Map (unless the record is XDM) and validate one decoded record."""
        if self.mapping is not None and not envelope:
            row, warnings = apply(self.mapping, record, context)
            for warning in warnings:
                warn(warning.destination, warning.message)
        else:
            row = record
        return self._validate(row)

    def check(self, text: bytes, envelope: bool, received: int) -> list[Violation]:
        """The violations of one record, for synchronous validation."""
        try:
            record = _open(text, envelope)
        except Exception:
            return [Violation("type", "", "expected type: JSONObject")]
        context = _make_context(record, received, f"check:{received}")
        return self.finish(record, envelope, context, lambda destination, message: None)[1]

    def _context(self, frame: Frame, index: int, record: dict[str, Any] | None = None) -> Context:
        place = f"{frame.meta.flow_id}:{frame.offset + index}"
        if isinstance(frame, Pulled):  # offsets are unique within a partition only
            place = f"{frame.meta.flow_id}:{frame.receipts[index]}:{frame.offsets[index]}"
        return _make_context(record, frame.received_of([index])[0], place)

    def _warn(self, batch: Batch, destination: str, message: str) -> None:
        key = (destination, message[:200])
        if key not in batch.warnings and len(batch.warnings) >= MOST_WARNING_KINDS:
            key = (destination, "further warnings")
        batch.warnings[key] += 1

    def _fail_validation(
        self, frame: Frame, batch: Batch, index: int, original: bytes, first: Violation
    ) -> None:
        path = _dotted(first)
        self._fail(frame, batch, index, original, "validate", first.code, path, first.message)

    def _fail(
        self, frame: Frame, batch: Batch, index: int, original: bytes, stage: str, code: str, path: str, message: str
    ) -> None:  # fmt: skip
        receipt = _receipts(frame, [index])[0]
        batch.failures.append(
            Failure(
                original,
                stage,
                code,
                path,
                message,
                frame.offsets_of([index])[0],
                receipt,
                frame.received_of([index])[0],
                frame.partition,
                csv_header(frame, index),
            )
        )

    # -- records that columns cannot hold -------------------------------------------------------------------

    def isolate(self, batch: Batch) -> None:
        """Run a batch anew, setting aside as failures the records whose values no column can hold."""
        frames, batch.frames = batch.frames, []
        fresh = self.batch(batch.envelope)
        for name in (
            "values",
            "rows",
            "offsets",
            "partitions",
            "receipts",
            "received",
            "failures",
            "warnings",
        ):
            setattr(batch, name, getattr(fresh, name))
        for frame in frames:
            if self._holds(batch, lambda trial, frame=frame: self.run(frame, trial)):  # type: ignore[misc]
                self.run(frame, batch)
                continue
            for index, part in enumerate(split(frame)):
                one = partial(self._run_one, frame, index, part)
                if self._holds(batch, one):
                    one(batch)
                else:
                    text = "A value of the record cannot be stored in the column of its field."
                    self._fail(frame, batch, index, part[0], "write", WRITE_CODE, "", text)
        batch.frames = frames

    def _holds(self, like: Batch, fill: Callable[[Batch], None]) -> bool:
        trial = self.batch(like.envelope)
        fill(trial)
        try:
            self.assemble(trial)
        except UNHOLDABLE:
            return False
        return True

    def _run_one(self, frame: Frame, index: int, part: tuple[bytes, bytes], batch: Batch) -> None:
        if batch.values:
            before = [len(column) for column in batch.values]
            parts = [(b"", b"")] * index + [part]
            self._run_aside(frame, batch, [index], parts, before)
        else:
            self._run_plain(frame, batch, index, *part)

    # -- columns --------------------------------------------------------------------------------------------

    def assemble(self, batch: Batch) -> dict[str, pa.Array]:
        if batch.values:
            return column_building.nest(self.tree, self.columns, batch.values)
        return column_building.table(self.tree, batch.rows)


def _enveloped(record: Any) -> bool:
    """Whether a decoded record is a streaming envelope around another."""
    return bytes(record.header_)[:1] == b"{" and bytes(record.body_)[:1] == b"{"


def _open(text: bytes, envelope: bool) -> dict[str, Any]:
    if envelope:
        text = bytes(_decode_envelope(text).body.xdmEntity)
    record = _decode_any(text)
    if not isinstance(record, dict):
        raise ValueError(f"it is of type {type(record).__name__}")
    if (
        not envelope
        and isinstance(record.get("header"), dict)
        and isinstance(record.get("body"), dict)
    ):
        inner: dict[str, Any] = record["body"]
        return inner
    return record


def _make_context(record: dict[str, Any] | None, received: int, identity: str) -> Context:
    """Functions see the time the record was received, and identifiers derived from its place in the log."""
    counter = iter(range(2**31))
    return Context(
        record=record or {},
        now=lambda: _EPOCH + timedelta(milliseconds=received),
        new_uuid=lambda: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{identity}:{next(counter)}")),
    )


def split(frame: Frame) -> Sequence[tuple[bytes, bytes]]:
    """(bytes as received, JSON to decode) of every record of a frame, in order."""
    return frame.parts if isinstance(frame, Pulled) else records(frame)


def _receipts(frame: Frame, indexes: Sequence[int]) -> list[str]:
    if isinstance(frame, Pulled):
        return [frame.receipts[i] for i in indexes]
    receipt = frame.meta.receipt
    if frame.meta.layout == SINGLE:
        return [receipt] * len(indexes)
    given = frame.meta.indexes
    if given is not None:
        return [f"{receipt}-{given[i]}" for i in indexes]
    return [f"{receipt}-{i}" for i in indexes]


def _dotted(violation: Violation) -> str:
    steps = violation.pointer.split("/")[1:]
    path = ".".join(step.replace("~1", "/").replace("~0", "~") for step in steps)
    if violation.keyword in ("required", "additionalProperties"):
        name = violation.message.split("[", 1)[1].rsplit("]", 1)[0]
        return f"{path}.{name}" if path else name
    return path
