"""Whether stored secrets open with the key that lies beside them. None of them is ever shown."""

import json
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError
from headrace.security.keys import load_or_create_key
from headrace.security.vault import SEALED, SealBroken, Vault
from headrace.services.operator.inspection import STORE, reading


def unopened(data_dir: Path) -> str | None:
    """Why the vault's key does not fit the store; None when it does, or nothing was sealed yet."""
    try:
        _vault(data_dir)
    except HeadraceError as error:
        return str(error)
    return None


def broken(data_dir: Path) -> list[str]:
    """Parameters of connections that the key does not open though it fits the store, as "connection ID: NAME".
    HeadraceError when it does not fit."""
    vault = _vault(data_dir)
    if vault is None:
        return []
    with reading(data_dir / STORE) as db:
        rows = db.execute(
            "SELECT id, json_extract(body, '$.auth.params') FROM documents WHERE kind='connections' ORDER BY seq"
        ).fetchall()
    return [
        f"connection {id}: {name}"
        for id, params in rows
        for name, value in (json.loads(params) if params else {}).items()
        if isinstance(value, dict) and SEALED in value and not _opens(vault, value[SEALED], id)
    ]


def _vault(data_dir: Path) -> Vault | None:
    """The vault, once it has opened what was sealed first; None when nothing was sealed yet."""
    path = data_dir / "vault.key"
    with reading(data_dir / STORE) as db:
        row = db.execute("SELECT value FROM settings WHERE name='vault.canary'").fetchone()
    if row is None:
        return None
    if not path.exists():
        raise SealBroken(f"{path} is missing")
    vault = Vault(load_or_create_key(path))
    vault.open(row[0], "vault.canary")
    return vault


def _opens(vault: Vault, sealed: Any, owner: str) -> bool:
    try:
        vault.open(sealed, owner)
    except (HeadraceError, AttributeError, ValueError):
        return False
    return True
