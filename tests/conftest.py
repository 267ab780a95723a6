"""A real server for the tests that speak to one as a client would."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.testing.server import PlatformClient, ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`headrace serve`, one for all tests of a worker, with short waits before records land."""
    data_dir: Path = tmp_path_factory.mktemp("server") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.2").start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="session")
def platform(server: ServerProcess) -> PlatformClient:
    """The bootstrap client, with a token."""
    return PlatformClient(server.credentials())
