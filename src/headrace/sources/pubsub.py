"""Google Pub/Sub: one subscription, pulled; a message is acknowledged once our log has it.

A pull that is given up on may leave messages leased to nobody: they come back when the subscription's
acknowledgement deadline is over. Messages of one ordering key come in their order.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError, Terminal
from headrace.sources.contract import Connector, Delivery, Message, Settings
from headrace.sources.pubsub_client import Client, Invalid, OutOfTime, Refused
from headrace.sources.pubsub_leases import Leases
from headrace.sources.pubsub_names import Names, names_of

if TYPE_CHECKING:
    from google.pubsub_v1.types import PubsubMessage

SPEC_ID = "70116022-a743-464a-bbfe-e226a7f8210c"
MOST_MESSAGES = 1_000
FIRST_MESSAGES = 16
"""Asked for before it is known how large messages are; no answer asks for more than four times the one before."""
HELD_BYTES = 16 << 20
"""Bytes that one answer should not much exceed."""
HANDLES_A_CALL = 1_000
SHORTEST_PULL = 1.0
"""Seconds: one that ends sooner is likely to lose the lease of what was on its way."""
SILENCE = 30.0
"""Seconds without an answer after which the service is asked whether it is there."""
_POLL = 0.05
_LISTED = 10_000
_CONSUME = "pubsub.subscriptions.consume"


class PubSubQueue:
    """One subscription. Messages that were received stay ours until they are acknowledged or the queue is closed."""

    def __init__(self, settings: Settings) -> None:
        self._path = _subscription(settings)
        self._client = Client(settings)
        self._most = FIRST_MESSAGES
        self._heard = float("-inf")
        self._leases = Leases(self._extend)

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        deadline = time.monotonic() + wait
        while True:
            left = deadline - time.monotonic()
            found = self._pull(min(most, self._most), max(left, SHORTEST_PULL))
            left = deadline - time.monotonic()
            if found or left <= 0:
                break
            time.sleep(min(_POLL, left))
        self._leases.add([delivery.handle for delivery in found])
        return found

    def _pull(self, most: int, wait: float) -> Sequence[Delivery]:
        try:
            answer = self._client.subscriber(
                "pull", f"pulling from {self._path}", wait,
                subscription=self._path, max_messages=max(1, most),
            )  # fmt: skip
        except OutOfTime:
            self._probe()
            return []
        self._heard = time.monotonic()
        received = type(answer).pb(answer).received_messages
        if received:
            size = sum(len(one.message.data) for one in received)
            fitting = HELD_BYTES * len(received) // max(1, size)
            self._most = max(1, min(MOST_MESSAGES, fitting, 4 * self._most))
        return [Delivery(_message(one.message), one.ack_id) for one in received]

    def _probe(self) -> None:
        """An idle subscription and a service out of reach look alike: now and then, ask for something else."""
        if time.monotonic() - self._heard < SILENCE:
            return
        with suppress(Refused):
            self._client.subscriber(
                "get_subscription", f"subscription {self._path}", subscription=self._path
            )
        self._heard = time.monotonic()

    def acknowledge(self, handles: Sequence[str]) -> None:
        """Handles whose deadline is over are passed over: those messages come back and are known by their ids."""
        self._leases.drop(handles)
        for part in _parts(handles):
            try:
                self._client.subscriber(
                    "acknowledge", f"acknowledging to {self._path}", subscription=self._path, ack_ids=part
                )  # fmt: skip
            except Invalid:
                continue

    def _extend(self, handles: Sequence[str], seconds: int) -> None:
        for part in _parts(handles):
            try:
                self._client.subscriber(
                    "modify_ack_deadline", f"keeping messages of {self._path}",
                    subscription=self._path, ack_ids=part, ack_deadline_seconds=seconds,
                )  # fmt: skip
            except Invalid:
                continue

    def behind(self) -> int | None:
        """The service tells this to its monitoring only."""
        return None

    def close(self) -> None:
        """What was received and not acknowledged may be delivered again at once."""
        self._leases.close()
        self._client.close()


def _parts(handles: Sequence[str]) -> Sequence[Sequence[str]]:
    return [handles[at : at + HANDLES_A_CALL] for at in range(0, len(handles), HANDLES_A_CALL)]


def _message(found: "PubsubMessage") -> Message:
    # of the library's wrapped type only the inner one comes here, whose fields have the same names
    at: Any = found.publish_time
    sent = at.seconds * 1000 + at.nanos // 1_000_000
    return Message(found.data, 0, sent, found.message_id, dict(found.attributes))


def _subscription(settings: Settings) -> str:
    path = names_of(settings).subscription
    if path is None:
        raise ConfigurationError(
            "the Pub/Sub source has no subscription: give subscriptionName or subscriptionId"
        )
    return path


def check(settings: Settings) -> None:
    """Asks for the subscription and the topic that are named, else for the project's topics."""
    names = names_of(settings)
    client = Client(settings)
    try:
        if names.subscription is None and names.topic is None:
            client.pages("publisher", "list_topics", _project(names), "listing topics", 1)
            return
        if names.subscription is not None:
            _check_subscription(client, names)
        if names.topic is not None:
            try:
                client.publisher("get_topic", f"topic {names.topic}", topic=names.topic)
            except Refused:
                # the right to consume does not bring the right to see the topic
                if names.subscription is None:
                    raise
    finally:
        client.close()


def _check_subscription(client: Client, names: Names) -> None:
    path = names.subscription
    try:
        found = client.subscriber("get_subscription", f"subscription {path}", subscription=path)
    except Refused:
        # the right to consume does not bring the right to look, and whoever lacks both may still ask
        asked = {"resource": path, "permissions": [_CONSUME]}
        granted = client.subscriber("test_iam_permissions", f"subscription {path}", request=asked)
        if _CONSUME not in granted.permissions:
            raise Terminal(
                f"Pub/Sub: the credentials may not consume from {path}, or it does not exist"
            ) from None
        return
    if names.topic is not None and found.topic != names.topic:
        raise Terminal(f"Pub/Sub: {path} is a subscription to {found.topic}, not to {names.topic}")
    if found.detached or found.push_config.push_endpoint:
        raise Terminal(f"Pub/Sub: {path} is not a subscription to pull from")


def explore(settings: Settings, name: str | None) -> Sequence[Mapping[str, Any]]:
    """Topics and subscriptions of the project, or what the connection names. Terminal with a name: Pub/Sub shows
    no message without handing it out."""
    if name is not None:
        raise Terminal(
            "messages of Pub/Sub cannot be looked at without taking them from the subscription:"
            " there is no preview"
        )
    names = names_of(settings)
    client = Client(settings)
    try:
        if not names.scoped:
            return _project_rows(client, _project(names))
        return _scoped_rows(client, names)
    finally:
        client.close()


def _project_rows(client: Client, project: str) -> Sequence[Mapping[str, Any]]:
    topics = client.pages("publisher", "list_topics", project, "listing topics", _LISTED)
    subscriptions = client.pages(
        "subscriber", "list_subscriptions", project, "listing subscriptions", _LISTED
    )
    found = [_row("topic", topic.name) for topic in topics]
    found += [_row("subscription", one.name, topic=one.topic) for one in subscriptions]
    return sorted(found, key=lambda row: (row["type"] != "topic", row["name"]))


def _scoped_rows(client: Client, names: Names) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    paths = set[str]() if names.subscription is None else {names.subscription}
    if names.topic is not None:
        found.append(_row("topic", names.topic))
        try:
            paths |= set(
                client.pages(
                    "publisher", "list_topic_subscriptions", names.topic, f"topic {names.topic}", _LISTED
                )
            )  # fmt: skip
        except Refused:
            if not paths:
                raise
    more = {} if names.topic is None else {"topic": names.topic}
    return found + [_row("subscription", path, **more) for path in sorted(paths)]


def _row(kind: str, path: str, **more: str) -> Mapping[str, Any]:
    name = path.rsplit("/", 1)[-1]
    return {
        "type": kind, "name": name, "path": path, "canPreview": False, "canFetchSchema": False, **more
    }  # fmt: skip


def _project(names: Names) -> str:
    if names.project is None:
        raise ConfigurationError("the Pub/Sub connection names no project")
    return f"projects/{names.project}"


def exclusive(settings: Settings) -> str | None:
    """Two flows on one subscription would each get a part of its messages."""
    return names_of(settings).subscription


CONNECTOR = Connector(
    "Google PubSub", SPEC_ID, PubSubQueue, check, explore, exclusive, "pubsub", replayable=False
)
