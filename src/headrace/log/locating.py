"""One record of a large batch, found without reading all of the batch.

A batch whose records decoded into what a mapping reads has no positions to cut at. Most bodies have their records
side by side, `{"messages":[{…},{…}]}`: a seam between two of them is guessed, and the shorter side of it is parsed
to see whether it is one and how many records come before. Text that only looks like a seam never passes: what is
cut off inside of a nested array leaves brackets over, inside of a string an odd number of quotes.
"""

import msgspec

OPEN, SEAM, CLOSE = b'{"messages":[', b"},{", b"]}"
SMALL = 16 * 1024
"""Bytes of a body that is split as fast as this can look."""
GUESSES = 4
STEPS = 32
"""Records to walk from the guess, and seams to try for the end of each."""


class _Record(msgspec.Struct, gc=False):
    pass


class _Batch(msgspec.Struct, gc=False):
    messages: list[_Record]


_records = msgspec.json.Decoder(_Batch).decode
_value = msgspec.json.Decoder(msgspec.Raw).decode


def locate(body: bytes, count: int, index: int, *, small: int = SMALL) -> bytes | None:
    """The bytes of record `index` of the `count` in a body that is known to be valid.

    None when it is not to be had cheaply, as in a body of less than `small` bytes: whoever asks then splits all of it.
    """
    if len(body) < small or not (body.startswith(OPEN) and body.endswith(CLOSE)):
        return None
    early = 2  # records: going on from a place is cheap, going back is not
    for _ in range(GUESSES):
        number, start = 0, len(OPEN)
        if index > early:
            at = len(OPEN) + (len(body) - len(OPEN)) * (index - early) // count
            number, start = _seam(body, count, at) or (count, 0)
        if number <= index:
            return _walk(body, start, index - number)
        early += number - index + 2
    return None


def _walk(body: bytes, start: int, steps: int) -> bytes | None:
    """The record that comes so many after the one that begins at `start`."""
    record = _record(body, start) if steps <= STEPS else None
    for _ in range(steps):
        if record is None:
            break
        start += len(record) + 1
        record = _record(body, start)
    return record


def _seam(body: bytes, count: int, at: int) -> tuple[int, int] | None:
    """(number, start) of a record that begins behind `at`."""
    for _ in range(GUESSES):
        at = body.find(SEAM, at) + 2
        if at < 2:
            return None
        try:
            if at < len(body) // 2:
                return len(_records(body[: at - 1] + CLOSE).messages), at
            return count - len(_records(OPEN + body[at:]).messages), at
        except msgspec.DecodeError:
            continue
    return None


def _record(body: bytes, start: int) -> bytes | None:
    """The record that begins at `start`: it ends at the first seam before which it is whole."""
    at = start
    for _ in range(STEPS):
        at = body.find(SEAM, at) + 1
        try:
            return bytes(_value(body[start : at or -len(CLOSE)]))
        except msgspec.DecodeError:
            if not at:
                break
    return None
