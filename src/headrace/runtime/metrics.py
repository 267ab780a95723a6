"""`/metrics` in Prometheus text, read from live state at each scrape."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from headrace.log.writer import LogWriter
from headrace.runtime.balance import TERMS
from headrace.runtime.supervisor import Progress, Supervisor

Counts = Callable[[], Mapping[str, tuple[int, int, int, int]]]


class DataPlane(Collector):
    """`inlets()` gives (messages, bytes, successes, failures) by inlet id."""

    def __init__(self, log: LogWriter, supervisor: Supervisor, inlets: Counts) -> None:
        self._log = log
        self._supervisor = supervisor
        self._inlets = inlets

    def collect(self) -> Iterable[Metric]:
        flows = (*TERMS, ("warnings", "mapping rules that could not be computed"))
        families = {
            name: GaugeMetricFamily(f"headrace_flow_{name}", text, labels=["flow"])
            for name, text in flows
        }
        sequences = dict(self._log.sequences)
        for flow in sequences.keys() | self._supervisor.flows.keys():
            known = self._supervisor.flows.get(flow, Progress())
            account = known.balance(sequences.get(flow, 0))
            for name, _ in TERMS:
                families[name].add_metric([flow], getattr(account, name))
            families["warnings"].add_metric([flow], known.warnings)
        yield from families.values()
        behind = [
            GaugeMetricFamily(
                f"headrace_source_behind_{unit}", f"{unit} behind the source's end", labels=["flow", "partition"]
            )
            for unit in ("records", "milliseconds")
        ]  # fmt: skip
        for flow, partitions in dict(self._supervisor.lag).items():
            for partition, lag in partitions.items():
                for family, number in zip(behind, lag, strict=True):
                    if number is not None:
                        family.add_metric([flow, partition], number)
        yield from behind
        names = ("messages", "bytes", "success", "failure")
        inlets = {
            name: CounterMetricFamily(
                f"headrace_inlet_{name}", f"{name} since the start", labels=["inlet"]
            )
            for name in names
        }
        for inlet, counts in self._inlets().items():
            for name, value in zip(names, counts, strict=True):
                inlets[name].add_metric([inlet], value)
        yield from inlets.values()
        yield CounterMetricFamily("headrace_log_syncs", "group commits", value=self._log.syncs)
        yield CounterMetricFamily(
            "headrace_log_bytes", "bytes appended", value=self._log.bytes_written
        )
        yield GaugeMetricFamily(
            "headrace_log_next_offset", "offset of the next record", value=self._log.next_offset
        )
        damage = list(self._supervisor.damage)
        yield GaugeMetricFamily(
            "headrace_log_damaged_ranges",
            "ranges of the log that cannot be read",
            value=len(damage),
        )
        yield GaugeMetricFamily(
            "headrace_log_damaged_records", "records in them, as far as their end is known",
            value=sum(found["count"] or 0 for found in damage),
        )  # fmt: skip
        yield CounterMetricFamily(
            "headrace_worker_restarts", "worker restarts", value=self._supervisor.restarts
        )


def exposition(collector: Collector) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)
