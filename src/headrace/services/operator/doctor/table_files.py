"""Whether the files that a table's current snapshot names are there and are what they were: metadata, manifests, and
of data files their existence and size.

Neither Avro nor Iceberg has checksums, so everything that is said twice is compared: sizes, numbers of files and rows,
schemas, and what compressed blocks say of themselves.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.disk import local_path
from headrace.services.operator.avro import checked
from headrace.services.operator.doctor.checks import Fault

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.typedef import TableVersion

_HEADER = ("schema", "partition-spec", "partition-spec-id", "format-version", "content")
"""What the header of every manifest must have."""


@dataclass(frozen=True, slots=True)
class Named:
    """A data file as its manifest names it."""

    path: Path
    size: int
    rows: int
    parquet: bool = True


def examine(table: "Table") -> tuple[list[Named], list[Fault]]:
    """The data files of the current snapshot, as far as they can be told, and what is wrong with any of its files."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return [], []
    path = local_path(snapshot.manifest_list)
    faults = _list_faults(path, snapshot)
    try:
        manifests = (
            [] if any(f.code == "file_missing" for f in faults) else snapshot.manifests(table.io)
        )
    except Exception as error:  # whatever damaged bytes make a library raise
        faults = faults or [_damaged(path, error)]
        manifests = []
    found: dict[Path, Named] = {}
    for manifest in manifests:
        files, wrong = _manifest(table, manifest)
        faults += wrong
        found.update((file.path, file) for file in files)
    for file in found.values():
        faults += _size_faults(file.path, file.size)
    if not faults:
        faults += _totals(table, snapshot, list(found.values()))
    return list(found.values()), faults


def _list_faults(path: Path, snapshot: "Snapshot") -> list[Fault]:
    try:
        return _list_header_faults(path, checked(path.read_bytes()), snapshot)
    except FileNotFoundError:
        return [Fault("file_missing", f"{path} is missing")]
    except (OSError, ValueError) as error:
        return [_damaged(path, error)]


def _list_header_faults(path: Path, header: dict[str, str], snapshot: "Snapshot") -> list[Fault]:
    parent = snapshot.parent_snapshot_id
    said = {
        "snapshot-id": str(snapshot.snapshot_id), "sequence-number": str(snapshot.sequence_number),
        "parent-snapshot-id": "null" if parent is None else str(parent),
    }  # fmt: skip
    wrong = [name for name, value in said.items() if header.get(name, value) != value]
    if wrong:
        return [Fault("manifest_damaged", f"{path} is of another {wrong[0]}")]
    return _altered(path, header, (*said, "format-version"), _list_schemas())


def _manifest(table: "Table", manifest: "ManifestFile") -> tuple[list[Named], list[Fault]]:
    from pyiceberg.manifest import ManifestEntryStatus

    path = local_path(manifest.manifest_path)
    faults = _size_faults(path, manifest.manifest_length)
    if faults:
        return [], faults
    try:
        header = checked(path.read_bytes())
        faults = _header_faults(table, path, header, manifest)
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        files = [_named(e.data_file) for e in entries if e.status != ManifestEntryStatus.DELETED]
    except Exception as error:  # whatever damaged bytes make a library raise
        return [], faults or [_damaged(path, error)]
    said = [manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count]
    rows = [manifest.added_rows_count, manifest.existing_rows_count]
    for what, counted, parts in (
        ("files", len(entries), said), ("rows", sum(file.rows for file in files), rows),
    ):  # fmt: skip
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and counted != sum(known):
            text = f"{path} has {counted} {what}, the list of manifests says {sum(known)}"
            faults.append(Fault("manifest_damaged", text))
    return files, faults


def _named(file: "DataFile") -> Named:
    parquet = file.file_format.value.upper() == "PARQUET"
    return Named(local_path(file.file_path), file.file_size_in_bytes, file.record_count, parquet)


def _header_faults(
    table: "Table", path: Path, header: dict[str, str], manifest: "ManifestFile"
) -> list[Fault]:
    """What the header says and the table's metadata or the library that wrote it say otherwise."""
    from pyiceberg.schema import Schema

    lacking = [name for name in _HEADER if name not in header]
    if table.metadata.format_version >= 2 and lacking:
        return [Fault("manifest_damaged", f"{path}: its header has no {', '.join(lacking)}")]
    schema = Schema.model_validate_json(header["schema"])
    known = table.schemas()
    texts = [each.model_dump_json() for each in known.values()]
    other = schema != known.get(schema.schema_id, schema)
    if other or _nearly(header["schema"], texts):
        return [Fault("manifest_damaged", f"{path}: its schema is not that of the table")]
    spec_id = int(header["partition-spec-id"])
    spec = _spec(header["partition-spec"], spec_id)
    if table.specs().get(spec_id, spec) != spec or spec_id != manifest.partition_spec_id:
        return [Fault("manifest_damaged", f"{path}: its partition spec is not that of the table")]
    content = "deletes" if int(manifest.content) else "data"
    if header.get("content", content) != content:
        return [Fault("manifest_damaged", f"{path}: its content is {header['content'][:20]}")]
    return _altered(
        path, header, _HEADER, _entry_schemas(header["partition-spec"], header["schema"])
    )


def _altered(
    path: Path, header: dict[str, str], names: Sequence[str], schemas: Sequence[str]
) -> list[Fault]:
    """Names in a header, or its schema of records, that are but for a bit or two those that the library writes."""
    if _nearly(header.get("avro.schema", ""), schemas):
        return [Fault("manifest_damaged", f"{path}: its schema of records was altered")]
    odd = [name for name in header if _nearly(name, (*names, "avro.codec", "avro.schema"))]
    if odd or header.get("format-version", "2") not in ("1", "2", "3"):
        return [Fault("manifest_damaged", f"{path}: its header was altered")]
    return []


def _nearly(text: str, known: Sequence[str]) -> bool:
    """Whether a text is none of those known, and one or two bits make it one."""
    if text in known:
        return False
    have = text.encode()
    return any(
        len(have) == len(want)
        and sum((a ^ b).bit_count() for a, b in zip(have, want, strict=True)) <= 2
        for want in map(str.encode, known)
    )


@cache
def _list_schemas() -> Sequence[str]:
    from pyiceberg.manifest import MANIFEST_LIST_FILE_SCHEMAS
    from pyiceberg.utils.schema_conversion import AvroSchemaConversion

    convert = AvroSchemaConversion().iceberg_to_avro
    return [
        json.dumps(convert(each, schema_name="manifest_file"))
        for each in MANIFEST_LIST_FILE_SCHEMAS.values()
    ]


@lru_cache(100)
def _entry_schemas(spec: str, schema: str) -> Sequence[str]:
    """Schemas of records as they are written into manifests with these headers, in all versions of the format."""
    from pyiceberg.manifest import (
        data_file_with_partition,
        manifest_entry_schema_with_data_file,
    )
    from pyiceberg.schema import Schema
    from pyiceberg.utils.schema_conversion import AvroSchemaConversion

    kind = _spec(spec).partition_type(Schema.model_validate_json(schema))
    found = []
    versions: tuple[TableVersion, ...] = (1, 2, 3)
    for version in versions:
        file = data_file_with_partition(partition_type=kind, format_version=version)
        whole = manifest_entry_schema_with_data_file(format_version=version, data_file=file)
        convert = AvroSchemaConversion().iceberg_to_avro
        found.append(json.dumps(convert(whole, schema_name="manifest_entry")))
    return found


def _spec(fields: str, id: int = 0) -> "PartitionSpec":
    from pyiceberg.partitioning import PartitionSpec

    return PartitionSpec.model_validate({"spec-id": id, "fields": json.loads(fields)})


def _size_faults(path: Path, size: int) -> list[Fault]:
    try:
        have = path.stat().st_size
    except FileNotFoundError:
        return [Fault("file_missing", f"{path} is missing")]
    except OSError as error:
        return [Fault("file_unreadable", f"{path}: {error.strerror}")]
    if have != size:
        return [Fault("file_size", f"{path} has {have} bytes, not {size}")]
    return []


def _totals(table: "Table", snapshot: "Snapshot", files: list[Named]) -> Iterator[Fault]:
    """The snapshot's own totals, which lie in another file than its manifests."""
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    if summary.get("total-delete-files", "0") != "0":
        return
    for name, counted in (
        ("total-data-files", len(files)),
        ("total-records", sum(file.rows for file in files)),
        ("total-files-size", sum(file.size for file in files)),
    ):
        if name in summary and summary[name] != str(counted):
            text = f"manifests come to {counted} of {name}, the snapshot says {summary[name]}"
            yield Fault("totals_differ", text)


def _damaged(path: Path, error: Exception) -> Fault:
    return Fault("manifest_damaged", f"{path} is damaged: {type(error).__name__}: {error}"[:400])
