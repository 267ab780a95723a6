"""Local files for Iceberg that survive power loss.

pyiceberg closes data, manifest and metadata files without syncing them and then commits a pointer to them. Here
every file is synced, and its directory with it, when it is closed: before any catalog commit can name it.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from pyiceberg.io import InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from headrace.disk import local_path, make_directories, sync_directory


class DurableStream:
    """A binary file that is synced when it is closed without an error."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        make_directories(path.parent)
        self._path = path
        self._file = path.open("wb" if overwrite else "xb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sync_directory(self._path.parent)

    def __enter__(self) -> "DurableStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class DurableFile(OutputFile):
    def __init__(self, location: str, io: "DurableFileIO") -> None:
        super().__init__(location)
        self._io = io
        self._path = local_path(location)

    def __len__(self) -> int:
        return self._path.stat().st_size

    def exists(self) -> bool:
        return self._path.exists()

    def to_input_file(self) -> InputFile:
        return self._io.new_input(self.location)

    def create(self, overwrite: bool = False) -> Any:
        return DurableStream(self._path, overwrite=overwrite)


class DurableFileIO(PyArrowFileIO):
    """Reads as PyArrowFileIO does; writes local files durably and leaves other schemes to it."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties=properties)

    def new_output(self, location: str) -> Any:
        if urlsplit(location).scheme in ("", "file"):
            return DurableFile(location, self)
        return super().new_output(location)
