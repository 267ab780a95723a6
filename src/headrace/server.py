"""Running the server: one process a data directory, clean stop on SIGTERM and SIGINT."""

import asyncio
import contextlib
import fcntl
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from headrace.errors import ConfigurationError, DataDirectoryInUse
from headrace.http.patience import protocol, raise_file_limit
from headrace.logs import configure
from headrace.settings import Settings

logger = logging.getLogger("headrace")


class Server(uvicorn.Server):
    """Uvicorn without its signal handling, which would end the process by the signal after a clean stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process; DataDirectoryInUse when another has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise ConfigurationError(f"data directory {data_dir}: {error.strerror}") from None
    with (data_dir / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryInUse(
                f"another process serves the data directory {data_dir}"
            ) from None
        yield


def listen(settings: Settings) -> socket.socket:
    """The listening socket; ConfigurationError when the address cannot be used."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((settings.host, settings.port))
    except OSError as error:
        found.close()
        raise ConfigurationError(f"{settings.host}:{settings.port}: {error.strerror}") from None
    found.listen(2048)
    found.set_inheritable(False)
    return found


def serve(settings: Settings) -> int:
    """Serve until asked to stop; the exit status."""
    configure(settings.log_format)
    # the log's thread must get the interpreter back soon after each sync: acknowledgements wait for it
    sys.setswitchinterval(0.0002)
    with owned(settings.data_dir):
        # takes its time: who finds the directory in use hears so before
        from headrace.app import Application

        listening = listen(settings)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        base_url = settings.public_url.rstrip("/") or f"http://{shown}:{port}"
        application = Application(settings, base_url)
        config = uvicorn.Config(
            application, loop="uvloop", ws="none",
            http=protocol(settings.request_timeout, raise_file_limit(), application.refusal),
            lifespan="on", log_config=None, access_log=False, server_header=False,
            timeout_keep_alive=75, timeout_graceful_shutdown=10,
        )  # fmt: skip
        server = Server(config)
        logger.info("serving %s, data in %s", base_url, settings.data_dir)
        server.run(sockets=[listening])
        logger.info("stopped")
        return 0 if server.started else 1
