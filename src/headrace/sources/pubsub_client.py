"""Clients of Pub/Sub whose every failure is Transient or Terminal and names no secret.

Of a service account's key file only what identifies and signs is used: a key file is text that somebody gave us,
and its other fields could send the library to addresses of their choice.
"""

import itertools
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, HeadraceError, Terminal, Transient
from headrace.sources.contract import Settings
from headrace.sources.pubsub_names import account

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

EMULATOR = "PUBSUB_EMULATOR_HOST"
PATIENCE = 10.0
"""Seconds that a call may take."""
_TOKEN_URI = "https://oauth2.googleapis.com/token"
_SCOPES = ["https://www.googleapis.com/auth/pubsub"]
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Refused(Terminal):
    """The credentials are good, but not for this."""


class Invalid(Terminal):
    """What the call names is not valid any more."""


class OutOfTime(Transient):
    """There was no answer in time."""


class Client:
    """One connection's clients. ConfigurationError when the library is missing or the credentials cannot be used."""

    def __init__(self, settings: Settings) -> None:
        try:
            import google.pubsub_v1  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                "Pub/Sub needs a library that is not installed: install headrace[pubsub]"
            ) from None
        self._endpoint, self._plain = _reached(settings)
        self._credentials = None if self._plain else _credentials(settings)
        given = settings.auth.get("credentials")
        secrets = [
            given,
            *(account(settings).get(name) for name in ("private_key", "private_key_id")),
        ]
        self._secrets = [text for text in secrets if isinstance(text, str) and len(text) > 3]
        self._opened: list[Any] = []

    @cached_property
    def _subscriber(self) -> Any:
        from google.pubsub_v1.services.subscriber import SubscriberClient
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        return self._open(SubscriberClient, SubscriberGrpcTransport)

    @cached_property
    def _publisher(self) -> Any:
        from google.pubsub_v1.services.publisher import PublisherClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        return self._open(PublisherClient, PublisherGrpcTransport)

    def _open(self, client: Any, transport: Any) -> Any:
        if self._plain:
            import grpc  # type: ignore[import-untyped]

            channel = grpc.insecure_channel(self._endpoint, options=_UNLIMITED)
            opened = client(transport=transport(channel=channel))
        else:
            options = {"api_endpoint": self._endpoint} if self._endpoint else None
            opened = client(credentials=self._credentials, client_options=options)
        self._opened.append(opened)
        return opened

    def subscriber(
        self, method: str, doing: str, timeout: float | None = None, **fields: Any
    ) -> Any:
        """The answer to one call of the subscriber's API. Refused, Invalid and OutOfTime are told apart."""
        return self._call(lambda: self._subscriber, method, doing, timeout, fields)

    def publisher(self, method: str, doing: str, **fields: Any) -> Any:
        """The same for the publisher's API, which has the topics."""
        return self._call(lambda: self._publisher, method, doing, None, fields)

    def pages(self, api: str, method: str, parent: str, doing: str, most: int) -> Sequence[Any]:
        """Up to `most` entries of a list."""
        found = "topic" if method == "list_topic_subscriptions" else "project"
        request = {found: parent, "page_size": min(most, 1000)}
        call = self.publisher if api == "publisher" else self.subscriber
        pager = call(method, doing, request=request)
        try:
            return list(itertools.islice(pager, most))
        except Exception as error:
            raise self._fault(error, doing) from None

    def _call(self, api: Any, method: str, doing: str, timeout: float | None, fields: Any) -> Any:
        try:
            return getattr(api(), method)(timeout=timeout or PATIENCE, retry=None, **fields)
        except Exception as error:
            raise self._fault(error, doing) from None

    def _fault(self, error: Exception, doing: str) -> HeadraceError:
        """What to raise for an error of the library."""
        from google.api_core import exceptions as api
        from google.auth.exceptions import GoogleAuthError

        kind: type[HeadraceError] = Transient
        if isinstance(error, api.GoogleAPICallError):
            kind = _kind(error)
            status = getattr(error.grpc_status_code, "name", None) or type(error).__name__
            text = f"{status}: {error.message}"
        elif isinstance(error, GoogleAuthError):
            kind = Transient if error.retryable else Terminal
            text = f"the credentials give no token ({type(error).__name__})"
        elif isinstance(error, ValueError | TypeError):
            kind, text = Terminal, f"the library refuses the call ({type(error).__name__})"
        else:
            text = type(error).__name__
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return kind(f"Pub/Sub, {doing}: {text}")

    def close(self) -> None:
        for client in self._opened:
            client.transport.close()
        self._opened.clear()


def _kind(error: Exception) -> type[HeadraceError]:
    from google.api_core import exceptions as api

    if isinstance(error, api.DeadlineExceeded):
        return OutOfTime
    if isinstance(error, api.Forbidden):
        return Refused
    if isinstance(error, api.BadRequest):
        return Invalid
    final = (api.Unauthenticated, api.NotFound, api.MethodNotImplemented)
    return Terminal if isinstance(error, final) else Transient


def endpoint_of(settings: Settings) -> tuple[str | None, bool]:
    """(host and port, whether it is an emulator). `endpointUrl` counts before PUBSUB_EMULATOR_HOST; with https it
    is a real service, which gets the credentials; None stands for the service's own address."""
    given = str(settings.auth.get("endpointUrl") or os.environ.get(EMULATOR) or "").strip()
    if not given:
        return None, False
    parts = urlsplit(given if "://" in given else f"//{given}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in ("", "http", "https") or parts.username is not None:
        raise ConfigurationError(
            "the endpoint of Pub/Sub must have the form [http[s]://]HOST[:PORT]"
        )
    host = f"[{host}]" if ":" in host else host
    secure = parts.scheme == "https"
    return f"{host}:{port or (443 if secure else 8085)}", not secure


def _reached(settings: Settings) -> tuple[str | None, bool]:
    """The endpoint that a connection names, if it may be connected to; of an emulator, which has no certificate to
    show, the address that was checked."""
    endpoint, plain = endpoint_of(settings)
    if endpoint is None or not settings.auth.get("endpointUrl"):
        return endpoint, plain
    host, _, port = endpoint.rpartition(":")
    address = settings.reach(host.strip("[]"), int(port))
    if not plain:
        return endpoint, plain
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}", plain


def _credentials(settings: Settings) -> "Credentials":
    from google.oauth2 import service_account

    given = account(settings)
    needed = ("client_email", "private_key")
    if given.get("type") != "service_account" or not all(given.get(name) for name in needed):
        raise ConfigurationError(
            "credentials must be the JSON text of a service account's key, as the console gives it out"
        )
    kept = {name: given[name] for name in (*needed, "private_key_id") if given.get(name)}
    try:
        found: Credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            kept | {"token_uri": _TOKEN_URI}, scopes=_SCOPES
        )
    except Exception as error:
        text = f"the private key in credentials cannot be read ({type(error).__name__})"
        raise ConfigurationError(text) from None
    return found
