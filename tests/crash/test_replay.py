"""P4: a replay of real failed records, whose worker dies at every named point, lands each once and keeps the balance."""

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.testing.oracle import rows_of
from tests.crash.rig import Rig, crash_points, wait_for

POINTS = [point for point in crash_points() if point.startswith("replay-")]
FIX = 'iif(kind == "poison", now(), now())'
BREAK = 'iif(kind == "poison", null, now())'


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("replay"))
    yield rig
    rig.close()


def publish(rig: Rig, timestamp: str) -> None:
    rig.rules = [
        rule | {"source": timestamp} if rule["destination"] == "timestamp" else rule
        for rule in rig.rules
    ]
    rig.change_mapping()


def names(rig: Rig) -> tuple[set[str], set[str]]:
    good, failed = rows_of(rig.server.data_dir, rig.journey.dataset_id)
    assert len({row.name for row in good}) == len(good)
    return {row.name for row in good}, {row.name for row in failed}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", POINTS)
def test_a_replay_that_is_killed_lands_every_record_once(rig: Rig, point: str) -> None:
    publish(rig, BREAK)
    before = rig.sent()
    rig.send(f"{point}-a", "messages", 1, poison=0.4, largest=20)
    wait_for("records are sent", lambda: rig.sent() > before + 100, 60)
    rig.quiesce()
    _, failed = names(rig)
    # poison of odd number is no JSON at all
    fixable = {name for name in failed if int(name.rpartition(":")[2]) % 2 == 0}
    assert fixable
    publish(rig, FIX)
    replays = f"/headrace/flows/{rig.journey.flow_id}/replays"
    log = rig.root / "server.log"
    rig.server.kill()
    before = log.stat().st_size
    assert rig.launch(f"{point}:1")
    asked = rig.call("POST", replays, {})
    wait_for("the worker dies", lambda: b"status 137" in log.read_bytes()[before:], 30)
    rig.server.kill()
    rig.launch()
    rig.send(f"{point}-b", "messages", 2, poison=0.4, largest=20)

    def ended() -> Any:
        found = rig.call("GET", f"{replays}/{asked['id']}")
        return found if found["state"] in ("done", "failed") else None

    done = wait_for("the replay ends", ended, 60)
    assert (done["state"], done["selected"], done["landed"]) == ("done", len(failed), len(fixable))
    faults = rig.verdict().faults()
    # poison is meant to land, and lands after its neighbours
    assert faults.keys() <= {"misplaced", "disordered"}, faults
    good, left = names(rig)
    assert fixable <= good
    assert failed - fixable <= left
    assert not good & left
