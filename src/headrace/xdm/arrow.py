"""XDM kinds as Arrow types. The lake's tables and the pipeline's columns both come from here.

| XDM kind | Arrow | Iceberg |
|---|---|---|
| string | string | string |
| boolean | bool | boolean |
| byte, short, int | int32 | int |
| long | int64 | long |
| number | float64 | double |
| date | date32 | date |
| date-time | timestamp[us, UTC] | timestamptz |
| object | struct (JSON text in a string when it declares no properties) | struct |
| array | list | list |
| map | map<string, …> | map |
"""

import pyarrow as pa

from headrace.xdm.fields import Field

_SCALARS: dict[str, pa.DataType] = {
    "string": pa.string(),
    "boolean": pa.bool_(),
    "byte": pa.int32(),
    "short": pa.int32(),
    "int": pa.int32(),
    "long": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "date-time": pa.timestamp("us", "UTC"),
}

SYSTEM_METADATA = pa.struct(
    [
        ("flowId", pa.string()),
        ("sourcePartition", pa.string()),
        ("sourceOffset", pa.int64()),
        ("receiptId", pa.string()),
        ("ingestTime", pa.int64()),
        ("acp_sourceBatchId", pa.string()),
    ]
)
"""The type of `_acp_system_metadata`; `ingestTime` is in milliseconds since the epoch."""

FAILED_SCHEMA = pa.schema(
    [
        ("original", pa.binary()),
        ("stage", pa.string()),
        ("code", pa.string()),
        ("path", pa.string()),
        ("message", pa.string()),
        ("flowId", pa.string()),
        ("flowRevision", pa.int32()),
        ("sourcePartition", pa.string()),
        ("sourceOffset", pa.int64()),
        ("receiptId", pa.string()),
        ("ingestTime", pa.int64()),
        ("acp_sourceBatchId", pa.string()),
        ("header", pa.string()),
    ]
)
"""The columns of a table of failed records. `original`: the record's bytes as received; `header`: the CSV header row
that they came under, empty when it was too long to keep, null for a record that is no row of CSV. `header` came later:
a table may lack it."""


def arrow_type(field: Field) -> pa.DataType:
    """The Arrow type of a field and everything below it."""
    if field.kind == "object":
        if not field.properties:
            return pa.string()
        return pa.struct([(name, arrow_type(child)) for name, child in field.properties.items()])
    if field.kind == "array":
        return pa.list_(arrow_type(field.items or Field("string")))
    if field.kind == "map":
        return pa.map_(pa.string(), arrow_type(field.values or Field("string")))
    return _SCALARS[field.kind]


def table_schema(tree: Field) -> pa.Schema:
    """Columns of a data set's table: the XDM fields and the system metadata."""
    columns = [(name, arrow_type(child)) for name, child in tree.properties.items()]
    return pa.schema([*columns, ("_acp_system_metadata", SYSTEM_METADATA)])
