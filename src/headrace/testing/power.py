"""A disk that can lose power: what of a directory would survive, had every unsynced write been forgotten, torn or
done in another order.

Writes go to a real directory. Calls of `os.fsync` and `os.fdatasync` are watched: what they cover is durable from
then on. Of everything else a cut keeps what it likes: of a file any mixture of its old and its new sectors, of a
directory any mixture of its old and its new names.
"""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

SECTOR = 512

Sync = Callable[[int], None]


class Disk:
    """The directory `root` and what of it is durable: at first all that is there."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.syncs = 0
        self.before: Callable[[], None] = lambda: None
        """Called before each sync takes effect: a moment at which a test may cut."""
        self._contents: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        self._held: dict[int, int] = {}
        for path in [self.root, *self.root.rglob("*")]:
            descriptor = os.open(path, os.O_RDONLY)
            self._note(descriptor, path)
            os.close(descriptor)

    @contextlib.contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Syncs inside are noted, those of other directories are done as ever."""
        with contextlib.ExitStack() as stack:
            for name in ("fsync", "fdatasync"):
                real = getattr(os, name)
                setattr(os, name, self._watching(real))
                stack.callback(setattr, os, name, real)
            yield self

    def close(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def cut(self, target: Path, randomness: random.Random) -> Path:
        """Write a state that the disk may be in after a power cut now to a new directory; that directory.

        Half of the cuts forget everything that is not durable, the others choose for each sector and name; some of
        these keep nearly all, or all, as a kill does.
        """
        luck = randomness.choice((0.0, 0.0, 0.0, 0.5, 0.9, 1.0))
        self._restore(self.root, target, lambda: randomness.random() < luck)
        return target

    def _watching(self, real: Sync) -> Sync:
        def sync(file: int) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            inside = path == self.root or self.root in path.parents
            if inside:
                self.before()
            real(descriptor)
            if inside:
                self.syncs += 1
                self._note(descriptor, path)

        return sync

    def _note(self, descriptor: int, path: Path) -> None:
        """What is behind a descriptor is durable as it is now."""
        if path.is_dir():
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
            return
        found = os.fstat(descriptor)
        # a number is not given to another file while somebody holds this one
        if found.st_ino not in self._held:
            self._held[found.st_ino] = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        self._contents[found.st_ino] = os.pread(self._held[found.st_ino], found.st_size, 0)

    def _restore(self, directory: Path, target: Path, lucky: Callable[[], bool]) -> None:
        target.mkdir(parents=True, exist_ok=True)
        durable = self._names.get(directory, {})
        present = {entry.name: entry.inode() for entry in os.scandir(directory)}
        for name in sorted(durable.keys() | present.keys()):
            old, new = durable.get(name), present.get(name)
            number = new if old == new or lucky() else old
            if number is None:
                continue
            path = directory / name
            if path.is_dir():
                self._restore(path, target / name, lucky)
                continue
            before = self._contents.get(number, b"")
            now = path.read_bytes() if number == new else before
            (target / name).write_bytes(mixed(before, now, lucky))


def mixed(old: bytes, new: bytes, lucky: Callable[[], bool]) -> bytes:
    """Each sector as it was or as it is; the length likewise. What was never written reads as zeros."""
    length = len(new) if lucky() else len(old)
    result = bytearray(length)
    for at in range(0, length, SECTOR):
        end = min(at + SECTOR, length)
        was = old[at:end].ljust(end - at, b"\0")
        now = new[at:end].ljust(end - at, b"\0")
        result[at:end] = now if was == now or lucky() else was
    return bytes(result)
