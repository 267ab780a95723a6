"""The items of one kind in one sandbox at one moment, held so that a page costs the same however many there are.

They are kept newest first. What else a call needs, the places of the items with a value or another order, is
made when first asked for and then kept with the snapshot.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from headrace.http.paging import Order, ordered, place
from headrace.http.properties import Filter
from headrace.services.flow.query import NEWEST_FIRST, ListQuery

SMALL = 256
"""Up to so many items are looked through, or put in order, one by one."""

SOME = 2048
"""Up to so many items with a value are sorted; with more, the next page is near wherever one looks."""

INDEXES_KEPT = 16
ORDERS_KEPT = 8
Values = dict[str | int | float, frozenset[str]]


class Snapshot:
    """Never changed after it was made, but for what it remembers. Thread-safe."""

    def __init__(self, items: Iterable[dict[str, Any]]) -> None:
        self.items = sorted(items, key=_newest)
        self._by_id = {item["id"]: item for item in self.items}
        self._values: dict[str, Values] = {}
        self._orders: dict[tuple[Order, ...], list[dict[str, Any]]] = {}

    def renewed(self, changes: Mapping[str, dict[str, Any] | None]) -> "Snapshot":
        """A snapshot with these items (by id) new or in the place of older ones, or (None) gone."""
        if len(changes) > SMALL:
            kept = (item for id, item in self._by_id.items() if id not in changes)
            return Snapshot([*kept, *filter(None, changes.values())])
        new = Snapshot(())
        new.items, new._by_id = list(self.items), dict(self._by_id)
        values = {path: dict(places) for path, places in dict(self._values).items()}
        for id, item in changes.items():
            old = new._by_id.pop(id, None)
            if old is not None:
                del new.items[bisect_left(new.items, _newest(old), key=_newest)]
            if item is not None:
                insort(new.items, item, key=_newest)
                new._by_id[id] = item
            for path, places in values.items():
                before, after = _found_under(old, path), _found_under(item, path)
                for key in before - after:
                    places[key] -= {id}
                    if not places[key]:
                        del places[key]
                for key in after - before:
                    places[key] = places.get(key, frozenset()) | {id}
        new._values = values
        return new

    def matching(self, query: ListQuery) -> Iterator[dict[str, Any]]:
        """The items that are wanted, in order, behind the query's place; ValueError when that does not fit."""
        accepts, order = query.selection.accepts, query.order
        ids = self._candidates(query.selection.filters)
        if order != NEWEST_FIRST and ids is not None and len(ids) <= SMALL:
            accepted = [item for item in map(self._by_id.__getitem__, ids) if accepts(item)]
            return iter(ordered(accepted, order, query.after))
        if order != NEWEST_FIRST:
            items = self._in_order(order)
        elif ids is not None and len(ids) <= SOME:
            items = sorted(map(self._by_id.__getitem__, ids), key=_newest)
        else:
            items = self.items
        begin = _behind(items, query) if query.after is not None else 0
        return (item for item in islice(items, begin, None) if accepts(item))

    def _in_order(self, order: list[Order]) -> list[dict[str, Any]]:
        key = tuple(order)
        found = self._orders.get(key)
        if found is None:
            placed = [(place(item, order), item) for item in self.items]
            placed.sort(key=lambda entry: str(entry[1]["id"]))
            for number, step in reversed(list(enumerate(order))):
                placed.sort(key=lambda entry: entry[0][number], reverse=step.descending)
            found = [item for _, item in placed]
            _remember(self._orders, key, found, ORDERS_KEPT)
        return found

    def _candidates(self, filters: Sequence[Filter]) -> frozenset[str] | None:
        """Ids of all items that can match; None for all of them."""
        if len(self.items) <= SMALL:
            return None
        found = [self._with_values(condition) for condition in filters if condition.op == "=="]
        return min(found, key=len, default=None)

    def _with_values(self, condition: Filter) -> frozenset[str]:
        places = self._values.get(condition.path)
        if places is None:
            collected: dict[str | int | float, set[str]] = {}
            for item in self.items:
                for key in _found_under(item, condition.path):
                    collected.setdefault(key, set()).add(item["id"])
            places = {key: frozenset(ids) for key, ids in collected.items()}
            _remember(self._values, condition.path, places, INDEXES_KEPT)
        keys = {key for text in condition.values for key in _keys(text)}
        return frozenset().union(*(places[key] for key in keys if key in places))


def _newest(item: dict[str, Any]) -> tuple[int, str]:
    return -item["createdAt"], item["id"]


def _behind(items: Sequence[dict[str, Any]], query: ListQuery) -> int:
    """The first position whose item stands behind the query's place."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if ordered([items[middle]], query.order, query.after):
            high = middle
        else:
            low = middle + 1
    return low


def _found_under(item: dict[str, Any] | None, path: str) -> set[str | int | float]:
    """The keys under which an item is found by its values at a path."""
    steps = [step.removesuffix("[]") for step in path.split(".")]
    keys = {_key(value) for value in _reach(item, steps)}
    return {key for key in keys if key is not None}


def _key(value: Any) -> str | int | float | None:
    """What an item's value is found under; letter case is looked at when the item is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    return value.lower() if isinstance(value, str) else None


def _keys(text: str) -> Iterator[str | int | float]:
    """What a filter's value may be found under."""
    yield text.lower()
    for number in (int, float):
        try:
            yield number(text)
        except ValueError:
            continue


def _reach(node: Any, steps: Sequence[str]) -> Iterator[Any]:
    if isinstance(node, list):
        for element in node:
            yield from _reach(element, steps)
    elif not steps:
        yield node
    elif isinstance(node, dict) and steps[0] in node:
        yield from _reach(node[steps[0]], steps[1:])


def _remember(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(kept) >= most:
        kept.pop(next(iter(kept)), None)
    kept[key] = value
