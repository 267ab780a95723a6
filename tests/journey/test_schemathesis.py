"""Schemathesis, with a fixed seed, against our own description of the API: no 5xx, and no answer that it does not state."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from headrace.testing.server import PlatformClient, ServerProcess
from tests.journey.openapi_samples import RULES

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-schemathesis" / "bin" / "st"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SEED = 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason="./scripts/schemathesis sets it up"),
]


@pytest.mark.timeout(600)
def test_no_answer_is_a_failure_or_one_that_the_description_does_not_state(tmp_path: Path) -> None:
    data_dir = tmp_path / "headrace-data"
    data_dir.mkdir()
    server = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.2").start()
    try:
        client = PlatformClient(server.credentials())
        journey = client.create_flow({}, RULES)
        sent = {"id": "1", "type": "x"}
        httpx.post(
            journey.inlet_url, json=sent, headers={"x-adobe-flow-id": journey.flow_id}
        ).raise_for_status()
        names = ("authorization", "x-api-key", "x-gw-ims-org-id", "x-sandbox-name")
        headers = [f"--header={name}: {client.http.headers[name]}" for name in names]
        done = subprocess.run(
            [PROGRAM, "run", f"{client.http.base_url}/openapi.json".replace("//openapi", "/openapi"), *headers,
             "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "8",
             "--seed", str(SEED), "--continue-on-failure", "--generation-database", "none", "--no-color"],
            cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
        assert "Tested:" in done.stdout
        assert "failed unexpectedly" not in (tmp_path / "server.log").read_text()
    finally:
        client.http.close()
        assert server.stop() == 0
