"""Regular expressions of users run on RE2, in time linear in the text.

Java's dialect is translated where RE2 has an equal; look-around, back references, possessive quantifiers
and class intersections have none and are refused by name.
"""

import re
from functools import lru_cache
from typing import Any

import re2

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
from headrace.mapping.limits import MAX_EFFORT, check_items, spend
from headrace.mapping.values import text_of

CATEGORY = "Regular Expression"
_MAX_PATTERN = 2048
_SMALL_EFFORT = 4096
_POSIX = [
    "Alpha",
    "Digit",
    "Alnum",
    "Upper",
    "Lower",
    "Punct",
    "Graph",
    "Print",
    "Blank",
    "Cntrl",
    "XDigit",
    "Space",
    "ASCII",
]
_PLAIN = re.compile(r"(?:[^\\.\[\](){}*+?^$|]|\\[^A-Za-z0-9\s])+")
_PROPERTIES = {
    "Alphabetic": r"\p{L}\p{Nl}",
    "Digit": r"\p{Nd}",
    "Letter": r"\p{L}",
    "Lowercase": r"\p{Ll}",
    "Uppercase": r"\p{Lu}",
    "Punctuation": r"\p{P}",
}
"""Properties of Unicode, written as `\\p{IsAlphabetic}`, by general categories."""
_HORIZONTAL = r"\t \x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
_VERTICAL = r"\n\x0B\f\r\x{85}\x{2028}\x{2029}"
_REFUSED = (
    (re.compile(r"\{(?!\d+(,\d*)?\})"), "a brace without a count"),
    (re.compile(r"\(\?(?:=|!|<=|<!)"), "look-around"),
    (re.compile(r"\(\?>"), "atomic groups"),
    (re.compile(r"[*+?}]\+"), "possessive quantifiers"),
    (re.compile(r"\(\?[a-zA-Z]*U"), "the flag U"),  # in RE2 it means something else
)


def _translated(pattern: str) -> str:
    out: list[str] = []
    at, inside = 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            following = pattern[at + 1]
            if following == "Q":
                close = pattern.find("\\E", at)
                stop = len(pattern) if close < 0 else close
                out.append(re2.escape(pattern[at + 2 : stop]))
                at = stop + (0 if close < 0 else 2)
                continue
            named = re.match(r"\\([pP])\{(?:Is)?(\w+)\}", pattern[at:])
            if named and named[2] in _POSIX and f"Is{named[2]}" not in named[0]:
                sign = "^" if named[1] == "P" else ""
                known = f"[:{sign}{named[2].lower()}:]"
                out.append(known if inside else f"[{known}]")
                at += len(named[0])
                continue
            if named and named[0].startswith("\\p{Is") and named[2] in _PROPERTIES:
                categories = _PROPERTIES[named[2]]
                out.append(categories if inside else f"[{categories}]")
                at += len(named[0])
                continue
            braced = re.match(r"\\[pPx]\{\^?\w+\}", pattern[at:])
            if braced:
                out.append(braced[0].replace("{Is", "{"))
                at += len(braced[0])
                continue
            if following == "k" or (following.isdigit() and following != "0" and not inside):
                raise TransformError("Regular expressions cannot use back references.")
            if following == "h":
                out.append(_HORIZONTAL if inside else f"[{_HORIZONTAL}]")
            elif following == "R" and not inside:
                out.append(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])")
            elif following == "v":
                out.append(_VERTICAL if inside else f"[{_VERTICAL}]")
            elif following in "VH" and not inside:
                out.append(f"[^{_VERTICAL if following == 'V' else _HORIZONTAL}]")
            elif following == "0" and (octal := re.match(r"[0-3]?[0-7]{1,2}", pattern[at + 2 :])):
                out.append(f"\\x{{{int(octal[0], 8):X}}}")
                at += len(octal[0])
            elif following == "c" and at + 2 < len(pattern):
                out.append(f"\\x{{{ord(pattern[at + 2]) ^ 64:X}}}")
                at += 1
            elif following == "Z" and not inside:
                out.append(r"\z")
            elif following == "e":
                out.append(r"\x1B")
            elif following == "u" and re.match(r"[0-9a-fA-F]{4}", pattern[at + 2 :]):
                out.append(f"\\x{{{pattern[at + 2 : at + 6]}}}")
                at += 4
            else:
                out.append(pattern[at : at + 2])
            at += 2
            continue
        if char == "[" and not inside:
            inside = True
            at += 1
            out.append("[")
            if pattern[at : at + 1] == "^":
                out.append("^")
                at += 1
            continue
        if inside and (char == "[" or pattern.startswith("&&", at)):
            raise TransformError("Regular expressions cannot nest or intersect character classes.")
        if char == "]":
            inside = False
        if not inside:
            for refused, name in _REFUSED:
                if refused.match(pattern, at):
                    raise TransformError(f"Regular expressions cannot use {name}.")
        out.append(char)
        at += 1
    return "".join(out)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    if len(pattern) > _MAX_PATTERN:
        raise TransformError(f"A regular expression has at most {_MAX_PATTERN} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 22
    try:
        return re2.compile(_translated(pattern), options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else "unknown"
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise TransformError(f"The regular expression is not valid: {reason}.") from None


def _run(method: str, pattern: str, text: str) -> Any:
    expression = _compiled(pattern)
    effort = expression.programsize * len(text)
    if effort > _SMALL_EFFORT:
        if effort > MAX_EFFORT:
            raise TransformError(
                f"The regular expression is too large for a text of {len(text)} characters."
            )
        spend(effort)
    try:
        return getattr(expression, method)(text)
    except UnicodeEncodeError:
        raise TransformError("The text holds half a surrogate pair.") from None


def check_pattern(pattern: Any) -> None:
    """TransformError says what is wrong with a regular expression, or what of Java's it cannot use."""
    _compiled(text_of(pattern))


def whole_match(text: str, pattern: str) -> bool:
    return _run("fullmatch", pattern, text) is not None


@lru_cache(maxsize=512)
def _literal(pattern: str) -> str:
    """The text that a pattern stands for, empty when it is more than a text."""
    if not _PLAIN.fullmatch(pattern):
        return ""
    return re.sub(r"\\(.)", r"\1", pattern)


def split_text(text: str, pattern: str) -> list[str]:
    """Pieces between matches, empty ones kept; a match without width at the start makes no piece."""
    if not pattern:
        check_items(len(text))
        return list(text) or [""]
    delimiter = _literal(pattern)
    if delimiter:
        check_items(text.count(delimiter) + 1)
        return text.split(delimiter)
    pieces: list[str] = []
    begin, before = 0, (-1, -1)
    for match in _run("finditer", pattern, text):
        # RE2 may give a match without width twice
        if match.end() == 0 or match.start() == len(text) or match.span() == before:
            continue
        before = match.span()
        pieces.append(text[begin : match.start()])
        begin = match.end()
        check_items(pieces)
    pieces.append(text[begin:])
    return pieces


@null_to_null
def extract_regex(text: Any, pattern: Any) -> list[str | None] | None:
    if pattern is None:
        raise TransformError("extract_regex: the regular expression is null.")
    match = _run("search", text_of(pattern), text_of(text))
    return [] if match is None else [match.group(0), *match.groups()]


@null_to_null
def matches_regex(text: Any, pattern: Any) -> bool:
    if pattern is None:
        raise TransformError("matches_regex: the regular expression is null.")
    return whole_match(text_of(text), text_of(pattern))


_PARAMETERS = (
    Parameter("string", "string", "the text"),
    Parameter("regex", "string", "the expression", check=check_pattern),
)
FUNCTIONS = (
    Function(
        "extract_regex",
        CATEGORY,
        _PARAMETERS,
        "array",
        "The first match and its groups, an empty array without a match.",
        examples(("extract_regex('E259,E2_9,1_1', '([^,]+),[^,]*,([^,]+)')", '["E259,E2_9,1_1","E259","1_1"]', "extract_regex('b', '(a)|b')", '["b",null]', "extract_regex('x', 'y')", "[]")),
        extract_regex,
    ),
    Function(
        "matches_regex",
        CATEGORY,
        _PARAMETERS,
        "boolean",
        "Whether the whole text matches.",
        examples(("matches_regex('ab12', '[a-z]+[0-9]+')", "true", "matches_regex('ab12', '[a-z]+')", "false")),
        matches_regex,
    ),
)  # fmt: skip
