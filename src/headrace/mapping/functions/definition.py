"""What a function of the language is, and what its implementation may ask of its surroundings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from inspect import signature
from typing import Any

from headrace.mapping.errors import TransformError
from headrace.mapping.limits import MAX_STEPS, MAX_WORK, spent, weight_of
from headrace.mapping.values import kind_of, text_of


@dataclass(frozen=True, slots=True)
class Parameter:
    """`kind` is string, integer, number, boolean, date, array, object, map, lambda or any.

    `check` raises TransformError for a constant that the function cannot use, whatever the record.
    """

    name: str
    kind: str = "any"
    description: str = ""
    optional: bool = False
    repeated: bool = False
    check: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """One entry of the function table.

    `implementation` takes Python values by position; with `needs_context` a `Context` comes first. `pairs`
    demands an even count of arguments. `lazy` marks what the parser turns into another node, so that only
    the chosen branch is evaluated. `examples` are expressions with their results as JSON, for the source
    record `record` at 2021-10-26T10:10:24Z.
    """

    name: str
    category: str
    parameters: tuple[Parameter, ...]
    returns: str
    description: str
    examples: tuple[tuple[str, str], ...]
    implementation: Callable[..., Any]
    lazy: bool = False
    needs_context: bool = False
    pairs: bool = False
    least: int | None = None
    since: int = 1
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """As in `lpad(string, size[, pad])`."""
        text = ""
        for parameter in self.parameters:
            part = f"{', ' if text else ''}{parameter.name}{', …' if parameter.repeated else ''}"
            text += f"[{part}]" if parameter.optional else part
        return f"{self.name}({text.replace('][', '[') + ']' * text.count('][')})"

    def wrong_count(self, given: int) -> str | None:
        """What is wrong with a number of arguments, None when it fits."""
        least = sum(not p.optional for p in self.parameters) if self.least is None else self.least
        most = None if any(p.repeated for p in self.parameters) else len(self.parameters)
        if given < least or (most is not None and given > most):
            wanted = f"at least {least}" if most is None else str(least)
            if most is not None and most != least:
                wanted = f"{least} to {most}"
            noun = "argument" if wanted in ("1", "at least 1") else "arguments"
            return f"The function '{self.name}' takes {wanted} {noun}, {given} are given."
        if self.pairs and given % 2 and not (self.name == "object_to_map" and given == 1):
            return f"The function '{self.name}' takes pairs of arguments, {given} are given."
        return None


@dataclass(slots=True)
class Context:
    """What an expression sees: the record, the clock, and the source of new UUIDs."""

    record: Any
    now: Callable[[], datetime]
    new_uuid: Callable[[], str]
    _depth: int = field(default=0, repr=False)
    _steps: int = field(default=0, repr=False)
    _work: int = field(default=0, repr=False)

    @contextmanager
    def iteration(self, count: int) -> Iterator[None]:
        """Counts the calls of a lambda over an array of `count` elements against the limit."""
        if self._depth == 0:
            self._steps = self._work = 0
        self._steps += count
        if self._steps > MAX_STEPS:
            raise TransformError(f"The expression would take more than {MAX_STEPS} steps.")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def metered(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result, unless what is gone through inside of lambdas would pass the limit."""
        if self._depth:
            for argument in arguments:
                self._work += weight_of(argument, MAX_WORK)
                if self._work > MAX_WORK:
                    break
            else:
                before = spent()
                result = function(*arguments)
                self._work += spent() - before
                self._work += len(result) if isinstance(result, str | list) else 1
                if self._work <= MAX_WORK:
                    return result
            raise TransformError("The expression would go through too much text in its lambdas.")
        return function(*arguments)


def examples(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Expressions and their results in turn, as pairs."""
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def null_to_null(function: Callable[..., Any]) -> Callable[..., Any]:
    """Null as first argument gives null."""

    @wraps(function)
    def guarded(first: Any, *rest: Any) -> Any:
        return None if first is None else function(first, *rest)

    @wraps(function)
    def guarded_alone(first: Any) -> Any:
        return None if first is None else function(first)

    return guarded_alone if len(signature(function).parameters) == 1 else guarded


def array(value: Any, function: str) -> list[Any]:
    """An array argument; null is an empty one."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise TransformError(f"{function} needs an array, not a value of type {kind_of(value)}.")


def mapping(value: Any, function: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise TransformError(
        f"{function} needs an object or map, not a value of type {kind_of(value)}."
    )


def integer(value: Any, function: str, name: str) -> int:
    """An integer argument; a text that spells one is accepted."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or value is None:
        raise TransformError(f"{function}: {name} must be an integer, not {kind_of(value)}.")
    if isinstance(value, str):
        try:
            return int(value) if len(value) < 40 and value.strip() == value else int("x")
        except ValueError:
            raise TransformError(f"{function}: {name} must be an integer.") from None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return value
    raise TransformError(f"{function}: {name} must be an integer, not {kind_of(value)}.")


def spread(values: tuple[Any, ...]) -> list[Any]:
    """Arguments that may also come as a single array."""
    if len(values) == 1 and isinstance(values[0], list):
        return values[0]
    return list(values)


def key_of(value: Any) -> str:
    if value is None:
        raise TransformError("A key cannot be null.")
    return text_of(value)
