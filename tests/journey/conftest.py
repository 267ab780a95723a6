"""What journeys share: the original's Python client, set to the server, and sandboxes of their own."""

import uuid

import aepp
import pytest

from headrace.testing.server import PlatformClient, ServerProcess

SANDBOXES = "/data/foundation/sandbox-management/sandboxes"


def configure_aepp(server: ServerProcess, sandbox: str) -> None:
    """Point the client at the server; its classes take this over when they are made."""
    credentials = server.credentials()
    base = credentials["base_url"]
    aepp.configure(
        org_id=credentials["org_id"], secret=credentials["client_secret"],
        client_id=credentials["client_id"], scopes=credentials["scopes"], sandbox=sandbox,
    )  # fmt: skip
    aepp.config.endpoints["global"] = base
    aepp.config.endpoints["streaming"]["collection"] = base
    aepp.config.config_object["oauthTokenEndpointV2"] = f"{base}/ims/token/v3"


@pytest.fixture
def configured(server: ServerProcess) -> ServerProcess:
    """The client works in the sandbox that every server has."""
    configure_aepp(server, server.credentials()["sandbox"])
    return server


@pytest.fixture(scope="module")
def own(server: ServerProcess) -> PlatformClient:
    """Plain HTTP in a sandbox that the module has for itself, so that counts and lists are its own."""
    client = PlatformClient(server.credentials())
    name = f"own-{uuid.uuid4().hex[:8]}"
    client.call("POST", SANDBOXES, {"name": name, "title": name, "type": "development"})
    client.http.headers["x-sandbox-name"] = name
    return client


@pytest.fixture
def configured_own(server: ServerProcess, own: PlatformClient) -> PlatformClient:
    """The client works in the module's own sandbox."""
    configure_aepp(server, own.http.headers["x-sandbox-name"])
    return own
