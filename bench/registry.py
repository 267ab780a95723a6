"""Schema Registry: resolution of a large schema, and pages of long lists.

Resolution: a schema of the ExperienceEvent class with 20 standard field groups, resolved anew and remembered.
Lists: 5,000 tenant schemas; the 50th page beside the first, plain and with a filter. Prints medians and the ratio
of the pages, which should not grow with their distance.

    python bench/registry.py [--schemas 5000] [--rounds 21]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from headrace.http.contract import Caller
from headrace.services.registry.accept import View
from headrace.services.registry.lists import Page
from headrace.services.registry.service import RegistryService
from headrace.store.documents import Scope, Store
from headrace.xdm.fields import Field, tree_of
from headrace.xdm.library import Library
from headrace.xdm.resolve import Resolver

EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
WHO = Caller("org", "bench", "client", "user", frozenset(), "prod", "id", "production")
SCOPE = Scope("org", "prod")
REGISTRY = {"createdClient": "c", "createdUser": "u", "updatedClient": "c", "updatedUser": "u"}


def paths(field: Field) -> int:
    below = (*field.properties.values(), *filter(None, (field.items, field.values)))
    return len(field.properties) + sum(map(paths, below))


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def schema(number: int, references: list[str]) -> dict[str, Any]:
    id = f"https://ns.adobe.com/bench/schemas/{number:048x}"
    return {
        "$id": id, "meta:altId": f"_bench.schemas.{number:048x}", "meta:resourceType": "schemas", "type": "object",
        "title": f"schema {number}", "description": "even" if number % 2 == 0 else "odd",
        "allOf": [{"$ref": reference, "type": "object"} for reference in references], "registry": REGISTRY,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    library = Library()
    began = time.perf_counter()
    library.of_type("classes")
    print(f"standard library loaded in {1000 * (time.perf_counter() - began):.0f} ms")
    fitting = [
        group
        for group in library.of_type("mixins")
        if EVENT in group.get("meta:intendedToExtend", ())
    ]
    widest = sorted(fitting, key=lambda g: -paths(tree_of(Resolver(library.get).full(g))))
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "store.db")
        registry = RegistryService(store, library)
        large = _resolvable(schema(0, [EVENT]), widest, library)
        with store.transaction():
            store.create(SCOPE, "schemas", large["$id"], large)
            for number in range(1, options.schemas):
                body = schema(number, [EVENT])
                store.create(SCOPE, "schemas", body["$id"], body)
        count = paths(tree_of(registry.full_schema(SCOPE, large["$id"])))
        lookup = registry.lookup(SCOPE)
        cold = milliseconds(lambda: Resolver(lookup).full(large), options.rounds)
        warm = milliseconds(lambda: registry.full_schema(SCOPE, large["$id"]), options.rounds)
        print(
            f"schema of 20 field groups, {count} paths: resolved in {cold:.1f} ms, remembered {warm:.3f} ms"
        )
        began = time.perf_counter()
        registry.listed(WHO, "tenant", "schemas", Page(limit=50), View())
        print(f"list of {options.schemas}, first: {1000 * (time.perf_counter() - began):.0f} ms")
        changed = store.list(SCOPE, "schemas")[7]
        store.replace(SCOPE, "schemas", changed.id, changed.body | {"description": "changed"})
        began = time.perf_counter()
        registry.listed(WHO, "tenant", "schemas", Page(limit=50), View())
        print(
            f"list of {options.schemas} after a change: {1000 * (time.perf_counter() - began):.0f} ms"
        )
        for name, filters in (("plain", ()), ("description==even", ("description==even",))):
            starts: list[Any] = [None]
            for _ in range(49):
                page = Page("title", 50, starts[-1], filters)
                found = registry.listed(WHO, "tenant", "schemas", page, View())
                starts.append(found["_page"]["next"])
            first, last = (
                milliseconds(
                    partial(
                        registry.listed,
                        WHO,
                        "tenant",
                        "schemas",
                        Page("title", 50, start, filters),
                        View(),
                    ),
                    options.rounds,
                )
                for start in (starts[0], starts[49])
            )
            print(
                f"{name:18} page 1 {first:6.1f} ms, page 50 {last:6.1f} ms, ratio {last / first:.2f}"
            )


def _resolvable(
    body: dict[str, Any], groups: list[dict[str, Any]], library: Library
) -> dict[str, Any]:
    """The schema with the 20 widest field groups that agree with one another."""
    for group in groups:
        wider = {**body, "allOf": [*body["allOf"], {"$ref": group["$id"], "type": "object"}]}
        try:
            Resolver(library.get).full(wider)
        except Exception:
            continue
        body = wider
        if len(body["allOf"]) == 21:
            break
    return body


if __name__ == "__main__":
    main()
