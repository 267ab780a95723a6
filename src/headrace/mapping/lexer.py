"""Characters of an expression to tokens."""

from dataclasses import dataclass
from typing import Any

from headrace.mapping.errors import MappingSyntaxError
from headrace.mapping.limits import MAX_EXPRESSION

RESERVED = frozenset(
    [
        "new",
        "mod",
        "or",
        "break",
        "var",
        "lt",
        "for",
        "false",
        "while",
        "eq",
        "gt",
        "div",
        "not",
        "null",
        "continue",
        "else",
        "and",
        "ne",
        "true",
        "le",
        "if",
        "ge",
        "return",
        "_errors",
        "do",
        "function",
        "empty",
        "size",
    ]
)
_WORDS = {
    "and": "&&", "or": "||", "not": "!", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
    "gt": ">", "ge": ">=", "div": "/", "mod": "%",
}  # fmt: skip
_SYMBOLS = sorted(
    [
        "?:",
        "??",
        "&&",
        "||",
        "==",
        "!=",
        "<=",
        ">=",
        "=~",
        "!~",
        "=^",
        "!^",
        "=$",
        "!$",
        "->",
        "?",
        ":",
        "|",
        "^",
        "&",
        "<",
        ">",
        "+",
        "-",
        "*",
        "/",
        "%",
        "~",
        "!",
        ".",
        ",",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
    ],
    key=len,
    reverse=True,
)
_SUFFIXES = "LlHhfFdDbB"


@dataclass(frozen=True, slots=True)
class Token:
    """`kind`: number, string, name, quoted, word (reserved), op or end. `value` has escapes removed."""

    kind: str
    value: Any
    begin: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """All tokens, closed by one of kind `end`; MappingSyntaxError at the first wrong character."""
    if len(text) > MAX_EXPRESSION:
        raise MappingSyntaxError(
            f"An expression has at most {MAX_EXPRESSION} characters, this one {len(text)}.",
            MAX_EXPRESSION,
        )
    out: list[Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if char in "'\"":
            token = _string(text, at)
        elif text.startswith("${", at):
            token = _quoted(text, at)
        elif char in "$_" or char.isalpha():
            token = _name(text, at, after_dot=bool(out) and out[-1].value == ".")
        elif char.isascii() and char.isdigit():
            token = _number(
                text, at, after_dot=bool(out) and out[-1].kind == "op" and out[-1].value == "."
            )
        else:
            symbol = next((s for s in _SYMBOLS if text.startswith(s, at)), None)
            if symbol is None:
                raise MappingSyntaxError(f"Unexpected character {char!r}.", at)
            token = Token("op", symbol, at, at + len(symbol))
        out.append(token)
        at = token.end
    out.append(Token("end", "the end", len(text), len(text)))
    return out


def _string(text: str, begin: int) -> Token:
    quote, at = text[begin], begin + 1
    out: list[str] = []
    while at < len(text):
        char = text[at]
        if char == quote:
            return Token("string", _paired("".join(out), begin), begin, at + 1)
        if char == "\\" and at + 1 < len(text):
            following = text[at + 1]
            digits = text[at + 2 : at + 6]
            if following in ("\\", quote):
                out.append(following)
                at += 2
                continue
            if (
                following == "u"
                and len(digits) == 4
                and all(d in "0123456789abcdefABCDEF" for d in digits)
            ):
                out.append(chr(int(digits, 16)))
                at += 6
                continue
        out.append(char)
        at += 1
    raise MappingSyntaxError(f"The text that starts with {quote} is not closed.", begin)


def _paired(text: str, begin: int) -> str:
    """Escapes of two halves of one character become it, as in Java; half a character is refused."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        problem = "The text has half of a character (an unpaired surrogate)."
        raise MappingSyntaxError(problem, begin) from None


def _quoted(text: str, begin: int) -> Token:
    at = begin + 2
    while at < len(text) and text[at] != "}":
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise MappingSyntaxError("'${' is not closed.", begin)
    if at == begin + 2:
        raise MappingSyntaxError("'${}' names no field.", begin)
    return Token("quoted", text[begin + 2 : at], begin, at + 1)


def _name(text: str, begin: int, after_dot: bool) -> Token:
    at, escaped = begin, False
    out: list[str] = []
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            at += 1
            char, escaped = text[at], True
        elif not (char.isalpha() or char.isdigit() or char in "$_") or (
            char == "$" and text.startswith("${", at)
        ):
            break
        out.append(char)
        at += 1
    word = "".join(out)
    if not escaped and not after_dot and word in RESERVED:
        if word in _WORDS:
            return Token("op", _WORDS[word], begin, at)
        return Token("word", word, begin, at)
    return Token("name", word, begin, at)


def _number(text: str, begin: int, after_dot: bool) -> Token:
    at = begin

    def digits() -> None:
        nonlocal at
        while at < len(text) and text[at].isascii() and text[at].isdigit():
            at += 1

    digits()
    value: Any = int(text[begin:at]) if at - begin <= 1200 else None
    if value is None:
        raise MappingSyntaxError("A number has at most 1200 digits.", begin)
    if after_dot:  # `a.0.b` counts steps, it does not spell the number 0.b
        return Token("number", value, begin, at)
    if (
        text[at : at + 1] == "."
        and text[at + 1 : at + 2].isascii()
        and text[at + 1 : at + 2].isdigit()
    ):
        at += 1
        digits()
        value = float(text[begin:at])
    if at < len(text) and text[at] in _SUFFIXES:
        if text[at] in "fFdD":
            try:
                value = float(value)
            except OverflowError:
                raise MappingSyntaxError(
                    "The number is beyond the range of a double.", begin
                ) from None
        elif text[at] in "LlHh" and isinstance(value, float):
            raise MappingSyntaxError(f"'{text[at]}' marks integers.", at)
        at += 1
    if isinstance(value, float) and value == float("inf"):
        raise MappingSyntaxError("The number is beyond the range of a double.", begin)
    if at < len(text) and (text[at].isalpha() or text[at] == "_"):
        raise MappingSyntaxError("A name cannot start with a digit; write it as ${…}.", begin)
    return Token("number", value, begin, at)
