"""Pub/Sub against the vendor's emulator, with the vendor's publisher as an independent client.

What the emulator cannot do (rights, a key that is refused) is answered by a gRPC server of this module, a fake.
"""

import asyncio
import builtins
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, HeadraceError, Terminal, Transient
from headrace.log.frames import CHECKPOINT
from headrace.log.segments import read_frames, segments
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision
from headrace.runtime.queues import Queues
from headrace.security.egress import Egress
from headrace.services.flow import specs
from headrace.sources import pubsub, pubsub_client, pubsub_names
from headrace.sources.connectors import connector
from headrace.sources.contract import Delivery, Settings
from headrace.sources.pubsub import CONNECTOR, PubSubQueue
from headrace.sources.pubsub_leases import Leases
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from tests.sources.pubsub_emulator import PROJECT, Emulator, emulator, missing

pytestmark = pytest.mark.slow

PROJECT_AUTH = "Project Based Authentication"
SCOPED_AUTH = "Topic & Subscription Based Authentication"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pytest.importorskip("google.cloud.pubsub_v1", reason="headrace[pubsub] is not installed")
    if reason := missing():
        pytest.skip(reason)
    with emulator(tmp_path_factory.mktemp("pubsub") / "log") as running:
        yield running


@dataclass
class Held:
    """A message that two subscriptions got: on one our queue holds it, on the other the vendor's client, which
    extends nothing."""

    queue: PubSubQueue
    delivery: Delivery
    path: str
    other: str
    since: float


@pytest.fixture(scope="module")
def held(server: Emulator) -> Iterator[Held]:
    """Begun with the first test, so that the deadline passes while the others run."""
    topic, path = server.subscription(ack_deadline_seconds=10)
    other = f"{path}-left"
    request = {"name": other, "topic": topic, "ack_deadline_seconds": 10}
    server.subscriber.create_subscription(request=request)
    server.publish(topic, [b"kept"])
    queue = PubSubQueue(settings(server, path))
    found = take(queue, 1, acknowledge=False)
    left = server.subscriber.pull(subscription=other, max_messages=10, timeout=5)
    assert len(left.received_messages) == 1
    yield Held(queue, found[0], path, other, time.monotonic())
    queue.close()


def settings(server: Emulator, subscription: str, **auth: Any) -> Settings:
    given = {"projectId": PROJECT, "credentials": "{}", "endpointUrl": server.host, **auth}
    return Settings(PROJECT_AUTH, given, {"subscriptionName": subscription}, "flow-1")


def take(queue: PubSubQueue, count: int, acknowledge: bool = True) -> list[Delivery]:
    found: list[Delivery] = []
    deadline = time.monotonic() + 15
    while len(found) < count and time.monotonic() < deadline:
        came = queue.receive(1000, 0.5)
        found += came
        if acknowledge:
            queue.acknowledge([delivery.handle for delivery in came])
    return found


# -- receiving --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("held")
def test_messages_come_as_they_were_published(server: Emulator) -> None:
    topic, path = server.subscription()
    bodies = [b'{"a": 1}', b"\x00\xff\xfe not text", "Zürich 漢字".encode(), b"x" * 3_000_000]
    before = int(time.time() * 1000)
    published = server.publish(topic, bodies, kind="test")
    with closing(PubSubQueue(settings(server, path))) as queue:
        found = take(queue, len(bodies))
        assert queue.receive(10, 0.2) == []
        assert queue.behind() is None
    assert {d.message.id: d.message.body for d in found} == dict(
        zip(published, bodies, strict=True)
    )
    for delivery in found:
        assert delivery.message.headers == {"kind": "test"}
        assert before - 60_000 < delivery.message.at < before + 60_000


def test_what_is_not_acknowledged_comes_back_when_the_queue_is_closed(server: Emulator) -> None:
    topic, path = server.subscription(ack_deadline_seconds=600)
    published = server.publish(topic, [b"%d" % n for n in range(20)])
    with closing(PubSubQueue(settings(server, path))) as queue:
        first = take(queue, 20, acknowledge=False)
        assert sorted(d.message.id for d in first) == sorted(published)
        queue.acknowledge([d.handle for d in first[:12]])
    with closing(PubSubQueue(settings(server, path))) as queue:
        again = take(queue, 8)
        assert {(d.message.id, d.message.at) for d in again} == {
            (d.message.id, d.message.at) for d in first[12:]
        }
        assert queue.receive(100, 0.2) == []


def test_messages_of_an_ordering_key_keep_their_order(server: Emulator) -> None:
    topic, path = server.subscription(ordering=True)
    sent: dict[str, list[bytes]] = {"a": [], "b": [], "c": []}
    for part in range(0, 90, 30):
        for key, bodies in sent.items():
            more = [f"{key}{n}".encode() for n in range(part, part + 30)]
            server.publish(topic, more, key)
            bodies += more
    found: list[bytes] = []
    with closing(PubSubQueue(settings(server, path))) as queue:
        deadline = time.monotonic() + 15
        while len(found) < 270 and time.monotonic() < deadline:
            came = queue.receive(50, 0.5)
            found += [d.message.body for d in came]
            queue.acknowledge([d.handle for d in came])
    for key, bodies in sent.items():
        assert [body for body in found if body.startswith(key.encode())] == bodies


def test_answers_are_bounded_by_their_bytes(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub, "HELD_BYTES", 400_000)
    topic, path = server.subscription()
    server.publish(topic, [b"x" * 100_000 for _ in range(40)])
    sizes = []
    with closing(PubSubQueue(settings(server, path))) as queue:
        total = 0
        while total < 40:
            came = queue.receive(1000, 0.5)
            sizes.append(len(came))
            total += len(came)
            queue.acknowledge([d.handle for d in came])
    assert sizes[0] <= pubsub.FIRST_MESSAGES
    assert max(sizes[1:]) <= 4


def test_leases_are_extended_again_and_again_until_they_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.sources.pubsub_leases.FIRST_AFTER", 0.05)
    monkeypatch.setattr("headrace.sources.pubsub_leases.AGAIN_AFTER", 0.1)
    monkeypatch.setattr("headrace.sources.pubsub_leases._RETRY", 0.02)
    calls: list[tuple[str, int]] = []
    failures = iter([True])

    def extend(handles: Sequence[str], seconds: int) -> None:
        if next(failures, False):
            raise Transient("no connection")
        calls.extend((handle, seconds) for handle in handles)
        if "gone" in handles:
            raise Terminal("not there")

    leases = Leases(extend)
    leases.add(["a", "b"])
    deadline = time.monotonic() + 10
    while Counter(calls)["a", 60] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    leases.drop(["a"])
    leases.add(["gone"])
    while ("gone", 60) not in calls and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    leases.close()
    counted = Counter(calls)
    assert counted["a", 60] in (3, 4)
    assert counted["b", 60] > counted["a", 60]
    assert counted["gone", 60] == 1
    assert [call for call in calls if call[1] == 0] == [("b", 0)]


def test_through_the_log_every_message_once(server: Emulator, tmp_path: Path) -> None:
    """The whole way in, with a stop in the middle: what the vendor's client published is in the log, each once."""
    topic, path = server.subscription(ordering=True)
    published = server.publish(topic, [b'{"n": %d}' % n for n in range(300)], "k")
    data_dir = tmp_path
    store = Store(data_dir / "headrace.db")
    scope = Scope("org", "prod")
    store.create(Scope("org", ""), "sandboxes", "prod", {"name": "prod"})
    given = settings(server, path)
    auth = {"specName": given.auth_spec, "params": dict(given.auth)}
    store.create(scope, "connections", "base-1", {"state": "enabled", "auth": auth})
    legs = [{"connectionSpec": {"id": specs.PUBSUB}}]
    store.create(
        scope, "flows", "flow-1",
        {"state": "enabled", "revision": 1, "baseConnectionId": "base-1",
         "inheritedAttributes": {"sourceConnections": legs}},
    )  # fmt: skip
    revisions = Revisions(store)
    params = {"connectionId": "base-1", "params": dict(given.params), "reset": "earliest"}
    revisions.add(
        FlowRevision("flow-1", 1, "org", "prod", "d", "s", "1.0", {}, None, source=specs.PUBSUB, source_params=params)
    )  # fmt: skip
    events: list[Any] = []

    async def run(more: int) -> None:
        log = LogWriter(data_dir / "log")
        queues = Queues(store, revisions, data_dir, log, events.append, egress=Egress("127.0.0.1"))
        await queues.start()
        deadline = time.monotonic() + 20
        while queues.counts().get("flow-1") is None or queues.counts()["flow-1"].logged < more:
            assert time.monotonic() < deadline, events
            await asyncio.sleep(0.02)
        await queues.stop()
        await log.close()

    asyncio.run(run(300))
    published += server.publish(topic, [b'{"n": %d}' % n for n in range(300, 400)], "k")
    asyncio.run(run(100))
    frames = [
        f
        for _, p in segments(data_dir / "log")
        for f in read_frames(p)[0]
        if f.meta.layout != CHECKPOINT
    ]
    assert [f.meta.receipt for f in frames] == published
    assert [json.loads(f.body)["n"] for f in frames] == list(range(400))
    assert events == []
    store.close()


# -- names ------------------------------------------------------------------------------------------------------

T, S = "projects/project-1/topics/t", "projects/project-1/subscriptions/s"
NAMED: list[tuple[str, dict[str, str], dict[str, str]]] = [
    (PROJECT_AUTH, {"projectId": "project-1"}, {"topicName": T, "subscriptionName": S}),
    (PROJECT_AUTH, {"projectId": "project-1"}, {"topicId": "t", "subscriptionId": "s"}),
    (PROJECT_AUTH, {"credentials": '{"project_id": "project-1"}'}, {"topicId": "t", "subscriptionId": "s"}),
    ("Google PubSub authentication credentials", {"projectId": "other"}, {"topicName": T, "subscriptionName": S}),
    (SCOPED_AUTH, {"topicName": T, "subscriptionName": S}, {}),
    (SCOPED_AUTH, {"topicName": T}, {"topicId": "t", "subscriptionId": "s"}),
    ("Google PubSub Scoped authentication credentials", {"subscriptionName": "projects/project-1/subscriptions/other",
     "topicName": T}, {"subscriptionName": S}),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "auth", "params"), NAMED)
def test_both_generations_of_names_mean_the_same(
    spec: str, auth: dict[str, str], params: dict[str, str]
) -> None:
    given = Settings(spec, auth, params, "flow-1")
    names = pubsub_names.names_of(given)
    assert (names.topic, names.subscription) == (T, S)
    assert CONNECTOR.exclusive(given) == S


@pytest.mark.parametrize(
    ("spec", "auth", "params", "text"),
    [
        ("Basic", {}, {}, "'Basic' is no authentication of Pub/Sub"),
        (SCOPED_AUTH, {}, {}, "neither a topic"),
        (PROJECT_AUTH, {"projectId": "p"}, {"subscriptionName": T}, "projects/PROJECT/subscriptions/NAME"),
        (PROJECT_AUTH, {"projectId": "p"}, {"subscriptionName": "a/b"}, "projects/PROJECT/subscriptions/NAME"),
        (PROJECT_AUTH, {"credentials": "no json"}, {"subscriptionId": "s"}, "needs a project"),
        (PROJECT_AUTH, {"projectId": "p"}, {"topicName": T}, "has no subscription"),
    ],
)  # fmt: skip
def test_names_that_cannot_work_are_refused(spec: str, auth: Any, params: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text.replace("(", "\\(")):
        CONNECTOR.open(Settings(spec, auth, params, "flow-1"))


def test_names_are_those_of_the_catalogue() -> None:
    found = {form["name"] for form in specs.BY_ID[specs.PUBSUB]["authSpec"]}
    assert found == pubsub_names.PROJECT_AUTH | pubsub_names.SCOPED_AUTH
    assert connector(specs.PUBSUB) is CONNECTOR
    assert CONNECTOR.spec_id == specs.PUBSUB
    assert not CONNECTOR.replayable


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("127.0.0.1:8085", ("127.0.0.1:8085", True)),
        ("http://localhost:1234/", ("localhost:1234", True)),
        ("https://europe-west1-pubsub.googleapis.com", ("europe-west1-pubsub.googleapis.com:443", False)),
        ("http://[::1]:99", ("[::1]:99", True)),
        ("", (None, False)),
    ],
)  # fmt: skip
def test_endpoints(given: str, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    assert (
        pubsub_client.endpoint_of(Settings(PROJECT_AUTH, {"endpointUrl": given}, {}, "")) == found
    )
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "elsewhere:1")
    environment = found if given else ("elsewhere:1", True)
    assert (
        pubsub_client.endpoint_of(Settings(PROJECT_AUTH, {"endpointUrl": given}, {}, ""))
        == environment
    )


@pytest.mark.parametrize("given", ["ftp://host", "http://user@host", "host:port", "http://"])
def test_endpoints_that_cannot_work(given: str) -> None:
    with pytest.raises(ConfigurationError, match="must have the form"):
        pubsub_client.endpoint_of(Settings(PROJECT_AUTH, {"endpointUrl": given}, {}, ""))


# -- checking and exploring -------------------------------------------------------------------------------------


def test_check_finds_what_is_named(server: Emulator) -> None:
    topic, path = server.subscription()
    other, _ = server.subscription()
    auth = {"projectId": PROJECT, "credentials": "{}", "endpointUrl": server.host}
    CONNECTOR.check(Settings(PROJECT_AUTH, auth, {}, ""))
    for names in (
        {"topicName": topic},
        {"subscriptionName": path},
        {"topicName": topic, "subscriptionName": path},
    ):
        CONNECTOR.check(Settings(SCOPED_AUTH, auth | names, {}, ""))
        CONNECTOR.check(Settings(PROJECT_AUTH, auth, names, ""))
    for names, text in (
        ({"topicName": f"{topic}-not"}, "NOT_FOUND"),
        ({"subscriptionName": f"{path}-not"}, "NOT_FOUND"),
        ({"topicName": other, "subscriptionName": path}, f"is a subscription to {topic}"),
    ):
        with pytest.raises(Terminal, match=text):
            CONNECTOR.check(Settings(SCOPED_AUTH, auth | names, {}, ""))


def test_the_emulator_may_come_from_the_environment(
    server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = server.subscription()
    given = Settings(PROJECT_AUTH, {"projectId": PROJECT}, {"subscriptionName": path}, "")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
    CONNECTOR.check(given)
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
    with pytest.raises(ConfigurationError, match="service account"):
        CONNECTOR.check(given)


def test_explore_lists_topics_and_subscriptions(server: Emulator) -> None:
    topic, path = server.subscription()
    auth = {"projectId": PROJECT, "credentials": "{}", "endpointUrl": server.host}
    rows = CONNECTOR.explore(Settings(PROJECT_AUTH, auth, {}, ""), None)
    plain = {"canPreview": False, "canFetchSchema": False}
    subscription_row = {
        "type": "subscription", "name": path.split("/")[-1], "path": path, "topic": topic, **plain
    }  # fmt: skip
    topic_row = {"type": "topic", "name": topic.split("/")[-1], "path": topic, **plain}
    assert topic_row in rows
    assert subscription_row in rows
    scoped = CONNECTOR.explore(Settings(SCOPED_AUTH, auth | {"topicName": topic}, {}, ""), None)
    assert scoped == [topic_row, subscription_row]
    named = Settings(SCOPED_AUTH, auth | {"subscriptionName": path}, {}, "")
    assert [row["path"] for row in CONNECTOR.explore(named, None)] == [path]
    with pytest.raises(Terminal, match="without taking them"):
        CONNECTOR.explore(named, path)


# -- failures ---------------------------------------------------------------------------------------------------


def test_a_subscription_that_goes_away_is_terminal(server: Emulator) -> None:
    _, path = server.subscription()
    with closing(PubSubQueue(settings(server, path))) as queue:
        assert queue.receive(1, 0.1) == []
        server.subscriber.delete_subscription(subscription=path)
        with pytest.raises(Terminal, match="NOT_FOUND"):
            queue.receive(1, 0.1)


def test_handles_that_are_not_valid_any_more_are_passed_over(server: Emulator) -> None:
    _, path = server.subscription()
    with closing(PubSubQueue(settings(server, path))) as queue:
        queue.acknowledge([f"{path}:999"])
        queue.acknowledge([])


@pytest.mark.parametrize("answer", ["UNAVAILABLE", "silence"])
def test_a_service_out_of_reach_is_transient(
    answer: str, fake: "Fake", monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not answer at all must not be taken for an idle subscription."""
    monkeypatch.setattr(pubsub_client, "PATIENCE", 0.5)
    monkeypatch.setattr(pubsub, "SHORTEST_PULL", 0.3)
    if answer == "silence":
        fake.silent.set()
    else:
        fake.refuse("Pull", answer)
    with closing(PubSubQueue(fake.settings())) as queue, pytest.raises(Transient):
        queue.receive(1, 0.1)


@pytest.mark.parametrize("status", ["PERMISSION_DENIED", "UNAUTHENTICATED"])
def test_refused_credentials_are_terminal(status: str, fake: "Fake") -> None:
    fake.refuse("Pull", status)
    with (
        closing(PubSubQueue(fake.settings())) as queue,
        pytest.raises(Terminal, match=status) as told,
    ):
        queue.receive(1, 0.1)
    assert SECRET not in str(told.value)
    assert "***" in str(told.value)


def test_the_right_to_consume_is_enough(fake: "Fake") -> None:
    """Whoever may consume may often not look at the subscription, nor at the topic."""
    fake.refuse("GetSubscription", "PERMISSION_DENIED")
    fake.refuse("GetTopic", "PERMISSION_DENIED")
    fake.granted = ["pubsub.subscriptions.consume"]
    CONNECTOR.check(fake.settings(topicName=T))
    fake.granted = []
    with pytest.raises(Terminal, match="may not consume"):
        CONNECTOR.check(fake.settings(topicName=T))
    with pytest.raises(Terminal, match="PERMISSION_DENIED"):
        CONNECTOR.check(Settings(SCOPED_AUTH, {**fake.settings().auth, "topicName": T}, {}, ""))


def test_credentials_that_cannot_be_used_are_named_and_not_shown() -> None:
    account = {
        "type": "service_account",
        "client_email": "a@b",
        "private_key": SECRET,
        "project_id": "p",
    }
    for given in (
        "{",
        "[]",
        "",
        json.dumps(account),
        json.dumps(account | {"type": "external_account"}),
    ):
        auth = {"projectId": "p", "credentials": given}
        with pytest.raises(ConfigurationError) as told:
            CONNECTOR.open(Settings(PROJECT_AUTH, auth, {"subscriptionName": S}, ""))
        assert SECRET not in str(told.value)
        assert told.value.__cause__ is None


def test_a_key_is_used_for_signing_only() -> None:
    """Where else a key file points to is not followed."""
    account = {
        "type": "service_account", "client_email": "a@b", "private_key": _key(), "private_key_id": "1",
        "token_uri": "http://169.254.169.254/", "universe_domain": "example.org", "project_id": "p",
    }  # fmt: skip
    auth = {"credentials": json.dumps(account)}
    found: Any = pubsub_client._credentials(Settings(PROJECT_AUTH, auth, {}, ""))
    assert found._token_uri == "https://oauth2.googleapis.com/token"
    assert found.universe_domain == "googleapis.com"
    with closing(PubSubQueue(Settings(PROJECT_AUTH, auth, {"subscriptionId": "s"}, ""))) as queue:
        assert queue._client._subscriber.transport._host == "pubsub.googleapis.com:443"


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *rest: Any) -> Any:
        if name.startswith("google.pubsub"):
            raise ImportError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    given = Settings(PROJECT_AUTH, {"projectId": "p"}, {"subscriptionId": "s"}, "")
    for call in (CONNECTOR.open, CONNECTOR.check, lambda s: CONNECTOR.explore(s, None)):
        with pytest.raises(ConfigurationError, match=r"headrace\[pubsub\]"):
            call(given)


def test_messages_that_wait_for_our_log_are_kept_past_their_deadline(
    server: Emulator, held: Held
) -> None:
    time.sleep(max(0.0, held.since + 12 - time.monotonic()))
    again = server.subscriber.pull(subscription=held.other, max_messages=10, timeout=5)
    assert [m.message.data for m in again.received_messages] == [b"kept"]
    with closing(PubSubQueue(settings(server, held.path))) as second:
        assert second.receive(10, 0.3) == []
        held.queue.acknowledge([held.delivery.handle])
        held.queue.close()
        assert second.receive(10, 0.3) == []


# -- a fake for what the emulator lacks -------------------------------------------------------------------------

SECRET = "-----BEGIN PRIVATE KEY-----MIIsecret"


def _key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


class Fake:
    """A gRPC server that refuses what it is told to, with the caller's secret in its text."""

    def __init__(self) -> None:
        import grpc
        from google.iam.v1 import iam_policy_pb2

        self.granted: list[str] = []
        self.silent = threading.Event()
        self._refused: dict[str, Any] = {}
        self._released = threading.Event()
        self._codes = grpc.StatusCode

        def answer(method: str, context: Any) -> bytes:
            if self.silent.is_set():
                self._released.wait(20)
            if method in self._refused:
                context.abort(self._refused[method], f"refused to {SECRET}")
            if method == "TestIamPermissions":
                found = iam_policy_pb2.TestIamPermissionsResponse(permissions=self.granted)
                encoded: bytes = found.SerializeToString()
                return encoded
            return b""

        class Every(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, details: Any) -> Any:
                method = details.method.rsplit("/", 1)[-1]
                return grpc.unary_unary_rpc_method_handler(
                    lambda request, context: answer(method, context)
                )

        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[Every()])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def refuse(self, method: str, status: str) -> None:
        self._refused[method] = self._codes[status]

    def settings(self, **params: str) -> Settings:
        auth = {
            "projectId": "project-1", "endpointUrl": f"http://127.0.0.1:{self.port}",
            "credentials": json.dumps({"private_key": SECRET}),
        }  # fmt: skip
        return Settings(PROJECT_AUTH, auth, {"subscriptionName": S, **params}, "flow-1")

    def stop(self) -> None:
        self._released.set()
        self._server.stop(None).wait()


@pytest.fixture
def fake() -> Iterator[Fake]:
    pytest.importorskip("google.pubsub_v1", reason="headrace[pubsub] is not installed")
    found = Fake()
    yield found
    found.stop()


def test_every_failure_is_ours(fake: Fake) -> None:
    """Whatever status comes, it is one of the two kinds that a caller knows."""
    kinds = {}
    for code in fake._codes:
        if code.name == "OK":
            continue
        fake.refuse("Pull", code.name)
        with closing(PubSubQueue(fake.settings())) as queue:
            try:
                queue.receive(1, 0.1)
            except HeadraceError as error:
                kinds[code.name] = Terminal if isinstance(error, Terminal) else Transient
    assert {name for name, kind in kinds.items() if kind is Terminal} == {
        "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION",
        "OUT_OF_RANGE", "UNIMPLEMENTED",
    }  # fmt: skip
    assert set(kinds) == {code.name for code in fake._codes} - {"OK", "DEADLINE_EXCEEDED"}
