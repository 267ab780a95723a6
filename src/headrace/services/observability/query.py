"""Requests for metrics: read, checked, and answered as data points by group."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.errors import ApiError
from headrace.services.observability import series
from headrace.services.observability.metrics import METRICS, Metric, Sample, Tag, read
from headrace.store.documents import Scope, Store

MOST_METRICS = 100
MOST_FILTER_VALUES = 1_000
MOST_INTERVALS = 50_000
"""A month of minutes fits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799_000
"""The last second of the year 9999."""

TAGS: dict[str, Tag] = {
    "datasetid": "dataset", "datasets": "dataset", "dataset": "dataset",
    "flowid": "flow", "flows": "flow", "flow": "flow",
    "inletid": "inlet", "namespaceid": "namespace", "graphstrength": "strength",
}  # fmt: skip
"""Filters by lower-case name."""


@dataclass(frozen=True, slots=True)
class Filter:
    """No `values`: any. `group`: each value is answered apart, under `name`."""

    name: str
    tag: Tag
    values: tuple[str, ...]
    group: bool


@dataclass(frozen=True, slots=True)
class Period:
    """`start` and `end` in milliseconds since the epoch, both included; `now` ends what can be known."""

    start: int
    end: int
    granularity: str
    now: int


@dataclass(frozen=True, slots=True)
class Request:
    name: str
    metric: Metric
    filters: tuple[Filter, ...]
    aggregator: str
    downsample: str


def refuse(reason: str, code: str = "INSGHT-1000-400") -> ApiError:
    return ApiError(400, code, f"Bad Request - {reason}", reason)


def parse_period(start: Any, end: Any, granularity: Any, now: int) -> Period:
    """ApiError 400 for times that are none, that are reversed, or that make too many intervals."""
    first, last = moment("start", start), moment("end", end)
    if first > last:
        raise refuse("Start date cannot be after end date.")
    unit = "ALL" if granularity is None else str(granularity).upper()
    if unit not in series.GRANULARITIES:
        known = ", ".join(series.GRANULARITIES)
        raise refuse(f"granularity '{granularity}' is unknown; known are {known}.")
    if unit != "ALL" and (min(last, now) - first) // series.LEAST_LENGTHS[unit] > MOST_INTERVALS:
        raise refuse(
            f"The period has more than {MOST_INTERVALS} intervals of one {unit.lower()}.",
            "INSGHT-1001-400",
        )
    return Period(first, last, unit, now)


def moment(name: str, value: Any) -> int:
    """An ISO 8601 time, UTC if it does not say, as milliseconds since the epoch; ApiError 400 otherwise."""
    if not isinstance(value, str):
        raise refuse(f"{name} must be a time in ISO 8601 form.")
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise refuse(f"{name} '{value}' is not a time in ISO 8601 form.") from None
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return min(max(0, int((aware - _EPOCH).total_seconds() * 1000)), _LATEST)


def parse_requests(value: Any) -> list[Request]:
    """The `metrics` of a payload; ApiError 400 says what is missing, unknown or wrong."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_METRICS:
        raise refuse(f"metrics must be an array of 1 to {MOST_METRICS} objects.")
    return [_request(entry) for entry in value]


def known_metric(name: Any) -> Metric:
    """ApiError 400 for a name that is not of the table."""
    if not isinstance(name, str) or name not in METRICS:
        raise refuse(f"Metric '{name}' is invalid.")
    return METRICS[name]


def _request(entry: Any) -> Request:
    if not isinstance(entry, dict):
        raise refuse("Each entry of metrics must be an object.")
    if not entry.get("name"):
        raise refuse("A metric needs a name.")
    name = entry["name"]
    metric = known_metric(name)
    given = entry.get("filters") or []
    if not isinstance(given, list):
        raise refuse(f"filters of '{name}' must be an array.")
    filters = tuple(_filter(item, name, metric) for item in given)
    require(name, metric, filters)
    if not entry.get("aggregator"):
        raise refuse(f"Metric '{name}' needs an aggregator.")
    aggregator = _function("aggregator", entry["aggregator"])
    downsample = entry.get("downsample")
    reduce = "sum" if downsample is None else _function("downsample", downsample)
    return Request(name, metric, filters, aggregator, reduce)


def require(name: str, metric: Metric, filters: tuple[Filter, ...]) -> None:
    """ApiError 400 when a filter that the metric must have is not there."""
    if metric.required and not any(f.tag == metric.series and f.values for f in filters):
        raise refuse(f"Metric '{name}' needs a filter by {metric.series}.")


def _function(key: str, value: Any) -> str:
    name = value.strip().lower() if isinstance(value, str) else ""
    if name not in series.AGGREGATORS:
        known = ", ".join(series.AGGREGATORS)
        raise refuse(f"{key} '{value}' is invalid; known are {known}.")
    return name


def _filter(item: Any, metric_name: str, metric: Metric) -> Filter:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise refuse(f"Each filter of '{metric_name}' must be an object with a name.")
    tag = TAGS.get(item["name"].lower())
    if tag is None or tag not in metric.filters:
        raise refuse(f"Metric '{metric_name}' cannot be filtered by '{item['name']}'.")
    text, group = item.get("value"), item.get("groupBy")
    if not isinstance(group, bool | None):
        raise refuse(f"groupBy of filter '{item['name']}' must be true or false.")
    if not isinstance(text, str | None):
        raise refuse(f"value of filter '{item['name']}' must be ids separated by '|'.")
    values = tuple(dict.fromkeys(v for part in (text or "").split("|") if (v := part.strip())))
    if not values and not group:
        raise refuse(f"Filter '{item['name']}' needs a value.")
    if len(values) > MOST_FILTER_VALUES:
        raise refuse(f"Filter '{item['name']}' has more than {MOST_FILTER_VALUES} values.")
    return Filter(item["name"], tag, values, bool(group))


def answer(
    store: Store, scope: Scope, request: Request, period: Period
) -> list[tuple[dict[str, str], series.Points]]:
    """Groups and their data points. A single grouping filter answers each of its values, also without any."""
    metric, grouping = request.metric, [f for f in request.filters if f.group]
    chosen = [(f.tag, frozenset(f.values)) for f in request.filters if f.values]
    found: dict[tuple[str, ...], dict[str, list[tuple[int, float]]]] = {}
    if not grouping:
        found[()] = {}
    elif len(grouping) == 1:
        found = {(value,): {} for value in grouping[0].values}
    samples = read(
        store, scope, metric, period.start, period.end,
        datasets=next((f.values for f in request.filters if f.tag == "dataset"), ()),
        sums_only=metric.kind != "counter" or request.downsample in series.SUMS,
    )  # fmt: skip
    for sample in samples:
        if all(_tagged(sample, tag) in values for tag, values in chosen):
            group = tuple(_tagged(sample, f.tag) for f in grouping)
            one = _tagged(sample, metric.series) if metric.series else ""
            found.setdefault(group, {}).setdefault(one, []).append((sample.at, sample.value))
    reduce = series.AGGREGATORS[request.downsample]
    combine = series.AGGREGATORS[request.aggregator]
    return [
        (
            {f.name: value for f, value in zip(grouping, group, strict=True)},
            series.aggregated(
                [
                    series.downsampled(
                        _samples(metric, member, period), reduce, period.granularity, period.start
                    )
                    for member in members.values()
                ],
                combine,
            ),
        )
        for group, members in found.items()
    ]


def _tagged(sample: Sample, tag: Tag) -> str:
    value: Mapping[str, str] = {
        "dataset": sample.dataset,
        "flow": sample.flow,
        "inlet": sample.inlet,
    }
    return value.get(tag, "")


def _samples(
    metric: Metric, samples: list[tuple[int, float]], period: Period
) -> list[tuple[int, float]]:
    if metric.kind == "daily":
        return series.daily(samples)
    if metric.kind == "level":
        until = min(period.end, period.now)
        return series.level(samples, period.granularity, period.start, until)
    return samples
