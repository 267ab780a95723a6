"""Checks of a rule list against its target, as the validate call reports them."""

from collections.abc import Sequence

from headrace.mapping.apply import compile_rule
from headrace.mapping.constants import unusable_constants
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.syntax import Literal
from headrace.model.flow import Rule
from headrace.xdm.fields import Field


def problems_of(rules: Sequence[Rule], target: Field) -> list[list[str]]:
    """For each rule what is wrong with it; empty lists for sound rules."""
    taken: set[tuple[str | int, ...]] = set()
    return [_check(rule, target, taken) for rule in rules]


def _check(rule: Rule, target: Field, taken: set[tuple[str | int, ...]]) -> list[str]:
    if not rule.source.strip():
        return ["The source is empty."]
    if not rule.destination.strip():
        return ["The destination is empty."]
    if rule.destination.startswith("_acp_"):
        return [f"The field {rule.destination!r} is managed by the system."]
    try:
        compiled = compile_rule(rule, target)
    except (MappingSyntaxError, ValueError) as error:
        return [str(error)]
    problems = unusable_constants(compiled.node) if compiled.node is not None else []
    if compiled.destination.steps in taken:
        problems.append(f"Another rule already writes {rule.destination!r}.")
    taken.add(compiled.destination.steps)
    literal = compiled.node is None or (
        isinstance(compiled.node, Literal) and compiled.node.value is not None
    )
    if literal and compiled.field is not None and compiled.field.kind in ("object", "map"):
        problems.append(
            f"{rule.destination!r} is an {compiled.field.kind}; a literal cannot fill it."
        )
    return problems
