"""A checkout of the public XDM repository: its component files become resources of the global container.

Reading is forgiving file by file: what cannot be used is reported with its reason and the rest goes on. Files marked
deprecated are read as well, since others build on them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.xdm.annotate import annotated
from headrace.xdm.compatibility import alternative_id, converted
from headrace.xdm.fields import tree_of
from headrace.xdm.resolve import Resolver, Unresolvable, ancestors, external_references

Resource = dict[str, Any]

DIRECTORIES = ("components", "extensions", "schemas")
MOST_BYTES = 4 * 2**20
"""A component file larger than this is refused."""

_WORDS = {"behaviors": "behaviors", "classes": "classes", "fieldgroups": "mixins", "mixins": "mixins",
          "datatypes": "datatypes"}  # fmt: skip
_BEHAVIORS = frozenset(
    f"https://ns.adobe.com/xdm/data/{n}" for n in ("record", "time-series", "adhoc")
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file or component that is not used, and why."""

    place: str
    reason: str
    inactive: bool = False
    """Whether the component is deprecated."""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(slots=True)
class Reading:
    """`resources` by id; `active` of them are not deprecated."""

    resources: dict[str, Resource] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    @property
    def active(self) -> int:
        return sum(r.get("meta:status") != "deprecated" for r in self.resources.values())


def read(root: Path, shipped: Mapping[str, Resource]) -> Reading:
    """Every usable component below `root`; `shipped` answers references that the checkout does not hold.

    ValueError when `root` holds none of the directories of the repository.
    """
    folders = [root / name for name in DIRECTORIES if (root / name).is_dir()]
    if not folders:
        raise ValueError(f"{root} holds none of the directories {', '.join(DIRECTORIES)}")
    reading = Reading()
    places: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.schema.json")):
            place = str(path.relative_to(root))
            try:
                resource = _parsed(path)
            except ValueError as error:
                reading.refusals.append(Refusal(place, str(error)))
                continue
            id = resource["$id"]
            if id in places:
                reading.refusals.append(Refusal(place, f"{id} is defined in {places[id]} already"))
                continue
            places[id] = place
            reading.resources[id] = resource
    for id, resource in reading.resources.items():
        resource["meta:resourceType"] = _kind(resource, places[id])
    _drop_unresolvable(reading, places, shipped)
    return reading


def _parsed(path: Path) -> Resource:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"the file is larger than {MOST_BYTES} bytes")
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"the file is not JSON: {error}") from None
    if not isinstance(node, dict) or not isinstance(node.get("$id"), str) or not node["$id"]:
        raise ValueError("the file has no $id")
    if not isinstance(node.get("title"), str):
        raise ValueError("the component has no title")
    try:
        found = converted(node)
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"the definition is malformed: {error}") from None
    head = {"$id": node["$id"], "meta:altId": alternative_id(node["$id"]), "type": "object"}
    resource: Resource = annotated(head | {"meta:extensible": True, "meta:abstract": True} | found)
    return resource


def _kind(resource: Resource, place: str) -> str:
    """The resource type: what the path says, else what the composition says."""
    for word in reversed(place.split("/")[:-1]):
        if word in _WORDS:
            return _WORDS[word]
    if "meta:intendedToExtend" in resource:
        return "mixins"
    parts = set(external_references(resource))
    if parts & _BEHAVIORS:
        return "classes"
    extends = resource.get("meta:class"), *resource.get("meta:extends", ())
    return "schemas" if place.startswith("schemas/") and any(extends) else "datatypes"


def _drop_unresolvable(
    reading: Reading, places: Mapping[str, str], shipped: Mapping[str, Resource]
) -> None:
    """Components that do not resolve are taken out; so are those that need them, in later rounds."""

    def lookup(id: str) -> Resource | None:
        return reading.resources.get(id) or shipped.get(id)

    broken: dict[str, str] = {}
    for id, resource in reading.resources.items():
        try:
            tree_of(Resolver(lookup).full(resource))
            if extends := ancestors(resource, lookup):
                resource["meta:extends"] = extends
        except Unresolvable as error:
            broken[id] = str(error)
        except (TypeError, AttributeError, KeyError) as error:
            broken[id] = f"the definition is malformed: {error}"
    for id, reason in broken.items():
        inactive = reading.resources.pop(id).get("meta:status") == "deprecated"
        reading.refusals.append(Refusal(places[id], reason, inactive))


def problems(reading: Reading) -> Iterator[str]:
    """One line for each refusal, active components first."""
    for refusal in sorted(reading.refusals, key=lambda r: (r.inactive, r.place)):
        yield str(refusal)
