"""A real server for the tests that speak to one as a client would."""

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import httpx
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


@pytest.fixture(scope="session", autouse=True)
def as_installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that tests start have no pandas, as an installation has none: it is here for aepp, and pyarrow would
    import it, which takes as long as half of a server's start."""
    hidden = tmp_path_factory.mktemp("as-installed")
    (hidden / "pandas.py").write_text("raise ImportError('not installed')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hidden), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def certificates_once() -> Iterator[None]:
    """Each client of httpx loads all authorities anew, 40 ms long; the servers here speak plain HTTP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context)
        )
        yield


@pytest.fixture(scope="session", autouse=True)
def extensions_unhashed() -> Iterator[None]:
    """DuckDB hashes 60 MB for the signatures of its extensions in each session; `headrace sql`, which journeys run as
    a process, does check them."""
    connect = duckdb.connect

    def quick(*, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        return connect(config={**config, "allow_unsigned_extensions": True})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.lake.query.duckdb.connect", quick)
        yield


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long runs are left out of the everyday suite: `-m slow` or HEADRACE_TEST_SLOW=1 runs them."""
    if os.environ.get("HEADRACE_TEST_SLOW") == "1" or "slow" in (config.getoption("-m") or ""):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))
