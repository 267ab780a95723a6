"""The standard library: behaviors, classes, field groups and data types of the public XDM model.

`components.json` holds facts of the model (ids, paths, types, enumerations) in the compatibility form that the
Schema Registry serves; see NOTICE for its origin.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

VERSION = "1.27.4"
"""Version that standard resources show; also `meta:globalLibVersion`."""

Resource = dict[str, Any]


class Library:
    """Standard resources by `$id` or `meta:altId`, loaded when first asked for."""

    @cached_property
    def _by_id(self) -> Mapping[str, Resource]:
        text = (files(__name__) / "components.json").read_text()
        found: dict[str, Resource] = {}
        for resource in json.loads(text):
            resource |= {"version": VERSION, "meta:containerId": "global"}
            found[resource["$id"]] = resource
        return found

    @cached_property
    def _alternatives(self) -> Mapping[str, str]:
        return {resource["meta:altId"]: id for id, resource in self._by_id.items()}

    def get(self, id: str) -> Resource | None:
        """A resource, not to be changed by the caller."""
        return self._by_id.get(self._alternatives.get(id, id))

    def of_type(self, resource_type: str) -> list[Resource]:
        """All of `classes`, `mixins`, `datatypes` or `behaviors`, by title."""
        chosen = [r for r in self._by_id.values() if r["meta:resourceType"] == resource_type]
        return sorted(chosen, key=lambda r: (r["title"], r["$id"]))
