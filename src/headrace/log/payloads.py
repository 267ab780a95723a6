"""Splitting a frame's body into the bytes of its records.

The inlet counts records with these functions and the pipeline splits with them, so both always agree.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

from headrace.log.frames import DELIMITED, LINES, MESSAGES, SINGLE, Frame


class Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


MOST_HEADER = 32 * 1024
"""Bytes of a header that is kept beside a failed row: it is kept with each of them, however short they are."""
_LOOKED_AT = MOST_HEADER + 8
"""Bytes at the start of a body that a header of that size ends in, with a byte order mark and its line end."""

_OPENING = re.compile(rb'\s*\{\s*"messages"\s*:\s*\[\s*(\{\s*"[^"\\]*")')
"""A body up to the first key of its first record, as most are written."""

split_messages = msgspec.json.Decoder(Messages).decode
_json_text = msgspec.json.Encoder().encode


def messages_near_an_end(body: bytes, indexes: Sequence[int], count: int) -> list[bytes] | None:
    """Some of a valid body's `count` messages, in ascending order, without reading it whole; None when that cannot be.

    What lies between them and the nearer end is read, and the rest cut off where a record seems to begin: only a right
    cut leaves JSON (one within a string leaves a quote too many). A body that names `messages` twice, or has another
    array of such objects, can give other ones than it stands for: compare them.
    """
    opening = _OPENING.match(body)
    if opening is None:
        return None
    begin, first, last = opening[1], indexes[0], indexes[-1]
    from_start = last < count - first
    length = len(body) // count
    around = 8 * length + len(begin)
    if from_start:
        expected = (last + 2) * length
        cut = body.find(begin, expected, expected + around)
    else:
        expected = max((first - 1) * length, 0)
        cut = body.rfind(begin, max(expected - around, 0), expected)
    if cut < 0:
        return None
    start = opening.start(1)
    text = body[:cut].rstrip()[:-1] + b"]}" if from_start else body[:start] + body[cut:]
    try:
        messages = split_messages(text).messages
    except msgspec.DecodeError:
        return None
    before = 0 if from_start else count - len(messages)
    if not before <= first <= last < before + len(messages):
        return None
    return [bytes(messages[index - before]) for index in indexes]


class DelimitedError(ValueError):
    """Text that is no CSV with a header row."""


def split_lines(body: bytes) -> list[bytes]:
    """Lines that are not blank, without their ends."""
    return [line for line in (part.strip() for part in body.split(b"\n")) if line]


def split_delimited(body: bytes) -> tuple[list[str], list[tuple[bytes, list[str]]]]:
    """(column names, rows as (bytes as received, cells)); DelimitedError names the row at fault."""
    return _split_text(body.decode("utf-8-sig"))


def _split_text(text: str) -> tuple[list[str], list[tuple[bytes, list[str]]]]:
    # as the reader counts lines: `splitlines` would end some within a cell
    physical = io.StringIO(text, newline="").readlines()
    reader = csv.reader(physical, strict=True)
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


def header_of(body: bytes) -> str:
    """The header row of CSV as received, without its line end; empty when it is longer than `MOST_HEADER`."""
    end = body.find(b"\n", 0, _LOOKED_AT) + 1
    whole = end > 0 and b'"' not in body[:end]
    return _header(body[: end if whole else _LOOKED_AT])


@lru_cache(16)  # asked for each failed row: those of a body share one text
def _header(start: bytes) -> str:
    stream = io.StringIO(start.decode("utf-8-sig", "ignore"), newline="")
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in stream:
            taken.append(line)
            yield line

    try:
        next(csv.reader(lines(), strict=True), None)
    except csv.Error:  # it goes on behind what is looked at
        return ""
    header = "".join(taken).rstrip("\r\n")
    return header if len(header.encode()) <= MOST_HEADER else ""


def row_under(header: str, original: bytes) -> bytes:
    """The JSON object of one row as received, as `records` gave it; ValueError when it is not one row under this
    header."""
    names, rows = _split_text(f"{header}\n{original.decode()}")
    if len(rows) != 1:
        raise DelimitedError(f"{len(rows)} rows where one was kept")
    return as_object(names, rows[0][1])


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
