"""What the store knows of flows: the rows of commits, and replays that have not come to an end."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.lake.watermark import Watermark
from headrace.runtime.replay_requests import KIND, OPEN
from headrace.services.operator.doctor.accounts import ROLLED_BACK, Account, Books, Replay
from headrace.services.operator.doctor.checks import Fault
from headrace.services.operator.doctor.table_counts import Counted
from headrace.services.operator.inspection import STORE, reading

Pair = tuple[str, str]
"""A flow and the data set that it lands in."""


@dataclass(frozen=True, slots=True)
class Known:
    """Commits of a flow to a data set: records that landed, and the newest row's number (rows are only added)."""

    landed: int
    newest: int


def remembered(data_dir: Path, books: Books) -> dict[Pair, Known]:
    """What the store knows before the tables are looked at."""
    with reading(data_dir / STORE) as db:
        _note_replays(db, books)
        rows = db.execute(
            "SELECT flow_id, dataset_id, sum(json_extract(body, '$.records')), max(rowid) FROM commits"
            " WHERE kind='good' GROUP BY flow_id, dataset_id"
        ).fetchall()
    return {(flow, dataset): Known(landed, newest) for flow, dataset, landed, newest in rows}


def _note_replays(db: sqlite3.Connection, books: Books) -> None:
    rows = db.execute(
        "SELECT id, body FROM documents WHERE kind=? AND (json_array_length(body, '$.open') > 0 OR"
        " json_extract(body, '$.state') IN (SELECT value FROM json_each(?))) ORDER BY seq",
        (KIND, json.dumps(OPEN)),
    ).fetchall()  # fmt: skip
    for id, text in rows:
        body = json.loads(text)
        before = books.replays.get(id)
        batches = frozenset(body["open"]).union(before.batches if before else ())
        books.replays[id] = Replay(
            id, body["flowId"], body["state"], body["selected"], body["landed"], batches
        )


def note_commits(
    data_dir: Path, books: Books, before: Mapping[Pair, Known], counted: Counted
) -> None:
    """Add up the rows of commits, as far as the watermarks reach that were read from the tables, and find those
    watermarks that are behind what the store knew `before`."""
    with reading(data_dir / STORE) as db:
        _note_replays(db, books)
        names = dict(
            db.execute("SELECT id, json_extract(body, '$.name') FROM documents WHERE kind='flows'")
        )
        alive = {row[0] for row in db.execute("SELECT id FROM documents WHERE kind='dataSets'")}
        pairs = set(db.execute("SELECT DISTINCT flow_id, dataset_id FROM commits"))
        for pair in sorted(pairs | set(counted.marks)):
            account, known = books.of(pair[0]), before.get(pair)
            if mark := counted.marks.get(pair):
                _hold_against(db, books, pair, mark, known)
            elif pair[1] in counted.unreadable:
                text = f"data set {pair[1]} cannot be read: {counted.unreadable[pair[1]]}"
                account.broken.append(Fault("table_unreadable", text))
            elif pair[1] not in alive:
                _add_dropped(account, _sums(db, pair))
            elif known is not None:  # otherwise the first commit came while the tables were read
                there = pair[1] in counted.listed
                text = "has lost its watermark" if there else "is gone"
                text = f"the table of data set {pair[1]} {text}; {known.landed} records had landed"
                account.broken.append(Fault(ROLLED_BACK if there else "table_gone", text))
    for flow_id, account in books.accounts.items():
        account.name = names.get(flow_id)


@dataclass(frozen=True, slots=True)
class _Sums:
    landed: int
    failed: int
    again: int
    lost: int
    next: int
    sequence: int


def _sums(db: sqlite3.Connection, pair: Pair, up_to: int | None = None, commit: str = "") -> _Sums:
    """Of all rows, or of those up to one and those of its commit, which has several."""
    row = db.execute(
        "SELECT total(json_extract(body, '$.records')), total(json_extract(body, '$.failed')),"
        " total(json_extract(body, '$.again')), total(json_extract(body, '$.lost')),"
        " max(json_extract(body, '$.next')), max(json_extract(body, '$.sequence')) FROM commits"
        " WHERE flow_id=? AND dataset_id=? AND (? IS NULL OR rowid<=? OR commit_id BETWEEN ? AND ?)",
        (*pair, up_to, up_to, *_ids(commit)),
    ).fetchone()
    return _Sums(*(int(value or 0) for value in row))


def _ids(commit: str) -> tuple[str, str]:
    """The first and the last that ids of a commit's rows can be: it, a hyphen and more."""
    return f"{commit}-", f"{commit}."


def _hold_against(
    db: sqlite3.Connection, books: Books, pair: Pair, mark: Watermark, known: Known | None
) -> None:
    account = books.of(pair[0])
    (own,) = db.execute(
        "SELECT max(rowid) FROM commits WHERE kind='good' AND commit_id BETWEEN ? AND ?",
        _ids(mark.commit_id),
    ).fetchone()
    sums = _sums(db, pair, own, mark.commit_id)
    account.noted = (account.noted[0] + sums.landed, account.noted[1] + sums.failed)
    account.written &= own is not None
    account.replaying |= mark.batch_id in books.begun(pair[0])
    if known is None:
        return
    if own < known.newest if own is not None else mark.landed < known.landed:
        text = (
            f"the table of data set {pair[1]} was taken back behind its commits: its watermark counts {mark.landed}"
            f" landed, and {known.landed} had"
        )
        account.broken.append(Fault(ROLLED_BACK, text))


def _add_dropped(account: Account, sums: _Sums) -> None:
    """The rows of a data set that was deleted are known from its commits alone."""
    account.dropped = True
    account.landed += sums.landed
    account.failed += sums.failed
    account.again += sums.again
    account.lost += sums.lost
    account.noted = (account.noted[0] + sums.landed, account.noted[1] + sums.failed)
    account.position = max(account.position, sums.next)
    account.sequence = max(account.sequence, sums.sequence)
