"""The metrics by name and how their samples are read from the store.

Calls of inlets are counted by the inlet itself (`calls`). A commit is a sample at its commit time. Only commits into data sets of the caller's sandbox are ever read.
Names of services that are not part of this installation (Profile, Identity, Query and Privacy Service) are known
and have no samples.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from headrace.services.observability.calls import OUTCOMES, read_calls
from headrace.store.documents import Scope, Store
from headrace.xdm.check import CODES

Tag = Literal["dataset", "flow", "inlet", "namespace", "strength"]
COMMIT_TAGS: frozenset[Tag] = frozenset({"dataset", "flow", "inlet"})


class Sample(NamedTuple):
    """A value at a time (`at`: milliseconds since the epoch); the texts are ids, empty where there is none."""

    at: int
    dataset: str
    flow: str
    inlet: str
    value: float


@dataclass(frozen=True, slots=True)
class Commits:
    """What one commit contributes: an SQL expression over its row `c`, and the rows it holds for."""

    value: str
    where: str = "1"


@dataclass(frozen=True, slots=True)
class Metric:
    """`series` is the tag whose values are separate series, `required` says that a filter must name one.

    `counter`: samples add up. `level`: the sum of all samples so far. `daily`: samples add up to one a UTC day.
    `source` is None where nothing is measured.
    """

    series: Tag | None
    source: Commits | Literal["dataSets", "success", "failure"] | None = None
    kind: Literal["counter", "level", "daily"] = "counter"
    required: bool = False

    @property
    def filters(self) -> frozenset[Tag]:
        """Tags it can be filtered by."""
        if isinstance(self.source, Commits):
            return COMMIT_TAGS
        return frozenset() if self.series is None else frozenset({self.series})


_GOOD, _FAILED = "c.kind='good'", "c.kind='failed'"
_BYTES = Commits("json_extract(c.body, '$.bytes')", _GOOD)
_RECORDS = Commits("json_extract(c.body, '$.records')", _GOOD)
_ALL_RECORDS = Commits("json_extract(c.body, '$.records') + json_extract(c.body, '$.failed')")
_INVALID = Commits("json_extract(c.body, '$.failed')", _FAILED)
_BY_INLET = " AND (coalesce(i.inlet, '')<>'' OR c.flow_id='dataset-'||c.dataset_id)"
"""Records of other sources reach no inlet. Messages that name a data set and no flow reach one unnamed."""


def _errors(condition: str) -> str:
    return (
        "(SELECT coalesce(sum(json_extract(e.value, '$.recordCount')), 0)"
        " FROM json_each(c.body, '$.errors') e"
        f" WHERE json_extract(e.value, '$.code') {condition})"
    )


_CATEGORY_KEYWORDS = {
    "type": ("type", "null"),
    "range": ("minimum", "maximum", "minLength", "maxLength"),
    "format": ("format",),
    "pattern": ("pattern",),
    "presence": ("required",),
    "enum": ("enum",),
}


def _categories() -> dict[str, Commits]:
    """Failed records by category. Together they are all failed records: `unclassified` has the other validation
    codes, `unknown` what failed before validation or was not listed by reason any more."""
    found, classified = {}, set[str]()
    for category, keywords in _CATEGORY_KEYWORDS.items():
        codes = {CODES[keyword] for keyword in keywords}
        classified |= codes
        found[category] = _errors(f"IN ({_quoted(codes)})")
    others = f"AND json_extract(e.value, '$.code') NOT IN ({_quoted(classified)})"
    found["unclassified"] = _errors(f"LIKE 'DCVS-%' {others}")
    validation = _errors("LIKE 'DCVS-%'")
    found["unknown"] = f"json_extract(c.body, '$.failed') - {validation}"
    return {category: Commits(value, _FAILED) for category, value in found.items()}


def _quoted(codes: set[str]) -> str:
    return ", ".join(f"'{code}'" for code in sorted(codes))


def _table() -> dict[str, Metric]:
    ingestion, collection = "timeseries.ingestion.dataset", "timeseries.data.collection"
    measured = {
        f"{ingestion}.size": Metric("dataset", _BYTES, "level"),
        f"{ingestion}.dailysize": Metric("dataset", _BYTES, "daily"),
        f"{ingestion}.new.count": Metric(None, "dataSets"),
        f"{ingestion}.batchsuccess.count": Metric("dataset", Commits("1", _GOOD)),
        f"{ingestion}.batchfailed.count": Metric("dataset", Commits("1", _FAILED)),
        f"{ingestion}.recordsuccess.count": Metric("dataset", _RECORDS),
        f"{collection}.validation.total.messages.rate": Metric("dataset", _ALL_RECORDS),
        f"{collection}.validation.valid.messages.rate": Metric("dataset", _RECORDS),
        f"{collection}.validation.invalid.messages.rate": Metric("dataset", _INVALID),
        f"{collection}.inlet.total.messages.received": Metric(
            "inlet", Commits(_ALL_RECORDS.value, "1" + _BY_INLET)
        ),
        f"{collection}.inlet.total.messages.size.received": Metric(
            "inlet", Commits("json_extract(c.body, '$.input_bytes')", _GOOD + _BY_INLET)
        ),
    }
    for outcome in OUTCOMES:
        measured[f"{collection}.inlet.{outcome}"] = Metric("inlet", outcome)
    for category, source in _categories().items():
        measured[f"{collection}.validation.category.{category}.count"] = Metric("dataset", source)
    return measured | {name: metric for metric, names in _UNMEASURED for name in names.split()}


_UNMEASURED = (
    (
        Metric("dataset"),
        "timeseries.identity.dataset.recordsuccess.count timeseries.identity.dataset.recordfailed.count"
        " timeseries.profiles.dataset.recordread.count timeseries.profiles.dataset.recordsuccess.count"
        " timeseries.profiles.dataset.recordfailed.count timeseries.profiles.dataset.batchsuccess.count"
        " timeseries.profiles.dataset.batchfailed.count"
        " platform.ups.ingest.streaming.record.size.m1_rate",
    ),
    (
        Metric("namespace", required=True),
        "timeseries.identity.dataset.namespacecode.recordsuccess.count"
        " timeseries.identity.dataset.namespacecode.recordfailed.count"
        " timeseries.identity.dataset.namespacecode.recordskipped.count"
        " timeseries.identity.graph.imsorg.namespacecode.uniqueidentities.count",
    ),
    (
        Metric("strength", required=True),
        "timeseries.identity.graph.imsorg.graphstrength.uniqueidentities.count",
    ),
    (
        Metric(None),
        "timeseries.identity.graph.imsorg.uniqueidentities.count"
        " timeseries.identity.graph.imsorg.numidgraphs.count"
        " timeseries.queryservice.query.scheduleonce.count"
        " timeseries.queryservice.query.scheduledrecurring.count"
        " timeseries.queryservice.query.batchquery.count"
        " timeseries.queryservice.query.scheduledquery.count"
        " timeseries.queryservice.query.interactivequery.count"
        " timeseries.queryservice.query.batchfrompsqlquery.count"
        " timeseries.gdpr.jobs.totaljobs.count timeseries.gdpr.jobs.completedjobs.count"
        " timeseries.gdpr.jobs.errorjobs.count",
    ),
)

METRICS: dict[str, Metric] = _table()

# A flow of another sandbox never counts here, even if that sandbox has a data set of the same id.
_SAMPLES = """
    WITH i AS (
        SELECT f.id AS flow, json_extract(n.body, '$.auth.params.inletId') AS inlet
        FROM documents f JOIN documents n
            ON n.org=f.org AND n.sandbox=f.sandbox AND n.kind='connections'
            AND n.id=json_extract(f.body, '$.baseConnectionId')
        WHERE f.org=:org AND f.sandbox=:sandbox AND f.kind='flows'
    )
    SELECT min(c.committed), c.dataset_id, c.flow_id, coalesce(i.inlet, ''), sum({value})
    FROM documents d JOIN commits c ON c.dataset_id=d.id LEFT JOIN i ON i.flow=c.flow_id
    WHERE d.org=:org AND d.sandbox=:sandbox AND d.kind='dataSets'
        AND c.committed BETWEEN :since AND :until AND {where}
        AND NOT EXISTS (
            SELECT 1 FROM documents o WHERE o.kind='flows' AND o.id=c.flow_id
            AND (o.org<>:org OR o.sandbox<>:sandbox)
        )
        AND (:datasets IS NULL OR d.id IN (SELECT value FROM json_each(:datasets)))
    GROUP BY c.dataset_id, c.flow_id, {group} ORDER BY min(c.committed)
"""
_CREATED = """
    SELECT d.created, d.id, '', '', 1 FROM documents d
    WHERE d.org=:org AND d.sandbox=:sandbox AND d.kind='dataSets'
        AND d.created BETWEEN :since AND :until
    ORDER BY d.created
"""


def read(
    store: Store,
    scope: Scope,
    metric: Metric,
    since: int,
    until: int,
    *,
    datasets: tuple[str, ...] = (),
    sums_only: bool,
) -> Iterator[Sample]:
    """Samples in order of time, both ends included (milliseconds since the epoch). A level needs all its past.

    `datasets` limits them to these, none given to all. `sums_only`: nothing but sums will be made of them, so that
    those of one minute may come as one.
    """
    if metric.source is None:
        return
    if metric.source in ("success", "failure"):
        for at, inlet, count in read_calls(store, scope, metric.source, since, until):
            yield Sample(at, "", "", inlet, count)
        return
    query = _CREATED
    if isinstance(metric.source, Commits):
        query = _SAMPLES.format(
            value=metric.source.value,
            where=metric.source.where,
            group="c.committed/60000" if sums_only else "c.commit_id",
        )
    bounds = {
        "datasets": json.dumps(datasets) if datasets else None,
        "org": scope.org,
        "sandbox": scope.sandbox,
        "since": 0 if metric.kind == "level" else since,
        "until": until,
    }
    for row in store.connection.execute(query, bounds):
        yield Sample(*row)
