"""Where a mapping's destinations become columns.

A destination below objects only is a column of its own. Destinations inside an array or a map share the column of
the topmost one, built from a template of fixed keys and indices. Whole objects, wildcards and overlapping
destinations have no generated shape: such mappings run in the plain evaluator.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.xdm.fields import Field

Steps = tuple[str | int, ...]


@dataclass(slots=True)
class Template:
    """A value with fixed keys or indices; a leaf carries the number of its rule."""

    field: Field
    rule: int | None = None
    children: dict[str | int, "Template"] = dataclasses.field(default_factory=dict)


@dataclass(slots=True)
class Column:
    """`path` leads through objects. A template without children is one rule's own value."""

    path: tuple[str, ...]
    template: Template

    @property
    def scalar(self) -> bool:
        return self.template.rule is not None and self.template.field.scalar


class NoShape(Exception):
    """The mapping needs the plain evaluator; the text says why."""


def columns_of(destinations: Sequence[Steps], tree: Field) -> list[Column]:
    """The columns of destinations in rule order; NoShape when they have none."""
    if not destinations:
        raise NoShape("the mapping has no rules")
    columns: dict[tuple[str, ...], Column] = {}
    for rule, steps in enumerate(destinations):
        path, node, rest = _through_objects(steps, tree)
        column = columns.setdefault(path, Column(path, Template(node)))
        _place(column.template, rest, rule)
    ordered = list(columns.values())
    for column in ordered:
        if any(
            other is not column and column.path[: len(other.path)] == other.path
            for other in ordered
        ):
            raise NoShape("one destination lies inside another")
    return ordered


def rules_of(template: Template) -> list[int]:
    """The numbers of the rules that fill a template."""
    if template.rule is not None:
        return [template.rule]
    return [rule for child in template.children.values() for rule in rules_of(child)]


def _through_objects(steps: Steps, tree: Field) -> tuple[tuple[str, ...], Field, Steps]:
    node = tree
    path: list[str] = []
    for position, step in enumerate(steps):
        if node.kind != "object" or not node.properties:
            return tuple(path), node, steps[position:]
        if not isinstance(step, str) or step not in node.properties:
            raise NoShape(f"unknown step {step!r}")
        path.append(step)
        node = node.properties[step]
    if node.kind == "object":
        raise NoShape("a whole object is a destination")
    return tuple(path), node, ()


def _place(template: Template, rest: Steps, rule: int) -> None:
    for step in rest:
        if template.rule is not None:
            raise NoShape("one destination lies inside another")
        child = _child(template.field, step)
        template = template.children.setdefault(step, Template(child))
    if template.children or template.rule is not None or template.field.kind == "object":
        raise NoShape("two destinations overlap")
    template.rule = rule


def _child(node: Field, step: str | int) -> Field:
    found: Field | None = None
    if isinstance(step, str):
        found = node.values if node.kind == "map" else node.properties.get(step)
    elif step >= 0:
        found = node.items if node.kind == "array" else None
    if found is None:
        raise NoShape(f"unknown step {step!r}")
    return found
