"""The connector that `docs/sources.md` shows conforms to the contract, by the suite that the page tells of."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Terminal
from headrace.services.flow import specs
from headrace.sources.contract import Position, Settings
from headrace.testing.sources import applicable

PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
SHOWN: dict[str, Any] = {"__name__": "shown"}
exec("\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)), SHOWN)


@pytest.mark.parametrize(
    "check", applicable(SHOWN["FolderHarness"]), ids=lambda check: check.__name__
)
def test_the_shown_connector_conforms(check: Callable[[Any], None], tmp_path: Path) -> None:
    check(SHOWN["FolderHarness"](tmp_path))


def test_the_shown_connector_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    harness = SHOWN["FolderHarness"](tmp_path)
    harness.produce("a", [b"one", b"two"])
    source = harness.open()
    end = source.end("a")
    (tmp_path / "a.lines").write_bytes(b"")
    with pytest.raises(Terminal, match="cut"):
        source.read("a", end, 10, 0)
    with pytest.raises(ConfigurationError):
        SHOWN["CONNECTOR"].open(Settings("", {}, {}, "flow"))
    assert source.read("b", Position(), 10, 0).messages == []


def test_the_pages_table_has_every_form_and_parameter() -> None:
    table = PAGE[PAGE.index("| source | authentication") : PAGE.index("`endpointUrl` leads")]
    for id in (specs.KINESIS, specs.EVENT_HUBS, specs.PUBSUB, specs.KAFKA):
        spec = specs.BY_ID[id]
        required = {name for form in spec["authSpec"] for name in form["spec"]["required"]} | set(
            spec["sourceSpec"]["spec"]["required"]
        )
        assert [name for name in required if f"`{name}`" not in table] == []
