"""Date and time functions. A date is a zoned date-time; texts are read as the automatic formats say."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from headrace.mapping.date_patterns import format_date, tokens
from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import (
    Context,
    Function,
    Parameter,
    examples,
    integer,
    null_to_null,
)
from headrace.mapping.java_dates import check_readable, parse_date, read_date
from headrace.mapping.values import (
    epoch_milliseconds,
    from_milliseconds,
    kind_of,
    shorten,
    text_of,
)
from headrace.mapping.zones import zone

CATEGORY = "Date / Time"


def moment_of(value: Any, function: str) -> datetime:
    """A date argument: a date, a text in an automatic format, or epoch milliseconds."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        return read_date(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return from_milliseconds(value)
    raise TransformError(f"{function} needs a date, not a value of type {kind_of(value)}.")


def now(context: Context) -> datetime:
    return context.now()


def timestamp(context: Context) -> int:
    return epoch_milliseconds(context.now())


@null_to_null
def format_(value: Any, pattern: Any) -> str:
    return format_date(moment_of(value, "format"), text_of(pattern))


@null_to_null
def dformat(milliseconds: Any, pattern: Any) -> str:
    moment = from_milliseconds(integer(milliseconds, "dformat", "the milliseconds"))
    return format_date(moment, text_of(pattern))


def date_(value: Any, pattern: Any = None, default: Any = None) -> datetime | None:
    """The default stands in for null only, not for a text that does not fit."""
    if value is None:
        return None if default is None else moment_of(default, "date")
    if pattern is None or not isinstance(value, str):
        return moment_of(value, "date")
    return parse_date(value, text_of(pattern))


_COMPONENTS = {
    alias: name
    for name, aliases in {
        "year": "year yyyy yy",
        "quarter": "quarter qq q",
        "month": "month mm m",
        "dayofyear": "dayofyear dy y",
        "day": "day dd d",
        "week": "week ww w",
        "weekday": "weekday dw",
        "hour": "hour hh hh24",
        "hour12": "hh12",
        "minute": "minute mi n",
        "second": "second ss s",
        "millisecond": "millisecond sss ms",
    }.items()
    for alias in aliases.split()
}


def _component(value: Any, function: str) -> str:
    found = _COMPONENTS.get(text_of(value).lower())
    if found is None:
        raise TransformError(f"{function}: {shorten(value)} is not a component of a date.")
    return found


def date_part(component: Any, value: Any) -> int | None:
    name = _component(component, "date_part")
    if value is None:
        return None
    moment = moment_of(value, "date_part")
    match name:
        case "quarter":
            return (moment.month + 2) // 3
        case "dayofyear":
            return moment.timetuple().tm_yday
        case "week":
            return moment.isocalendar().week
        case "weekday":
            return moment.isoweekday()
        case "hour12":
            return moment.hour % 12 or 12
        case "millisecond":
            return moment.microsecond // 1000
    return int(getattr(moment, name))


def _settable(component: Any) -> str:
    name = _component(component, "set_date_part")
    if name not in ("year", "month", "day", "hour", "minute", "second"):
        raise TransformError(f"set_date_part cannot set the {name}.")
    return name


def set_date_part(component: Any, value: Any, moment: Any) -> datetime | None:
    name = _settable(component)
    if moment is None:
        return None
    given = moment_of(moment, "set_date_part")
    number = integer(value, "set_date_part", "the value")
    try:
        if name in ("year", "month"):  # a day past the end of the new month is its last one
            first = given.replace(day=1).replace(**{name: number})  # type: ignore[arg-type]
            following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
            last = (following - timedelta(days=1)).day
            return first.replace(day=min(given.day, last))
        return given.replace(**{name: number})  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        raise TransformError(f"set_date_part: {number} is out of range for the {name}.") from None


def make_date_time(
    year: Any,
    month: Any,
    day: Any,
    hour: Any,
    minute: Any,
    second: Any,
    nanosecond: Any,
    zone_name: Any,
) -> datetime | None:
    parts = (year, month, day, hour, minute, second, nanosecond)
    if any(part is None for part in parts) or zone_name is None:
        return None
    numbers = [integer(part, "make_date_time", "each part") for part in parts]
    if not 0 <= numbers[6] <= 999_999_999:
        raise TransformError("make_date_time: nanoseconds lie between 0 and 999999999.")
    try:
        return datetime(*numbers[:6], numbers[6] // 1000, zone(text_of(zone_name)))  # type: ignore[arg-type,call-arg]
    except (ValueError, OverflowError) as error:
        raise TransformError(f"make_date_time: {error}.") from None


@null_to_null
def zone_date_to_utc(value: Any) -> datetime:
    return _in_zone(_with_abbreviation(value), "UTC", "zone_date_to_utc")


@null_to_null
def zone_date_to_zone(value: Any, zone_name: Any) -> datetime:
    return _in_zone(_with_abbreviation(value), text_of(zone_name), "zone_date_to_zone")


def _with_abbreviation(value: Any) -> Any:
    """A text may end in a blank and a zone's name."""
    if isinstance(value, str) and " " in value:
        text, _, name = value.rpartition(" ")
        if name.isalpha() and name.upper() not in ("AM", "PM"):
            return read_date(text).replace(tzinfo=zone(name))
    return value


def _in_zone(value: Any, name: str, function: str) -> datetime:
    try:
        return moment_of(value, function).astimezone(zone(name))
    except OverflowError:
        raise TransformError(f"{function}: the date leaves the years 1 to 9999.") from None


def _function(
    name: str,
    parameters: tuple[Parameter, ...],
    returns: str,
    what: str,
    example: tuple[str, ...],
    call: Any,
    needs_context: bool = False,
) -> Function:
    return Function(
        name,
        CATEGORY,
        parameters,
        returns,
        what,
        examples(example),
        call,
        needs_context=needs_context,
    )


_DATE = Parameter("date", "date", "a date or its text")
_PATTERN = Parameter("pattern", "string", "a date pattern", check=lambda p: tokens(text_of(p)))
_COMPONENT = Parameter("component", "string", "for example year or MM, in any letter case", check=lambda c: _component(c, "date_part"))  # fmt: skip
_PLACE = Parameter("component", "string", "year, month, day, hour, minute or second", check=_settable)  # fmt: skip
_ZONE = Parameter("zone", "string", "an IANA zone", check=lambda z: zone(text_of(z)))
_TEXT = (
    Parameter("text", "string", "the text of a date"),
    Parameter("pattern", "string", "its date pattern, else the automatic formats", optional=True, check=lambda p: check_readable(text_of(p))),
    Parameter("default", "date", "for a null text", optional=True),
)  # fmt: skip
_PARTS = ("year", "month", "day", "hour", "minute", "second", "nanosecond")
_MAKE = (*(Parameter(name, "integer", f"the {name}") for name in _PARTS), _ZONE)
FUNCTIONS = (
    _function("now", (), "date", "The instant at which the record was received.", ("now()", '"2021-10-26T10:10:24Z"'), now, True),
    _function("timestamp", (), "integer", "The same in milliseconds since 1970.", ("timestamp()", "1635243024000"), timestamp, True),
    _function("format", (_DATE, _PATTERN), "string", "A date as a pattern writes it, in its own zone.", ('format(date("2019-10-23"), "dd.MM.yyyy")', '"23.10.2019"', 'format("2019-10-23T11:24:00+02:00", "HH:mm XXX")', '"11:24 +02:00"'), format_),
    _function("dformat", (Parameter("milliseconds", "integer", "since 1970"), _PATTERN), "string", "Epoch milliseconds as a pattern writes them, in UTC.", ('dformat(1571829875000, "yyyy-MM-dd HH:mm")', '"2019-10-23 11:24"'), dformat),
    _function("date", _TEXT, "date", "Reads a date.", ('date("2019-10-23 11:24", "yyyy-MM-dd HH:mm")', '"2019-10-23T11:24:00Z"', 'date("23.10.2019")', '"2019-10-23T00:00:00Z"', 'date(null, "yyyy", now())', '"2021-10-26T10:10:24Z"'), date_),
    _function("date_part", (_COMPONENT, _DATE), "integer", "A component of a date.", ('date_part("MM", date("2019-10-17"))', "10", 'date_part("dw", "2019-10-17")', "4", 'date_part("year", null)', "null"), date_part),
    _function("set_date_part", (_PLACE, Parameter("value", "integer", "the new value"), _DATE), "date", "A date with its year, month, day, hour, minute or second replaced; the day is clipped to the month.", ('set_date_part("m", 4, date("2016-10-31"))', '"2016-04-30T00:00:00Z"'), set_date_part),
    *(
        _function(name, _MAKE, "date", "A date from its parts.", (f'{name}(2019, 10, 17, 11, 55, 12, 0, "America/Los_Angeles")', '"2019-10-17T18:55:12Z"'), make_date_time)
        for name in ("make_date_time", "make_timestamp")
    ),
    _function("zone_date_to_utc", (_DATE,), "date", "The same instant in UTC.", ('zone_date_to_utc("2019-10-17T11:55:12 PST")', '"2019-10-17T19:55:12Z"'), zone_date_to_utc),
    _function("zone_date_to_zone", (_DATE, _ZONE), "date", "The same instant in another zone.", ('format(zone_date_to_zone("2019-10-17T11:55:12Z", "Europe/Paris"), "HH:mm")', '"13:55"'), zone_date_to_zone),
)  # fmt: skip
