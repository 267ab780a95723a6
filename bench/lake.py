"""Commits to one table with and without upkeep: commit time, files, manifests, disk, and the time of a query.

Each commit lands a batch of rows as the worker's does; upkeep gets one step after each, as the worker gives it,
and its time is printed apart. A commit counts for `interval` seconds of upkeep's clock, so that a run of minutes
shows hours of retention. `off` is a table that nobody tends: neither the committer nor upkeep expires anything;
its commits get slower and slower, so fewer may be asked for.

    python bench/lake.py [--commits 1000] [--off 300] [--rows 500] [--fields 20]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from headrace.disk import local_path
from headrace.lake.catalog import Lake
from headrace.lake.commit import CommitBatch, Committer
from headrace.lake.query import load_extensions
from headrace.lake.replace import manifests
from headrace.lake.upkeep import Policy, Upkeep
from headrace.xdm.arrow import table_schema
from headrace.xdm.fields import Field

PART = "inlet-0"
GRACE = 3600.0


def tree(fields: int) -> Field:
    leaves = {f"field{n}": Field("string") for n in range(fields)}
    return Field(
        "object",
        properties={"n": Field("int"), "value": Field("object", properties=leaves)},
    )


def batch(fields: int, start: int, rows: int) -> CommitBatch:
    numbers = range(start, start + rows)
    value = pa.StructArray.from_arrays(
        [pa.array([f"text {n * 7919 % 1000} of {f}" for n in numbers]) for f in range(fields)],
        names=[f"field{f}" for f in range(fields)],
    )
    kind = table_schema(Field("object")).field("_acp_system_metadata").type
    source = pa.array(
        [{"flowId": "f", "sourcePartition": PART, "sourceOffset": n} for n in numbers], kind
    )
    good = pa.table(
        {"n": pa.array(numbers, pa.int32()), "value": value, "_acp_system_metadata": source}
    )
    return CommitBatch(
        good=good, failed=None, start={PART: start}, next={PART: start + rows}, sequence=start + rows,
        landed=rows, failed_count=0, warnings=0, batch_id="b",
    )  # fmt: skip


def timed(work: Callable[[], object], times: int = 3) -> float:
    """The best of some tries, in seconds."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000


def measure(name: str, count: int, tend: bool, rows: int, fields: int, interval: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        lake = Lake(Path(directory))
        lake.ensure("prod", "set", tree(fields))
        committer = Committer(lake, "prod", "set", "f")
        late = 0.0
        upkeep = Upkeep(lake, Policy(grace=GRACE), clock=lambda: time.time() + late)
        spent, busy, kinds = list[float](), list[float](), dict[str, int]()
        tending = tending_busy = longest = 0.0
        for number in range(count):
            one = batch(fields, number * rows, rows)
            started, used = time.perf_counter(), time.process_time()
            committer.commit(one)
            spent.append(time.perf_counter() - started)
            busy.append(time.process_time() - used)
            late += interval
            if tend:
                upkeep.note("prod", "set")
                started, used = time.perf_counter(), time.process_time()
                done = upkeep.step()
                tending_busy += time.process_time() - used
                step = time.perf_counter() - started
                tending, longest = tending + step, max(longest, step)
                if done is not None:
                    kinds[done.what] = kinds.get(done.what, 0) + 1
                    if done.what == "failed":
                        raise SystemExit(f"upkeep failed: {done.detail}")
            if (number + 1) % 1000 == 0:
                part = spent[-1000:]
                print(
                    f"     after {number + 1:6}: p50 {percentile(part, 0.5):6.1f}  p95 {percentile(part, 0.95):6.1f} ms",
                    flush=True,
                )
        table = lake.table("prod", "set")
        location = table.metadata_location
        session = load_extensions()
        source = f"iceberg_scan('{location}')"

        def ask() -> object:
            return session.execute(
                f"SELECT count(*), sum(n), max(value.field1) FROM {source}"
            ).fetchone()

        answer = ask()
        assert isinstance(answer, tuple)
        assert answer[:2] == (count * rows, sum(range(count * rows)))
        query = timed(ask)
        place = local_path(table.location())
        disk = [p for p in place.rglob("*") if p.is_file()]
        last = spent[-max(1, count // 10) :]
        print(
            f"{name:4} {count:6} commits  p50 {percentile(spent, 0.5):6.1f} ms  p95 {percentile(spent, 0.95):6.1f} ms  "
            f"last tenth p50 {percentile(last, 0.5):6.1f} p95 {percentile(last, 0.95):6.1f} ms  "
            f"upkeep {tending * 1000 / count:5.1f} ms a commit, longest step {longest * 1000:5.0f} ms\n"
            f"     live files {len(list(table.scan().plan_files())):5}  "
            f"manifests {len(manifests(table.current_snapshot(), table)):3}  snapshots {len(table.snapshots()):5}  "
            f"files on disk {len(disk):6} ({sum(p.stat().st_size for p in disk) / 1e6:.1f} MB)  "
            f"query {query * 1000:6.1f} ms  "
            f"processor: commit p50 {percentile(busy, 0.5):.1f} ms, last tenth {percentile(busy[-len(last) :], 0.5):.1f} ms, "
            f"upkeep {tending_busy * 1000 / count:.1f} ms a commit  steps {kinds}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--off", type=int, default=None, help="commits without upkeep, 0 for none")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--fields", type=int, default=20)
    parser.add_argument(
        "--interval", type=float, default=2.0, help="seconds that a commit stands for"
    )
    options = parser.parse_args()
    off = options.commits if options.off is None else options.off
    for name, count, tend in (("on", options.commits, True), ("off", off, False)):
        if count:
            measure(name, count, tend, options.rows, options.fields, options.interval)


if __name__ == "__main__":
    main()
