"""Assertions of clients: which keys may be registered, and what a signature must cover."""

import base64
import datetime
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from headrace.errors import ConfigurationError
from headrace.security.assertions import (
    AssertionRefused,
    check_signed,
    check_unsigned,
    registered_key,
)

NOW = 1_700_000_000
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def public(key: Any) -> bytes:
    raw: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return raw


def certificate(key: Any, ends: int) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    end = datetime.datetime.fromtimestamp(ends, datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=10))
        .not_valid_after(end)
    )
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def claims(**changes: Any) -> dict[str, Any]:
    found = {
        "iss": "O@AdobeOrg", "sub": "T@techacct.adobe.com", "exp": NOW + 3600,
        "aud": "https://ims-na1.adobelogin.com/c/client",
        "https://ims-na1.adobelogin.com/s/ent_dataservices_sdk": True, **changes,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def signed(key: Any = RSA, algorithm: str = "RS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm)


def check(assertion: str, *pems: bytes, now: float = NOW) -> None:
    keys = [registered_key(pem) for pem in pems or (public(RSA),)]
    check_signed(
        assertion, keys, client_id="client", org="O@AdobeOrg", subject="T@techacct.adobe.com", now=now
    )  # fmt: skip


def forged(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_a_registered_key_proves_an_assertion(algorithm: str) -> None:
    check(signed(algorithm=algorithm))


def test_certificates_curves_and_further_keys_do_too() -> None:
    check(signed(), certificate(RSA, NOW + 1))
    check(signed(CURVE, "ES256"), public(CURVE))
    check(signed(), public(OTHER), public(CURVE), public(RSA))
    check(signed(aud=["x", "http://127.0.0.1:8080/c/client"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "X@AdobeOrg"}, {"iss": None}, {"sub": "other"}, {"sub": None}, {"aud": None}, {"aud": "client"},
        {"aud": "https://ims-na1.adobelogin.com/c/other"}, {"aud": []}, {"aud": [7]}, {"exp": None},
        {"exp": NOW}, {"exp": NOW - 1}, {"exp": "tomorrow"}, {"exp": True}, {"nbf": NOW + 61}, {"nbf": "x"},
    ],
)  # fmt: skip
def test_claims_of_another_or_at_another_time_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AssertionRefused):
        check(signed(**changes))


def test_a_clock_that_is_a_little_ahead_is_forgiven() -> None:
    check(signed(nbf=NOW + 60))


def test_another_key_is_refused() -> None:
    with pytest.raises(AssertionRefused, match="signature"):
        check(signed(OTHER))
    with pytest.raises(AssertionRefused, match="signature"):
        check(signed(CURVE, "ES256"))


def test_an_expired_certificate_proves_nothing() -> None:
    check(signed(), certificate(RSA, NOW + 1))
    with pytest.raises(AssertionRefused, match="no current key"):
        check(signed(), certificate(RSA, NOW))


def test_no_signature_or_one_made_with_the_public_key_as_secret_is_refused() -> None:
    with pytest.raises(AssertionRefused):
        check(forged({"alg": "none"}, claims()))
    with pytest.raises(AssertionRefused):
        check(forged({"alg": "RS256"}, claims()))
    symmetric = forged({"alg": "HS256", "typ": "JWT"}, claims()).rstrip(".")
    mac = hmac.new(public(RSA), symmetric.encode(), hashlib.sha256).digest()
    with pytest.raises(AssertionRefused):
        check(f"{symmetric}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "\x00", "ü.ü.ü"])
def test_what_is_no_assertion_is_refused(text: str) -> None:
    with pytest.raises(AssertionRefused):
        check(text)
    with pytest.raises(AssertionRefused):
        check_unsigned(text, now=NOW)


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = signed().split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(exp=NOW + 9_999_999)).encode())
    with pytest.raises(AssertionRefused):
        check(f"{header}.{body.rstrip(b'=').decode()}.{signature}")


def test_an_unsigned_check_looks_at_form_and_time_only() -> None:
    check_unsigned(signed(OTHER, iss="anybody", aud=None, sub=None), now=NOW)
    check_unsigned(signed(exp=None), now=NOW)
    for changes in ({"exp": NOW}, {"exp": "x"}, {"nbf": NOW + 3600}):
        with pytest.raises(AssertionRefused):
            check_unsigned(signed(**changes), now=NOW)


def private() -> bytes:
    return RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (b"", "no PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no PEM"),
        (private(), "private key"),
        (public(rsa.generate_private_key(65537, 1024)), "2048 bits"),
        (public(ed25519.Ed25519PrivateKey.generate()), "must be RSA"),
        (public(dsa.generate_private_key(1024)), "must be RSA"),
        (public(ec.generate_private_key(ec.SECP256K1())), "must be RSA"),
    ],
)
def test_unusable_keys_are_not_registered(pem: bytes, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        registered_key(pem)


def test_what_is_kept_is_public_and_json() -> None:
    kept = registered_key(certificate(RSA, NOW))
    assert kept == {"pem": public(RSA).decode(), "algorithms": ["RS256", "RS384", "RS512"], "expires": NOW}  # fmt: skip
    assert json.loads(json.dumps(kept)) == kept
    assert registered_key(public(CURVE))["algorithms"] == ["ES256"]
