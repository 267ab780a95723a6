"""`headrace mappings` on a data directory: what is printed, and what is in the other sandbox then."""

import json
from pathlib import Path

import pytest

from headrace.errors import ConfigurationError
from headrace.services.conversion.command import main
from tests.unit.services.conversion_site import NAME_RULE, SETS, Site

STAGE = {"x-sandbox-name": "stage"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.new_schema("people", "stage")
    (tmp_path / "headrace.db").symlink_to("store.db")
    return made


def run(directory: Path, *words: str) -> int:
    return main([*words, "--data-dir", str(directory)])


def test_an_export_is_imported_after_a_look_at_the_difference(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.create(NAME_RULE, name="people")
    assert run(tmp_path, "export", "people") == 0
    file = tmp_path / "sets.json"
    file.write_text(capsys.readouterr().out)
    assert [entry["name"] for entry in json.loads(file.read_text())["mappingSets"]] == ["people"]

    assert run(tmp_path, "import", str(file), "--sandbox", "stage", "--dry-run") == 0
    difference = capsys.readouterr().out
    assert "+ ATTRIBUTE firstName → person.name.firstName" in difference
    assert site.web.get(SETS, headers=STAGE).json()["data"] == []

    assert run(tmp_path, "import", str(file), "--sandbox", "stage") == 0
    (made,) = site.web.get(SETS, headers=STAGE).json()["data"]
    told = capsys.readouterr().out
    assert told == difference.replace("created  people", f"created  people ({made['id']})")
    assert (made["name"], made["createdBy"]) == ("people", "headrace")

    assert run(tmp_path, "import", str(file), "--sandbox", "stage", "--dry-run") == 0
    assert "1 same" in capsys.readouterr().out


def test_what_cannot_be_moved_is_told(site: Site, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    for words, said in (
        (("export", "nobody"), "no mapping set nobody"),
        (("export", "--sandbox", "moon"), "no sandbox moon"),
        (("import", str(bad)), "cannot be read"),
        (("import", str(tmp_path / "none.json")), "cannot be read"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            run(tmp_path, *words)
    with pytest.raises(ConfigurationError, match="no data"):
        run(tmp_path / "elsewhere", "export")
