"""The checks of tables: their files, and when asked for every byte of their data files."""

from collections.abc import Iterator
from pathlib import Path

from headrace.services.operator.doctor.checks import BAD, NOTE, OK, Check, Fault, some
from headrace.services.operator.doctor.page_checks import PageReader
from headrace.services.operator.doctor.table_files import examine
from headrace.services.operator.inspection import CATALOG, TableEntry, tables

RESTORE = "put the file back from a backup, or restore one elsewhere with `headrace restore`"


def table_checks(data_dir: Path, reader: PageReader | None) -> Iterator[Check]:
    """A line for each kind of fault of a table, or one for all of them. With a reader data files are read, otherwise
    they must be there and have their size."""
    found = tables(data_dir / CATALOG)
    files = wrong = 0
    for entry in found:
        count, faults = _looked_at(entry, reader)
        if faults:
            # a commit may have replaced what was looked at: only the present state counts
            now = {(t.sandbox, t.name): t for t in tables(data_dir / CATALOG)}
            present = now.get((entry.sandbox, entry.name))
            if present is None:
                continue
            if present != entry:
                count, faults = _looked_at(present, reader)
        files += count
        by_code: dict[str, list[str]] = {}
        for fault in faults:
            by_code.setdefault(fault.code, []).append(fault.detail)
        wrong += len(by_code)
        for code, texts in by_code.items():
            yield Check(f"table {entry.sandbox}.{entry.name}", BAD, some(texts), RESTORE, code)
    if not wrong:
        text = f"{len(found)} tables have all their files; {files} hold rows"
        yield Check("tables", OK, text if found else "there are none yet")
    if reader is not None:
        text = f"{reader.files} data files were read, {reader.bytes} bytes"
        text += "" if wrong else ": every page fits its checksum"
        yield Check("pages", NOTE if wrong else OK, text)


def _looked_at(entry: TableEntry, reader: PageReader | None) -> tuple[int, list[Fault]]:
    """How many data files a table has, and what is wrong with any of its files."""
    try:
        named, faults = examine(entry.load())
    except Exception as error:  # whatever damaged bytes make a library raise
        text = f"its metadata cannot be read: {error}"[:400]
        return 0, [Fault("metadata_damaged", text)]
    if reader is not None:
        known = {fault.detail for fault in faults}
        for file in named:
            faults += [fault for fault in reader.read(file) if fault.detail not in known]
    return len(named), faults
