"""The account of every flow, from three sources that know nothing of one another: the log's frames, the tables'
rows, the rows of commits. Watermarks are what they are held against.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.log.frames import CHECKPOINT, LOG_PARTITION
from headrace.log.segments import decode_checkpoint, segments
from headrace.services.operator.inspection import CATALOG, STORE, reading, tables
from headrace.services.operator.log_search import Scanned, durable, frames

if TYPE_CHECKING:
    from headrace.lake.watermark import Watermark


@dataclass(slots=True)
class Account:
    """One flow. `logged`: records ever accepted, as the log tells; `waiting`: records that lie in the log behind the
    position; `rows` and `failed_rows` are counted, `landed` and `failed` are what watermarks say, `noted` what rows
    of commits say (landed, failed). `again` and `lost`: records that an operator had read once more or passed over;
    `gone` and `failed_gone`: rows that a table once had and lost when it was rolled back or dropped. `dropped`: its data set was deleted, so that only the latter are known."""

    flow_id: str
    name: str | None = None
    logged: int = 0
    waiting: int = 0
    sequence: int = 0
    position: int = 0
    landed: int = 0
    failed: int = 0
    rows: int = 0
    failed_rows: int = 0
    noted: tuple[int, int] = (0, 0)
    again: int = 0
    lost: int = 0
    gone: int = 0
    failed_gone: int = 0
    dropped: bool = False
    missing: str | None = None

    @property
    def accepted(self) -> int:
        return max(self.logged, self.sequence)

    def faults(self, *, running: bool) -> list[str]:
        """What does not add up."""
        found = [self.missing] if self.missing else []
        explained = self.landed + self.failed + self.lost + self.waiting
        if self.accepted + self.again != explained:
            again = f" + {self.again} again" if self.again else ""
            lost = f" + {self.lost} lost" if self.lost else ""
            found.append(
                f"{self.accepted} accepted{again}, but {self.landed} landed + {self.failed} failed{lost}"
                f" + {self.waiting} in the log = {explained}"
            )
        if not self.dropped and not self.missing:
            for what, counted, said in (
                ("rows", self.rows, self.landed - self.gone),
                ("failed rows", self.failed_rows, self.failed - self.failed_gone),
            ):  # fmt: skip
                if counted != said:
                    found.append(f"{counted} {what} in the table, its watermark counts {said}")
            # a stopped server may have left a commit without its row: the next start writes it
            # (that of a replay has failed records less)
            behind = self.noted[0] <= self.landed and sum(self.noted) <= self.landed + self.failed
            if self.noted != (self.landed, self.failed) and (running or not behind):
                found.append(
                    f"commits add up to {self.noted[0]} landed and {self.noted[1]} failed,"
                    f" watermarks to {self.landed} and {self.failed}"
                )
        return found


@dataclass(slots=True)
class Books:
    """`seen`: the sequence that a data set's watermark had for a flow, by "flow data set". `strays`: texts about rows that belong to no flow's account; `revisions`: (flow, revision) of waiting records;
    `damage`: where the log is damaged; `torn`: bytes of its end that were never acknowledged."""

    accounts: dict[str, Account] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    foreign: int = 0
    revisions: set[tuple[str, int]] = field(default_factory=set)
    damage: list[str] = field(default_factory=list)
    torn: int = 0
    segments: int = 0
    frames: int = 0

    def of(self, flow_id: str) -> Account:
        return self.accounts.setdefault(flow_id, Account(flow_id))


def collect(data_dir: Path, *, running: bool) -> Books:
    """Read everything once. Beside a running server the parts are of slightly different moments: ask again before
    you believe a fault."""
    books = Books()
    rows = _count_tables(data_dir, books)
    _read_store(data_dir, books, running=running)
    _read_log(data_dir / "log", books, running=running)
    for (flow_id, dataset_id), count in sorted(rows.items()):
        if flow_id not in books.accounts and count:
            books.strays.append(
                f"{count} rows of an unknown flow {flow_id} in data set {dataset_id}"
            )
    return books


# -- tables -------------------------------------------------------------------------------------------------


def _count_tables(data_dir: Path, books: Books) -> Counter[tuple[str, str]]:
    """Watermarks and rows; what rows there are of flows without a watermark."""
    from headrace.lake.watermark import PREFIX, Watermark

    marks: dict[tuple[str, str], Watermark] = {}
    strays: Counter[tuple[str, str]] = Counter()
    for entry in tables(data_dir / CATALOG):
        try:
            table = entry.load()
            if entry.failed:
                for name, text in table.metadata.properties.items():
                    if name.startswith(PREFIX):
                        flow_id = name.removeprefix(PREFIX)
                        books.of(flow_id).failed_gone += Watermark.from_text(text).gone
            else:
                for name, text in table.metadata.properties.items():
                    if name.startswith(PREFIX):
                        flow_id = name.removeprefix(PREFIX)
                        marks[flow_id, entry.dataset_id] = mark = Watermark.from_text(text)
                        books.seen[f"{flow_id} {entry.dataset_id}"] = mark.sequence
                        account = books.of(flow_id)
                        account.landed += mark.landed
                        account.failed += mark.failed
                        account.again += mark.again
                        account.lost += mark.lost
                        account.gone += mark.gone
                        account.sequence = max(account.sequence, mark.sequence)
                        place = mark.offsets.get(LOG_PARTITION, 0)
                        account.position = max(account.position, place)
            counted = count_rows(
                table, failed=entry.failed, below=_offsets(marks, entry.dataset_id)
            )
        except (OSError, ValueError, KeyError) as error:
            books.strays.append(f"rows of {entry.sandbox}.{entry.name} cannot be counted: {error}")
            continue
        for writer, count in counted.items():
            if writer is None:
                books.foreign += count
            elif (writer, entry.dataset_id) not in marks:
                strays[writer, entry.dataset_id] += count
            elif entry.failed:
                books.of(writer).failed_rows += count
            else:
                books.of(writer).rows += count
    for (flow_id, dataset_id), count in strays.items():
        if flow_id in books.accounts and count:
            books.strays.append(
                f"{count} rows of flow {flow_id} in data set {dataset_id}, which has no watermark of it"
            )
    return strays


def _offsets(
    marks: "Mapping[tuple[str, str], Watermark]", dataset_id: str
) -> dict[str, Mapping[str, int]]:
    return {flow: mark.offsets for (flow, id), mark in marks.items() if id == dataset_id}


def count_rows(
    table: Any, *, failed: bool, below: Mapping[str, Mapping[str, int]]
) -> Counter[str | None]:
    """Rows of a table by flow, None for those that others appended.

    `below`: flow → partition → offset. Failed rows at or behind it belong to a batch that is being committed and
    are left out. ValueError when rows are deleted by delete files, which are not read here.
    """
    import pyarrow.parquet as pq

    from headrace.disk import local_path
    from headrace.lake.replace import live_files

    found: Counter[str | None] = Counter()
    prefix = "" if failed else "_acp_system_metadata."
    for data_file in live_files(table):
        with pq.ParquetFile(local_path(data_file.file_path)) as file:
            columns = [
                file.metadata.schema.column(n).path for n in range(file.metadata.num_columns)
            ]
            for group in range(file.num_row_groups):
                if f"{prefix}flowId" not in columns:
                    found[None] += file.metadata.row_group(group).num_rows
                elif failed:
                    names = ["flowId", "sourcePartition", "sourceOffset"]
                    read = file.read_row_group(group, names)
                    kinds = Counter(zip(*(read[n].to_pylist() for n in names), strict=True))
                    for (flow, partition, offset), count in kinds.items():
                        limit = below.get(flow, {}).get(partition)
                        if flow not in below or (limit is not None and offset < limit):
                            found[flow] += count
                else:
                    found += _good_rows(file, group, columns.index(f"{prefix}flowId"))
    return found


def _good_rows(file: Any, group: int, column: int) -> Counter[str | None]:
    described = file.metadata.row_group(group).column(column)
    known = described.statistics
    whole = known is not None and known.has_min_max and known.has_null_count
    if whole and known.null_count == 0 and known.min == known.max:
        return Counter({str(known.min): file.metadata.row_group(group).num_rows})
    read = file.read_row_group(group, [described.path_in_schema]).flatten()
    return Counter(read.column(0).to_pylist())


# -- store --------------------------------------------------------------------------------------------------


def _read_store(data_dir: Path, books: Books, *, running: bool) -> None:
    """Beside a running server, commits that came after the tables were read are left out."""
    with reading(data_dir / STORE) as db:
        names = dict(
            db.execute("SELECT id, json_extract(body, '$.name') FROM documents WHERE kind='flows'")
        )
        alive = {row[0] for row in db.execute("SELECT id FROM documents WHERE kind='dataSets'")}
        commits = db.execute(
            "SELECT flow_id, dataset_id, sum(json_extract(body, '$.records')),"
            " sum(json_extract(body, '$.failed')), max(json_extract(body, '$.next')),"
            " max(json_extract(body, '$.sequence')) FROM commits"
            " LEFT JOIN json_each(:seen) AS seen ON seen.key = flow_id || ' ' || dataset_id"
            " WHERE NOT :running OR seen.value IS NULL OR json_extract(body, '$.sequence') <= seen.value"
            " GROUP BY flow_id, dataset_id",
            {"seen": json.dumps(books.seen), "running": running},
        ).fetchall()
    known = {(t.dataset_id) for t in tables(data_dir / CATALOG)}
    for flow_id, dataset_id, landed, failed, place, sequence in commits:
        account = books.of(flow_id)
        account.noted = (account.noted[0] + landed, account.noted[1] + failed)
        if dataset_id in known:
            continue
        if dataset_id in alive:
            account.missing = (
                f"the table of data set {dataset_id} is gone; {landed} rows were in it"
            )
            continue
        account.dropped = True
        account.landed, account.failed = account.landed + landed, account.failed + failed
        account.position, account.sequence = (
            max(account.position, place),
            max(account.sequence, sequence),
        )
    for flow_id, account in books.accounts.items():
        account.name = names.get(flow_id)


# -- log ----------------------------------------------------------------------------------------------------


def _read_log(directory: Path, books: Books, *, running: bool) -> None:
    base, length = durable(directory)
    waiting: defaultdict[str, int] = defaultdict(int)
    sequences: dict[str, int] = {}
    for first, path in segments(directory):
        if running and first > base:
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # freed meanwhile
        try:
            size = os.fstat(descriptor).st_size
            last = first == base
            limit = length if last and running else size
            scanned = Scanned()
            for frame in frames(descriptor, limit, scanned):
                books.frames += 1
                flow_id = frame.meta.flow_id
                if frame.meta.layout == CHECKPOINT:
                    for id, sequence in decode_checkpoint(frame.body).items():
                        sequences[id] = max(sequence, sequences.get(id, 0))
                    continue
                sequences[flow_id] = frame.meta.sequence + frame.count
                if frame.end > books.of(flow_id).position:
                    waiting[flow_id] += frame.count
                    books.revisions.add((flow_id, frame.meta.revision))
        finally:
            os.close(descriptor)
        books.segments += 1
        if scanned.length < limit:
            if (last or first > base) and scanned.length >= (length if last else 0):
                books.torn += limit - scanned.length
            else:
                books.damage.append(f"segment {path.name} after byte {scanned.length} of {limit}")
    for flow_id, sequence in sequences.items():
        account = books.of(flow_id)
        account.logged, account.waiting = sequence, waiting[flow_id]


def missing_revisions(data_dir: Path, books: Books) -> list[str]:
    """Revisions that waiting records name and the store does not have."""
    with reading(data_dir / STORE) as db:
        known = set(db.execute("SELECT flow_id, revision FROM flow_revisions"))
    return [f"flow {id} revision {number}" for id, number in sorted(books.revisions - known)]


def unopened(data_dir: Path) -> str | None:
    """Why the vault's key does not fit the store; None when it does, or nothing was sealed yet."""
    from headrace.errors import HeadraceError
    from headrace.security.keys import load_or_create_key
    from headrace.security.vault import Vault

    path = data_dir / "vault.key"
    with reading(data_dir / STORE) as db:
        row = db.execute("SELECT value FROM settings WHERE name='vault.canary'").fetchone()
    if row is None:
        return None
    if not path.exists():
        return f"{path} is missing"
    try:
        Vault(load_or_create_key(path)).open(row[0], "vault.canary")
    except HeadraceError as error:
        return str(error)
    return None


def as_json(account: Account) -> dict[str, Any]:
    """An account's terms, for machines."""
    values = {name: getattr(account, name) for name in Account.__slots__}
    return dict(json.loads(json.dumps(values))) | {"accepted": account.accepted}
