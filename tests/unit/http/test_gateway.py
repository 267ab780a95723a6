"""What is checked before a service sees a call, in the contract's order and bodies."""

import json
from pathlib import Path

import pytest

from headrace.http.application import build
from headrace.http.contract import Answer, Call, Route
from headrace.http.gateway import Gateway
from headrace.security.tokens import Tokens
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Store
from headrace.testing.calls import InProcess

SECRET_TEXT = "this text belongs to the log alone"


def explode(call: Call) -> Answer:
    raise RuntimeError(SECRET_TEXT)


def echo(call: Call) -> Answer:
    return Answer(200, {"sandbox": call.who.sandbox, "client": call.who.client_id})


class Site:
    def __init__(self, directory: Path, auth: str = "on") -> None:
        store = Store(directory / "store.db")
        self.installation = bootstrap(store, directory, "http://localhost")
        self.credentials = json.loads((directory / "credentials.json").read_text())
        self.clock = 1_700_000_000.0
        self.tokens = Tokens(b"k" * 32, lambda: self.clock)
        routes = [
            Route("GET", "/echo", echo, "flow", "Echo"),
            Route("POST", "/echo", echo, "flow", "Echo"),
            Route("GET", "/explode", explode, "flow", "Fail"),
        ]
        gateway = Gateway(store, self.tokens, "off" if auth == "off" else "on", self.installation)
        client_id, org = self.credentials["client_id"], self.credentials["org_id"]
        token, _ = self.tokens.issue(client_id, org, ["openid"], "user")
        self.headers = {
            "authorization": f"Bearer {token}",
            "x-api-key": client_id,
            "x-gw-ims-org-id": org,
        }
        self.web = InProcess(build(routes, gateway, title="t", max_body=1000), self.headers)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"authorization": None}, 403, "403010"),
        ({"authorization": "Bearer "}, 403, "403010"),
        ({"authorization": "Bearer nonsense"}, 401, "401013"),
        ({"authorization": "Basic dTpw"}, 401, "401013"),
        ({"x-api-key": None}, 403, "403000"),
        ({"x-api-key": "unknown"}, 403, "403003"),
        ({"x-gw-ims-org-id": None}, 400, "400003"),
        ({"x-gw-ims-org-id": "AAAAAAAAAAAAAAAAAAAAAAAA@AdobeOrg"}, 403, "403025"),
        ({"x-gw-ims-org-id": "no organisation"}, 403, "403027"),
    ],
)
def test_a_missing_or_wrong_header_is_refused_with_the_gateway_code(
    site: Site, change: dict[str, str | None], status: int, code: str
) -> None:
    answer = site.web.get("/echo", headers=change)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert set(answer.json()) == {"error_code", "message"}


def test_the_sandbox_is_prod_unless_another_is_named(site: Site) -> None:
    assert site.web.get("/echo").json()["sandbox"] == "prod"
    assert site.web.get("/echo/", headers={"x-sandbox-name": "prod"}).status_code == 200
    unknown = site.web.get("/echo", headers={"x-sandbox-name": "elsewhere"})
    assert unknown.status_code == 404
    assert unknown.json()["type"].endswith("FLOW-2100-404")


def test_an_expired_token_is_refused(site: Site) -> None:
    site.clock += 86_400
    assert site.web.get("/echo").json()["error_code"] == "401013"


def test_without_authorization_calls_pass_only_where_it_is_off_and_invalid_tokens_never(
    tmp_path: Path,
) -> None:
    open_site = Site(tmp_path, auth="off")
    assert open_site.web.get("/echo", headers={"authorization": None}).status_code == 200
    assert open_site.web.get("/echo", headers={"authorization": "Bearer x"}).status_code == 401


def test_a_body_needs_a_json_content_type_and_a_bounded_size(site: Site) -> None:
    text = site.web.post("/echo", content=b"{}", headers={"content-type": "text/plain"})
    assert (text.status_code, text.json()["title"]) == (400, "BadRequestError")
    large = site.web.post("/echo", json={"a": "x" * 2000})
    assert large.status_code == 413


def test_unknown_paths_and_methods_answer_in_an_envelope(site: Site) -> None:
    assert site.web.get("/nowhere").status_code == 404
    wrong = site.web.delete("/echo")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert site.web.get("/echo", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_an_unexpected_failure_shows_nothing_internal(site: Site) -> None:
    answer = site.web.get("/explode")
    assert answer.status_code == 500
    assert SECRET_TEXT not in answer.text
    assert "Traceback" not in answer.text
