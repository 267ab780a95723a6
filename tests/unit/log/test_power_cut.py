"""The log over power cuts, as a state machine: appends, rotation, freeing, and cuts at any sync or between them.

After a cut the disk has forgotten, torn and reordered what was not synced. What was acknowledged is there in its
order, what was not is there whole or absent, and no offset is given twice.
"""

import asyncio
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from headrace.log.frames import SINGLE
from headrace.log.reader import LogReader
from headrace.log.segments import read_frames, segments
from headrace.log.writer import LogWriter
from headrace.testing.power import Disk, mixed

SEGMENT = 1500
SIZES = st.lists(st.sampled_from([0, 10, 300, 511, 1200]), min_size=1, max_size=4)


class PowerCuts(RuleBasedStateMachine):
    """`acknowledged`: offset → body, of all that was promised and not freed."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = Path(tempfile.mkdtemp(prefix="headrace-power-"))
        self.root = self.place / "0"
        self.root.mkdir()
        self.acknowledged: dict[int, bytes] = {}
        self.freed, self.serial, self.cuts = 0, 0, 0
        self.open()

    def open(self) -> None:
        self.disk = Disk(self.root)
        with self.disk.watched():
            self.writer = LogWriter(
                self.root,
                segment_bytes=SEGMENT,
                keep_free=0,
                landed={"f": (self.freed, self.freed)},
            )

    def leave(self) -> None:
        """The writer dies: nothing more of it reaches the disk."""
        self.writer._pool.shutdown()
        self.writer._close_file()
        self.writer._mark.close()
        self.disk.close()

    def bodies(self, sizes: list[int]) -> list[bytes]:
        made = []
        for size in sizes:
            self.serial += 1
            made.append(b"%d:" % self.serial + b"x" * size)
        return made

    async def append(self, bodies: list[bytes]) -> None:
        waiting = [self.writer.append(SINGLE, "f", 1, "r", 1, body, 0) for body in bodies]
        await asyncio.wait_for(asyncio.gather(*waiting), 10)

    @rule(sizes=SIZES)
    def accept(self, sizes: list[int]) -> None:
        """A group that is acknowledged, while a reader looks on before each of its syncs."""
        first, bodies = self.writer.next_offset, self.bodies(sizes)
        early = list[bytes]()

        def look() -> None:
            reader = LogReader(self.root)
            seen = [frame.body for frame in reader.read()]
            reader.close()
            early.extend(body for body in seen if body in bodies)

        self.disk.before = look
        with self.disk.watched():
            self.loop.run_until_complete(self.append(bodies))
        self.disk.before = lambda: None
        assert early == [], "read before it was durable"
        self.acknowledged |= {first + n: body for n, body in enumerate(bodies)}

    @rule(seed=st.integers(0, 2**32))
    def cut_between_groups(self, seed: int) -> None:
        self.power_cut(seed)

    @rule(seed=st.integers(0, 2**32), sizes=SIZES, sync=st.integers(1, 3))
    def cut_within_a_group(self, seed: int, sizes: list[int], sync: int) -> None:
        """The power goes before one of the syncs that the group needs."""
        bodies, left, image = self.bodies(sizes), [sync], self.next_place()

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.disk.cut(image, random.Random(seed))

        first, self.disk.before = self.writer.next_offset, count
        with self.disk.watched():
            self.loop.run_until_complete(self.append(bodies))
        if image.exists():
            self.recover(image, bodies)
        else:  # it needed fewer: all of it was acknowledged
            self.acknowledged |= {first + n: body for n, body in enumerate(bodies)}
            self.power_cut(seed)

    @rule()
    def kill(self) -> None:
        """Without a power cut all that was written is there."""
        self.leave()
        self.open()
        assert self.content() == self.acknowledged

    @rule(share=st.floats(0, 1))
    def free(self, share: float) -> None:
        """Some of what is there has landed, and its segments go."""
        position = self.freed + round(share * (self.writer.next_offset - self.freed))
        reader = LogReader(self.root)
        while reader.read():
            pass
        with self.disk.watched():
            reader.free({"f": position})
        reader.close()
        self.freed = position
        self.acknowledged = {at: body for at, body in self.acknowledged.items() if at >= position}

    def next_place(self) -> Path:
        self.cuts += 1
        return self.place / str(self.cuts)

    def power_cut(self, seed: int) -> None:
        image = self.next_place()
        self.disk.cut(image, random.Random(seed))
        self.recover(image, [])

    def recover(self, image: Path, unanswered: list[bytes]) -> None:
        self.leave()
        shutil.rmtree(self.root)
        self.root = image
        self.open()
        found = self.content()
        beyond = {at: body for at, body in found.items() if at not in self.acknowledged}
        assert {at: found.get(at) for at in self.acknowledged} == self.acknowledged
        assert list(beyond.values()) == unanswered[: len(beyond)], (
            "not answered: whole and in order"
        )
        assert all(at > max(self.acknowledged, default=-1) for at in beyond)
        self.acknowledged = found

    def content(self) -> dict[int, bytes]:
        """What a reader finds that has not landed; what it must not read is not in it."""
        reader, found = LogReader(self.root), list[tuple[int, bytes]]()
        while frames := reader.read():
            found += [(frame.offset, frame.body) for frame in frames]
        assert reader.damage == []
        reader.close()
        assert [at for at, _ in found] == sorted({at for at, _ in found}), "an offset given twice"
        return {at: body for at, body in found if at >= self.freed}

    @invariant()
    def offsets_go_on(self) -> None:
        assert self.writer.next_offset > max(self.acknowledged, default=-1)
        assert self.writer.next_offset >= self.freed
        assert self.writer.problem is None

    def teardown(self) -> None:
        self.leave()
        self.loop.close()
        shutil.rmtree(self.place)


def run(examples: int) -> None:
    run_state_machine_as_test(
        PowerCuts,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_p1_power_cuts_take_nothing_that_was_acknowledged_and_leave_no_half_of_a_request() -> None:
    run(25)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_p1_thousands_of_power_cuts_take_nothing_that_was_acknowledged() -> None:
    run(2000)


def test_a_disk_without_syncs_forgets_and_tears(tmp_path: Path) -> None:
    """The model can show a loss: a file that is not synced may be absent, short or torn after a cut."""
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    (tmp_path / "disk" / "a").write_bytes(b"x" * 2000)
    found = set()
    for seed in range(40):
        image = disk.cut(tmp_path / str(seed), random.Random(seed)) / "a"
        found.add(image.read_bytes() if image.exists() else None)
    assert None in found
    assert b"x" * 2000 in found
    assert any(each and b"\0" in each for each in found)
    disk.close()
    assert mixed(b"old", b"newer", lambda: True) == b"newer"
    assert mixed(b"old", b"newer", lambda: False) == b"old"


def test_what_a_cut_leaves_is_whole_frames(tmp_path: Path) -> None:
    """Segments on the recovered disk scan to their end."""
    machine = PowerCuts()
    try:
        machine.accept([300, 511])
        machine.cut_within_a_group(3, [1200, 10], 1)
        for _, path in segments(machine.root):
            assert read_frames(path)[1] == path.stat().st_size
    finally:
        machine.teardown()
