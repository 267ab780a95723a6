"""The structure of the package: who may import whom, how large modules are, what they are called."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "headrace"
MODULES = sorted(PACKAGE.rglob("*.py"))

# a package may import from its own row and the rows below it
ROWS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"server"},
    {"app"},
    {"services", "runtime", "ui"},
    {"log", "sources", "lake", "store", "security", "http", "settings", "testing"},
    {"xdm", "mapping"},
    {"model"},
    {"errors", "disk", "logs", "__init__"},
]
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
ANYWHERE = {"errors", "disk", "logs", "__init__"}
# crash points are compiled into what they test
EXCEPTIONS = {
    ("log", "testing.crashpoints"),
    ("lake", "testing.crashpoints"),
    ("runtime", "testing.crashpoints"),
}
SAME_ROW = {
    "http": {"security", "store"},
    "store": {"security"},
    "security": {"store"},
    "log": set[str](),
    "lake": set[str](),
    "services": {"runtime"},
    "runtime": set[str](),
    "xdm": set[str](),
    "mapping": {"xdm"},
}
PURE = {"xdm", "mapping", "model"}
IMPURE_MODULES = {"socket", "subprocess", "sqlite3", "requests", "httpx", "threading"}


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    here = part(path)
    for module in imports(path):
        if not module.startswith("headrace."):
            continue
        target = module.removeprefix("headrace.")
        there = target.split(".")[0]
        if there == here or there in ANYWHERE or (here, target) in EXCEPTIONS:
            continue
        if here == "testing" and there in LEVEL:
            continue
        assert there in LEVEL, f"{there} has no place in the layers"
        same_row_allowed = there in SAME_ROW.get(here, set())
        assert LEVEL[there] > LEVEL[here] or same_row_allowed, f"{here} may not import {module}"


@pytest.mark.parametrize("path", [p for p in MODULES if part(p) in PURE], ids=lambda p: p.stem)
def test_pure_parts_reach_neither_network_nor_processes(path: Path) -> None:
    assert not {m.split(".")[0] for m in imports(path)} & IMPURE_MODULES


def test_the_server_is_composed_without_the_libraries_of_the_lake() -> None:
    heavy = "{'pyiceberg', 'sqlalchemy', 'duckdb', 'boto3', 'confluent_kafka', 'google.cloud'}"
    told = f"import sys, headrace.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"util", "utils", "helper", "helpers", "common", "base", "misc"}
    assert [p for p in MODULES if p.stem in empty] == []


def test_modules_stay_readable() -> None:
    sizes = {p.relative_to(PACKAGE): len(p.read_text().splitlines()) for p in MODULES}
    assert {p: n for p, n in sizes.items() if n > 600} == {}
    assert sorted(sizes.values())[len(sizes) // 2] <= 180
