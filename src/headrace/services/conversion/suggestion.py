"""Which target field a source column probably means: similarity of names. Pure, and the same for the same input."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from headrace.xdm.fields import xdm_kind

LEAST = 0.75
"""The score from which a pair is suggested."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ESCAPE = re.compile(r"\\(.)")
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Target:
    """A field that a rule may write. `title` is its text for people, empty without one."""

    path: str
    title: str


@dataclass(frozen=True, slots=True)
class Match:
    """A source and the field suggested for it, None when nothing is similar enough; `score` is 0 to 1."""

    source: str
    destination: str | None
    score: float


def targets_of(schema: Mapping[str, Any]) -> list[Target]:
    """The scalar fields of a resolved schema and its arrays of them, without maps and the system's own fields."""
    return list(_targets(schema.get("properties", {}), "", 0))


def _targets(properties: Mapping[str, Any], prefix: str, depth: int) -> Iterator[Target]:
    for name, node in properties.items():
        if name.startswith("_acp_") or depth > _MAX_DEPTH:
            continue
        path, title, kind, marks = f"{prefix}{name}", str(node.get("title", "")), xdm_kind(node), ""
        while kind == "array" and isinstance(node.get("items"), Mapping):
            node, marks = node["items"], f"{marks}[*]"
            kind = xdm_kind(node)
        if kind == "object":
            yield from _targets(node.get("properties", {}), f"{path}{marks}.", depth + 1)
        elif kind != "map":
            yield Target(path, title)


def suggested(sources: Sequence[str], targets: Sequence[Target]) -> list[Match]:
    """A match for every source, in their order. A target is given to the source that is most like it."""
    named = [(target, _Names.of(target.path, target.title)) for target in targets]
    pairs = []
    for index, source in enumerate(sources):
        ours = _Names.of(source)
        alike = [(1.0, target, names) for target, names in named if ours.same(names)]
        if not alike:  # only then: a field of the very name is never passed over for a similar one
            scored = ((ours.likeness(names), target, names) for target, names in named)
            alike = [entry for entry in scored if entry[0] >= LEAST]
        for score, target, names in alike:
            nearness = _ratio(ours.whole, names.whole)
            pairs.append((-score, -nearness, len(target.path), target.path, index))
    chosen: dict[int, tuple[str, float]] = {}
    taken: set[str] = set()
    for negative, _, _, path, index in sorted(pairs):
        if index not in chosen and path not in taken:
            chosen[index] = (path, round(-negative, 4))
            taken.add(path)
    return [Match(source, *chosen.get(index, (None, 0.0))) for index, source in enumerate(sources)]


@dataclass(frozen=True, slots=True)
class _Names:
    """The forms of one path that are compared: its leaf, its title, the leaf's words in order, the whole."""

    marks: int
    leaf: str
    title: str
    words: str
    whole: str

    @classmethod
    def of(cls, path: str, title: str = "") -> "_Names":
        leaf = _leaf(path)
        return cls(path.count("[*]"), plain(leaf), plain(title), _sorted_words(leaf), plain(path))

    def same(self, target: "_Names") -> bool:
        named = self.leaf != "" and self.leaf in (target.leaf, target.title)
        return named and self.marks == target.marks

    def likeness(self, target: "_Names") -> float:
        if self.marks != target.marks:
            return 0.0
        best = max(_ratio(self.leaf, target.leaf), _ratio(self.leaf, target.title))
        others = max(_ratio(self.words, target.words), _ratio(self.whole, target.whole))
        return max(best, 0.95 * others)


def plain(name: str) -> str:
    """Case, separators and array marks do not tell names apart."""
    return "".join(c for c in name.casefold() if c.isalnum())


def _leaf(path: str) -> str:
    last = re.split(r"(?<!\\)\.", path)[-1]
    return _ESCAPE.sub(r"\1", last)


def _sorted_words(name: str) -> str:
    return "".join(sorted(word.casefold() for word in _WORD.findall(name)))


@lru_cache(maxsize=1 << 16)
def _ratio(left: str, right: str) -> float:
    if not left or not right:
        return 0.0
    if left == right:
        return 1.0
    # The bound that lengths alone give spares most comparisons.
    if 2 * min(len(left), len(right)) < LEAST * (len(left) + len(right)):
        return 0.0
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= LEAST else 0.0
