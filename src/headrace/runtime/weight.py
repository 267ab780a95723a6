"""What values that a mapping made take in memory, beyond the records that they were made of."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from headrace.mapping.limits import MAX_VALUE, weight_of
from headrace.mapping.syntax import Node, Path
from headrace.runtime.shapes import Column, rules_of


def growing(nodes: Sequence[Node], columns: Sequence[Column]) -> list[tuple[int, bool]]:
    """Columns whose values may take more room than the record that they are made of, as (number, whether it is text):
    all but those of fixed size and those that hold what one path alone reads."""
    read = Counter(node for node in nodes if isinstance(node, Path))

    def copied(node: Node) -> bool:
        return isinstance(node, Path) and read[node] == 1

    return [
        (number, column.scalar)
        for number, column in enumerate(columns)
        if (not column.scalar or column.template.field.kind == "string")
        and not all(copied(nodes[rule]) for rule in rules_of(column.template))
    ]


def weight_of_columns(
    growing: Iterable[tuple[int, bool]], values: Sequence[Sequence[Any]], start: int
) -> int:
    """Bytes, roughly, of the rows from `start` on in the columns that grow; `values` has a list for every column."""
    found = 0
    for number, text in growing:
        latest = values[number][start:]
        if text:
            found += sum(map(len, filter(None, latest)))
        else:
            found += sum(weight_of(value, MAX_VALUE) for value in latest)
    return found
