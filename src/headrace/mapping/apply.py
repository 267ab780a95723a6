"""Rules compiled against a target, and their application to one record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from headrace.mapping.coerce import Failures, coerce
from headrace.mapping.errors import (
    CoercionError,
    MappingInvalid,
    MappingSyntaxError,
    TransformError,
)
from headrace.mapping.evaluate import evaluate
from headrace.mapping.functions.definition import Context
from headrace.mapping.parser import parse
from headrace.mapping.paths import (
    MISSING,
    Destination,
    find,
    parse_attribute,
    parse_destination,
    step_into,
)
from headrace.mapping.syntax import STAR, Node, Path
from headrace.model.flow import Rule
from headrace.xdm.fields import Field

_MAX_ELEMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Warning:
    """A rule that could not compute or coerce its value for one record."""

    source: str
    destination: str
    message: str


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """`node` is the expression, a Path for attributes, None for static text.

    `field` is the target's node, None below an open object. `nullifies`: null is written on purpose.
    """

    rule: Rule
    node: Node | None
    destination: Destination
    field: Field | None
    nullifies: bool = False


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """`rules` are in the order of application: by depth of destination, then as listed."""

    rules: tuple[CompiledRule, ...]
    target: Field
    allow_null_values: bool = False


def compile_rules(
    rules: Sequence[Rule], target: Field, *, allow_null_values: bool = False
) -> CompiledMapping:
    """MappingInvalid names every rule that cannot be compiled and why."""
    problems: list[tuple[int, str]] = []
    compiled: list[CompiledRule] = []
    for index, rule in enumerate(rules):
        try:
            compiled.append(compile_rule(rule, target))
        except (MappingSyntaxError, ValueError) as error:
            problems.append((index, str(error)))
    if problems:
        raise MappingInvalid(problems)
    compiled.sort(key=lambda item: len(item.destination.steps))
    return CompiledMapping(tuple(compiled), target, allow_null_values)


def compile_rule(rule: Rule, target: Field) -> CompiledRule:
    """MappingSyntaxError or ValueError says what is wrong with the rule."""
    node: Node | None = None
    stars = 0
    if rule.source_type == "EXPRESSION":
        node = parse(rule.source)
    elif rule.source_type == "ATTRIBUTE":
        node = parse_attribute(rule.source)
        stars = node.steps.count(STAR)
    elif rule.source_type != "STATIC":
        raise ValueError(
            f"The source type {rule.source_type!r} is not ATTRIBUTE, EXPRESSION or STATIC."
        )
    destination = parse_destination(rule.destination)
    field = field_at(target, destination)
    if destination.stars > stars:
        raise ValueError(f"The destination {destination.text!r} has more [*] than its source.")
    nullifies = rule.source_type == "EXPRESSION" and "nullify" in rule.source
    return CompiledRule(rule, node, destination, field, nullifies)


def field_at(target: Field, destination: Destination) -> Field | None:
    """The target's node at a destination, None below an open object; ValueError when there is none."""
    node: Field | None = target
    walked = ""
    for step in destination.steps:
        if node is None:
            return None
        if isinstance(step, int):
            if node.kind != "array":
                raise ValueError(f"The target field {walked!r} is not an array.")
            node, walked = node.items, f"{walked}[{'*' if step == STAR else step}]"
            continue
        if node.kind == "map":
            node = node.values
        elif node.kind == "array":
            raise ValueError(f"The target field {walked!r} is an array: add [*] or an index.")
        elif node.kind != "object" or (node.properties and step not in node.properties):
            raise ValueError(f"The target schema has no field {destination.text!r}.")
        else:
            node = node.properties.get(step)
        walked = f"{walked}.{step}" if walked else step
    return node


def apply(
    mapping: CompiledMapping, record: Any, context: Context
) -> tuple[dict[str, Any], list[Warning]]:
    """The XDM object of one record and a warning for each rule that failed; `record` is left untouched."""
    out: dict[str, Any] = {}
    warnings: list[Warning] = []
    context.record = record
    for rule in mapping.rules:
        failures: Failures = []
        try:
            for indices, value in _values(rule, context):
                _store(out, rule, indices, value, mapping.allow_null_values, failures)
        except (TransformError, RecursionError) as error:
            message = str(error) or "The value is nested too deeply."
            warnings.append(Warning(rule.rule.source, rule.rule.destination, message))
            if STAR not in rule.destination.steps:
                _remove(out, rule.destination.steps)
        warnings.extend(
            Warning(
                rule.rule.source,
                f"{rule.rule.destination}.{path}" if path else rule.rule.destination,
                text,
            )
            for path, text in failures
        )
    return out, warnings


def _values(rule: CompiledRule, context: Context) -> list[tuple[tuple[int, ...], Any]]:
    """(indices for the destination's wildcards, value) pairs; MISSING keeps a position."""
    node = rule.node
    if node is None:
        return [((), rule.rule.source)]
    if rule.rule.source_type == "EXPRESSION":
        return [((), evaluate(node, context))]
    assert isinstance(node, Path)
    if STAR not in node.steps:
        return [((), find(context.record, node))]
    found = list(_elements(context.record, node.steps, ()))
    wanted = rule.destination.stars
    if wanted == node.steps.count(STAR):
        return found
    groups: dict[tuple[int, ...], list[Any]] = {}
    for indices, value in found:
        group = groups.setdefault(indices[:wanted], [])
        if value is not MISSING and value is not None:
            group.extend(value) if isinstance(value, list) else group.append(value)
    return list(groups.items())


def _elements(
    value: Any, steps: tuple[str | int, ...], indices: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], Any]]:
    for position, step in enumerate(steps):
        if step == STAR:
            if isinstance(value, list):
                if len(value) > _MAX_ELEMENTS:
                    raise TransformError(f"The array has more than {_MAX_ELEMENTS} elements.")
                for index, element in enumerate(value):
                    yield from _elements(element, steps[position + 1 :], (*indices, index))
            return
        value = step_into(value, step)
    yield indices, value


def _store(
    out: dict[str, Any],
    rule: CompiledRule,
    indices: tuple[int, ...],
    value: Any,
    keep_nulls: bool,
    failures: Failures,
) -> None:
    numbers = iter(indices)
    steps = tuple(next(numbers) if step == STAR else step for step in rule.destination.steps)
    field = rule.field
    blank = value == "" and field is not None and field.scalar and field.kind != "string"
    if value is MISSING or value is None or blank:
        if rule.nullifies and value is None and not keep_nulls:
            _remove(out, steps)
        elif keep_nulls or rule.destination.stars:
            holder = _holder(out, steps)
            if keep_nulls:
                _put(holder, steps[-1], None)
            elif isinstance(holder, list):
                _slot(holder, steps[-1])
        return
    try:
        coerced = coerce(value, field, failures)
    except CoercionError as error:
        if not indices:
            raise
        failures.append((error.path, error.reason))
        _holder(out, steps)
        return
    place(out, steps, coerced)


def place(out: dict[str, Any], steps: tuple[str | int, ...], value: Any) -> None:
    """Write a value at the end of `steps` (without wildcards), with the containers on the way there."""
    _put(_holder(out, steps), steps[-1], value)


def _slot(holder: list[Any], index: Any) -> None:
    holder.extend([None] * (index + 1 - len(holder)))


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, list):
        _slot(holder, step)
    holder[step] = value


def _holder(out: dict[str, Any], steps: tuple[str | int, ...]) -> Any:
    """The container of the last step, made on the way down where it is missing."""
    node: Any = out
    for step, following in pairwise(steps):
        wanted = list if isinstance(following, int) else dict
        if isinstance(node, list):
            _slot(node, step)
            child = node[int(step)]
        else:
            child = node.get(step)
        if not isinstance(child, wanted):
            child = wanted()
            node[step] = child
        node = child
    return node


def _remove(out: dict[str, Any], steps: tuple[str | int, ...]) -> None:
    node: Any = out
    for step in steps[:-1]:
        node = step_into(node, step)
    if isinstance(node, dict):
        node.pop(steps[-1], None)
    elif isinstance(node, list) and isinstance(steps[-1], int) and steps[-1] < len(node):
        node[steps[-1]] = None
