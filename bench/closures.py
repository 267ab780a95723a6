"""The straightforward way to map records: a closure for each rule, and a dictionary walked for each value."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from headrace.xdm.fields import Field

Read = Callable[[Any], Any]


def reader(path: str, leaf: Field) -> Read:
    """What takes the value at a dotted path out of a record, dates and times as such."""
    steps = path.split(".")

    def read(record: Any) -> Any:
        for step in steps:
            record = record[step]
        if leaf.kind == "date-time":
            return datetime.fromisoformat(record)
        return date.fromisoformat(record) if leaf.kind == "date" else record

    return read


def row_of(rules: Sequence[tuple[list[str], Read]], record: Any) -> dict[str, Any]:
    """The row of a record by rules given as (steps of the target, what reads the value)."""
    row: dict[str, Any] = {}
    for target, read in rules:
        node = row
        for step in target[:-1]:
            node = node.setdefault(step, {})
        node[target[-1]] = read(record)
    return row
