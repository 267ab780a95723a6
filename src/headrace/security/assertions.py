"""Signed assertions of clients: which keys may be registered, and what an assertion must say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from headrace.errors import ConfigurationError, HeadraceError

if TYPE_CHECKING:
    from jwt.types import Options

_CLOCK_SKEW_SECONDS = 60
_LEAST_RSA_BITS = 2048
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_UNCHECKED: "Options" = {
    "verify_exp": False,  # times are checked against our own clock
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,  # the host in the audience is the original platform's or ours
    "verify_iss": False,
}


class AssertionRefused(HeadraceError):
    """The assertion proves nothing; the text says why and holds nothing of its content."""


def registered_key(pem: bytes) -> dict[str, Any]:
    """What is kept of a PEM certificate or public key: `pem`, `algorithms`, `expires` (seconds, or None).

    ConfigurationError when it is neither, is a private key, or is too weak.
    """
    expires = None
    try:
        if b"PRIVATE KEY" in pem:
            raise ConfigurationError("This is a private key: register the certificate instead.")
        if b"BEGIN CERTIFICATE" in pem:
            certificate = x509.load_pem_x509_certificate(pem)
            expires = int(certificate.not_valid_after_utc.timestamp())
            key = certificate.public_key()
        else:
            key = load_pem_public_key(pem)  # type: ignore[assignment]
    except ValueError:
        raise ConfigurationError("The file holds no PEM certificate or public key.") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _LEAST_RSA_BITS:
            raise ConfigurationError(f"An RSA key must have at least {_LEAST_RSA_BITS} bits.")
        algorithms = ["RS256", "RS384", "RS512"]
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        algorithms = [_CURVES[key.curve.name]]
    else:
        raise ConfigurationError("The key must be RSA or of a NIST curve (P-256, P-384, P-521).")
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    return {"pem": text, "algorithms": algorithms, "expires": expires}


def check_signed(
    assertion: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    client_id: str,
    org: str,
    subject: str,
    now: float,
) -> None:
    """Passes when one of the keys signed the assertion and it is this client's and current; AssertionRefused else."""
    claims = _verified(assertion, keys, now)
    if claims.get("iss") != org:
        raise AssertionRefused("iss is not the organisation of this client")
    if claims.get("sub") != subject:
        raise AssertionRefused("sub is not the technical account of this client")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(text, str) and text.endswith(f"/c/{client_id}") for text in named):
        raise AssertionRefused("aud does not end with /c/ and the client id")
    if "exp" not in claims:
        raise AssertionRefused("exp is missing")
    _check_times(claims, now)


def check_unsigned(assertion: str, *, now: float) -> None:
    """Passes when the assertion is well-formed and, where it says so, current. It proves nothing by itself."""
    try:
        claims = jwt.decode(assertion, options={**_UNCHECKED, "verify_signature": False})
    except jwt.PyJWTError:
        raise AssertionRefused("invalid jwt_token parameter") from None
    _check_times(claims, now)


def _verified(assertion: str, keys: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    for key in keys:
        if key["expires"] is not None and key["expires"] <= now:
            continue
        try:
            return jwt.decode(
                assertion,
                key["pem"],
                algorithms=list(key["algorithms"]),
                options=_UNCHECKED,
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError:
            continue
        except jwt.PyJWTError:
            raise AssertionRefused("invalid jwt_token parameter") from None
    raise AssertionRefused("the signature matches no current key of this client")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "nbf"):
        if name in claims and (
            isinstance(claims[name], bool) or not isinstance(claims[name], int | float)
        ):
            raise AssertionRefused(f"{name} is not a number of seconds")
    if "exp" in claims and not claims["exp"] > now:
        raise AssertionRefused("jwt_token has expired")
    if "nbf" in claims and not claims["nbf"] <= now + _CLOCK_SKEW_SECONDS:
        raise AssertionRefused("jwt_token is not valid yet")
