"""The commands of README and docs work: each page's `bash` blocks are run in order, as one script."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from headrace.settings import Settings
from headrace.testing.server import ServerProcess

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
RUNNABLE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: p.name)
def test_the_commands_of_a_page_succeed(page: Path, server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "headrace-data").symlink_to(server.data_dir)
    script = "set -euo pipefail\n" + "\n".join(BLOCK.findall(page.read_text()))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path}, check=False,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    if page.name == "tutorial.md":
        assert "Lovelace" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_every_setting_is_in_the_operators_table() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    assert [f.name for f in fields(Settings) if f"| `{f.name}` |" not in text] == []
