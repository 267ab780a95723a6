"""Secrets at rest: AES-256-GCM under a key kept outside the store.

The sealed form is text, `v1:` and unpadded base64url of nonce and ciphertext. What the secret belongs to is
authenticated with it, so a sealed value copied into another resource does not open.

Rotation writes the new key beside the old one, seals everything anew in one transaction, and then puts the new key in
its place. A crash between these steps is finished or undone at the next start, by which key opens the canary.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.disk import sync_directory
from headrace.errors import ConfigurationError, Terminal
from headrace.security.keys import KEY_BYTES, load_or_create_key, write_private
from headrace.store.documents import Store

_PREFIX = "v1:"
_NONCE_BYTES = 12
_CANARY = "vault.canary"
SEALED = "$sealed"
"""A sealed value in a stored document is an object of this one key; it belongs to the document's id."""


class SealBroken(Terminal):
    """A sealed value does not open: another key, another owner, or damaged."""


class Vault:
    """Seals and opens values of JSON."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def at(cls, key_file: Path, store: Store) -> "Vault":
        """The vault of a data directory; ConfigurationError when the key is not the one its store was sealed with."""
        canary = store.setting(_CANARY)
        _settle(key_file, canary)
        if canary is not None and not key_file.exists():
            raise ConfigurationError(
                f"The vault key {key_file} is missing although this data directory holds sealed secrets;"
                " put the original file back."
            )
        vault = cls(load_or_create_key(key_file))
        if canary is None:
            store.set_setting(_CANARY, vault.seal("headrace", _CANARY))
            return vault
        try:
            vault.open(canary, _CANARY)
        except SealBroken:
            raise ConfigurationError(
                f"The vault key {key_file} is not the one this data directory's secrets were sealed with;"
                " put the original file back."
            ) from None
        return vault

    def seal(self, value: Any, associated: str) -> str:
        """The sealed text of a JSON value that belongs to `associated` (an id)."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(value, ensure_ascii=False).encode()
        sealed = nonce + self._cipher.encrypt(nonce, plain, associated.encode())
        return _PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def reveal(self, params: Mapping[str, Any], owner: str) -> dict[str, Any]:
        """Stored parameters with those that are sealed for `owner` in the clear."""
        return {
            key: self.open(value[SEALED], owner)
            if isinstance(value, dict) and SEALED in value
            else value
            for key, value in params.items()
        }

    def open(self, sealed: str, associated: str) -> Any:
        """The value sealed for `associated`; SealBroken when it does not open."""
        if not sealed.startswith(_PREFIX):
            raise SealBroken(f"The secret of {associated} is not in a known form.")
        text = sealed[len(_PREFIX) :]
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], associated.encode()
            )
        except (InvalidTag, ValueError):
            raise SealBroken(f"The secret of {associated} does not open with this key.") from None
        return json.loads(plain)


@dataclass(frozen=True, slots=True)
class Rotation:
    """How many values were sealed anew, and how many did not open with the old key and were left as they are."""

    renewed: int
    unopened: int


def rotate(key_file: Path, store: Store) -> Rotation:
    """Replace the key and seal every secret anew. Nothing else may have the data directory open.

    ConfigurationError, and no change, when the present key is not the right one.
    """
    old = Vault.at(key_file, store)
    key = secrets.token_bytes(KEY_BYTES)
    new = Vault(key)
    write_private(_next(key_file), key.hex().encode() + b"\n")
    counts = [0, 0]
    with store.transaction() as db:
        for seq, id, text in db.execute(
            "SELECT seq, id, body FROM documents WHERE instr(body, ?)", (f'"{SEALED}"',)
        ).fetchall():
            body = _renewed(json.loads(text), id, old, new, counts)
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            db.execute("UPDATE documents SET body=? WHERE seq=?", (text, seq))
        store.set_setting(_CANARY, new.seal("headrace", _CANARY))
    _settle(key_file, store.setting(_CANARY))
    # What the old key sealed must not linger in free pages and in the write-ahead log.
    store.connection.execute("VACUUM")
    store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Rotation(*counts)


def _renewed(value: Any, owner: str, old: Vault, new: Vault, counts: list[int]) -> Any:
    if isinstance(value, list):
        return [_renewed(item, owner, old, new, counts) for item in value]
    if not isinstance(value, dict):
        return value
    if list(value) == [SEALED] and isinstance(value[SEALED], str):
        try:
            plain = old.open(value[SEALED], owner)
        except SealBroken:  # a user's own text in this form, or damaged before
            counts[1] += 1
            return value
        counts[0] += 1
        return {SEALED: new.seal(plain, owner)}
    return {name: _renewed(item, owner, old, new, counts) for name, item in value.items()}


def _next(key_file: Path) -> Path:
    return key_file.with_name(f"{key_file.name}.next")


def _settle(key_file: Path, canary: str | None) -> None:
    """Finish or undo a rotation that was interrupted."""
    waiting = _next(key_file)
    if not waiting.exists():
        return
    try:
        Vault(load_or_create_key(waiting)).open(canary or "", _CANARY)
    except SealBroken:
        waiting.unlink()
    else:
        os.replace(waiting, key_file)
    sync_directory(key_file.parent)
