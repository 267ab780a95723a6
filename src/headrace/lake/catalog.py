"""The lake: an Iceberg SQL catalog on SQLite and the tables of data sets, in one directory.

A data set has two tables in the namespace of its sandbox: `<id>` and `<id>_failed`. Any pyiceberg can open the
catalog (`DIR/lake/catalog.db`).
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.table import Table
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from headrace.disk import make_directories
from headrace.errors import Terminal, Transient
from headrace.xdm.arrow import FAILED_SCHEMA, table_schema
from headrace.xdm.fields import Field

CATALOG_NAME = "headrace"
PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "10",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


@dataclass(slots=True)
class Tables:
    good: Table
    failed: Table


class Lake:
    """`root` is the data directory."""

    def __init__(self, root: Path) -> None:
        self.directory = (root / "lake").resolve()
        make_directories(self.directory / "warehouse")
        self.catalog = SqlCatalog(
            CATALOG_NAME,
            uri=f"sqlite:///{self.directory / 'catalog.db'}",
            warehouse=(self.directory / "warehouse").as_uri(),
            **{"py-io-impl": "headrace.lake.files.DurableFileIO"},
        )
        event.listen(self.catalog.engine, "connect", _prepare)

    def table(self, sandbox: str, name: str) -> Table:
        """Load a table as it is now; Terminal when it is gone or its metadata are damaged."""
        try:
            return self.catalog.load_table((sandbox, name))
        except NoSuchTableError:
            raise Terminal(f"the table {sandbox}.{name} does not exist") from None
        except (ValidationError, ValueError) as error:
            raise _unreadable(sandbox, name) from error
        except SQLAlchemyError as error:
            raise _unreachable(error) from None

    def ensure(self, sandbox: str, dataset_id: str, tree: Field, *, create: bool = True) -> Tables:
        """The data set's tables, created or extended to hold every field of the tree.

        Without `create` a missing table is Terminal: rows that landed are gone. Terminal too when a field has
        another type in a table that holds rows, and when metadata cannot be read; Transient when the catalog does not
        answer.
        """
        try:
            return self._ensure_both(sandbox, dataset_id, tree, create)
        except SQLAlchemyError as error:
            raise _unreachable(error) from None

    def failed(self, sandbox: str, dataset_id: str) -> Table:
        """The table of a data set's failed records, with every column that such tables have by now; Terminal when it is
        gone, Transient as `ensure`."""
        try:
            return self._ensure(sandbox, f"{dataset_id}_failed", FAILED_SCHEMA, create=False)
        except SQLAlchemyError as error:
            raise _unreachable(error) from None

    def _ensure_both(self, sandbox: str, dataset_id: str, tree: Field, create: bool) -> Tables:
        with contextlib.suppress(NamespaceAlreadyExistsError):
            self.catalog.create_namespace_if_not_exists(sandbox)
        good = self._ensure(sandbox, dataset_id, table_schema(tree), create)
        failed = self._ensure(sandbox, f"{dataset_id}_failed", FAILED_SCHEMA, create)
        return Tables(good, failed)

    def _ensure(self, sandbox: str, name: str, schema: pa.Schema, create: bool) -> Table:
        try:
            table = self.catalog.load_table((sandbox, name))
        except NoSuchTableError:
            if not create:
                raise Terminal(f"the table {sandbox}.{name} does not exist any more") from None
            return self._create(sandbox, name, schema)
        except (FileNotFoundError, PermissionError, ValidationError, ValueError) as error:
            raise _unreadable(sandbox, name) from error
        if _covers(table.schema().as_arrow(), schema):
            return table
        try:
            with table.update_schema() as update:
                update.union_by_name(schema)
        except CommitFailedException as error:
            raise Transient(f"the schema of {sandbox}.{name} is being changed: {error}") from None
        except (ValidationError, ValueError, TypeError) as error:
            if table.current_snapshot() is None:
                self.catalog.drop_table((sandbox, name))
                return self._create(sandbox, name, schema)
            raise Terminal(f"the table {sandbox}.{name} cannot take the schema: {error}") from None
        return self.catalog.load_table((sandbox, name))

    def _create(self, sandbox: str, name: str, schema: pa.Schema) -> Table:
        try:
            return self.catalog.create_table((sandbox, name), schema=schema, properties=PROPERTIES)
        except TableAlreadyExistsError:
            return self.catalog.load_table((sandbox, name))

    def drop(self, sandbox: str, dataset_id: str) -> None:
        """Forget the data set's tables; their files stay until they are removed as orphans."""
        for name in (dataset_id, f"{dataset_id}_failed"):
            try:
                self.catalog.drop_table((sandbox, name))
            except NoSuchTableError:
                continue


def _prepare(connection: sqlite3.Connection, _: object) -> None:
    """Readers and writers of several processes wait for one another; a commit survives power loss."""
    connection.execute("PRAGMA busy_timeout=10000")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _unreadable(sandbox: str, name: str) -> Terminal:
    return Terminal(
        f"the metadata of the table {sandbox}.{name} cannot be read: `headrace doctor` says more"
    )


def _unreachable(error: Exception) -> Transient:
    return Transient(f"the catalog does not answer: {type(error).__name__}")


def _covers(have: pa.Schema | pa.DataType, want: pa.Schema | pa.DataType) -> bool:
    """Whether every field of `want` is in `have`, whatever its depth; types are left to Iceberg."""
    names = {field.name: field.type for field in have}
    for field in want:
        if field.name not in names or not _type_covers(names[field.name], field.type):
            return False
    return True


def _type_covers(have: pa.DataType, want: pa.DataType) -> bool:
    if pa.types.is_struct(want):
        return bool(pa.types.is_struct(have)) and _covers(have, want)
    if pa.types.is_map(want):
        return bool(pa.types.is_map(have)) and _type_covers(have.item_type, want.item_type)
    if pa.types.is_list(want):
        listed = pa.types.is_list(have) or pa.types.is_large_list(have)
        return bool(listed) and _type_covers(have.value_type, want.value_type)
    return bool(_plain(have) == _plain(want))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind
