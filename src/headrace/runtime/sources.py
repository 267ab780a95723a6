"""Decoding only what a mapping reads.

From the source paths of a mapping comes a msgspec type that holds just those fields: everything else in a
record is checked for syntax and skipped. A path with an index, or one that lies below another used path, reads
its first steps from the decoded type and walks the rest.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.mapping.paths import MISSING, step_into
from headrace.mapping.syntax import Path

_UNUSABLE = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
"""Characters with which msgspec takes no field name."""

ABSENT = msgspec.Raw()
HEADER, BODY = "header_", "body_"
"""Attributes of every decoded record: the raw `header` and `body` keys of an enveloped raw payload."""


class SourceReader:
    """Names a local variable for each path, and writes the statements that fill it from the decoded record."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(dict.fromkeys(paths))
        heads = {self.head(path) for path in self._paths}
        heads |= {(path.flat,) for path in self._paths if self._has_flat(path)}
        self._leaves = {h for h in heads if not any(h[:n] in heads for n in range(1, len(h)))}
        # where a key of the root may stand in for a path, "missing" and "null" are two things
        self._told_apart = {self._leaf(self.head(p)) for p in self._paths if self._has_flat(p)}
        self._fields: dict[tuple[str, ...], str] = {}
        self.variables = {path: f"s{n}" for n, path in enumerate(self._paths)}
        self.record_type = self._struct(())

    @staticmethod
    def head(path: Path) -> tuple[str, ...]:
        head: list[str] = []
        for step in path.steps:
            if not isinstance(step, str):
                break
            head.append(step)
        return tuple(head)

    def _leaf(self, head: tuple[str, ...]) -> tuple[str, ...]:
        """The decoded field in which a path's first steps end."""
        return next(head[:n] for n in range(1, len(head) + 1) if head[:n] in self._leaves)

    @staticmethod
    def _has_flat(path: Path) -> bool:
        return len(path.steps) > 1 and bool(path.flat) and path.steps != (path.flat,)

    def _struct(self, prefix: tuple[str, ...]) -> Any:
        depth = len(prefix)
        names = list(dict.fromkeys(h[depth] for h in sorted(self._leaves) if h[:depth] == prefix))
        fields: list[Any] = []
        for number, name in enumerate(names):
            at = (*prefix, name)
            attribute = f"f{number}"
            self._fields[at] = attribute
            kind: Any = Any if at in self._leaves else (self._struct(at) | None)
            default = MISSING if at in self._told_apart else None
            fields.append((attribute, kind, msgspec.field(default=default, name=name)))
        if not prefix:
            fields.append((HEADER, msgspec.Raw, msgspec.field(default=ABSENT, name="header")))
            fields.append((BODY, msgspec.Raw, msgspec.field(default=ABSENT, name="body")))
        return msgspec.defstruct(f"Record{len(self._fields)}", fields, gc=False, frozen=True)

    def statements(self) -> list[str]:
        """Python lines that read every variable from `r`; `walk(value, steps)` and `STEPS` are provided by
        the caller (`constants`)."""
        lines: list[str] = []
        nodes: dict[tuple[str, ...], str] = {(): "r"}
        for leaf in sorted(self._leaves):
            for depth in range(1, len(leaf)):
                at = leaf[:depth]
                if at not in nodes:
                    nodes[at] = f"n{len(nodes)}"
                    parent = nodes[at[:-1]]
                    guard = "" if parent == "r" else f" if {parent} is not None else None"
                    lines.append(f"{nodes[at]} = {parent}.{self._fields[at]}{guard}")
        for number, path in enumerate(self._paths):
            variable = self.variables[path]
            lines.append(f"{variable} = {self._read(path, nodes, number)}")
            leaf = self._leaf(self.head(path))
            if self._has_flat(path):
                lines.append(
                    f"if {variable} is MISSING: {variable} = r.{self._fields[(path.flat,)]}"
                )
            elif leaf in self._told_apart or len(leaf) < len(path.steps):
                lines.append(f"if {variable} is MISSING: {variable} = None")
        return lines

    def _read(self, path: Path, nodes: dict[tuple[str, ...], str], number: int) -> str:
        leaf = self._leaf(self.head(path))
        parent = nodes[leaf[:-1]]
        value = f"{parent}.{self._fields[leaf]}"
        if parent != "r":
            absent = "MISSING" if leaf in self._told_apart else "None"
            value = f"({value} if {parent} is not None else {absent})"
        return value if len(leaf) == len(path.steps) else f"walk({value}, steps{number})"

    def constants(self) -> dict[str, Any]:
        """Globals that the statements use."""
        found: dict[str, Any] = {"walk": walk, "MISSING": MISSING}
        for number, path in enumerate(self._paths):
            found[f"steps{number}"] = path.steps[len(self._leaf(self.head(path))) :]
        return found


def supported(paths: Sequence[Path]) -> bool:
    """Whether pruned records can be decoded for these paths.

    They cannot when a path begins at a key that the envelope check needs for itself, or has a name that msgspec
    takes for no field.
    """
    names = (name for path in paths for name in (*path.steps, path.flat) if isinstance(name, str))
    if any(_UNUSABLE.search(name) for name in names):
        return False
    heads = [SourceReader.head(path) for path in paths]
    return all(head and head[0] not in ("header", "body") for head in heads)


def walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    """Follow keys and indices; MISSING where a step does not fit. `[*]` is not for this."""
    for step in steps:
        value = step_into(value, step)
    return value
