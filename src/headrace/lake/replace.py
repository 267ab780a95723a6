"""A snapshot that holds the rows of the one before it in other files: Iceberg's `replace` operation.

Readers of changes pass such snapshots over. Nothing here touches a watermark: the snapshot's summary has none,
so that whoever looks for one goes on to its parent, and the table's properties stay as they are.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update.snapshot import _MergeAppendFiles

from headrace.lake.transaction import CachedTransaction
from headrace.testing.crashpoints import reach

SUMMARY = {"headrace.upkeep": "replace"}


class Replace(_MergeAppendFiles):
    """Takes data files out, by path, and puts others in. ValidationException when one of those is not there."""

    def __init__(self, transaction: Transaction, table: Table, removed: Collection[str]) -> None:
        super().__init__(
            Operation.OVERWRITE, transaction, table.io, snapshot_properties=dict(SUMMARY)
        )
        self._removed = frozenset(removed)
        self._kept: list[ManifestFile] = []
        if not removed:
            self._min_count_to_merge = 2  # there is nothing else to do than to merge manifests

    def _deleted_entries(self) -> list[ManifestEntry]:
        """One pass over the parent's manifests; fails before anything is written."""
        touched: list[tuple[ManifestFile, list[ManifestEntry]]] = []
        found: list[ManifestEntry] = []
        for manifest in manifests(self._parent(), self._transaction._table):
            if manifest.content != ManifestContent.DATA:
                raise ValidationException("rows are deleted by files of their own")
            entries = manifest.fetch_manifest_entry(self._io) if self._removed else []
            gone = [entry for entry in entries if entry.data_file.file_path in self._removed]
            if not gone:
                self._kept.append(manifest)
                continue
            found += gone
            touched.append(
                (manifest, [e for e in entries if e.data_file.file_path not in self._removed])
            )
        if len(found) != len(self._removed):
            raise ValidationException(f"{len(self._removed)} files to replace, {len(found)} there")
        for manifest, rest in touched:
            if rest:
                with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
                    for entry in rest:
                        writer.existing(entry)
                self._kept.append(writer.to_manifest_file())
        self._deleted_data_files = {entry.data_file for entry in found}
        return [
            ManifestEntry.from_args(
                status=ManifestEntryStatus.DELETED,
                snapshot_id=self._snapshot_id,
                sequence_number=entry.sequence_number,
                file_sequence_number=entry.file_sequence_number,
                data_file=entry.data_file,
            )
            for entry in found
        ]

    def _parent(self) -> Snapshot | None:
        return self._transaction.table_metadata.snapshot_by_name(self._target_branch)

    def _existing_manifests(self) -> list[ManifestFile]:
        return self._kept

    def _summary(self, snapshot_properties: Any = None) -> Summary:
        # the library counts no totals for a replace: it is given an overwrite to count
        summary = super()._summary(snapshot_properties or {})
        return Summary(operation=Operation.REPLACE, **summary.additional_properties)


def replace(table: Table, removed: Collection[str], added: Sequence[DataFile]) -> None:
    """Commit on the table as it was loaded: any other snapshot since makes it CommitFailedException.

    ValidationException when a file to remove is not live or rows are deleted by delete files. Every other error
    leaves the outcome unknown.
    """
    # on the loaded object only: the library's own retry would not look at the files again
    table.metadata.properties["commit.retry.num-retries"] = "0"
    with CachedTransaction(table) as transaction:
        change = Replace(transaction, table, removed)
        for file in added:
            change.append_data_file(file)
        change.commit()
        reach("replace-before-commit")
    reach("replace-after-commit")


def manifests(snapshot: Snapshot | None, table: Table) -> list[ManifestFile]:
    """The snapshot's manifests that have live entries."""
    if snapshot is None:
        return []
    found = snapshot.manifests(table.io)
    return [m for m in found if m.has_added_files() or m.has_existing_files()]


def live_files(table: Table) -> Iterator[DataFile]:
    """The data files of the current snapshot; ValidationException when rows are deleted by delete files."""
    for manifest in manifests(table.current_snapshot(), table):
        if manifest.content != ManifestContent.DATA:
            raise ValidationException("rows are deleted by files of their own")
        for entry in manifest.fetch_manifest_entry(table.io):
            yield entry.data_file
