"""Failed rows as frames: each record again as the pipeline was given it when it failed.

| came as | bytes that were kept | run again as |
|---|---|---|
| a JSON value, an element of `messages` or of an array, a line | the value | the value |
| XDM in the streaming envelope, over HTTP or from a queue | the envelope and what is in it | XDM; no mapping touches it |
| XDM in the streaming envelope, from a stream | the envelope and what is in it | what is in it |
| a row of CSV | the row, and the header beside it | the object of its header and cells |
| a message that could not be split | the message | a record that fails |
"""

from collections.abc import Iterator

import msgspec
import pyarrow as pa

from headrace.log.frames import LOG_PARTITION, PARTS, Meta
from headrace.log.payloads import row_under
from headrace.model.envelope import decode_body, decode_outline
from headrace.model.flow import FlowRevision
from headrace.runtime.pulled import Part, Pulled, entity


def frames(rows: pa.Table, revision: FlowRevision) -> Iterator[Pulled]:
    """Failed rows as frames, one for each run of rows of one partition, with the envelope or without it."""
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    partitions = columns["sourcePartition"]
    found = [
        _part(*row, revision)
        for row in zip(columns["original"], columns["header"], partitions, strict=True)
    ]
    kinds = [
        (partition, envelope)
        for partition, (_, envelope) in zip(partitions, found, strict=True)
    ]  # fmt: skip
    start = 0
    for end in range(1, len(kinds) + 1):
        if end < len(kinds) and kinds[end] == kinds[start]:
            continue
        own = slice(start, end)
        offsets, moments = columns["sourceOffset"][own], columns["ingestTime"][own]
        partition, envelope = kinds[start]
        yield Pulled(
            offset=offsets[0], count=end - start, received=moments[0],
            meta=Meta(PARTS, revision.flow_id, revision.revision, 0, "", envelope), body=b"",
            source_partition=partition, next=offsets[-1] + 1, parts=[part for part, _ in found[own]],
            offsets=offsets, receipts=columns["receiptId"][own], moments=moments,
            headers=columns["header"][own],
        )  # fmt: skip
        start = end


def _part(
    original: bytes, header: str | None, partition: str, revision: FlowRevision
) -> tuple[Part, bool]:
    """(bytes as received, JSON to decode) of one failed record, and whether the envelope is around the latter."""
    if header is not None:
        try:
            return (original, row_under(header, original)), False
        except ValueError:  # the header was too long to keep
            return (original, b""), False
    if partition != LOG_PARTITION:
        if revision.format == "delimited":  # rows have a header: this is a message that is no CSV
            return (original, b""), False
        return (original, entity(original, revision.payload)), False
    if revision.source == "http":
        return (original, original), _is_xdm(original)
    # a queue's messages are in the log with their envelope when there is no mapping to read them, else without it
    text = entity(original, revision.payload)
    if revision.rules is None and text != original:
        return (original, original), True
    return (original, text), False


def _is_xdm(original: bytes) -> bool:
    """Whether an inlet takes a message for XDM in the streaming envelope."""
    try:
        sent = decode_outline(original)
        return bool(sent.header and sent.body and decode_body(sent.body).xdmEntity)
    except (msgspec.DecodeError, RecursionError):
        return False
