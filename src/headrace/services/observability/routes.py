"""The metrics endpoint in both versions, each with its own shape of errors."""

import logging
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from headrace.errors import ApiError
from headrace.http.contract import Answer, Call, Handler, Route
from headrace.services.observability import query
from headrace.services.observability.series import DAY
from headrace.store.documents import Scope, Store

BASE = "/data/infrastructure/observability/insights"
MOST_METRICS_V1 = 6
_ITEMS_WANTED = {"HOUR": 2 * DAY, "DAY": 92 * DAY}
"""V1 chooses its granularity: the finest whose longest period holds the one asked for, else MONTH."""

_log = logging.getLogger(__name__)
Shape = Callable[[ApiError, Call], dict[str, Any]]


def routes(store: Store, keep_counts: Callable[[], None]) -> list[Route]:
    """Observability Insights over a store; `keep_counts` writes there what is counted elsewhere, before an answer."""

    def report(call: Call) -> Answer:
        keep_counts()
        body = call.object()
        requests = query.parse_requests(body.get("metrics"))
        period = query.parse_period(
            body.get("start"), body.get("end"), body.get("granularity"), _now()
        )
        responses = []
        for request, given in zip(requests, body["metrics"], strict=True):
            groups = query.answer(store, _scope(call), request, period)
            responses.append({
                "metric": request.name,
                "filters": given.get("filters") or [],
                "datapoints": [
                    {"groupBy": group, "dps": {_stamp(at): value for at, value in points.items()}}
                    for group, points in groups
                ],
                "granularity": period.granularity,
            })  # fmt: skip
        return Answer(200, {"metricResponses": responses})

    def report_v1(call: Call) -> Answer:
        keep_counts()
        names = list(dict.fromkeys(call.values("metric")))
        if not 1 <= len(names) <= MOST_METRICS_V1:
            raise query.refuse(f"metric must be given 1 to {MOST_METRICS_V1} times.")
        id = call.value("id") or None
        period = _period_v1(call.value("dateRange"))
        items: dict[int, dict[str, float]] = {}
        for name in names:
            ((_, points),) = query.answer(store, _scope(call), _request_v1(name, id), period)
            for at, value in points.items():
                items.setdefault(at, {})[name] = value
        return Answer(200, [{
            "id": id,
            "imsOrgId": call.who.org_id,
            "timeseries": {
                "granularity": period.granularity,
                "items": [
                    {"timestamp": _stamp(at), "metrics": items[at]}
                    for at in sorted(items, reverse=True)
                ],
                "_page": None,
                "_links": None,
            },
            "stats": {},
        }])  # fmt: skip

    path = f"{BASE}/metrics"
    return [
        Route(
            "POST",
            path,
            _guarded(report, _shape),
            "plain",
            "Metrics by filter and interval",
            reads=True,
        ),
        Route("GET", path, _guarded(report_v1, _shape_v1), "plain", "Metrics by name (V1)"),
    ]


def _request_v1(name: str, id: str | None) -> query.Request:
    metric = query.known_metric(name)
    filters: tuple[query.Filter, ...] = ()
    if id is not None and metric.series is not None:
        filters = (query.Filter("id", metric.series, (id,), group=False),)
    query.require(name, metric, filters)
    return query.Request(name, metric, filters, aggregator="sum", downsample="sum")


def _period_v1(text: str | None) -> query.Period:
    now = _now()
    if text is None:
        return query.Period(now - 30 * DAY, now, "DAY", now)
    start, slash, end = text.partition("/")
    if not slash:
        raise query.refuse("dateRange must be two times in ISO 8601 form with '/' between them.")
    length = query.moment("end", end) - query.moment("start", start)
    unit = next((name for name, most in _ITEMS_WANTED.items() if length <= most), "MONTH")
    return query.parse_period(start, end, unit, now)


def _guarded(handler: Handler, shape: Shape) -> Handler:
    """The handler with its refusals in a shape of this service, which names the tenant."""

    def serve(call: Call) -> Answer:
        try:
            return handler(call)
        except ApiError as error:
            known = error if error.code.startswith("INSGHT-") else query.refuse(error.detail)
            return Answer(known.status, shape(known, call))
        except sqlite3.Error:
            _log.exception("request %s: metrics could not be read", call.request_id)
            detail = "The metrics could not be read."
            failure = ApiError(500, "INSGHT-1001-500", f"Metrics query failed - {detail}", detail)
            return Answer(500, shape(failure, call))

    return serve


def _shape(error: ApiError, call: Call) -> dict[str, Any]:
    who = call.who
    return {
        "type": f"http://ns.adobe.com/aep/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "report": {
            "tenantInfo": {
                "sandboxName": who.sandbox,
                "sandboxId": who.sandbox_id,
                "imsOrgId": who.org_id,
            },
            "additionalContext": None,
        },
        "error-chain": [
            {
                "serviceId": "INSGHT",
                "errorCode": error.code,
                "invokingServiceId": "INSGHT",
                "unixTimeStampMs": _now(),
            }
        ],
    }


def _shape_v1(error: ApiError, call: Call) -> dict[str, Any]:
    return {
        "errorCode": error.code,
        "httpStatus": error.status,
        "title": error.title,
        "details": error.detail,
    }


def _scope(call: Call) -> Scope:
    return Scope(call.who.org_id, call.who.sandbox)


def _now() -> int:
    return int(time.time() * 1000)


def _stamp(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
