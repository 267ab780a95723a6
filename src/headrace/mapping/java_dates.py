"""Dates read by a pattern of Java's formatter, or by the automatic formats of date texts."""

import re
from calendar import isleap
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from headrace.mapping.date_patterns import MONTHS, OPTIONAL, WEEKDAYS, tokens
from headrace.mapping.errors import TransformError
from headrace.mapping.values import from_milliseconds, shorten
from headrace.mapping.zones import LONG_ZONES, zone

_MAX_TEXT = 128

AUTOMATIC = (
    "yyyy-MM-dd HH:mm:ssZ", "yyyy-MM-dd HH:mm:ss.SSSZ", "yyyy-MM-dd HH:mm:ss.SSS", "yyyy-MM-dd'T'HH:mm:ss.SSSX",
    "yyyy-MM-dd'T'HH:mm:ss'Z'", "yyyy-MM-dd", "yyyy/MM/dd", "yyyy.MM.dd", "yyyy-MMM-dd", "yyyyMMdd",
    "MM-dd-yyyy", "MMddyyyy", "M/dd/yyyy", "dd.M.yyyy", "M/dd/yyyy hh:mm:ss a", "dd.M.yyyy hh:mm:ss a",
    "dd.MMM.yyyy", "dd-MMM-yyyy", "dd-MMM-yyyy HH:mm", "dd-MMM-yyyy HH:mm:ss",
)  # fmt: skip
"""Formats of a date text without a pattern, in this order; the last two are fallbacks after ISO. All begin with a
digit."""
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


_NAMES = {
    "M3": "|".join(m[:3] for m in MONTHS),
    "M4": "|".join(MONTHS),
    "E3": "|".join(d[:3] for d in WEEKDAYS),
    "E4": "|".join(WEEKDAYS),
}
_ZONE_NAMES = "|".join(map(re.escape, LONG_ZONES.values()))


@lru_cache(maxsize=512)
def _reader(pattern: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """A regular expression for a pattern and the letters of its groups."""
    parts: list[str] = []
    letters: list[str] = []
    for letter, count in tokens(pattern):
        if count == OPTIONAL:
            parts.append("(?:" if letter == "[" else ")?")
            continue
        if not count:
            parts.append(re.escape(letter))
            continue
        letter = {"L": "M", "q": "Q"}.get(letter, letter)
        if letter in "ME" and count in (3, 4):
            parts.append(f"({_NAMES[f'{letter}{count}']})")
        elif letter == "E" and count < 3:
            parts.append(f"({_NAMES['E3']})")
        elif letter in "yu" and (letter == "y" or count >= 4):
            parts.append(
                r"(\d{2})" if count == 2 else rf"(\d{{{count},9}})" if count != 4 else r"(\d{4})"
            )
            letter = "y2" if count == 2 else "y"
        elif letter == "Q" and count > 2:
            parts.append(r"Q([1-4])" if count == 3 else r"([1-4])(?:st|nd|rd|th) quarter")
        elif letter in "MdHkKhmsDQ":
            parts.append(r"(\d{1,9})" if count == 1 else rf"(\d{{{count}}})")
        elif letter == "S":
            parts.append(rf"(\d{{{count}}})")
        elif letter == "a":
            parts.append("([AaPp][Mm])")
        elif letter == "G":
            parts.append("(AD|Anno Domini|A)")
        elif letter == "X":
            forms = {
                1: r"[+-]\d\d(?:\d\d)?",
                2: r"[+-]\d{4}",
                3: r"[+-]\d\d:\d\d",
                4: r"[+-]\d{4}",
                5: r"[+-]\d\d:\d\d",
            }
            parts.append(f"(Z|{forms[count]})")
            letter = "z"
        elif letter == "Z":
            parts.append(r"([+-]\d{4})" if count < 4 else r"((?:GMT)?[+-]\d\d:\d\d|GMT|Z)")
            letter = "z"
        elif letter in "zVO":
            parts.append(
                rf"({_ZONE_NAMES}|[A-Za-z][A-Za-z_]*(?:/[A-Za-z0-9_+\-]+)*(?:[+-]\d{{1,2}}(?::?\d\d)?)?|[+-]\d\d(?::?\d\d)?)"
            )
            letter = "z"
        else:
            raise TransformError(f"Dates cannot be read with the pattern letter '{letter}'.")
        letters.append(letter)
    return re.compile("".join(parts), re.ASCII | re.IGNORECASE), tuple(letters)


@lru_cache(maxsize=512)
def _plain(pattern: str) -> list[int]:
    """Where year, month, day and so on are, for patterns of nothing else; empty for others."""
    letters = _reader(pattern)[1]
    wanted = "yMdHms"[: len(letters)]
    if len(letters) < 3 or ("[", OPTIONAL) in tokens(pattern) or sorted(letters) != sorted(wanted):
        return []
    return [letters.index(letter) for letter in wanted]


def check_readable(pattern: str) -> None:
    """TransformError says what dates cannot be read with a pattern."""
    _reader(pattern)


def parse_date(text: str, pattern: str) -> datetime:
    """The date a text spells under a pattern; TransformError when it does not fit."""
    found = _read(text, pattern)
    if found is None:
        raise TransformError(
            f"The date {shorten(text)} does not fit the pattern {shorten(pattern)}."
        )
    return found


def _read(text: str, pattern: str) -> datetime | None:
    if len(text) > _MAX_TEXT:
        return None
    expression, letters = _reader(pattern)
    found = expression.fullmatch(text)
    if found is None:
        return None
    plain = _plain(pattern)
    if plain:
        parts = found.groups()
        try:
            numbers = [int(parts[n]) for n in plain] + [0] * (6 - len(plain))
            year, month, day, hour, minute, second = numbers
            return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:  # a name, a day to be clipped, 24:00
            pass
    values: dict[str, Any] = {}
    for letter, part in zip(letters, found.groups(), strict=True):
        if part is None:
            continue
        if letter in values and values[letter] != part:
            return None
        values[letter] = part
    return _assembled(values)


def _assembled(values: dict[str, Any]) -> datetime | None:
    def number(letter: str, default: int) -> int:
        part = values.get(letter)
        return default if part is None else int(part)

    if "y" not in values and "y2" not in values:
        return None
    year = number("y", 0) if "y" in values else 2000 + number("y2", 0)
    month = values.get("M", "1")
    month = (
        int(month)
        if month.isdigit()
        else [m[:3].lower() for m in MONTHS].index(month[:3].lower()) + 1
    )
    hour = number("H", number("k", -1) % 24 if "k" in values else 0)
    if "h" in values or "K" in values:
        half = number("h", 0) if "h" in values else number("K", 0)
        if half > (12 if "h" in values else 11):
            return None
        hour = half % 12 + (12 if str(values.get("a", "")).lower() == "pm" else 0)
    offset = values.get("z")
    fraction = values.get("S", "") if offset else ""  # a fraction counts only beside a zone
    if "Q" in values and number("Q", 0) != (int(month) + 2) // 3:
        return None
    day = number("d", 1)
    where = (
        zone(offset.upper() if offset.isalpha() and len(offset) < 5 else offset) if offset else UTC
    )
    moment = _moment(year, month, day, hour, number("m", 0), number("s", 0), fraction, where)
    if moment is not None and "D" in values:
        days = number("D", 1)
        if not 1 <= days <= 365 + isleap(year):
            return None
        moment += timedelta(days=days - 1)
    if moment is not None and "E" in values:
        weekday = WEEKDAYS[moment.weekday()][:3].lower()
        return moment if weekday == values["E"][:3].lower() else None
    return moment


def _moment(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    fraction: str,
    where: tzinfo,
) -> datetime | None:
    """A day past the end of its month is its last one; 24:00 is the next midnight."""
    if not (1 <= month <= 12 and 1 <= day <= 31 and 1 <= year <= 9999):
        return None
    next_day = (hour, minute, second) == (24, 0, 0)
    if hour > (24 if next_day else 23) or minute > 59 or second > 59:
        return None
    while day > 28:
        try:
            date(year, month, day)
            break
        except ValueError:
            day -= 1
    micro = int((fraction + "000000")[:6])
    moment = datetime(year, month, day, 0 if next_day else hour, minute, second, micro, where)
    return moment + timedelta(days=1) if next_day else moment


def read_date(text: str) -> datetime:
    """The date a text spells in one of the automatic formats; TransformError when in none."""
    if len(text) == 10 and text[4] == text[7] == "-":
        found = _read(text, "yyyy-MM-dd")
        if found is not None:
            return found
    iso = _ISO.fullmatch(text)
    if iso:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return moment if moment.tzinfo else moment.replace(microsecond=0, tzinfo=UTC)
    for pattern in AUTOMATIC if len(text) <= 32 and "0" <= text[:1] <= "9" else ():
        found = _read(text, pattern)
        if found is not None:
            return found
    if iso:
        y, mo, d, h, mi, s, fraction, offset = iso.groups()
        where = zone(offset) if offset else UTC
        kept = (fraction or "") if offset else ""
        found = _moment(int(y), int(mo), int(d), int(h), int(mi), int(s or 0), kept, where)
        if found is not None:
            return found
    if text.isascii() and text.isdigit() and len(text) in (12, 13):
        return from_milliseconds(int(text))
    raise TransformError(f"The text {shorten(text)} has none of the known date formats.")
