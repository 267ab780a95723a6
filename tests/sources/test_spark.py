"""Spark Structured Streaming reads sources of Headrace through its own checkpoint, over restarts of the whole query.

`python -m venv .venv-spark && .venv-spark/bin/pip install pyspark 'pandas<3'` brings Spark (some 650 MB); it runs with
the libraries of this environment beside it.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from . import journey, streams

ROOT = Path(__file__).parents[2]
SPARK = ROOT / ".venv-spark" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not SPARK.exists(), reason="Spark is not installed"),
    pytest.mark.skipif(bool(streams.MISSING["kafka"]), reason=streams.MISSING["kafka"] or ""),
]


def options(stream: streams.Stream) -> dict[str, str]:
    given = stream.source
    return {
        "source": given.spec_id, "authentication": given.auth_spec,
        "secret": json.dumps(given.auth), "params": json.dumps(given.params),
    }  # fmt: skip


def run(queries: list[dict[str, Any]]) -> None:
    libraries = os.pathsep.join([str(ROOT / "src"), *(p for p in sys.path if "site-packages" in p)])
    done = subprocess.run(
        [SPARK, Path(__file__).with_name("spark_query.py"), json.dumps(queries)],
        env={**os.environ, "PYTHONPATH": libraries}, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_records_come_once_and_in_order_over_a_restart_from_the_checkpoint(tmp_path: Path) -> None:
    """Kafka, and Kinesis with a split between the two runs: its child shards are read in the second."""
    with streams.kafka(tmp_path, partitions=2) as kafka, streams.kinesis(tmp_path) as kinesis:
        found = {"kafka": kafka, "kinesis": kinesis}
        queries = [
            {"options": options(stream), "checkpoint": str(tmp_path / name / "checkpoint"),
             "rows": str(tmp_path / name / "rows")}
            for name, stream in found.items()
        ]  # fmt: skip
        for first in (0, 150):
            for stream in found.values():
                stream.produce([journey.record(n) for n in range(first, first + 150)])
            run(queries)
            kinesis.reshape(0)
        parents = kinesis.parents()
    for name in found:
        # what Spark's own log of the sink says was committed
        rows = duckdb.sql(
            f"SELECT partition, \"offset\", body FROM '{tmp_path / name / 'rows'}/*.parquet'"
            ' ORDER BY partition, "offset"'
        ).fetchall()
        numbers: dict[str, list[int]] = defaultdict(list)
        for partition, _, body in rows:
            numbers[partition].append(json.loads(body)["n"])
        assert sorted(n for mine in numbers.values() for n in mine) == list(range(300)), name
        assert all(mine == sorted(mine) for mine in numbers.values()), f"{name} is out of order"
        assert len({(partition, offset) for partition, offset, _ in rows}) == 300
    assert any(parents.get(partition) for partition in numbers), "nothing came of a child"
