"""Date patterns of Java's formatter, US English, and dates written as they say."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from headrace.mapping.errors import TransformError
from headrace.mapping.values import shorten
from headrace.mapping.zones import LONG_ZONES

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_COUNTS = (
    dict.fromkeys("GMLEZXQq", range(1, 6))
    | dict.fromkeys("dHkKhmsw", range(1, 3))
    | dict.fromkeys("aWF", range(1, 2))
    | dict.fromkeys("yYuS", range(1, 10))
    | {"D": range(1, 4), "z": range(1, 5), "V": (2,), "O": (1, 4)}
)
"""How many of a letter may stand together."""
OPTIONAL = -1
_MAX_PATTERN = 128


@lru_cache(maxsize=512)
def tokens(pattern: str) -> tuple[tuple[str, int], ...]:
    """(letter, count) pairs; literal text has count 0, the brackets of a part that may be absent `OPTIONAL`."""
    if len(pattern) > _MAX_PATTERN:
        raise TransformError(f"A date pattern has at most {_MAX_PATTERN} characters.")
    out: list[tuple[str, int]] = []
    at = level = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "'":
            close = pattern.find("'", at + 1)
            if close < 0:
                raise TransformError(
                    f"The quote in the date pattern {shorten(pattern)} is not closed."
                )
            text = pattern[at + 1 : close] or "'"
            while text != "'" and pattern[close + 1 : close + 2] == "'":
                following = pattern.find("'", close + 2)
                if following < 0:
                    raise TransformError(f"A quote in {shorten(pattern)} is not closed.")
                text += "'" + pattern[close + 2 : following]
                close = following
            out.append((text, 0))
            at = close + 1
        elif char.isascii() and char.isalpha():
            if char not in _COUNTS:
                raise TransformError(f"'{char}' is no letter of date patterns.")
            end = at
            while end < len(pattern) and pattern[end] == char:
                end += 1
            if end - at not in _COUNTS[char]:
                raise TransformError(f"A date pattern cannot have {end - at} letters '{char}'.")
            out.append((char, end - at))
            at = end
        else:
            if char in "{}#":
                raise TransformError(f"'{char}' is reserved in date patterns.")
            level += (char == "[") - (char == "]")
            if level < 0:
                raise TransformError("A date pattern has ']' without '['.")
            out.append((char, OPTIONAL if char in "[]" else 0))
            at += 1
    return (*out, *[("]", OPTIONAL)] * level)


def format_date(moment: datetime, pattern: str) -> str:
    """The date in its own zone, as the pattern says."""
    return "".join(
        _formatted(moment, letter, count) if count else letter
        for letter, count in tokens(pattern)
        if count != OPTIONAL
    )


def _offset_text(moment: datetime, colon: bool, short: bool = False) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    sign, minutes = "-" if seconds < 0 else "+", abs(seconds) // 60
    hours, minutes = divmod(minutes, 60)
    if short and not minutes:
        return f"{sign}{hours:02d}"
    return f"{sign}{hours:02d}{':' if colon else ''}{minutes:02d}"


def _zone_name(moment: datetime) -> str:
    if moment.tzinfo is UTC:
        return "Z"
    name = moment.tzname() or "Z"
    return name.removeprefix("UTC") or "Z"


def _formatted(moment: datetime, letter: str, count: int) -> str:
    number: int
    match letter:
        case "G":
            return {4: "Anno Domini", 5: "A"}.get(count, "AD")
        case "y" | "Y" | "u":
            if letter == "u" and count < 4:
                return str(moment.isoweekday()).zfill(count)
            number = moment.isocalendar().year if letter == "Y" else moment.year
            return f"{number % 100:02d}" if count == 2 else str(number).zfill(count)
        case "M" | "L":
            name = MONTHS[moment.month - 1]
            return _named(name, moment.month, count)
        case "E":
            name = WEEKDAYS[moment.weekday()]
            return {4: name, 5: name[0]}.get(count, name[:3])
        case "Q" | "q":
            number = (moment.month + 2) // 3
            if count == 3:
                return f"Q{number}"
            if count == 4:
                return f"{number}{('st', 'nd', 'rd', 'th')[number - 1]} quarter"
            return str(number).zfill(count if count < 3 else 1)
        case "a":
            return "AM" if moment.hour < 12 else "PM"
        case "S":
            return f"{moment.microsecond:06d}000"[:count]
        case "z":
            name = _zone_name(moment)
            return LONG_ZONES.get(name, name) if count == 4 else name
        case "V":
            zone_id = getattr(moment.tzinfo, "key", None)
            return (
                str(zone_id)
                if zone_id
                else ("Z" if not moment.utcoffset() else _offset_text(moment, True))
            )
        case "Z":
            if count == 4:
                return f"GMT{_offset_text(moment, True)}" if moment.utcoffset() else "GMT"
            if count == 5:
                return _offset_text(moment, True) if moment.utcoffset() else "Z"
            return _offset_text(moment, False)
        case "X":
            if not moment.utcoffset():
                return "Z"
            return _offset_text(moment, count in (3, 5), short=count == 1)
        case "O":
            if not moment.utcoffset():
                return "GMT"
            if count == 4:
                return f"GMT{_offset_text(moment, True)}"
            text = _offset_text(moment, True, short=True)
            return f"GMT{text[0]}{text[1:].removeprefix('0')}"
    numbers = {
        "w": moment.isocalendar().week,
        "W": _week_of_month(moment),
        "D": moment.timetuple().tm_yday,
        "d": moment.day,
        "F": (moment.day - 1) // 7 + 1,
        "H": moment.hour,
        "k": moment.hour or 24,
        "K": moment.hour % 12,
        "h": moment.hour % 12 or 12,
        "m": moment.minute,
        "s": moment.second,
    }
    return str(numbers[letter]).zfill(count)


def _named(name: str, number: int, count: int) -> str:
    if count <= 2:
        return str(number).zfill(count)
    return {3: name[:3], 4: name}.get(count, name[0])


def _week_of_month(moment: datetime) -> int:
    """Weeks start on Sunday, the first one holds the first day, as in US English."""
    first = moment.replace(day=1).isoweekday() % 7
    return (moment.day + first - 1) // 7 + 1
