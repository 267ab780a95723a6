"""Rules tried out: checked against a target, and applied to records that are not kept. Nothing is stored."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.errors import ApiError
from headrace.mapping.apply import CompiledMapping, CompiledRule, apply, compile_rule
from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.functions import Context
from headrace.mapping.rules import SOURCE_TYPES
from headrace.mapping.validate import problems_of
from headrace.mapping.values import text_of
from headrace.model.flow import Rule
from headrace.model.ids import uuid_text
from headrace.services.conversion.wire import refuse, rule_of
from headrace.xdm.fields import Field

Problem = dict[str, Any]


def validated(entries: Sequence[Any], target: Field) -> list[dict[str, Any]]:
    """One verdict a rule, in the order of the rules."""
    rules: list[Rule] = []
    malformed: dict[int, Problem] = {}
    for index, entry in enumerate(entries):
        try:
            rules.append(rule_of(entry))
        except ApiError as error:
            given = entry if isinstance(entry, dict) else {}
            malformed[index] = {
                **_problem(Rule("", "", ""), error.detail),
                **{key: given[key] for key in ("source", "destination") if key in given},
            }
            rules.append(Rule("STATIC", "", ""))
    out = []
    for index, (rule, texts) in enumerate(zip(rules, problems_of(rules, target), strict=True)):
        found = [malformed[index]] if index in malformed else [_problem(rule, t) for t in texts]
        out.append({"status": "FAILED" if found else "SUCCESS", "errors": found or None})
    return out


def previewed(
    rules: Sequence[Rule], target: Field, records: Sequence[Any], allow_null_values: bool
) -> list[dict[str, Any]]:
    """The XDM object and the errors of each record.

    A rule that cannot be compiled is an error of every record, so that the others show what they do.
    """
    compiled: list[CompiledRule] = []
    broken: list[Problem] = []
    for rule in rules:
        try:
            compiled.append(compile_rule(rule, target))
        except (MappingSyntaxError, ValueError) as error:
            broken.append(_problem(rule, str(error)))
    compiled.sort(key=lambda item: len(item.destination.steps))
    mapping = CompiledMapping(tuple(compiled), target, allow_null_values)
    answers = []
    for record in records:
        if not isinstance(record, dict):
            raise refuse("Each record of 'data' must be an object.")
        xdm, warnings = apply(mapping, record, context_of(record))
        errors = [
            _problem(_origin(rules, w.source, w.destination), w.message, w.destination)
            for w in warnings
        ]
        answers.append({"data": plain(xdm), "errors": [*broken, *errors] or None})
    return answers


def context_of(record: Any) -> Context:
    """What an expression sees when it is tried out."""
    return Context(record, lambda: datetime.now(UTC), uuid_text)


def plain(value: Any) -> Any:
    """A value of the language as JSON; dates as the text in which they are written to XDM."""
    return msgspec.json.decode(msgspec.json.encode(_plain(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else text_of(value)


def _origin(rules: Sequence[Rule], source: str, destination: str) -> Rule:
    """The rule that a warning speaks of; its destination may lead on into a value of the rule."""
    for rule in rules:
        within = f"{destination}.".startswith(f"{rule.destination}.")
        if rule.source == source and within:
            return rule
    return Rule("", source, destination)


def _problem(rule: Rule, text: str, destination: str | None = None) -> Problem:
    at = rule.destination if destination is None else destination
    return {
        "source": rule.source,
        "destination": at,
        "exception": text,
        "columnName": at,
        "sourceType": SOURCE_TYPES.get(rule.source_type),
    }
