"""Everything that a data directory says of its flows, read once."""

from pathlib import Path

from headrace.services.operator.doctor.accounts import Books
from headrace.services.operator.doctor.log_counts import count_log
from headrace.services.operator.doctor.store_counts import note_commits, remembered
from headrace.services.operator.doctor.table_counts import count_tables


def collect(data_dir: Path, *, running: bool) -> Books:
    """Read everything once. Beside a running server the parts are of slightly different moments: ask again before
    you believe a fault.

    The store is asked first, for what it knows of commits, then the tables: a watermark only grows, so one that is
    behind what the store knew before was taken back.
    """
    books = Books()
    before = remembered(data_dir, books)
    counted = count_tables(data_dir, books)
    note_commits(data_dir, books, before, counted)
    count_log(data_dir / "log", books, running=running)
    return books
