"""A server that is killed while records arrive: nothing acknowledged is lost, nothing lands twice."""

import os
import random
import time
from pathlib import Path

import pytest

from headrace.testing.oracle import Findings
from tests.crash.rig import Rig

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "50"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", str(random.randrange(2**32))))


def kill_again_and_again(root: Path, kills: int) -> Findings:
    """The verdict over a flow whose server was killed at random moments and then stopped cleanly."""
    print(f"seed {SEED}")
    randomness = random.Random(SEED)
    rig = Rig(root)
    try:
        for number, kind in enumerate(("messages", "lines")):
            rig.send(f"sender-{number}", kind, SEED, poison=0.1)
        for _ in range(kills):
            time.sleep(randomness.uniform(0.2, 0.8))
            rig.kill_server()
            rig.launch(soon=True)
        time.sleep(0.5)
        assert rig.server.stop() == 0
        rig.launch()
        return rig.verdict()
    finally:
        rig.close()


@pytest.mark.slow  # test_loss_finder.py has the short form
@pytest.mark.timeout(300 + 20 * KILLS)
def test_p1_p2_every_acknowledged_record_lands_once_or_fails_once_after_many_kills(
    tmp_path: Path,
) -> None:
    findings = kill_again_and_again(tmp_path, KILLS)
    assert findings.faults() == {}
    assert findings.acknowledged > 100
    assert findings.landed > 0
    assert findings.failed > 0
