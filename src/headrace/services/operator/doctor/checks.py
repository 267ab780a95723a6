"""One line of what `headrace doctor` found."""

from collections.abc import Sequence
from dataclasses import dataclass

OK, NOTE, BAD = "ok", "note", "BAD"
MOST_LISTED = 5


@dataclass(frozen=True, slots=True)
class Check:
    """`name`: what was looked at; `state`: ok, note (nothing to worry about) or BAD; `action`: what to do; `code`: what
    is the matter, for programs (empty when nothing is)."""

    name: str
    state: str
    detail: str
    action: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it must be: `code` for programs, `detail` for people."""

    code: str
    detail: str


def some(texts: Sequence[str]) -> str:
    """The first few of many texts, and how many more there are."""
    more = len(texts) - MOST_LISTED
    return "; ".join(texts[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
