"""A transaction that computes its table metadata once a change.

The library copies the whole metadata, schema and all, each time the property is read, some thirty times a commit;
for wide XDM schemas that is most of a commit's time. Nothing here changes what it reads.
"""

from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata


class CachedTransaction(Transaction):
    """As `Table.transaction()`."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._known: tuple[int, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with the changes staged so far; not to be changed."""
        count = len(self._updates)
        if self._known is None or self._known[0] != count:
            self._known = count, super().table_metadata
        return self._known[1]
