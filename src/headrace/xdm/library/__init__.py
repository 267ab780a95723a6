"""The standard library: behaviors, classes, field groups and data types of the public XDM model.

`components.json` holds facts of the model (ids, paths, types, enumerations) in the compatibility form that the
Schema Registry serves; see NOTICE for its origin. A data directory can hold an import of the whole public
repository beside it, which replaces shipped components of the same id.
"""

import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from headrace.disk import make_directories, sync_directory

VERSION = "1.27.4"
"""Version that standard resources show; also `meta:globalLibVersion`."""

IMPORTED = Path("xdm") / "library.json"
"""Where a data directory keeps imported components."""

Resource = dict[str, Any]


class Library:
    """Standard resources by `$id` or `meta:altId`, loaded when first asked for.

    `imported` names a file that `keep` writes. `refresh` notices when it was written anew.
    """

    def __init__(self, imported: Path | None = None) -> None:
        self._imported = imported
        self._seen: tuple[int, int] | None = None
        self._loaded: tuple[Mapping[str, Resource], Mapping[str, str]] | None = None

    def refresh(self) -> None:
        """Look whether components were imported since; costs one look at a file's status."""
        if self._imported is None:
            return
        try:
            status = self._imported.stat()
            seen = (status.st_ino, status.st_mtime_ns)
        except FileNotFoundError:
            seen = None
        if seen != self._seen:
            self._seen, self._loaded = seen, None

    @property
    def state(self) -> tuple[int, int] | None:
        """Differs between imports; None when nothing was imported."""
        return self._seen

    def get(self, id: str) -> Resource | None:
        """A resource, not to be changed by the caller."""
        by_id, alternatives = self._content()
        return by_id.get(alternatives.get(id, id))

    def of_type(self, resource_type: str) -> list[Resource]:
        """All of `classes`, `mixins`, `datatypes`, `schemas` or `behaviors`, by title."""
        by_id, _ = self._content()
        chosen = [r for r in by_id.values() if r["meta:resourceType"] == resource_type]
        return sorted(chosen, key=lambda r: (r["title"], r["$id"]))

    def shipped(self) -> dict[str, Resource]:
        """The components that come with the package, by id."""
        return _indexed((files(__name__) / "components.json").read_bytes())

    def _content(self) -> tuple[Mapping[str, Resource], Mapping[str, str]]:
        loaded = self._loaded
        if loaded is None:
            found = self.shipped()
            if self._imported is not None and self._imported.exists():
                found |= _indexed(self._imported.read_bytes())
            loaded = self._loaded = (found, {r["meta:altId"]: id for id, r in found.items()})
        return loaded


def _indexed(text: bytes) -> dict[str, Resource]:
    found: list[Resource] = msgspec.json.decode(text)
    head = {"version": VERSION, "meta:containerId": "global"}
    return {resource["$id"]: resource | head for resource in found}


def keep(path: Path, resources: Iterable[Resource]) -> None:
    """Write imported components durably; readers see the old file or the new one, never a part."""
    make_directories(path.parent)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(list(resources)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)
