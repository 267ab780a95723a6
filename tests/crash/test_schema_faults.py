"""The schema changes while records arrive: what the registry allows holds from a position of the log on, all else is
refused and nothing notices."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from headrace.app import Application
from headrace.lake.query import open_session
from headrace.services.flow.flows import Flows
from headrace.settings import Settings
from headrace.store.documents import Scope
from headrace.testing.calls import InProcess
from headrace.testing.oracle import Answer, rows_of
from headrace.testing.server import Journey, PlatformClient, ServerProcess
from headrace.xdm.fields import Field
from tests.crash.rig import Rig, wait_for
from tests.crash.senders import Sender

REGISTRY = "/data/foundation/schemaregistry/tenant"
ROOT = "/definitions/customFields"
Operations = list[dict[str, Any]]


class Evolving(Rig):
    """A flow whose schema is changed while a sender sends."""

    def __init__(self, root: Path, server: ServerProcess) -> None:
        super().__init__(root, beside=SimpleNamespace(server=server))  # type: ignore[arg-type]
        self.group = group_of(self, self.journey.schema_id)
        self.fields = f"{ROOT}/properties/{self.tenant}/properties"

    def change(self, operations: Operations) -> httpx.Response:
        """Change the field group that the schema has its fields from."""
        return self.client.http.patch(f"{REGISTRY}/fieldgroups/{quoted(self.group)}", json=operations)  # fmt: skip

    def described(self) -> list[Any]:
        with open_session(self.server.data_dir, self.journey.dataset_id) as session:
            return session.execute(f'DESCRIBE "{self.journey.dataset_id}"').fetchall()

    def one(self, sender: str, number: int, record: dict[str, Any]) -> None:
        """Send one record that must be accepted."""
        request = self.oracle.attempt(sender, number, 1)
        answer = self.http.post(
            self.journey.inlet_url, json={"id": f"{sender}:{number}", **record},
            headers={"x-adobe-flow-id": self.journey.flow_id},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        self.oracle.answer(request, Answer.ACKNOWLEDGED)


def group_of(client: Rig | PlatformClient, schema_id: str) -> str:
    """The field group that was made with a schema."""
    accept = {"Accept": "application/vnd.adobe.xed+json; version=1"}
    schema = client.call("GET", f"{REGISTRY}/schemas/{quoted(schema_id)}", **accept)
    return next(str(part["$ref"]) for part in schema["allOf"] if "/mixins/" in part["$ref"])


def quoted(id: str) -> str:
    return id.replace(":", "%3A").replace("/", "%2F")


@pytest.fixture
def rig(server: ServerProcess, tmp_path: Path) -> Iterator[Evolving]:
    rig = Evolving(tmp_path / "flow", server)
    yield rig
    for sender in rig.senders:
        sender.stop()
    rig.client.http.close()
    rig.http.close()
    rig.oracle.close()


def landing(rig: Evolving, sender: Sender) -> None:
    """Return when records have been accepted that were sent after now: the first to be accepted may be on its way."""
    deadline = time.monotonic() + 30
    for _ in range(3):
        before = sender.accepted
        while sender.accepted <= before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_p9_changes_that_would_break_what_is_there_are_refused_while_records_arrive_and_all_of_them_land(
    rig: Evolving,
) -> None:
    at, wide = rig.fields, {"type": "integer", "minimum": -(2**40), "maximum": 2**40}
    added: Operations = [
        {"op": "add", "path": f"{at}/word", "value": {"type": "string"}},
        {"op": "add", "path": f"{at}/big", "value": wide},
        {"op": "add", "path": f"{at}/deep", "value": {"type": "object", "properties": {"x": {"type": "string"}}}},
    ]  # fmt: skip
    assert rig.change(added).status_code == 200
    sender = rig.send("steady", "messages", 1, largest=20)
    landing(rig, sender)
    columns = wait_for(
        "the table has what was added",
        lambda: found if "deep" in str(found := rig.described()) else None,
    )
    breaking: dict[str, Operations] = {
        f"{rig.tenant}.n is removed": [{"op": "move", "from": f"{at}/n", "path": f"{at}/renamed"}],
        f"{rig.tenant}.deep.x is removed": [
            {"op": "move", "from": f"{at}/deep/properties/x", "path": f"{at}/deep/properties/y"}
        ],
        f"{rig.tenant}.word is removed": [{"op": "remove", "path": f"{at}/word"}],
        f"{rig.tenant}.n changes from int to boolean": [
            {"op": "replace", "path": f"{at}/n", "value": {"type": "boolean"}}
        ],
        f"{rig.tenant}.big changes from long to int": [
            {"op": "replace", "path": f"{at}/big", "value": {"type": "integer"}}
        ],
        f"{rig.tenant}.n gets a higher minimum": [
            {"op": "add", "path": f"{at}/n/minimum", "value": 0}
        ],
        f"{rig.tenant}.word accepts fewer values": [
            {"op": "add", "path": f"{at}/word/enum", "value": ["a"]}
        ],
        f"{rig.tenant}.word gets a smaller greatest length": [
            {"op": "add", "path": f"{at}/word/maxLength", "value": 3}
        ],
        f"{rig.tenant}.word gets another pattern": [
            {"op": "add", "path": f"{at}/word/pattern", "value": "^a"}
        ],
    }
    for reason, operations in breaking.items():
        answer = rig.change(operations)
        assert answer.status_code == 400, reason
        assert answer.json()["type"].endswith("/XDM-1413-400")
        assert reason in answer.json()["detail"]
        assert rig.journey.schema_id in answer.json()["detail"], "it says who uses the field"
    landing(rig, sender)
    assert rig.verdict().faults() == {}
    assert rig.described() == columns


def test_p9_a_renaming_is_an_added_field_and_a_new_mapping_and_takes_nothing_from_older_rows(
    rig: Evolving,
) -> None:
    sender = rig.send("steady", "messages", 1, largest=20)
    landing(rig, sender)
    rig.widen_schema()
    landing(rig, sender)
    rig.change_mapping()
    landing(rig, sender)
    findings = rig.verdict()
    assert findings.faults() == {}
    with open_session(rig.server.data_dir, rig.journey.dataset_id) as session:
        rows = session.execute(
            f'SELECT _acp_system_metadata."sourceOffset", {rig.tenant}.n, {rig.tenant}.extra1'
            f' FROM "{rig.journey.dataset_id}" ORDER BY 1'
        ).fetchall()
    assert all(n is not None for _, n, _ in rows)
    new = [extra is not None for _, _, extra in rows]
    assert new == sorted(new), "from a position on every row has the field, before it none"
    assert new[0] is False
    assert new[-1] is True
    assert all(extra in (None, n) for _, n, extra in rows)


def test_p9_a_field_that_becomes_required_fails_what_comes_without_it_from_a_position_on(
    rig: Evolving,
) -> None:
    sender = rig.send("steady", "messages", 1, largest=20)
    stop, numbers = threading.Event(), list[int]()

    def without() -> None:
        while not stop.is_set():
            rig.one("without", len(numbers), {"kind": "good"})
            numbers.append(1)

    thread = threading.Thread(target=without)
    thread.start()
    try:
        landing(rig, sender)
        required: Operations = [
            {"op": "add", "path": f"{ROOT}/required", "value": [rig.tenant]},
            {"op": "add", "path": f"{ROOT}/properties/{rig.tenant}/required", "value": ["n"]},
        ]
        assert rig.change(required).status_code == 200
        told = len(numbers) + 1  # that one may have been on its way
        landing(rig, sender)
        while len(numbers) < told + 3:
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join(30)
    findings = rig.verdict()
    assert set(findings.faults()) == {"misplaced"}, "they were good until the field was required"
    assert {name.split(":")[0] for name in findings.misplaced} == {"without"}
    good, failed = rows_of(rig.server.data_dir, rig.journey.dataset_id)
    mine = [(row.offset, int(row.name.split(":")[1])) for row in good if "without" in row.name]
    bad = [(row.offset, int(row.name.split(":")[1])) for row in failed if "without" in row.name]
    assert len(mine) + len(bad) == len(numbers)
    assert mine
    assert max(mine) < min(bad)
    assert min(bad)[1] <= told
    query = f"SELECT DISTINCT code, path FROM \"{rig.journey.dataset_id}_failed\" WHERE decode(original) LIKE '%without%'"
    with open_session(rig.server.data_dir, query) as session:
        assert session.execute(query).fetchall() == [("DCVS-1106-400", rig.tenant)]


# -- a change that was stored and not told ------------------------------------------------------------------------


class Died(BaseException):
    """As a kill: nothing catches it."""


class Within(PlatformClient):
    """Calls an application in this process."""

    def __init__(self, data_dir: Path) -> None:
        self.application = Application(Settings(data_dir=data_dir), "http://localhost")
        self.credentials = json.loads((data_dir / "credentials.json").read_text())
        installation, tokens = self.application.installation, self.application.tokens
        client, org = installation.client_id, installation.org_id
        token, _ = tokens.issue(client, org, ["openid"], "user")
        self.web = InProcess(self.application.control, {
            "authorization": f"Bearer {token}", "x-api-key": client, "x-gw-ims-org-id": org,
        })  # fmt: skip

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.web.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def flow(self) -> Journey:
        return self.create_flow({"n": {"type": "integer"}}, None, data_type="xdm")

    def add_field(self, schema_id: str, name: str) -> None:
        path = f"{ROOT}/properties/_{self.credentials['tenant_id']}/properties/{name}"
        change = [{"op": "add", "path": path, "value": {"type": "string"}}]
        self.call("PATCH", f"{REGISTRY}/fieldgroups/{quoted(group_of(self, schema_id))}", change)

    def fields(self, flow_id: str) -> tuple[int, set[str]]:
        """The flow's newest revision, and the names of its tenant's fields."""
        found = self.application.revisions.latest(flow_id)
        assert found is not None
        tree = Field.from_json(found.schema).properties[f"_{self.credentials['tenant_id']}"]
        return found.revision, set(tree.properties)


def test_p9_a_server_that_dies_between_a_schemas_change_and_its_flows_tells_them_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Within(tmp_path)
    journey = first.flow()
    assert first.fields(journey.flow_id) == (1, {"n"})

    def die(*arguments: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Flows, "refresh_schema", die)
        with pytest.raises(Died):
            first.add_field(journey.schema_id, "late")
    second = Within(tmp_path)
    assert second.fields(journey.flow_id) == (1, {"n"})
    second.application.authoring.resume()
    assert second.fields(journey.flow_id) == (2, {"n", "late"})
    second.application.authoring.resume()
    assert second.fields(journey.flow_id) == (2, {"n", "late"}), "it is told once"


def test_p9_a_flow_whose_data_set_is_lost_does_not_keep_a_schemas_change_from_the_others(
    tmp_path: Path,
) -> None:
    """The APIs delete nothing that is used: only a damaged store is so."""
    client = Within(tmp_path)
    broken = client.flow()
    other = client.create_flow(
        {}, None, groups=(group_of(client, broken.schema_id),), data_type="xdm"
    )
    scope = Scope(client.credentials["org_id"], client.credentials["sandbox"])
    assert client.application.store.delete(scope, "dataSets", broken.dataset_id)
    client.add_field(broken.schema_id, "late")
    assert client.fields(other.flow_id) == (2, {"n", "late"})
    assert client.fields(broken.flow_id) == (1, {"n"})


def test_p9_flows_that_are_changed_meanwhile_are_told_of_a_schemas_change_all_the_same(
    tmp_path: Path,
) -> None:
    client = Within(tmp_path)
    journey, stop, faults = client.flow(), threading.Event(), list[BaseException]()
    path = f"/data/foundation/flowservice/flows/{journey.flow_id}"

    def rename() -> None:
        try:
            while not stop.is_set():
                etag = client.call("GET", path)["items"][0]["etag"]
                value = [{"op": "add", "path": "/description", "value": etag}]
                headers = {"if-match": etag}
                answer = client.web.request("PATCH", path, json=value, headers=headers)
                assert answer.status_code in (200, 409, 412), answer.text
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for number in range(12):
            client.add_field(journey.schema_id, f"late{number}")
    finally:
        stop.set()
        thread.join()
    assert faults == []
    assert client.fields(journey.flow_id) == (13, {"n", *(f"late{n}" for n in range(12))})
