"""SQL over the landed tables with DuckDB, also while a server runs.

A data set is a table named by its id, its failed records by `<id>_failed`; `"sandbox"."name"` works too. The
Iceberg extension comes with its wheel: nothing is downloaded. Only tables that a statement mentions are opened.
"""

import csv
import json
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from headrace.lake.catalog import Lake
from headrace.lake.json_values import scalar
from headrace.xdm.arrow import FAILED_SCHEMA

EXTENSIONS = ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg"))


@dataclass(frozen=True, slots=True)
class Dataset:
    id: str
    sandbox: str
    name: str


def datasets(data_dir: Path) -> list[Dataset]:
    """Every data set of a data directory, oldest first."""
    path = data_dir / "headrace.db"
    if not path.exists():
        return []
    with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10) as store:
        rows = store.execute(
            "SELECT id, sandbox, json_extract(body, '$.name') FROM documents WHERE kind='dataSets' ORDER BY seq"
        ).fetchall()
    return [Dataset(*row) for row in rows]


def load_extensions() -> duckdb.DuckDBPyConnection:
    """A connection that reads Iceberg tables and downloads nothing."""
    session = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    for package, name in EXTENSIONS:
        file = next(Path(package.__path__[0]).rglob(f"{name}.duckdb_extension"))
        session.execute(f"LOAD {_text(str(file))}")
    session.execute("SET TimeZone = 'UTC'")
    session.execute("SET unsafe_enable_version_guessing = false")
    return session


def open_session(data_dir: Path, sql: str) -> duckdb.DuckDBPyConnection:
    """A connection with a view for each table that `sql` mentions."""
    session = load_extensions()
    lake = Lake(data_dir)
    text, seen = sql.lower(), set[tuple[str, str]]()
    for number, dataset in enumerate(datasets(data_dir)):
        named = dataset.name.replace('"', '""').lower() in text
        if dataset.id not in text and not named:
            continue
        qualified = (dataset.sandbox, dataset.name)
        for suffix in ("", "_failed"):
            try:
                table = lake.catalog.load_table((dataset.sandbox, dataset.id + suffix))
            except NoSuchTableError:
                continue
            source = _source(session, table, f"__empty_{number}{suffix}")
            if suffix:
                source = f"(SELECT *{_lacking(table)} FROM {source})"
            session.execute(f"CREATE VIEW {_name(dataset.id + suffix)} AS SELECT * FROM {source}")
            if qualified in seen:
                continue  # of two data sets of one name the older has it; both can be had by id
            session.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(dataset.sandbox)}")
            session.execute(
                f"CREATE VIEW {_name(dataset.sandbox)}.{_name(dataset.name + suffix)} "
                f"AS SELECT * FROM {source}"
            )
        seen.add(qualified)
    return session


def _lacking(table: Table) -> str:
    """Columns of failed records that the table does not have yet, as nulls: nothing has been committed to it since."""
    there = {field.name for field in table.schema().fields}
    names = (name for name in FAILED_SCHEMA.names if name not in there)
    return "".join(f", CAST(NULL AS VARCHAR) AS {_name(name)}" for name in names)


def _source(session: duckdb.DuckDBPyConnection, table: Table, empty_name: str) -> str:
    if table.current_snapshot() is None:
        session.register(empty_name, table.schema().as_arrow().empty_table())
        return _name(empty_name)
    return f"iceberg_scan({_text(table.metadata_location)})"


def run(data_dir: Path, sql: str, format: str, out: TextIO) -> int:
    """Run one statement and write its result as `table`, `json` or `csv`; the exit status."""
    try:
        session = open_session(data_dir, sql)
        result = session.execute(sql)
        if result.description is None:
            return 0
        columns = [column[0] for column in result.description]
        write = {"table": _write_table, "json": _write_json, "csv": _write_csv}[format]
        write(columns, _rows(result), out)
    except duckdb.Error as error:
        print(f"headrace sql: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(10_000):
        yield from rows


def _write_json(columns: list[str], rows: Iterator[tuple[Any, ...]], out: TextIO) -> None:
    out.write("[")
    for number, row in enumerate(rows):
        text = json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False)
        out.write((",\n" if number else "") + text)
    out.write("]\n")


def _write_csv(columns: list[str], rows: Iterator[tuple[Any, ...]], out: TextIO) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def _write_table(columns: list[str], rows: Iterator[tuple[Any, ...]], out: TextIO) -> None:
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(c), *(len(row[n]) for row in cells)]) for n, c in enumerate(columns)]
    for line in (columns, ["-" * width for width in widths], *cells):
        out.write("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() + "\n")
    out.write(f"({len(cells)} row{'' if len(cells) == 1 else 's'})\n")


def _cell(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value of DuckDB as JSON has it."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return scalar(value)


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
