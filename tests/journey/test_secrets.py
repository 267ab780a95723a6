"""A secret that a connection was given is seen nowhere again: no answer, no log line, no byte on disk holds it."""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.services.flow.specs import CONNECTION_SPECS, secret_names
from headrace.testing.server import PlatformClient, ServerProcess

FLOW = "/data/foundation/flowservice"
MASK = "******"
MARK = "canary-that-nobody-may-ever-see-"
"""What all secrets begin with."""

FORMS = [
    pytest.param(spec, form, id=f"{spec['name']}-{form['name']}")
    for spec in CONNECTION_SPECS
    for form in spec["authSpec"]
]
SECRET_FORMS = [one for one in FORMS if secret_names(one.values[1])]
BARE = [pytest.param(spec, id=spec["name"]) for spec in CONNECTION_SPECS if not spec["authSpec"]]


@dataclass
class Site:
    """A server of its own; every answer and every secret that was sent are kept."""

    process: ServerProcess
    platform: PlatformClient
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    visible: list[str] = field(default_factory=list)

    def secret(self) -> str:
        self.secrets.append(f"{MARK}{uuid.uuid4().hex}")
        return self.secrets[-1]

    def name(self) -> str:
        self.visible.append(f"visible-{uuid.uuid4().hex}")
        return self.visible[-1]

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"content-type": "application/json", **options.pop("headers", {})}
            options |= {"content": content, "headers": headers}
        answer = self.platform.http.request(method, path, **options)
        heads = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append((f"{method} {path}", answer.content + heads.encode()))
        return answer

    def everything_on_disk(self) -> Iterator[tuple[str, bytes]]:
        yield "the log", (self.process.data_dir.parent / "server.log").read_bytes()
        for path in sorted(self.process.data_dir.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.process.data_dir)), path.read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir: Path = tmp_path_factory.mktemp("secrets") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.2").start()
    found = Site(process, PlatformClient(process.credentials()))
    yield found
    found.platform.http.close()
    if process.process is not None:
        assert process.stop() == 0


def traces(secret: str) -> list[bytes]:
    """Forms in which a text could lie about: as it is, in UTF-16, in hex, and in base64 at each of three offsets."""
    raw = secret.encode()
    coded = [base64.b64encode(b"x" * n + raw)[4 if n else 0 : -4] for n in range(3)]
    return [raw, secret.encode("utf-16-le"), raw.hex().encode(), raw[::-1], *coded]


def params(site: Site, form: dict[str, Any]) -> dict[str, Any]:
    """Parameters that the form takes, each secret one a canary."""
    secret, found = secret_names(form), {}
    for name, rule in form["spec"]["properties"].items():
        if name in secret:
            found[name] = site.secret()
        elif "enum" in rule:
            found[name] = rule["enum"][0]
        elif name == "bootstrapServers":
            found[name] = "broker.example.com:9092"
        elif rule.get("type") == "string" and name not in ("inletId", "inletUrl", "endpointUrl"):
            found[name] = f"plain {name}"
    return found


def body_of(site: Site, spec: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": site.name(), "connectionSpec": {"id": spec["id"], "version": "1.0"},
        "auth": {"specName": form["name"], "params": params(site, form)},
    }  # fmt: skip


def create(site: Site, spec: dict[str, Any], form: dict[str, Any], query: str = "") -> str:
    answer = site.call("POST", f"{FLOW}/connections{query}", body_of(site, spec, form))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def read(site: Site, id: str) -> dict[str, Any]:
    found: dict[str, Any] = site.call("GET", f"{FLOW}/connections/{id}").json()["items"][0]
    return found


@pytest.mark.parametrize(("spec", "form"), FORMS)
def test_reading_searching_and_using_a_connection(site: Site, spec: Any, form: Any) -> None:
    for query in ("", "?mode=draft"):
        id = create(site, spec, form, query)
        shown = read(site, id)["auth"]["params"]
        assert {name for name, value in shown.items() if value == MASK} == secret_names(form)
        site.call("GET", f"{FLOW}/connections?property=id=={id}")
        site.call("GET", f"{FLOW}/connections?orderby=auth.params")
        site.call("POST", f"{FLOW}/connections/search", {"queryString": f"id=={id}"})
        for action in ("test", "explore", "configs"):
            site.call("GET", f"{FLOW}/connections/{id}/{action}")
        site.call("GET", f"{FLOW}/connections/{id}/explore?objectType=root")
        site.call("POST", f"{FLOW}/connections/{id}/action?op=publish")
        for kind in ("sourceConnections", "targetConnections"):
            leg = {
                "name": site.name(), "baseConnectionId": id, "connectionSpec": {"id": spec["id"]},
                "params": {"stream": "s", "topic": "t", "eventHubName": "e", "topicId": "t",
                           "subscriptionId": "s", "tableName": "t", "timestampColumn": "c"},
            }  # fmt: skip
            made = site.call("POST", f"{FLOW}/{kind}", leg)
            if made.status_code == 201:
                site.call("GET", f"{FLOW}/{kind}/{made.json()['id']}")


@pytest.mark.parametrize(("spec", "form"), SECRET_FORMS)
def test_changing_a_secret_and_trying_to_lure_it_out(site: Site, spec: Any, form: Any) -> None:
    id = create(site, spec, form)
    planted = site.secrets[-len(secret_names(form)) :]

    def patch(*operations: dict[str, Any]) -> httpx.Response:
        etag = read(site, id)["etag"]
        return site.call(
            "PATCH", f"{FLOW}/connections/{id}", list(operations), headers={"if-match": etag}
        )

    for name in sorted(secret_names(form)):
        path = f"/auth/params/{name}"
        assert patch({"op": "replace", "path": path, "value": site.secret()}).status_code == 200
        assert patch({"op": "replace", "path": path, "value": MASK}).status_code == 200
        for guess in (*planted, site.secrets[-1]):
            # a test of what is stored must not tell right from wrong
            assert patch({"op": "test", "path": path, "value": guess}).status_code == 400
        for op in ("copy", "move"):
            for target in ("/description", "/name", "/auth/params/region", "/auth/params/note"):
                patch({"op": op, "from": path, "path": target})
        patch({"op": "replace", "path": path, "value": [site.secret()]})
        patch({"op": "replace", "path": path, "value": {"$sealed": site.secret()}})
        patch({"op": "add", "path": f"{path}/deeper", "value": site.secret()})
    whole = params(site, form)
    assert patch({"op": "replace", "path": "/auth/params", "value": whole}).status_code == 200
    patch({"op": "replace", "path": "/auth/specName", "value": site.secret()})
    shown = read(site, id)["auth"]["params"]
    assert {name for name, value in shown.items() if value == MASK} >= secret_names(form)
    assert site.call("DELETE", f"{FLOW}/connections/{id}").status_code == 204


@pytest.mark.parametrize(("spec", "form"), SECRET_FORMS)
def test_calls_that_are_refused(site: Site, spec: Any, form: Any) -> None:
    def post(**change: Any) -> int:
        body = body_of(site, spec, form)
        body["auth"]["params"] |= change.pop("params", {})
        body["auth"] |= change.pop("auth", {})
        return site.call("POST", f"{FLOW}/connections", body | change).status_code

    secret = sorted(secret_names(form))[0]
    needed = form["spec"]["required"]
    assert post(connectionSpec={"id": "nothing"}) == 400
    assert post(auth={"specName": "nothing"}) == 400
    assert post(name="") == 400
    assert post(state="nothing") == 400
    assert post(params={needed[0]: None}) == 400
    for wrong in (["x"], {"x": "y"}, 5, None):
        made = json.loads(json.dumps(wrong).replace("x", site.secret()))
        assert post(params={secret: made}) == 400
    assert post(params={secret: {"$sealed": site.secret()}}) == 400
    if "bootstrapServers" in form["spec"]["properties"]:
        assert post(params={"bootstrapServers": "127.0.0.1:9092"}) == 400
    broken = json.dumps(body_of(site, spec, form)).encode()
    assert site.call("POST", f"{FLOW}/connections", broken[:-1]).status_code == 400
    assert site.call("POST", f"{FLOW}/connections", b'"' + broken[2:]).status_code == 400
    for header in ({"authorization": "x"}, {"x-sandbox-name": "x"}, {"content-type": "text/x"}):
        answer = site.call("POST", f"{FLOW}/connections", broken, headers=header)
        assert answer.status_code in (400, 401, 403, 404)
    assert site.call("PUT", f"{FLOW}/connections", broken).status_code == 405
    assert site.call("POST", f"{FLOW}/nothing", broken).status_code == 404


@pytest.mark.parametrize("spec", BARE)
def test_credentials_that_a_connection_has_no_use_for_are_not_kept(site: Site, spec: Any) -> None:
    body = {
        "name": site.name(), "connectionSpec": {"id": spec["id"], "version": "1.0"},
        "auth": {"specName": "Basic", "params": {"password": site.secret()}},
    }  # fmt: skip
    answer = site.call("POST", f"{FLOW}/connections", body)
    assert answer.status_code == 201, answer.text
    assert "auth" not in read(site, answer.json()["id"])


def test_every_read_of_every_service(site: Site) -> None:
    """All that can be read, exports included, with the ids of the connections wherever an id goes."""
    ids = [
        item["id"]
        for kind in ("connections", "sourceConnections")
        for item in site.call("GET", f"{FLOW}/{kind}?limit=3").json()["items"]
    ]
    paths = site.call("GET", "/openapi.json").json()["paths"]
    swept = 0
    for path, methods in paths.items():
        for id in ids[:4] if "{" in path else [""]:
            if "get" in methods:
                parts = [id if part.startswith("{") else part for part in path.split("/")]
                site.call("GET", "/".join(parts))
                swept += 1
    assert swept > 100
    link: str | None = f"{FLOW}/connections?limit=100"
    while link:
        page = site.call("GET", link).json()
        next_link = page["_links"].get("next")
        link = FLOW + next_link["href"] if next_link else None


def test_nothing_holds_a_secret(site: Site) -> None:
    """Last, over everything that the tests before have left: while the server runs, and after its end."""
    assert len(site.secrets) > 100
    assert len(site.answers) > 500
    wanted = traces(MARK)

    def holders(places: list[tuple[str, bytes]]) -> set[str]:
        return {name for name, data in places if any(trace in data for trace in wanted)}

    assert holders(site.answers) == set()
    time.sleep(0.5)
    running = list(site.everything_on_disk())
    assert holders(running) == set()
    site.platform.http.close()
    assert site.process.stop() == 0
    stopped = list(site.everything_on_disk())
    # what there is of the bootstrap client's secret is a hash at full cost
    assert any(b"scrypt$16384$8$1$" in data for _, data in stopped)
    assert holders(stopped) == set()
    # the same search finds what is not secret: in answers and on disk
    for places in (site.answers, running, stopped):
        assert any(site.visible[0].encode() in data for _, data in places)
    for n in range(3):  # and what is coded, wherever it begins
        coded = base64.b64encode(b"z" * n + site.secrets[0].encode())
        assert holders([("coded", b"before" + coded)]) == {"coded"}
