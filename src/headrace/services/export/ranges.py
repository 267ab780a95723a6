"""Byte ranges of files (RFC 9110, section 14)."""

import re
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import ApiError
from headrace.http.contract import Answer

PIECE = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def file_answer(path: Path, wanted: str | None) -> Answer:
    """A file, or the part of it that a Range header asks for; ApiError 416 for a part that does not exist.

    Several ranges in one header, or a unit that is not bytes, are answered with the whole file.
    """
    size = path.stat().st_size
    found = _RANGE.fullmatch(wanted.replace(" ", "")) if wanted else None
    headers = {"accept-ranges": "bytes"}
    if found is None or not (found[1] or found[2]):
        headers["content-length"] = str(size)
        return Answer(200, _part(path, 0, size), headers, "application/octet-stream")
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    else:
        first, last = max(size - int(found[2]), 0), size - 1
    if first > last:
        raise ApiError(
            416, "CAT-1416-416", "Range not satisfiable", f"The file has {size} bytes.",
            headers={"content-range": f"bytes */{size}"},
        )  # fmt: skip
    headers |= {
        "content-range": f"bytes {first}-{last}/{size}",
        "content-length": str(last - first + 1),
    }
    return Answer(206, _part(path, first, last - first + 1), headers, "application/octet-stream")


def _part(path: Path, first: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while length > 0:
            piece = file.read(min(PIECE, length))
            if not piece:
                return
            length -= len(piece)
            yield piece
