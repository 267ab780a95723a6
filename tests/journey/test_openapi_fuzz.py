"""Calls made up from our own description of the API: nothing fails inside, and every answer is one that it states."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.testing.server import PlatformClient, ServerProcess
from tests.journey.openapi_cases import MadeCall, Maker, faults
from tests.journey.openapi_samples import RULES, existing, samples

SERVICES = ["ims", "sandbox", "registry", "catalog", "identity", "conversion", "flow", "plain"]
"""The tags of the document."""

EXAMPLES = 10
"""Calls of each operation: a number, not a time, so that a slow machine makes the same ones."""
GATEWAY = ("x-api-key", "x-gw-ims-org-id", "x-sandbox-name")


@dataclass
class Site:
    """A server of its own, with one of everything, so that ids also lead somewhere."""

    platform: PlatformClient
    maker: Maker
    statuses: dict[str, set[int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir: Path = tmp_path_factory.mktemp("fuzz") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.2").start()
    platform = PlatformClient(process.credentials())
    journey = platform.create_flow({}, RULES)
    httpx.post(
        journey.inlet_url, json={"id": "1", "type": "x"}, headers={"x-adobe-flow-id": journey.flow_id}
    ).raise_for_status()  # fmt: skip
    document = platform.http.get("/openapi.json").json()
    yield Site(platform, Maker(document, existing(platform, journey), samples(platform, journey)))
    log = (data_dir.parent / "server.log").read_text()
    platform.http.close()
    assert process.stop() == 0
    assert "failed unexpectedly" not in log, log


ACCEPTS = st.sampled_from(
    ["application/json", "*/*", "text/html", "", "application/vnd.adobe.xed+json",
     "application/vnd.adobe.xed-full+json;version=1", "application/vnd.adobe.xdm-id+json",
     "application/vnd.adobe.xdm+json", "application/vnd.adobe.xed-full-desc+json;version=1",
     "application/vnd.adobe.xed+json;version=99999999999999999999999"]
)  # fmt: skip


def test_the_document_covers_every_service(site: Site) -> None:
    tags = {tag for _, _, operation in site.maker.operations() for tag in operation["tags"]}
    assert tags == set(SERVICES)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (httpx.Response(200, json={"items": []}), ""),
        (httpx.Response(400, json={"error_code": "400003", "message": "Missing header"}), ""),
        (httpx.Response(500, json={}), "failed"),
        (httpx.Response(418, json={}), "not stated"),
        (httpx.Response(200, text="x"), "media type"),
        (httpx.Response(404, json={"error": "x"}), "body of a 404"),
    ],
)
def test_faults_of_answers_are_seen(site: Site, answer: httpx.Response, fault: str) -> None:
    operation = site.maker.document["paths"]["/data/foundation/flowservice/flows"]["get"]
    found = faults(site.maker.document, operation, answer)
    assert len(found) == bool(fault)
    assert fault in "".join(found)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", [*SERVICES, "deletions"])
def test_every_answer_is_one_that_the_document_states(site: Site, part: str) -> None:
    """Deletions come last: what they take away would make the others' calls fail."""
    found: list[str] = []
    for method, path, operation in site.maker.operations():
        if part == ("deletions" if method == "DELETE" else operation["tags"][0]):
            found += fuzz(site, method, path, operation)
    assert not found, "\n".join(found)


def fuzz(site: Site, method: str, path: str, operation: dict[str, Any]) -> list[str]:
    """What was wrong with the answers, the first of each kind."""
    wrong: dict[str, str] = {}
    seen = site.statuses.setdefault(f"{method} {path}", set())

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(call=site.maker.calls(method, path, operation), accept=ACCEPTS)
    def run(call: MadeCall, accept: str) -> None:
        call.headers["accept"] = accept
        if call.headers.get("if-match") == "*":  # stands for the etag that the item has now
            item = site.platform.http.get(call.path).json().get("items", [{}])[0]
            call.headers["if-match"] = item.get("etag", "*")
        answer = call.send(site.platform.http)
        seen.add(answer.status_code)
        for fault in faults(site.maker.document, operation, answer):
            body = (call.body or b"")[:200]
            wrong.setdefault(fault[:60], f"{method} {answer.request.url} {body!r}: {fault}"[:1500])

    run()
    return list(wrong.values())


def test_made_up_calls_also_succeed(site: Site) -> None:
    """Were all of them refused at the door, the others would prove nothing."""
    succeeded = {name for name, seen in site.statuses.items() if any(s < 300 for s in seen)}
    stated = {
        f"{method} {path}"
        for method, path, operation in site.maker.operations()
        if any(status < "3" for status in operation["responses"])
    }
    assert len(succeeded) > len(stated) * 0.75, sorted(stated - succeeded)


def test_whoever_the_gateway_does_not_know_gets_a_stated_refusal(site: Site) -> None:
    wrong = []
    stranger = httpx.Client(base_url=site.platform.credentials["base_url"], timeout=20)
    for method, path, operation in site.maker.operations():
        if "security" not in operation:
            continue
        names = {parameter["name"] for parameter in operation["parameters"]}
        for name in {"authorization", *GATEWAY} & {"authorization", *names}:
            headers = {**site.platform.http.headers, name: "x", "content-type": "application/json"}
            url = path.replace("{", "").replace("}", "")
            answer = stranger.request(method, url, headers=headers)
            if answer.status_code not in (401, 403, 404) or faults(
                site.maker.document, operation, answer
            ):
                wrong.append((method, path, name, answer.status_code, answer.text))
    stranger.close()
    assert wrong == []
