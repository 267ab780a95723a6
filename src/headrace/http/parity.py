"""Which operations of the original platform there are here; the text of `docs/parity.md`.

`operations.json` lists the original's public operations, service by service, and our own further ones. `(a|b)` in a
method or a path stands for one operation each. A note says how ours differs, or why there is none.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

Operation = tuple[str, str]
"""Method and path, with `{}` for each parameter."""

_CHOICE = re.compile(r"\(([^()]*)\)")
_PARAMETER = re.compile(r"\{[^{}]*\}")
_INTRODUCTION = """\
# Parity with the original, operation by operation

Generated from the server's routes and from `src/headrace/http/operations.json` by
`python -m tests.docs.parity_page`. *implemented*: as the original documents it. *differs*: there, but not in every
respect, and why. *absent*: there is no such operation here, and why.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list: the operations that it stands for, and what there is to say about them."""

    operations: tuple[Operation, ...]
    words: str
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    base: str
    entries: tuple[Entry, ...]


def operation(method: str, path: str) -> Operation:
    """An operation by its method and a path with any names of parameters."""
    return method, _PARAMETER.sub("{}", path).rstrip("/") or "/"


def listed() -> tuple[list[Service], list[Entry]]:
    """(services of the original, our own further operations)."""
    raw = json.loads(files(__package__).joinpath("operations.json").read_text("utf-8"))
    services = [
        Service(
            one["service"], one["base"], tuple(_entry(one["base"], e) for e in one["operations"])
        )
        for one in raw["services"]
    ]
    return services, [_entry("", entry) for entry in raw["own"]]


def _entry(base: str, raw: dict[str, Any]) -> Entry:
    operations = tuple(
        operation(method, base + path)
        for method, path in itertools.product(_choices(raw["method"]), _choices(raw["path"]))
    )
    words = f"{raw['method']} {raw['path'] or '/'}"
    return Entry(operations, words, raw["text"], raw.get("note", ""))


def _choices(text: str) -> Iterator[str]:
    found = _CHOICE.search(text)
    if found is None:
        yield text
        return
    for choice in found[1].split("|"):
        yield from _choices(text[: found.start()] + choice + text[found.end() :])


def state(entry: Entry, served: frozenset[Operation]) -> str:
    """`implemented`, `differs` or `absent`; ValueError when only a part of the line is served."""
    there = {one in served for one in entry.operations}
    if len(there) > 1:
        raise ValueError(f"{entry.words} is served in part: it needs two lines")
    if there == {False}:
        return "absent"
    return "differs" if entry.note else "implemented"


def unlisted(routes: Iterable[Operation]) -> list[Operation]:
    """Operations that are served and in no line of the list."""
    services, own = listed()
    lines = [*(entry for service in services for entry in service.entries), *own]
    known = {one for entry in lines for one in entry.operations}
    return sorted(_served(routes) - known)


def _served(routes: Iterable[Operation]) -> frozenset[Operation]:
    """The operations of routes; those of GET answer HEAD as well."""
    found = {operation(method, path) for method, path in routes}
    return frozenset(found)


def page(routes: Iterable[Operation]) -> str:
    """The page about a server with these routes, in Markdown."""
    served = _served(routes)
    answered = served | {("HEAD", path) for method, path in served if method == "GET"}
    services, own = listed()
    states = {
        service.name: [state(entry, answered) for entry in service.entries] for service in services
    }
    names = ("implemented", "differs", "absent")
    total = [_counted(service.entries, states[service.name], names) for service in services]
    lines = [_INTRODUCTION, f"| Service | {' | '.join(names)} |", "|---|--:|--:|--:|"]
    for service, counts in zip(services, total, strict=True):
        lines.append(f"| {service.name} | {' | '.join(map(str, counts))} |")
    sums = [sum(column) for column in zip(*total, strict=True)]
    lines.append(f"| **all** | {' | '.join(map(str, sums))} |")
    for service in services:
        place = f", `{service.base}`" if service.base else ""
        lines += [
            "",
            f"## {service.name}{place}",
            "",
            "| Operation | | State | Note |",
            "|---|---|---|---|",
        ]
        for entry, found in zip(service.entries, states[service.name], strict=True):
            lines.append(f"| {_code(entry)} | {entry.text} | {found} | {entry.note} |")
    lines += ["", "## Our own", "", "Operations that the original does not have.", ""]
    lines += ["| Operation | | Note |", "|---|---|---|"]
    lines += [f"| {_code(entry)} | {entry.text} | {entry.note} |" for entry in own]
    return "\n".join(lines) + "\n"


def _counted(entries: Iterable[Entry], states: list[str], names: Iterable[str]) -> list[int]:
    """Operations in each state; a line may stand for several."""
    pairs = list(zip(entries, states, strict=True))
    return [sum(len(entry.operations) for entry, found in pairs if found == name) for name in names]


def _code(entry: Entry) -> str:
    return "`" + entry.words.replace("|", "\\|") + "`"
