"""Named points at which a process can be made to die, for delivery tests.

`HEADRACE_CRASH_AT=name:n` ends the process the n-th time it reaches `name`, as a kill would: no clean-up runs.
Without the variable, reaching a point costs one comparison.
"""

import os

_SPECIFICATION = os.environ.get("HEADRACE_CRASH_AT", "")
_NAME, _, _COUNT = _SPECIFICATION.partition(":")
_left = int(_COUNT or 1)


def reach(name: str) -> None:
    """Die here when this is the point and the time that was asked for."""
    global _left
    if name != _NAME:
        return
    _left -= 1
    if _left == 0:
        os._exit(137)
