"""The field tree of an XDM schema: what the pipeline needs to know, and nothing of how it was composed.

A tree is built once from a fully resolved schema (`tree_of`) and travels inside a flow revision as JSON
(`to_json`, `from_json`). XDM kinds and their bounds follow the field type table of the Schema Registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INTEGER_BOUNDS: Mapping[str, tuple[int, int]] = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
}
SCALARS = frozenset({"string", "boolean", "number", "date", "date-time", *INTEGER_BOUNDS})
KINDS = SCALARS | {"object", "array", "map"}


@dataclass(frozen=True, slots=True)
class Field:
    """One node. `properties` belong to an object, `items` to an array, `values` to a map.

    `required` names the children of an object that must be present and not null. An `open` object
    (no declared properties) accepts any keys.
    """

    kind: str
    properties: Mapping[str, "Field"] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    items: "Field | None" = None
    values: "Field | None" = None
    enum: tuple[str, ...] | None = None
    pattern: str | None = None
    format: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    @property
    def scalar(self) -> bool:
        return self.kind in SCALARS

    def at(self, path: str) -> "Field | None":
        """The node at a dotted path; map keys match any name, `[]`-less array steps are skipped into."""
        node: Field | None = self
        for step in path.split("."):
            if node is not None and node.kind == "array":
                node = node.items
            if node is None:
                return None
            node = node.values if node.kind == "map" else node.properties.get(step)
        return node

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"kind": self.kind}
        if self.properties:
            out["properties"] = {name: child.to_json() for name, child in self.properties.items()}
        for name in ("items", "values"):
            child = getattr(self, name)
            if child is not None:
                out[name] = child.to_json()
        for name in ("required", "enum"):
            if getattr(self, name):
                out[name] = list(getattr(self, name))
        for name in ("pattern", "format", "minimum", "maximum", "min_length", "max_length"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Field":
        plain = {
            name: data.get(name)
            for name in ("pattern", "format", "minimum", "maximum", "min_length", "max_length")
        }
        return cls(
            kind=data["kind"],
            properties={n: cls.from_json(c) for n, c in data.get("properties", {}).items()},
            required=tuple(data.get("required", ())),
            items=cls.from_json(data["items"]) if "items" in data else None,
            values=cls.from_json(data["values"]) if "values" in data else None,
            enum=tuple(data["enum"]) if "enum" in data else None,
            **plain,
        )


def typed(node: Mapping[str, Any]) -> bool:
    """Whether a node says what kind it is; one that only adds a text or a constraint does not."""
    return not node.keys().isdisjoint(
        ("type", "meta:xdmType", "properties", "additionalProperties")
    )


def xdm_kind(schema: Mapping[str, Any]) -> str:
    """The XDM kind of one resolved JSON Schema node; `meta:xdmType` wins when it names a kind."""
    declared = schema.get("meta:xdmType")
    if declared in KINDS:
        return str(declared)
    kind = schema.get("type")
    if kind == "string":
        return {"date": "date", "date-time": "date-time"}.get(schema.get("format", ""), "string")
    if kind == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        if low == -128 and high in (127, 128):
            return "byte"
        if low == -32768 and high in (32767, 32768):
            return "short"
        beyond = [bound for bound in (low, high) if bound is not None and abs(bound) > 2**31]
        return "long" if beyond else "int"
    if kind in ("number", "boolean", "array"):
        return str(kind)
    if isinstance(schema.get("additionalProperties"), Mapping) and not schema.get("properties"):
        return "map"
    return "object"


def tree_of(schema: Mapping[str, Any]) -> Field:
    """The field tree of a resolved (`xed-full`) JSON Schema node."""
    kind = xdm_kind(schema)
    if kind == "object":
        return Field(
            kind,
            properties={n: tree_of(c) for n, c in schema.get("properties", {}).items()},
            required=tuple(schema.get("required", ())),
        )
    if kind == "array":
        return Field(kind, items=tree_of(schema.get("items") or {"type": "string"}))
    if kind == "map":
        return Field(kind, values=tree_of(schema["additionalProperties"]))
    bounds = INTEGER_BOUNDS.get(kind)
    minimum, maximum = schema.get("minimum"), schema.get("maximum")
    if bounds is not None:  # bounds that only spell the type add no check
        minimum = None if minimum is not None and minimum <= bounds[0] else minimum
        maximum = None if maximum is not None and maximum >= bounds[1] else maximum
    return Field(
        kind,
        enum=tuple(schema["enum"]) if kind == "string" and schema.get("enum") else None,
        pattern=schema.get("pattern"),
        format=schema.get("format") if kind == "string" else None,
        minimum=minimum,
        maximum=maximum,
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
    )
