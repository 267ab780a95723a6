"""The oracle of delivery tests: what was sent and how it was answered, held against what another reader finds.

It lives outside the server process and keeps its account in a SQLite file, so it knows what a killed server owes.
A record is named by its sender and serial number. Of each record there may be:

* acknowledged: exactly one row, good or failed
* unknown (no answer came): one row or none, never two
* refused: none
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

MOST_SHOWN = 5


class Answer(StrEnum):
    """What a sender was told of a request."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request of `count` records, numbered by its sender from `first`. `poison` and `refused` are positions
    within the request: of records that must fail, and of those refused one by one."""

    sender: str
    first: int
    count: int
    answer: Answer = Answer.UNKNOWN
    poison: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()

    def name(self, position: int) -> str:
        """The record's name, which tests send as its id."""
        return f"{self.sender}:{self.first + position}"

    def verdict(self, position: int) -> Answer:
        """How this one record was answered."""
        if position in self.refused and self.answer is Answer.ACKNOWLEDGED:
            return Answer.REFUSED
        return self.answer


@dataclass(frozen=True, slots=True)
class Row:
    """A row that a reader found; without `partition` somebody else appended it to the table."""

    name: str
    partition: str | None
    offset: int


@dataclass(slots=True)
class Findings:
    """What is wrong, by kind. `misplaced`: good records that failed, poison that landed. `disordered`: a sender's
    acknowledged records whose offsets do not ascend, or two rows of one offset. `unbalanced`: texts."""

    attempted: int = 0
    acknowledged: int = 0
    landed: int = 0
    failed: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, list[str]]:
        """The kinds that are not empty."""
        kinds = ("lost", "duplicated", "unexplained", "misplaced", "disordered", "unbalanced")
        return {kind: found for kind in kinds if (found := getattr(self, kind))}

    def __str__(self) -> str:
        shown = [
            f"{len(found)} {kind}: {', '.join(found[:MOST_SHOWN])}"
            for kind, found in self.faults().items()
        ]
        return "; ".join(shown) or f"{self.acknowledged} acknowledged, nothing wrong"


class Oracle:
    """The account of one data set. Thread-safe; an attempt is on disk before `attempt` returns."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS requests (request INTEGER PRIMARY KEY, sender TEXT, first INTEGER,"
            " count INTEGER, poison TEXT, answer TEXT DEFAULT 'unknown', refused TEXT DEFAULT '[]')"
        )

    def attempt(self, sender: str, first: int, count: int, poison: Collection[int] = ()) -> int:
        """Note a request before it is sent; its number, for `answer`."""
        row = (sender, first, count, json.dumps(sorted(poison)))
        with self._lock:
            cursor = self._db.execute(
                "INSERT INTO requests (sender, first, count, poison) VALUES (?, ?, ?, ?)", row
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def answer(self, request: int, answer: Answer, refused: Collection[int] = ()) -> None:
        """Note how a request was answered. One that got no answer stays unknown."""
        row = (answer.value, json.dumps(sorted(refused)), request)
        with self._lock:
            self._db.execute("UPDATE requests SET answer=?, refused=? WHERE request=?", row)

    def attempts(self, after: int = 0) -> list[Attempt]:
        """All requests in the order in which they were noted, from the one after number `after` on."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sender, first, count, answer, poison, refused FROM requests WHERE request > ?"
                " ORDER BY request",
                (after,),
            ).fetchall()
        return [
            Attempt(
                sender, first, count, Answer(answer),
                frozenset(json.loads(poison)), frozenset(json.loads(refused)),
            )
            for sender, first, count, answer, poison, refused in rows
        ]  # fmt: skip

    def newest(self) -> int:
        """The number of the newest request, 0 when there is none."""
        with self._lock:
            return int(
                self._db.execute("SELECT coalesce(max(request), 0) FROM requests").fetchone()[0]
            )

    def close(self) -> None:
        self._db.close()


def compare(attempts: Iterable[Attempt], good: Sequence[Row], failed: Sequence[Row]) -> Findings:
    """Hold the account against the rows of both tables."""
    found = Findings(landed=len(good), failed=len(failed))
    times = Counter(row.name for row in (*good, *failed))
    places = {row.name: (row.partition or "", row.offset) for row in (*good, *failed)}
    fine, broken = {row.name for row in good}, {row.name for row in failed}
    known: set[str] = set()
    last: dict[tuple[str, str], int] = {}
    for request in attempts:
        found.attempted += request.count
        for position in range(request.count):
            name, verdict = request.name(position), request.verdict(position)
            known.add(name)
            if name in (broken if position not in request.poison else fine):
                found.misplaced.append(name)
            if verdict is Answer.REFUSED and name in places:
                found.unexplained.append(f"{name} (refused)")
            if verdict is not Answer.ACKNOWLEDGED:
                continue
            found.acknowledged += 1
            if name not in places:
                found.lost.append(name)
                continue
            partition, offset = places[name]
            if partition and offset <= last.get((request.sender, partition), -1):
                found.disordered.append(f"{name} at {offset}")
            last[request.sender, partition] = offset
    found.duplicated = [name for name, count in times.items() if count > 1]
    found.unexplained += [name for name in times if name not in known]
    at = Counter((row.partition, row.offset) for row in (*good, *failed) if row.partition)
    found.disordered += [f"{count} rows at {place}" for place, count in at.items() if count > 1]
    return found


def balance(measured: Mapping[str, float], findings: Findings, foreign: int) -> list[str]:
    """What does not add up, once nothing is sent any more.

    `measured`: accepted, landed, failed, pending and unexplained of the flow, as the server says; `foreign`: rows
    of the good table that others appended.
    """
    accepted, pending = measured["accepted"], measured["pending"]
    explained = measured["landed"] + measured["failed"] + pending
    rows = findings.landed - foreign
    checks = [
        (accepted == explained, f"accepted {accepted:.0f}, landed + failed + pending {explained:.0f}"),
        (measured["unexplained"] == 0, f"the server says {measured['unexplained']:.0f} unexplained"),
        (pending == 0, f"{pending:.0f} pending"),
        (measured["landed"] == rows, f"landed {measured['landed']:.0f}, rows {rows}"),
        (measured["failed"] == findings.failed, f"failed {measured['failed']:.0f}, rows {findings.failed}"),
    ]  # fmt: skip
    return [text for well, text in checks if not well]


def rows_of(
    data_dir: Path, dataset_id: str, after: int | None = None
) -> tuple[list[Row], list[Row]]:
    """The rows of a data set's good and failed tables, read with DuckDB; with `after`, only those of larger offsets.

    Good rows have the record's name in `_id`; failed ones in the key `id` of the bytes that were sent.
    """
    from headrace.lake.query import open_session

    # bytes may be no JSON at all, yet they name their record
    named = 'regexp_extract(decode(original), \'"id": *"([^"]*)"\', 1)'
    meta = "_acp_system_metadata."
    queries = (
        f'SELECT _id, {meta}"sourcePartition", {meta}"sourceOffset" AS place FROM "{dataset_id}"',
        f'SELECT {named}, "sourcePartition", "sourceOffset" AS place FROM "{dataset_id}_failed"',
    )
    newer = "" if after is None else f" WHERE place > {after:d}"
    with open_session(data_dir, dataset_id) as session:
        good, failed = (
            [Row(name or "", partition, offset or 0)
             for name, partition, offset in session.execute(query + newer).fetchall()]
            for query in queries
        )  # fmt: skip
    return good, failed


def counts_of(data_dir: Path, dataset_id: str) -> tuple[int, int]:
    """How many rows of the flow's own the good and the failed table have, read with DuckDB."""
    from headrace.lake.query import open_session

    query = (
        f'SELECT (SELECT count(_acp_system_metadata."sourceOffset") FROM "{dataset_id}"),'
        f' (SELECT count("sourceOffset") FROM "{dataset_id}_failed")'
    )
    with open_session(data_dir, dataset_id) as session:
        good, failed = session.execute(query).fetchall()[0]
    return int(good), int(failed)
