"""Which files a table consists of, as paths: what must exist, and what a backup copies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.disk import local_path

if TYPE_CHECKING:
    from pyiceberg.table import Table

METADATA, LIST, MANIFEST, DATA, OTHER = "metadata", "manifest list", "manifest", "data", "other"


@dataclass(frozen=True, slots=True)
class Reference:
    """`size` in bytes where the table says it. `deletes`: a manifest of delete files."""

    path: Path
    kind: str
    size: int | None = None
    deletes: bool = False


def references(table: "Table", *, history: bool) -> Iterator[Reference]:
    """The files of the current snapshot, or with `history` of all snapshots that the table keeps.

    FileNotFoundError when one is missing that must be read to find the others.
    """
    from pyiceberg.manifest import ManifestContent

    metadata = table.metadata
    yield Reference(local_path(table.metadata_location), METADATA)
    current = table.current_snapshot()
    snapshots = metadata.snapshots if history else [s for s in (current,) if s is not None]
    if history:
        for statistics in (*metadata.statistics, *metadata.partition_statistics):
            yield Reference(local_path(statistics.statistics_path), OTHER)
    seen = set[str]()
    for snapshot in snapshots:
        yield Reference(local_path(snapshot.manifest_list), LIST)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            deletes = manifest.content == ManifestContent.DELETES
            yield Reference(
                local_path(manifest.manifest_path), MANIFEST, manifest.manifest_length, deletes
            )
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                file = entry.data_file
                path = local_path(file.file_path)
                if str(path) not in seen:
                    seen.add(str(path))
                    yield Reference(path, DATA, file.file_size_in_bytes, deletes)
