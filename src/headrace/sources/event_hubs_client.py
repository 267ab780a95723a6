"""Clients of Azure Event Hubs for one connection, and what their failures mean to a flow.

No error text has a secret in it, and no error keeps the library's own as its cause.
"""

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, HeadraceError, Terminal, Transient
from headrace.sources.contract import Settings

if TYPE_CHECKING:
    from azure.eventhub import EventHubConsumerClient

SAS = "Azure EventHub authentication credentials"
AAD = "Event Hub Azure Active Directory Auth"
SCOPED_AAD = "Event Hub Scoped Azure Active Directory Auth"
SCOPE = "https://eventhubs.azure.net/.default"
_NEEDS = {
    SAS: ("sasKeyName", "sasKey", "namespace"),
    AAD: ("tenantId", "clientId", "clientSecretValue", "namespace"),
    SCOPED_AAD: ("tenantId", "clientId", "clientSecretValue", "namespace", "eventHubName"),
}
_SECRETS = ("sasKey", "clientSecretValue")
_DOMAIN = ".servicebus.windows.net"
_NAME = re.compile(r"[\w.$-]{1,256}")
_REFUSED = {"unauthorized-access", "auth-failed"}
_UNKNOWN = {"not-found", "resource-deleted"}
_TERMINAL = _REFUSED | _UNKNOWN | {
    "not-allowed",
    "not-implemented",
    "argument-error",
    "argument-out-of-range",
    "entity-disabled",
    "link:stolen",
}  # fmt: skip
_HINTS = {
    "link:stolen": "another reader holds this partition; the flow needs a consumer group of its own",
    "entity-disabled": "the hub is disabled",
}
_STATUS = re.compile(r"Status code: (\d+)")
_PATIENT = {"retry_total": 0, "retry_backoff_factor": 0.05, "load_balancing_interval": 5.0}
# the reader waits itself, from where it is: the library's own repetition hands events over twice
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Extent:
    """Numbers of the oldest event kept and of the next one to come; `at` is the newest one's time in milliseconds."""

    oldest: int
    end: int
    at: int


class Account:
    """A hub, as one connection reaches it. Methods that ask may raise Transient or Terminal."""

    def __init__(self, settings: Settings) -> None:
        auth = auth_of(settings)
        self.host = host_of(auth)
        self.hub = hub_of(settings)
        self.group = group_of(settings)
        self._auth = auth
        self._reach = settings.reach
        self._secrets = [str(auth[name]) for name in _SECRETS if auth.get(name)]
        self._tokens = None if settings.auth_spec == SAS else Tokens(_client_secret(auth))

    def client(self, hub: str | None = None) -> "EventHubConsumerClient":
        """A new client, not yet connected; the caller closes it."""
        from azure.eventhub import (
            EventHubConsumerClient,
            EventHubSharedKeyCredential,
            TransportType,
        )

        name = hub or self.hub
        options: dict[str, Any] = {**_PATIENT, "user_agent": "headrace"}
        endpoint = urlsplit(str(self._auth.get("endpointUrl") or ""))
        if endpoint.hostname:
            port = endpoint.port or (5671 if endpoint.scheme == "amqps" else 5672)
            address = self._reach(endpoint.hostname, port)
        elif not self.host.endswith(_DOMAIN):
            self._reach(self.host, 5671)
        if endpoint.scheme == "amqp":
            where = f"[{address}]" if ":" in address else address
            return EventHubConsumerClient.from_connection_string(
                f"Endpoint=sb://{where}:{port};SharedAccessKeyName={self._auth['sasKeyName']};"
                f"SharedAccessKey={self._auth['sasKey']};UseDevelopmentEmulator=true",
                self.group,
                eventhub_name=name,
                **options,
            )
        if endpoint.hostname:
            options["custom_endpoint_address"] = f"sb://{endpoint.netloc}"
            options["transport_type"] = TransportType.Amqp
        credential: Any = self._tokens or EventHubSharedKeyCredential(
            str(self._auth["sasKeyName"]), str(self._auth["sasKey"])
        )
        return EventHubConsumerClient(self.host, name, self.group, credential, **options)

    def ask(
        self, what: str, question: Callable[["EventHubConsumerClient"], T], hub: str | None = None
    ) -> T:
        """An answer of the hub's management node; `what` names the question in error texts."""
        client = self.client(hub)
        conditions.forget()
        try:
            return question(client)
        except Exception as error:
            raise self.fault(error, what) from None
        finally:
            client.close()

    def partitions(self) -> list[str]:
        what = f"listing the partitions of hub {self.hub}"
        return self.ask(what, lambda client: list(client.get_partition_ids()))

    def extent(self, partition: str) -> Extent:
        what = f"looking at partition {partition} of hub {self.hub}"
        told = self.ask(what, lambda client: client.get_partition_properties(partition))
        end = int(told["last_enqueued_sequence_number"]) + 1
        oldest = end if told["is_empty"] else int(told["beginning_sequence_number"])
        return Extent(oldest, end, int(told["last_enqueued_time_utc"].timestamp() * 1000))

    def token(self) -> None:
        """Asks Azure Active Directory for a token, where the connection has them."""
        if self._tokens:
            try:
                self._tokens.get_token(SCOPE)
            except Exception as error:
                raise self.fault(error, "asking for a token") from None

    def fault(self, error: Exception, what: str) -> HeadraceError:
        """What a failure of the library means; `what` was being done."""
        failed = self._tokens.failure if self._tokens else None
        found = meaning(failed or error, what)
        text = str(found)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return type(found)(text)


class Tokens:
    """A credential that remembers its last failure: the AMQP library hands on no more than its text."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self.failure: Exception | None = None

    def get_token(self, *scopes: str, **options: Any) -> Any:
        try:
            token = self._credential.get_token(*scopes, **options)
        except Exception as error:
            self.failure = error
            raise
        self.failure = None
        return token


class _Conditions(logging.Handler):
    """The condition with which a token was refused: the library puts it into its log, and into nothing else."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._last = threading.local()
        log = logging.getLogger("azure.eventhub._pyamqp.cbs")
        log.addHandler(self)
        if log.getEffectiveLevel() > logging.INFO:
            log.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("CBS Put token error") and isinstance(record.args, tuple):
            said = record.args[0] if record.args else b""
            self._last.condition = said.decode() if isinstance(said, bytes) else str(said)

    def forget(self) -> None:
        self._last.condition = ""

    @property
    def last(self) -> str:
        """Of the thread that asks."""
        return str(getattr(self._last, "condition", ""))


conditions = _Conditions()


def meaning(error: Exception, what: str) -> HeadraceError:
    """Terminal where waiting cannot help: credentials refused, nothing of that name, a position that is not there."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.eventhub.exceptions import AuthenticationError

    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    text = f"Azure Event Hubs, {what}: {said}"
    if isinstance(error, ClientAuthenticationError):
        return Terminal(f"Azure Active Directory refused the credentials: {said}")
    condition = str(getattr(error, "error", None) or "")
    if isinstance(error, AuthenticationError) and condition == "client-error":
        status = _STATUS.search(str(error))
        condition = conditions.last.partition(":")[2]
        if status:
            condition = {"401": "unauthorized-access", "403": "unauthorized-access", "404": "not-found"}.get(status[1], "")  # fmt: skip
    if condition in _REFUSED:
        return Refused(f"Azure Event Hubs refused the credentials, {what}: {said} ({condition})")
    if condition in _UNKNOWN:
        return Unknown(f"{text} ({condition})")
    if condition in _TERMINAL:
        return Terminal(f"{text} ({_HINTS.get(condition, condition)})")
    return Transient(f"{text} ({condition})" if condition else text)


class Refused(Terminal):
    """The service does not let these credentials do it."""


class Unknown(Terminal):
    """There is no hub, consumer group or partition of that name."""


def auth_of(settings: Settings) -> Mapping[str, Any]:
    """The authentication parameters; ConfigurationError names what is missing or cannot be used."""
    auth = settings.auth
    needs = _NEEDS.get(settings.auth_spec)
    if needs is None:
        raise ConfigurationError(f"Azure Event Hubs has no authentication {settings.auth_spec}")
    for name in needs:
        if not auth.get(name):
            raise ConfigurationError(f"the authentication of Azure Event Hubs needs {name}")
    endpoint = str(auth.get("endpointUrl") or "")
    if endpoint:
        parts = urlsplit(endpoint)
        if (
            parts.scheme not in ("amqp", "amqps", "kafka", "kafkas")
            or not parts.hostname
            or parts.username is not None
        ):
            raise ConfigurationError(
                "endpointUrl of Azure Event Hubs must be amqps://host[:port] or, for the Kafka endpoint,"
                " kafkas://host[:port]; amqp:// and kafka:// are without TLS"
            )
        if parts.scheme == "amqp" and settings.auth_spec != SAS:
            raise ConfigurationError("tokens of Azure Active Directory are not sent without TLS")
        if parts.scheme == "amqp" and ";" in f"{auth['sasKeyName']}{auth['sasKey']}":
            raise ConfigurationError("sasKeyName and sasKey cannot contain a semicolon")
    return auth


def host_of(auth: Mapping[str, Any]) -> str:
    """The host of a namespace, given by its name alone or by its whole host name."""
    name = str(auth["namespace"]).strip().removeprefix("sb://").rstrip("/").lower()
    if not re.fullmatch(r"[a-z0-9.-]+", name):
        raise ConfigurationError("namespace of Azure Event Hubs must be a name or a host name")
    return name if "." in name else name + _DOMAIN


def hub_of(settings: Settings) -> str:
    """The hub's name, or "" where neither the connection nor the source connection names one."""
    scoped = str(settings.auth.get("eventHubName") or "")
    named = str(settings.params.get("eventHubName") or scoped)
    if named and not re.fullmatch(r"[\w./-]{1,256}", named):
        raise ConfigurationError("eventHubName is not the name of a hub")
    if scoped and scoped.lower() != named.lower():
        raise ConfigurationError(f"the credentials are for the hub {scoped}, not for {named}")
    return named


def group_of(settings: Settings) -> str:
    """The consumer group, by either of its two names."""
    params = settings.params
    group = str(params.get("consumerGroup") or params.get("eventHubConsumerGroup") or "$Default")
    if not _NAME.fullmatch(group):
        raise ConfigurationError("consumerGroup is not the name of a consumer group")
    return group


def _client_secret(auth: Mapping[str, Any]) -> Any:
    from azure.identity import ClientSecretCredential

    try:
        return ClientSecretCredential(
            str(auth["tenantId"]), str(auth["clientId"]), str(auth["clientSecretValue"])
        )
    except ValueError:
        raise ConfigurationError("tenantId of Azure Event Hubs is not a tenant's id") from None
