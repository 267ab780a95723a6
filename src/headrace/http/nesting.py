"""How deep JSON may be: what copies, stores and writes it again follows only so many levels."""

from typing import Any

MOST_LEVELS = 200
"""Objects and arrays within one another."""


def too_deep(value: Any) -> bool:
    """Whether a value has more levels than `MOST_LEVELS`."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MOST_LEVELS):
        level = [
            part
            for node in level
            for part in (node.values() if isinstance(node, dict) else node)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True
