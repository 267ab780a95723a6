"""Time zones by name, abbreviation or offset."""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace.mapping.errors import TransformError
from headrace.mapping.values import shorten

_FIXED = {
    "UTC": 0, "GMT": 0, "Z": 0, "UT": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5,
    "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "WEST": 1, "BST": 1, "CEST": 2, "EEST": 3,
    "IST": 5.5, "JST": 9, "AEST": 10, "AEDT": 11,
}  # fmt: skip
"""Hours from UTC: an abbreviation is an offset, not a place with daylight saving time."""
LONG_ZONES = {
    "EST": "Eastern Standard Time", "EDT": "Eastern Daylight Time", "CST": "Central Standard Time",
    "CDT": "Central Daylight Time", "MST": "Mountain Standard Time", "MDT": "Mountain Daylight Time",
    "PST": "Pacific Standard Time", "PDT": "Pacific Daylight Time", "GMT": "Greenwich Mean Time",
    "CET": "Central European Standard Time", "CEST": "Central European Summer Time",
    "BST": "British Summer Time", "UTC": "Coordinated Universal Time", "IST": "India Standard Time",
    "JST": "Japan Standard Time", "AKST": "Alaska Standard Time", "AKDT": "Alaska Daylight Time",
    "EET": "Eastern European Standard Time", "EEST": "Eastern European Summer Time",
    "WET": "Western European Standard Time", "WEST": "Western European Summer Time",
    "AEST": "Australian Eastern Standard Time", "AEDT": "Australian Eastern Daylight Time",
}  # fmt: skip
_SHORT = {long.lower(): short for short, long in LONG_ZONES.items()}
_OFFSET = re.compile(r"([+-])(\d\d?)(?::?(\d\d))?", re.ASCII)


@lru_cache(maxsize=512)
def zone(name: str) -> tzinfo:
    """The zone of an IANA name, abbreviation or offset; TransformError when there is none."""
    name = _SHORT.get(name.lower(), name)
    if name in _FIXED:
        return UTC if _FIXED[name] == 0 else timezone(timedelta(hours=_FIXED[name]), name)
    found = _OFFSET.fullmatch(name.removeprefix("GMT").removeprefix("UTC"))
    if found:
        hours, minutes = int(found[2]), int(found[3] or 0)
        if hours > 18 or minutes > 59:
            raise TransformError(f"The offset {name} lies beyond 18 hours.")
        delta = timedelta(hours=hours, minutes=minutes)
        return timezone(-delta if found[1] == "-" else delta) if delta else UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TransformError(f"There is no time zone {shorten(name)}.") from None
