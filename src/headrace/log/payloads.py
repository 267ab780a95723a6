"""Splitting a frame's body into the bytes of its records.

The inlet counts records with these functions and the pipeline splits with them, so both always agree.
"""

import csv
import io

import msgspec

from headrace.log.frames import DELIMITED, LINES, MESSAGES, SINGLE, Frame


class Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


split_messages = msgspec.json.Decoder(Messages).decode
_json_text = msgspec.json.Encoder().encode


class DelimitedError(ValueError):
    """Text that is no CSV with a header row."""


def split_lines(body: bytes) -> list[bytes]:
    """Lines that are not blank, without their ends."""
    return [line for line in (part.strip() for part in body.split(b"\n")) if line]


def split_delimited(body: bytes) -> tuple[list[str], list[tuple[bytes, list[str]]]]:
    """(column names, rows as (bytes as received, cells)); DelimitedError names the row at fault."""
    text = body.decode("utf-8-sig")
    physical = text.splitlines(keepends=True)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, None)
        if not names or any(not name.strip() for name in names) or len(set(names)) != len(names):
            raise DelimitedError("the first row must name every column, each once")
        rows: list[tuple[bytes, list[str]]] = []
        at = reader.line_num
        for cells in reader:
            original = "".join(physical[at : reader.line_num]).rstrip("\r\n").encode()
            at = reader.line_num
            if cells:
                rows.append((original, cells))
    except csv.Error as error:
        raise DelimitedError(f"line {reader.line_num}: {error}") from None
    return [name.strip() for name in names], rows


def as_object(names: list[str], cells: list[str]) -> bytes:
    """One row as a JSON object of texts; a blank or missing cell is null."""
    padded = cells + [""] * (len(names) - len(cells))
    return _json_text({name: cell or None for name, cell in zip(names, padded, strict=False)})


def records(frame: Frame) -> list[tuple[bytes, bytes]]:
    """(bytes as received, JSON to decode) of every record of a frame, in order."""
    layout = frame.meta.layout
    if layout == SINGLE:
        return [(frame.body, frame.body)]
    if layout == MESSAGES:
        return [(b, b) for b in map(bytes, split_messages(frame.body).messages)]
    if layout == LINES:
        return [(line, line) for line in split_lines(frame.body)]
    if layout == DELIMITED:
        names, rows = split_delimited(frame.body)
        return [(original, as_object(names, cells)) for original, cells in rows]
    return []
