"""Every source end to end: through the public API, with an independent producer, over kills of the server.

The brokers and emulators are told in `streams`. Few records every day; `-m slow` (or HEADRACE_TEST_SLOW=1) runs the
long version too. After every kill a shard is split or two are merged, after an only kill both. HEADRACE_TEST_RECORDS
and HEADRACE_TEST_KILLS set the size of either.
"""

import os
from pathlib import Path

import pytest

from . import journey, streams

SIZES = [
    pytest.param((300, 1), id="everyday"),
    pytest.param((20_000, 5), id="long", marks=[pytest.mark.slow, pytest.mark.timeout(1500)]),
]


@pytest.fixture
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Records and kills."""
    marked = request.node.get_closest_marker("slow") is not None
    chosen = os.environ.get("HEADRACE_TEST_SLOW") == "1" or "slow" in request.config.getoption("-m")
    if marked and not chosen:
        pytest.skip("slow: run with -m slow")
    records, kills = request.param
    given = os.environ.get
    return (
        int(given("HEADRACE_TEST_RECORDS", records)),
        int(given("HEADRACE_TEST_KILLS", kills)),
    )


NAMES = [
    *streams.named("kinesis"),
    *(
        pytest.param(*found.values, marks=[*found.marks, pytest.mark.slow])
        for found in streams.named("kafka", "event_hubs", "pubsub")
    ),
]
"""Kinesis, with shards that split and merge, every day; the others in the long runs."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("size", SIZES, indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_records_land_once_and_in_order_over_kills(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    records, kills = size
    with streams.STREAMS[name](tmp_path) as stream:

        def reshape(kill: int) -> None:
            for number in (0, 1) if kills == 1 else (kill,):
                stream.reshape(number)

        found = journey.run(
            tmp_path, stream.source, stream.produce, records=records, kills=kills, seed=7,
            meanwhile=reshape, egress=stream.egress,
        )  # fmt: skip
        parents = stream.parents()
    journey.check(found, records, by_key=name == "pubsub")
    journey.check_parents_first(found, parents)
    if name == "kinesis":
        children = [id for id, before in parents.items() if before]
        assert len(children) >= 3, "a split and a merge"
        assert {row["p"] for row in found.rows} & set(children), "nothing came of a child"
