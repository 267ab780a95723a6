"""Parquet files for Iceberg tables, written with the table's field ids and only the columns that a batch has.

Wide XDM tables have hundreds of columns of which a batch fills few; readers fill the rest with nulls by field id.
"""

import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.typedef import Record
from pyiceberg.types import IcebergType, ListType, MapType, StructType

from headrace.disk import local_path
from headrace.lake.files import DurableStream

ROW_GROUP = 128 * 1024
_ID = b"PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class Written:
    file: DataFile
    path: str
    bytes: int


def write_parquet(table: Table, rows: pa.Table) -> Written:
    """Write and sync one file of rows; not yet part of the table."""
    schema = table.schema()
    annotated = rows.cast(pa.schema([_annotated(f, schema.as_struct()) for f in rows.schema]))
    location = f"{table.location()}/data/{uuid.uuid4()}.parquet"
    path = local_path(location)
    try:
        with DurableStream(path, overwrite=False) as stream:
            sink = pa.PythonFile(stream, "w")
            # a column may be a dictionary here, and is not to be one for those who read the file
            writer = pq.ParquetWriter(
                sink, annotated.schema, compression="zstd", store_schema=False,
                write_page_checksum=True,
            )  # fmt: skip
            writer.write_table(annotated, row_group_size=ROW_GROUP)
            writer.close()
    except BaseException:
        path.unlink(missing_ok=True)  # no table names it yet, and its room may be what is missing
        raise
    file = described(table, location, pq.read_metadata(path))
    return Written(file, location, file.file_size_in_bytes)


def described(
    table: Table, location: str, metadata: pq.FileMetaData, spec_id: int | None = None
) -> DataFile:
    """A written file as a manifest lists it, with the statistics of its footer; the table's own spec by default."""
    schema = table.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=metadata,
        stats_columns=compute_statistics_plan(schema, table.metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        file_size_in_bytes=local_path(location).stat().st_size,
        sort_order_id=None,
        spec_id=table.metadata.default_spec_id if spec_id is None else spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def _annotated(field: pa.Field, parent: StructType | Schema | Any) -> pa.Field:
    """The Arrow field with the ids that the table gives to it and to everything below."""
    known = next(f for f in parent.fields if f.name == field.name)
    kind = _annotated_type(field.type, known.field_type)
    return pa.field(field.name, kind, True, {_ID: str(known.field_id).encode()})


def _annotated_type(kind: pa.DataType, known: IcebergType) -> pa.DataType:
    if isinstance(known, StructType):
        return pa.struct([_annotated(kind.field(n), known) for n in range(kind.num_fields)])
    if isinstance(known, ListType):
        element = _annotated_type(kind.value_type, known.element_type)
        identity = {_ID: str(known.element_id).encode()}
        return pa.list_(pa.field("element", element, True, identity))
    if isinstance(known, MapType):
        key = pa.field("key", kind.key_type, False, {_ID: str(known.key_id).encode()})
        value = _annotated_type(kind.item_type, known.value_type)
        return pa.map_(key, pa.field("value", value, True, {_ID: str(known.value_id).encode()}))
    return kind
