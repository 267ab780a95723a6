"""Upkeep of tables while flows run: few files, few snapshots, few manifests, nothing on disk that nobody needs.

`Upkeep.step` is called between commits. It looks at what has changed since it last looked and does one bounded
piece of work: a row group of a compaction, one commit, one manifest of a sweep. It holds no lock: a commit by
another writer makes its own fail and be built again, and a crash at any point leaves files that a later sweep
removes. Watermarks are never changed.
"""

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table

from headrace.lake.catalog import Lake
from headrace.lake.compaction import Compaction, Limits, Progress, arrange, mergeable, pick
from headrace.lake.expiry import agrees, expire
from headrace.lake.orphans import Swept, sweep
from headrace.lake.replace import live_files, manifests, replace

KEEP_SNAPSHOTS = 10
JUMP = 60.0
"""Seconds by which the clock must leave the timer to have been set anew."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`keep` snapshots stay when more than `most` are there. `every`: commits between looks at a table. `manifests`:
    more of them than this are merged. `grace`, `sweep_every`, `retry`: seconds; see `orphans` for the first. `share`:
    of the time that upkeep may take from a busy caller."""

    keep: int = KEEP_SNAPSHOTS
    most: int = 2 * KEEP_SNAPSHOTS
    every: int = 8
    manifests: int = 20
    grace: float = 3600.0
    sweep_every: float = 600.0
    retry: float = 60.0
    share: float = 0.2
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Done:
    """One piece of work. `what`: expiry, compaction, manifests, sweep or failed; `count`: snapshots expired, files
    merged, manifests saved or files removed, once that is known."""

    table: tuple[str, str]
    what: str
    count: int = 0
    detail: str = ""


@dataclass(slots=True)
class _State:
    """A table as it was last seen. `files`: data files when they were last looked through; `manifests`: those that
    the last merge left."""

    swept: float
    commits: int = 0
    files: int = 0
    manifests: int = 0
    quiet_until: float = 0.0
    compaction: Compaction | None = None
    merging: int = 0
    removed: int = 0
    sweeping: Generator[Swept, None, None] | None = None


class Upkeep:
    """Tends the tables that `note` has named; not for several threads.

    `clock` gives seconds since the epoch, `timer` seconds of any origin that never go back.
    """

    def __init__(
        self,
        lake: Lake,
        policy: Policy | None = None,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lake = lake
        self._policy = policy or Policy()
        self._clock = clock
        self._timer = timer
        self._rest_until = 0.0
        self._ahead, self._set_at = clock() - timer(), 0.0
        self._tables: dict[tuple[str, str], _State] = {}

    def note(self, sandbox: str, name: str) -> None:
        """Say that a commit has been made to a table, or that the table is there. Costs nothing."""
        table = (sandbox, name)
        if table not in self._tables:
            # looked at soon, whatever was there before the start; swept when some time has passed
            self._tables[table] = _State(swept=self._clock(), commits=self._policy.every - 1)
        self._tables[table].commits += 1

    def step(self, *, busy: bool = False) -> Done | None:
        """Do one bounded piece of work; None when there is nothing to do. Never fails for a table's sake.

        A `busy` caller gets None too while upkeep has had its share of the time.
        """
        started = self._timer()
        if busy and started < self._rest_until:
            return None
        done = self._next()
        spent = self._timer() - started
        self._rest_until = started + spent / self._policy.share
        return done

    def _watch_clock(self) -> None:
        """Notice that the clock was set: what it said before tells no longer how much time has passed."""
        ahead = self._clock() - self._timer()
        if abs(ahead - self._ahead) > JUMP:
            self._set_at = self._clock()
        self._ahead = ahead

    def _next(self) -> Done | None:
        self._watch_clock()
        for name, state in list(self._tables.items()):
            if 0 < state.quiet_until - self._clock() <= self._policy.retry:
                continue
            try:
                done = self._work(name, state)
            except Exception as error:  # whatever it is, landing rows must go on
                self._abandon(state)
                state.quiet_until = self._clock() + self._policy.retry
                done = Done(name, "failed", detail=f"{type(error).__name__}: {error}")
            if done is not None:
                self._tables[name] = self._tables.pop(name)  # the others' turn
                return done
        return None

    def close(self) -> None:
        """Give up what has been begun; it is begun again when the process is."""
        for state in self._tables.values():
            self._abandon(state)

    @staticmethod
    def _abandon(state: _State) -> None:
        if state.compaction is not None:
            with contextlib.suppress(OSError):
                state.compaction.drop()
        state.compaction = state.sweeping = None

    def _work(self, name: tuple[str, str], state: _State) -> Done | None:
        def load() -> Table:
            return self._lake.table(*name)

        if state.compaction is not None:
            return self._compact(name, state, state.compaction, load)
        if state.commits >= self._policy.every:
            state.commits = 0
            done = self._decide(name, state, load())
            if done is not None:
                state.commits = self._policy.every  # there may be more to do
                return done
        if state.sweeping is not None:
            swept = next(state.sweeping, None)
            if swept is not None:
                state.removed = swept.removed
                return Done(name, "sweep")
            state.sweeping = None
            return Done(name, "sweep", state.removed, "finished")
        # the distance, so that a clock that is put back does not stop sweeps
        if abs(self._clock() - state.swept) >= self._policy.sweep_every:
            state.swept = self._clock()
            if agrees(load()):
                state.sweeping, state.removed = (
                    sweep(load, self._clock(), self._policy.grace, self._set_at), 0
                )  # fmt: skip
                return Done(name, "sweep")
        return None

    def _compact(
        self,
        name: tuple[str, str],
        state: _State,
        compaction: Compaction,
        load: Callable[[], Table],
    ) -> Done:
        progress = compaction.advance(load)
        if progress is Progress.RUNNING:
            return Done(name, "compaction")
        if progress is Progress.DROPPED:
            compaction.drop()
            state.quiet_until = self._clock() + self._policy.retry
        state.compaction, state.files = None, 0  # look again: there may be another group
        landed = progress is Progress.LANDED
        return Done(name, "compaction", state.merging if landed else 0, progress.value)

    def _decide(self, name: tuple[str, str], state: _State, table: Table) -> Done | None:
        policy = self._policy
        if not agrees(table):
            return None
        if len(table.snapshots()) > policy.most and (expired := expire(table, policy.keep)):
            return Done(name, "expiry", expired)
        snapshot = table.current_snapshot()
        if snapshot is None or not mergeable(table):
            return None
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        files = int(summary.get("total-data-files", policy.limits.least))
        if files - state.files >= policy.limits.least or files < state.files:
            state.files = files
            try:
                group = pick(live_files(table), policy.limits)
            except ValidationException:
                return None  # rows are deleted by delete files: another engine's table to merge
            if group:
                group = arrange(group, policy.limits)
                state.compaction = Compaction(table, group, policy.limits)
                state.merging = len(group)
                return Done(name, "compaction")
        count = len(manifests(snapshot, table))
        if count - state.manifests > policy.manifests:
            with contextlib.suppress(CommitFailedException, ValidationException):
                replace(table, (), ())
                state.manifests = len(manifests(table.current_snapshot(), table))
                return Done(name, "manifests", count - state.manifests)
        return None
