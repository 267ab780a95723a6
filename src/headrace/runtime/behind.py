"""Flows that cannot land for now: each goes on from a place of its own in the log and holds up no other.

What such a flow had in memory is given up: the log has it. When its pause is over it is read again by a reader of its
own, up to the log's end; from there on the reader of all flows brings what follows.
"""

from dataclasses import dataclass, field
from pathlib import Path

from headrace.log.frames import Frame
from headrace.log.reader import LogReader
from headrace.runtime.landing import FlowState

MOST = 8
"""Flows that may be left behind. If more cannot land it is the lake that fails, and the log waits for all of them."""


@dataclass(slots=True)
class Behind:
    """The flows that were left behind, by id; `directory` is the log's."""

    directory: Path
    _readers: dict[str, LogReader | None] = field(default_factory=dict)

    def ids(self) -> list[str]:
        return list(self._readers)

    def has(self, flow_id: str) -> bool:
        return flow_id in self._readers

    def leave(self, flow: FlowState) -> bool:
        """Give up what the flow has in memory; False when as many as may be are behind already."""
        if flow.flow_id not in self._readers and len(self._readers) >= MOST:
            return False
        self.forget(flow)
        self._readers[flow.flow_id] = None
        flow.batch, flow.next = None, {}
        return True

    def read(self, flow: FlowState) -> list[Frame]:
        """The next frames of the log, those of others and some that the flow has among them; none when it has caught
        up and is no longer behind."""
        reader = self._readers[flow.flow_id]
        if reader is None:
            reader = self._readers[flow.flow_id] = LogReader(self.directory, flow.position)
        frames = reader.read()
        if not frames:
            self.forget(flow)
        return frames

    def forget(self, flow: FlowState) -> None:
        reader = self._readers.pop(flow.flow_id, None)
        if reader is not None:
            reader.close()
