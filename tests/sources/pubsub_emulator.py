"""The vendor's emulator of Pub/Sub, and its own publisher as a client that is independent of ours."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator")
PROJECT = "project-1"


def missing() -> str | None:
    """Why the emulator cannot be started, or None."""
    if not PROGRAM.exists():
        return f"the emulator of Pub/Sub is not installed ({PROGRAM}, package google-cloud-cli-pubsub-emulator)"
    if shutil.which("java") is None:
        return "the emulator of Pub/Sub needs java"
    return None


@dataclass
class Emulator:
    """`host` is its address; the clients belong to the vendor's library."""

    host: str
    publisher: Any
    subscriber: Any
    made: int = 0
    names: list[str] = field(default_factory=list)

    def subscription(self, *, ordering: bool = False, **more: Any) -> tuple[str, str]:
        """A new topic with one subscription: (topic, subscription) as full paths."""
        self.made += 1
        topic = f"projects/{PROJECT}/topics/topic-{self.made}"
        path = f"projects/{PROJECT}/subscriptions/subscription-{self.made}"
        self.publisher.create_topic(request={"name": topic})
        request = {"name": path, "topic": topic, "enable_message_ordering": ordering, **more}
        self.subscriber.create_subscription(request=request)
        return topic, path

    def publish(self, topic: str, bodies: Sequence[bytes], key: str = "", **more: str) -> list[str]:
        """The ids of the messages, which are stored when this returns."""
        futures = [self.publisher.publish(topic, body, ordering_key=key, **more) for body in bodies]
        return [future.result(20) for future in futures]


@contextmanager
def emulator(log: Path) -> Iterator[Emulator]:
    """A running emulator on a free port, ended afterwards with its process group."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PROGRAM), "--host=127.0.0.1", f"--port={port}"],
            stdout=output, stderr=output, cwd=log.parent, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 40
        while b"Server started" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        host = f"127.0.0.1:{port}"
        yield _clients(host)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _clients(host: str) -> Emulator:
    from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
    from google.cloud.pubsub_v1.types import PublisherOptions

    before = os.environ.get("PUBSUB_EMULATOR_HOST")
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    try:
        options = PublisherOptions(enable_message_ordering=True)
        return Emulator(host, PublisherClient(publisher_options=options), SubscriberClient())
    finally:
        if before is None:
            del os.environ["PUBSUB_EMULATOR_HOST"]
        else:
            os.environ["PUBSUB_EMULATOR_HOST"] = before
