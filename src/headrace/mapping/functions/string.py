"""String functions. Positions count from 0."""

from typing import Any

from headrace.mapping.functions.definition import (
    Function,
    Parameter,
    examples,
    integer,
    null_to_null,
)
from headrace.mapping.functions.regular_expressions import check_pattern, split_text
from headrace.mapping.limits import bounded_text, check_items, check_length
from headrace.mapping.values import text_of

CATEGORY = "String"
_BLANKS = (
    " \t\n\x0b\f\r\x1c\x1d\x1e\x1f\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a"
    "\u2028\u2029\u205f\u3000"
)
"""White space as Java has it: without the spaces that do not break."""


def concat(*values: Any) -> str:
    parts = [value if type(value) is str else text_of(value) for value in values]
    return bounded_text("".join(parts))


@null_to_null
def explode(text: Any, regex: Any = None) -> list[str]:
    """Splits at a regular expression, the comma without one."""
    return split_text(text_of(text), "," if regex is None else text_of(regex))


@null_to_null
def split(text: Any, separators: Any) -> list[str]:
    """Splits at any of the characters, at white space without them; empty pieces are dropped."""
    marks = _BLANKS if separators is None else text_of(separators)
    pieces = [text_of(text)]
    for mark in set(marks) if len(marks) > 1 else marks:
        pieces = [part for piece in pieces for part in piece.split(mark)]
        check_items(pieces)
    return [piece for piece in pieces if piece]


def join(separator: Any, *values: Any) -> str:
    given = values[0] if len(values) == 1 and isinstance(values[0], list) else values
    parts = [text_of(value) for value in given]
    gap = text_of(separator)
    check_length(sum(map(len, parts)) + len(gap) * max(0, len(parts) - 1))
    return gap.join(parts)


@null_to_null
def instr(text: Any, wanted: Any, start: Any = 0, occurrence: Any = 1) -> int | None:
    if wanted is None:
        return None
    subject, part = text_of(text), text_of(wanted)
    at = max(0, integer(start, "instr", "the start"))
    count = integer(occurrence, "instr", "the occurrence")
    if count < 1:
        return -1
    found = subject.find(part, at)
    for _ in range(min(count, len(subject) + 2) - 1):
        if found < 0:
            return -1
        found = subject.find(part, found + 1)
    return found


@null_to_null
def replacestr(text: Any, wanted: Any, replacement: Any) -> str:
    subject, part = text_of(text), text_of(wanted)
    if not part or replacement is None:
        return subject
    new = text_of(replacement)
    check_length(len(subject) + subject.count(part) * max(0, len(new) - len(part)))
    return subject.replace(part, new)


@null_to_null
def substr(text: Any, start: Any, length: Any) -> str:
    begin = max(0, integer(start, "substr", "the start"))
    return text_of(text)[begin : begin + max(0, integer(length, "substr", "the length"))]


def lower(text: Any) -> str | None:
    return None if text is None else bounded_text(text_of(text).lower())


def upper(text: Any) -> str | None:
    return None if text is None else bounded_text(text_of(text).upper())


def _padding(text: str, size: Any, pad: Any, function: str) -> str:
    missing = integer(size, function, "the size") - len(text)
    check_length(len(text) + max(0, missing))
    fill = text_of(pad) or " "
    return (fill * (missing // len(fill) + 1))[:missing] if missing > 0 else ""


@null_to_null
def lpad(text: Any, size: Any, pad: Any = None) -> str:
    subject = text_of(text)
    return _padding(subject, size, pad, "lpad") + subject


@null_to_null
def rpad(text: Any, size: Any, pad: Any = None) -> str:
    subject = text_of(text)
    return subject + _padding(subject, size, pad, "rpad")


@null_to_null
def left(text: Any, count: Any) -> str:
    return text_of(text)[: max(0, integer(count, "left", "the count"))]


@null_to_null
def right(text: Any, count: Any) -> str:
    kept = max(0, integer(count, "right", "the count"))
    return text_of(text)[-kept:] if kept else ""


@null_to_null
def ltrim(text: Any) -> str:
    return text_of(text).lstrip(_BLANKS)


@null_to_null
def rtrim(text: Any) -> str:
    return text_of(text).rstrip(_BLANKS)


@null_to_null
def trim(text: Any) -> str:
    return text_of(text).strip(_BLANKS)


def equals(left_text: Any, right_text: Any) -> bool | None:
    return None if left_text is None else text_of(left_text) == right_text


def equals_ignore_case(left_text: Any, right_text: Any) -> bool | None:
    if left_text is None:
        return None
    return isinstance(right_text, str) and same_but_for_case(text_of(left_text), right_text)


def same_but_for_case(one: str, other: str) -> bool:
    """Character by character, as Java compares: `ß` is not `SS`."""
    if one.isascii() and other.isascii():
        return one.lower() == other.lower()
    return len(one) == len(other) and all(map(_same_letter, one, other))


def _same_letter(one: str, other: str) -> bool:
    if one == other:
        return True
    first, second = one.upper(), other.upper()
    return len(first) == len(second) == 1 and first.lower() == second.lower()


def _text(name: str = "string", description: str = "the text") -> Parameter:
    return Parameter(name, "string", description)


def _function(
    name: str,
    parameters: tuple[Parameter, ...],
    returns: str,
    what: str,
    example: tuple[str, ...],
    call: Any,
) -> Function:
    return Function(name, CATEGORY, parameters, returns, what, examples(example), call)


_VALUES = Parameter("values", "any", "what to join", repeated=True)
_SIZE = Parameter("size", "integer", "the length wanted")
_PAD = Parameter("pad", "string", "what to fill with, a blank when empty", optional=True)
_COUNT = Parameter("count", "integer", "how many characters")
_REGEX = Parameter(
    "regex", "string", "the delimiter, a comma by default", optional=True, check=check_pattern
)
_INSTR = (
    _text(),
    _text("wanted", "the text to find"),
    Parameter("start", "integer", "where to begin, 0 by default", optional=True),
    Parameter("occurrence", "integer", "which one, 1 by default", optional=True),
)
FUNCTIONS = (
    _function("concat", (_VALUES,), "string", "Joins texts; null is empty.", ('concat("Hi, ", "there", null, 1)', '"Hi, there1"'), concat),
    _function("explode", (_text(), _REGEX), "array", "Splits a text at a regular expression and keeps empty pieces.", ('explode("a, b, ", ", ")', '["a","b",""]', "explode('x.y', '\\.')", '["x","y"]', "explode(null)", "null"), explode),
    _function("split", (_text(), _text("separators", "characters to split at")), "array", "Splits a text at any of the characters and drops empty pieces.", ('split("Hello world", " ")', '["Hello","world"]', 'split("a;,b,", ",;")', '["a","b"]'), split),
    _function("join", (_text("separator", "between values"), Parameter("values", "any", "values or one array", repeated=True)), "string", "Joins values with a separator; null is an empty text.", ('join(" ", ["Hello", "world"])', '"Hello world"', 'join("-", 1, null, 2)', '"1--2"'), join),
    _function("instr", _INSTR, "integer", "Position of a text in another from 0, -1 when it is absent.", ('instr("adobe.com", "com")', "6", 'instr("a-b-c", "-", 0, 2)', "3", 'instr("a", "z")', "-1"), instr),
    _function("replacestr", (_text(), _text("wanted", "the text to replace"), _text("replacement", "what takes its place")), "string", "Replaces every occurrence of a text.", ('replacestr("a.a", ".", "-")', '"a-a"'), replacestr),
    _function("substr", (_text(), Parameter("start", "integer", "from 0"), Parameter("length", "integer", "how many characters")), "string", "A part of the text, clipped to it.", ('substr("abcdef", 2, 3)', '"cde"', 'substr("abc", 2, 9)', '"c"', 'substr("abc", 5, 1)', '""'), substr),
    *(
        _function(name, (_text(),), "string", what, (f'{name}("HeLLo")', f'"{result}"', f"{name}(null)", "null"), call)
        for name, what, result, call in (
            ("lower", "In lower case.", "hello", lower),
            ("lcase", "In lower case.", "hello", lower),
            ("upper", "In upper case.", "HELLO", upper),
            ("ucase", "In upper case.", "HELLO", upper),
        )
    ),
    _function("lpad", (_text(), _SIZE, _PAD), "string", "Fills up on the left.", ('lpad("bat", 8, "yz")', '"yzyzybat"'), lpad),
    _function("rpad", (_text(), _SIZE, _PAD), "string", "Fills up on the right.", ('rpad("bat", 8, "yz")', '"batyzyzy"'), rpad),
    _function("left", (_text(), _COUNT), "string", "The first characters.", ('left("abcde", 2)', '"ab"', 'left("abc", -1)', '""'), left),
    _function("right", (_text(), _COUNT), "string", "The last characters.", ('right("abcde", 2)', '"de"', 'right("abc", 9)', '"abc"'), right),
    _function("ltrim", (_text(),), "string", "Without white space on the left.", ('ltrim(" hello ")', '"hello "'), ltrim),
    _function("rtrim", (_text(),), "string", "Without white space on the right.", ('rtrim(" hello ")', '" hello"'), rtrim),
    _function("trim", (_text(),), "string", "Without white space on both sides.", ('trim(" hello ")', '"hello"'), trim),
    _function("equals", (_text("left", "one text"), _text("right", "the other")), "boolean", "Whether two texts are equal; also a method. Null has no answer.", ('"a".equals("A")', "false", 'equals("a", "a")', "true"), equals),
    _function("equalsIgnoreCase", (_text("left", "one text"), _text("right", "the other")), "boolean", "Equality in any letter case; also a method.", ('"a".equalsIgnoreCase("A")', "true"), equals_ignore_case),
)  # fmt: skip
