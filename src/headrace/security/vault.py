"""Secrets at rest: AES-256-GCM under a key kept outside the store.

The sealed form is text, `v1:` and unpadded base64url of nonce and ciphertext. What the secret belongs to is
authenticated with it, so a sealed value copied into another resource does not open.
"""

import base64
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.errors import ConfigurationError, Terminal
from headrace.security.keys import load_or_create_key
from headrace.store.documents import Store

_PREFIX = "v1:"
_NONCE_BYTES = 12
_CANARY = "vault.canary"


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
