"""Bounds that keep one expression from taking the machine with it."""

from collections.abc import Sized
from contextvars import ContextVar
from typing import Any

from headrace.mapping.errors import TransformError

MAX_EXPRESSION = 4096
"""Characters of an expression or path."""
MAX_DEPTH = 64
"""Levels of nesting, in the text as well as in the tree."""
MAX_TEXT = 1 << 20
"""Characters of a text that an operator or function builds."""
MAX_ITEMS = 100_000
"""Elements of an array or map that a function builds."""
MAX_VALUE = 16 * MAX_TEXT
"""Characters and elements, in all, of what one rule builds."""
MAX_BITS = 4096
"""Bits of an integer."""
MAX_STEPS = 200_000
"""Calls of lambdas below one outermost call."""
MAX_EFFORT = 16 * MAX_TEXT
"""Characters times instructions of one match of a regular expression: what it takes at worst."""
MAX_WORK = 64 * MAX_TEXT
"""Characters and elements, as `weight_of` counts them, that functions in lambdas may go through, again by outermost call."""
_ELEMENT = 32
"""Characters that take as long as one element."""
_CONTAINERS = (list, dict)


def bounded_text(text: str) -> str:
    check_length(len(text))
    return text


def check_length(characters: int) -> None:
    if characters > MAX_TEXT:
        raise TransformError(
            f"The text would have {characters} characters, {MAX_TEXT} are allowed."
        )


def bounded_value(value: Any) -> Any:
    """The value, unless writing it out would take more than `MAX_VALUE`; parts it shares count each time."""
    if isinstance(value, list | dict):
        try:
            size = _written(value, {})
        except RecursionError:
            raise TransformError("The value is nested too deeply.") from None
        if size > MAX_VALUE:
            raise TransformError(
                f"The value has {size} characters and elements, {MAX_VALUE} are allowed."
            )
    return value


def weight_of(value: Any, most: int) -> int:
    """What a function may have to go through in a value; counting ends beyond `most`, as shared parts count again."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, _CONTAINERS):
        return 1
    total, unseen, times = 0, [value], [1]
    while unseen and total <= most:
        container, count = unseen.pop(), times.pop()
        total += count * _ELEMENT * len(container)
        for part in container if isinstance(container, list) else container.values():
            if isinstance(part, str):
                total += count * len(part)
            elif isinstance(part, _CONTAINERS):
                if unseen and unseen[-1] is part:  # it stands beside itself
                    times[-1] += count
                else:
                    unseen.append(part)
                    times.append(count)
    return total


_SPENT: ContextVar[int] = ContextVar("spent", default=0)


def spend(effort: int) -> None:
    """Counts work that the lengths of arguments do not show."""
    _SPENT.set(_SPENT.get() + effort)


def spent() -> int:
    return _SPENT.get()


def _written(value: Any, known: dict[int, int]) -> int:
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | dict):
        return 1
    if id(value) not in known:
        parts = value if isinstance(value, list) else value.values()
        known[id(value)] = 1 + sum(_written(part, known) for part in parts)
    return known[id(value)]


def check_items(items: Sized | int) -> None:
    count = items if isinstance(items, int) else len(items)
    if count > MAX_ITEMS:
        raise TransformError(f"The array would have {count} elements, {MAX_ITEMS} are allowed.")


def bounded_int(number: int) -> int:
    if number.bit_length() > MAX_BITS:
        raise TransformError(f"The number needs more than {MAX_BITS} bits.")
    return number
