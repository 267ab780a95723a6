"""Moving a lake to another directory: Iceberg names its files by absolute locations, in every layer.

Bottom up, since each layer states the size of what it names: manifests, lists of manifests, metadata, catalog.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import ConfigurationError
from headrace.services.operator.avro import rewritten


@dataclass(frozen=True, slots=True)
class Move:
    """From one lake directory to another, both given as `file:` locations without a slash at the end."""

    old: str
    new: str

    def text(self, value: str) -> str:
        """A location in the new place, if it was one in the old."""
        inside = value == self.old or value.startswith(f"{self.old}/")
        return self.new + value[len(self.old) :] if inside else value

    def json(self, value: Any) -> Any:
        """A JSON value with every location in it moved; keys stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {name: self.json(item) for name, item in value.items()}
        return value

    def avro(self, value: Any) -> Any:
        """As `json`, for values that have a union's branch beside them as tuples."""
        if isinstance(value, tuple):
            return value[0], self.avro(value[1])
        if isinstance(value, list):
            return [self.avro(item) for item in value]
        if isinstance(value, dict):
            return {name: self.avro(item) for name, item in value.items()}
        return self.text(value) if isinstance(value, str) else value


def relocate(root: Path, move: Move, manifests: Iterable[Path], lists: Iterable[Path]) -> None:
    """Rewrite all of a copied data directory that names places of the lake. `root` is where it lies now.

    ConfigurationError when a file is not of a form that can be rewritten.
    """
    warehouse = root / "lake"
    sizes: dict[str, int] = {}
    try:
        for path in manifests:
            content = rewritten(path.read_bytes(), move.avro)
            path.write_bytes(content)
            sizes[path.name] = len(content)  # names are unique

        def entry(record: dict[str, Any]) -> dict[str, Any]:
            changed: dict[str, Any] = move.avro(record)
            name = str(changed["manifest_path"]).rpartition("/")[2]
            return changed | {"manifest_length": sizes.get(name, changed["manifest_length"])}

        for path in lists:
            path.write_bytes(rewritten(path.read_bytes(), entry))
        for path in sorted(warehouse.rglob("*.metadata.json")):
            path.write_text(json.dumps(move.json(json.loads(path.read_bytes()))))
    except (ValueError, KeyError) as error:
        text = f"{path}: it cannot be moved: {error}; restore to the place where it was"
        raise ConfigurationError(text) from None
    _catalog(warehouse / "catalog.db", move)
    _commits(root / "headrace.db", move)


def _catalog(path: Path, move: Move) -> None:
    if not path.exists():
        return
    with _writing(path) as db:
        for column in ("metadata_location", "previous_metadata_location"):
            for row, value in db.execute(f"SELECT rowid, {column} FROM iceberg_tables").fetchall():
                if value is not None:
                    db.execute(
                        f"UPDATE iceberg_tables SET {column}=? WHERE rowid=?",
                        (move.text(value), row),
                    )
        found = db.execute(
            "SELECT rowid, property_value FROM iceberg_namespace_properties"
        ).fetchall()
        for row, value in found:
            db.execute(
                "UPDATE iceberg_namespace_properties SET property_value=? WHERE rowid=?",
                (move.text(value), row),
            )
    db.close()


def _commits(path: Path, move: Move) -> None:
    with _writing(path) as db:
        for id, text in db.execute("SELECT commit_id, body FROM commits").fetchall():
            body = json.loads(text)
            body["files"] = move.json(body.get("files", []))
            changed = json.dumps(body, separators=(",", ":"))
            if changed != text:
                db.execute("UPDATE commits SET body=? WHERE commit_id=?", (changed, id))
    db.close()


def _writing(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path)
