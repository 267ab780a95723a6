"""The pipeline without a server: newline-delimited JSON in, landed rows out.

Records run in chunks of bounded size, as the worker runs the frames of the log, so memory does not grow with the
input.
"""

import contextlib
import gc
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa

from headrace.errors import ConfigurationError
from headrace.log.frames import LINES, Frame, Meta
from headrace.mapping.errors import MappingInvalid
from headrace.model.ids import ulid
from headrace.runtime.batch import Batch
from headrace.runtime.documents import revision_of
from headrace.runtime.export import JsonLines, ParquetFile
from headrace.runtime.pipeline import DECODE_CODE, Pipeline
from headrace.runtime.tally import FailedRecord, Tally, failed_lines

CHUNK_RECORDS = 20_000
CHUNK_BYTES = 16 * 1024 * 1024
MOST_LINE = 16 * 1024 * 1024
"""Bytes of one line; a longer one is a failed record."""
_SHOWN = 1024
"""Bytes that are kept of a line that is too long."""
PARTITION = "offline"
INTERRUPTED = 130


@dataclass(slots=True)
class Chunk:
    """Records with the numbers of their lines, from 1; `failed` are lines that are none."""

    records: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    failed: list[FailedRecord] = field(default_factory=list)


@dataclass(slots=True)
class Part:
    """What a run of records gives: rows in both forms, and the records that failed."""

    count: int
    text: bytes
    table: pa.Table | None
    failed: list[FailedRecord]
    warnings: dict[tuple[str, str], int]


def run(
    *,
    records: BinaryIO,
    rows: BinaryIO,
    report: TextIO,
    mapping: Path | None = None,
    schema: Path | None = None,
    flow: Path | None = None,
    tenant: str | None = None,
    parquet: Path | None = None,
    failed: Path | None = None,
) -> int:
    """Run the lines of `records` through the flow that the files describe and write what lands to `rows`.

    `parquet` and `failed` are further files to write: landed rows, and failed records as
    `{line, code, path, message, record}`. A summary goes to `report`. The exit status: 0 when every record
    landed, 1 when some failed or the reader of `rows` went away, 130 when interrupted. ConfigurationError for
    options and files that cannot work.
    """
    try:
        pipeline = Pipeline(revision_of(mapping, schema, flow, tenant))
    except MappingInvalid as error:
        raise ConfigurationError(f"{mapping or flow}: {error}") from None
    # what was compiled stays: looking through it for garbage again and again halves the rate
    gc.collect()
    gc.freeze()
    tally = Tally()
    status = 0
    try:
        with Outputs(pipeline, tally, rows, parquet, failed) as outputs:
            runner = Runner(pipeline, outputs.table)
            for chunk in chunks(records):
                outputs.fail(chunk.failed)
                for part in runner.run(chunk):
                    outputs.write(part)
            outputs.finish()
    except BrokenPipeError:
        status = 1
        _abandon(rows)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or 'input or output'}: {error.strerror or error}"
        ) from None
    finally:
        gc.unfreeze()
    report.write(tally.summary())
    return status or int(tally.failed > 0)


def chunks(stream: BinaryIO) -> Iterator[Chunk]:
    """The lines that are not blank, in chunks of bounded size."""
    chunk, size, number = Chunk(), 0, 0
    while line := stream.readline(MOST_LINE):
        number += 1
        if len(line) == MOST_LINE and not line.endswith(b"\n"):
            chunk.failed.append(_too_long(number, line))
            while (rest := stream.readline(MOST_LINE)) and not rest.endswith(b"\n"):
                pass
        elif record := line.strip():
            chunk.records.append(record)
            chunk.lines.append(number)
            size += len(record)
        if (
            size >= CHUNK_BYTES
            or len(chunk.records) >= CHUNK_RECORDS
            or len(chunk.failed) >= CHUNK_RECORDS
        ):
            yield chunk
            chunk, size = Chunk(), 0
    if chunk.records or chunk.failed:
        yield chunk


def _too_long(number: int, line: bytes) -> FailedRecord:
    message = f"The line has more than {MOST_LINE} bytes."
    return FailedRecord(number, DECODE_CODE, "", message, line[:_SHOWN])


def _abandon(rows: BinaryIO) -> None:
    """What is still buffered goes nowhere, so that the interpreter's end does not complain of it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, rows.fileno())
        os.close(nowhere)


class Runner:
    """Runs chunks. Records are numbered from 0 through the whole input, whose identity is new in every run:
    identifiers that a mapping makes up never meet those of another run."""

    def __init__(self, pipeline: Pipeline, table: Callable[[Batch], pa.Table] | None) -> None:
        self._pipeline = pipeline
        self._text = JsonLines(pipeline)
        self._table = table
        self._identity = ulid()
        self._next = 0

    def run(self, chunk: Chunk) -> Iterator[Part]:
        """The chunk's records in order, in one part unless one of them breaks the run."""
        first = self._next
        self._next += len(chunk.records)
        if chunk.records:
            received = int(time.time() * 1000)
            yield from self._part(chunk.records, chunk.lines, first, received)

    def _part(
        self, records: list[bytes], lines: list[int], first: int, received: int
    ) -> Iterator[Part]:
        meta = Meta(LINES, self._identity, self._pipeline.revision.revision, first, self._identity)
        try:
            batch = self._pipeline.batch(False)
            batch.add(Frame(first, len(records), received, meta, b"\n".join(records)))
            count = len(batch.offsets)
            text = self._text.encode(batch) if count else b""
            table = self._table(batch) if self._table and count else None
        except Exception as error:  # what no row can hold: halve until the record at fault is alone
            if len(records) == 1:
                message = f"The record has a value that no row can hold: {error}"
                lost = FailedRecord(lines[0], DECODE_CODE, "", message, records[0])
                yield Part(0, b"", None, [lost], {})
                return
            half = len(records) // 2
            yield from self._part(records[:half], lines[:half], first, received)
            yield from self._part(records[half:], lines[half:], first + half, received)
            return
        failed = [
            FailedRecord(lines[f.offset - first], f.code, f.path, f.message, f.original)
            for f in sorted(batch.failures, key=lambda failure: failure.offset)
        ]
        yield Part(count, text, table, failed, batch.warnings)


class Outputs:
    """Where the parts of a run go. A Parquet file is whole or absent."""

    def __init__(
        self, pipeline: Pipeline, tally: Tally, rows: BinaryIO, parquet: Path | None, failed: Path | None
    ) -> None:  # fmt: skip
        self._tally, self._rows = tally, rows
        self._failed = failed.open("wb") if failed else None
        self._parquet = ParquetFile(parquet, pipeline) if parquet else None
        self.table = self._parquet.table if self._parquet else None
        self._finished = False

    def write(self, part: Part) -> None:
        self._rows.write(part.text)
        if self._parquet is not None and part.table is not None:
            self._parquet.write(part.table)
        self._tally.landed += part.count
        self._tally.warn(part.warnings)
        self.fail(part.failed)

    def fail(self, records: list[FailedRecord]) -> None:
        self._tally.fail(records)
        if self._failed is not None and records:
            self._failed.write(failed_lines(records))

    def finish(self) -> None:
        """Everything has been written."""
        self._rows.flush()
        if self._parquet is not None:
            self._parquet.finish()
        self._finished = True

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(self, *_: object) -> None:
        if self._failed is not None:
            self._failed.close()
        if self._parquet is not None and not self._finished:
            self._parquet.discard()
