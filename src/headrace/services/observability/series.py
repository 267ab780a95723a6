"""Time series of samples: intervals, aggregation functions, and how both make data points.

As in OpenTSDB, a series is first reduced to one value an interval (downsampling); then the series of a group are
combined interval by interval (aggregation). Intervals without a value have no data point.
"""

import math
import statistics
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

Aggregate = Callable[[Sequence[float]], float]
Points = dict[int, float]
"""Values by the start of their interval, milliseconds since the epoch."""

DAY = 86_400_000
_MONDAY = 4 * DAY
LENGTHS = {"MINUTE": 60_000, "HOUR": 3_600_000, "DAY": DAY, "WEEK": 7 * DAY}
LEAST_LENGTHS = LENGTHS | {"MONTH": 28 * DAY, "YEAR": 365 * DAY}
GRANULARITIES = (*LEAST_LENGTHS, "ALL")


def _percentile(share: float, values: Sequence[float]) -> float:
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


AGGREGATORS: Mapping[str, Aggregate] = {
    "sum": math.fsum,
    "zimsum": math.fsum,
    "avg": statistics.fmean,
    "min": min,
    "mimmin": min,
    "max": max,
    "mimmax": max,
    "count": len,
    "dev": statistics.pstdev,
    "median": statistics.median,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    **{
        f"p{name}": partial(_percentile, float(f"0.{name}"))
        for name in ("50", "75", "90", "95", "99", "999")
    },
}
"""OpenTSDB's functions that need no interpolation between points."""
SUMS = ("sum", "zimsum")


def interval_start(at: int, granularity: str, start: int) -> int:
    """The start of the UTC interval that `at` lies in; with ALL there is one, from `start`."""
    if granularity == "ALL":
        return start
    if granularity in LENGTHS:
        origin = _MONDAY if granularity == "WEEK" else 0
        return (at - origin) // LENGTHS[granularity] * LENGTHS[granularity] + origin
    moment = datetime.fromtimestamp(at / 1000, UTC)
    month = moment.month if granularity == "MONTH" else 1
    return int(datetime(moment.year, month, 1, tzinfo=UTC).timestamp()) * 1000


def intervals(start: int, until: int, granularity: str) -> Iterator[tuple[int, int]]:
    """Start and last millisecond of every interval from that of `start` to that of `until`, cut off there."""
    begin = interval_start(start, granularity, start)
    while begin <= until:
        following = until + 1
        if granularity != "ALL":
            # the least length and some days reach into the next interval and not beyond it
            slack = 0 if granularity in LENGTHS else 3 * DAY
            following = interval_start(
                begin + LEAST_LENGTHS[granularity] + slack, granularity, start
            )
        yield begin, min(following - 1, until)
        begin = following


def downsampled(
    samples: Iterable[tuple[int, float]], reduce: Aggregate, granularity: str, start: int
) -> Points:
    """One value an interval."""
    found: dict[int, array[float]] = {}
    for at, value in samples:
        begin = interval_start(at, granularity, start)
        found.setdefault(begin, array("d")).append(value)
    return {begin: float(reduce(values)) for begin, values in found.items()}


def daily(samples: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """One sample a UTC day that had any: their sum."""
    return list(downsampled(samples, math.fsum, "DAY", 0).items())


def level(
    samples: Iterable[tuple[int, float]], granularity: str, start: int, until: int
) -> list[tuple[int, float]]:
    """The running total of samples in order of time, looked at once an interval, at its end; none before the first."""
    pending = iter(samples)
    following = next(pending, None)
    total, any_yet = 0.0, False
    found = []
    for begin, end in intervals(start, until, granularity):
        while following is not None and following[0] <= end:
            total, any_yet = total + following[1], True
            following = next(pending, None)
        if any_yet:
            found.append((begin, total))
    return found


def aggregated(series: Iterable[Points], combine: Aggregate) -> Points:
    """Several series as one, in order of time."""
    found: dict[int, array[float]] = {}
    for points in series:
        for begin, value in points.items():
            found.setdefault(begin, array("d")).append(value)
    return {begin: float(combine(found[begin])) for begin in sorted(found)}
