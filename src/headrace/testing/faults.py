"""Faults done to files and to a lake's catalog, for tests of what must be noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.lake.catalog import Lake


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file, counted from its start."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(content))


class NthCall:
    """Counts the calls of what it wraps, all together, and lets one of them fail: before it has any effect, or after,
    as an answer is lost."""

    def __init__(self, which: int, error: Callable[[], Exception], *, after: bool = False) -> None:
        self.which, self.error, self.after = which, error, after
        self.calls = 0

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            mine = self.calls == self.which
            if mine and not self.after:
                raise self.error()
            answer = real(*arguments, **options)
            if mine:
                raise self.error()
            return answer

        return call

    def spoil_catalog(self, lake: Lake) -> None:
        """Watch the calls that load tables and commit to them; Lake objects are made anew to be well again."""
        for name in ("load_table", "commit_table"):
            setattr(lake.catalog, name, self.wrap(getattr(lake.catalog, name)))
