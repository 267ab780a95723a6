"""Calls of the Kinesis API, and what their failures mean to a flow.

No error text has a secret in it, and no error keeps the library's own as its cause.
"""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, HeadraceError, Terminal, Transient
from headrace.sources.contract import Settings
from headrace.sources.pinned import pin

CONNECT_SECONDS, ANSWER_SECONDS = 5, 20
_MAKING = Lock()  # a session, which holds the API's parsed description, serves one thread at a time
_SECRETS = ("secretKey", "sessionToken", "accessKeyId")
_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "KMSThrottlingException",
}
_COMES_BACK = {
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "ExpiredNextTokenException",
    "ResourceInUseException",
    "InternalFailure",
    "InternalFailureException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "RequestTimeoutException",
}
_REFUSED = {
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "AccessDeniedException",
    "AccessDenied",
    "NotAuthorized",
    "OptInRequired",
}


_HOLDS = {
    "list_streams": "StreamNames",
    "describe_stream": "StreamDescription",
    "get_shard_iterator": "ShardIterator",
    "get_records": "Records",
}  # what every answer of an operation has


class Throttled(Transient):
    """The service's limit on calls or bytes is reached."""


class IteratorExpired(Transient):
    """A new iterator from the same position goes on."""


class ArgumentRefused(Terminal):
    """An iterator or a sequence number that is not of this stream."""


class Api:
    """Kinesis with the credentials of one connection. Every method may raise Transient or Terminal."""

    def __init__(self, settings: Settings) -> None:
        auth = auth_of(settings)
        self._secrets = [str(auth[name]) for name in _SECRETS if auth.get(name)]
        self.client = _client(auth)
        if auth.get("endpointUrl"):
            pin(self.client, settings.reach)

    def close(self) -> None:
        self.client.close()

    def call(self, operation: str, what: str, /, **arguments: Any) -> dict[str, Any]:
        """The answer of one call, not repeated. `what` names its object in error texts."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
        from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]

        fault: HeadraceError
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(**arguments)
            if _HOLDS[operation] in answer:
                return answer
            # a proxy's page: without this, a missing NextShardIterator would mean a closed shard
            fault = Transient(f"Amazon Kinesis, {what}: the answer is none of Kinesis")
        except ClientError as error:
            fault = service_fault(error.response, what)
        except (BotoCoreError, ResponseParserError) as error:
            fault = _library_fault(error, what)
        raise type(fault)(self._without_secrets(str(fault))) from None

    def describe(self, stream: str) -> dict[str, Any]:
        """The description of a stream with the shards of all pages."""
        arguments = {"StreamName": stream}
        shards: list[Mapping[str, Any]] = []
        while True:
            answer = self.call("describe_stream", f"stream {stream}", **arguments)
            page: dict[str, Any] = answer["StreamDescription"]
            shards += page["Shards"]
            if not page["HasMoreShards"] or not page["Shards"]:
                return page | {"Shards": shards, "Time": server_time(answer, time.time())}
            arguments["ExclusiveStartShardId"] = page["Shards"][-1]["ShardId"]

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def auth_of(settings: Settings) -> Mapping[str, Any]:
    """The authentication parameters; ConfigurationError names what is missing or cannot be used."""
    auth = settings.auth
    for name in ("accessKeyId", "secretKey", "region"):
        if not auth.get(name):
            raise ConfigurationError(f"the authentication of Amazon Kinesis needs {name}")
    endpoint = str(auth.get("endpointUrl") or "")
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("endpointUrl of Amazon Kinesis must be an http or https URL")
        if parts.username is not None:
            raise ConfigurationError("endpointUrl of Amazon Kinesis must not hold credentials")
    return auth


@cache
def _session() -> Any:
    import boto3  # type: ignore[import-untyped]

    return boto3.session.Session()


def _client(auth: Mapping[str, Any]) -> Any:
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retries={"total_max_attempts": 1},  # the reader waits itself: it knows for how long it may
        ignore_configured_endpoint_urls=True,  # the server's own surroundings are not the user's
        user_agent_extra="headrace",
    )
    try:
        with _MAKING:
            return _session().client(
                "kinesis",
                region_name=str(auth["region"]),
                aws_access_key_id=str(auth["accessKeyId"]),
                aws_secret_access_key=str(auth["secretKey"]),
                aws_session_token=str(auth.get("sessionToken") or "") or None,
                endpoint_url=str(auth.get("endpointUrl") or "") or None,
                config=config,
            )
    except (BotoCoreError, ValueError) as error:
        kind = type(error).__name__
        raise ConfigurationError(f"Amazon Kinesis cannot be called this way: {kind}") from None


def service_fault(response: Mapping[str, Any], what: str) -> HeadraceError:
    """What an error answer of the service means."""
    code = str(response.get("Error", {}).get("Code", "")).rsplit("#", 1)[-1]
    said = str(response.get("Error", {}).get("Message", ""))[:300]
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"Amazon Kinesis, {what}: {code}: {said}"
    if code in _THROTTLED or status == 429:
        return Throttled(text)
    if code == "ExpiredIteratorException":
        return IteratorExpired(text)
    if code in _REFUSED:
        if said.startswith(("Signature expired", "Signature not yet current")):
            return Transient(text)  # clocks that disagree, or a call that was long on its way
        # the service tells the string that was to be signed: of no use to an operator
        told = f": {said}" if code in ("AccessDeniedException", "AccessDenied") else ""
        return Terminal(f"Amazon Kinesis refused the credentials, {what}: {code}{told}")
    if code == "InvalidArgumentException":
        return ArgumentRefused(text)
    if code in _COMES_BACK or status >= 500:
        return Transient(text)
    return Terminal(text)


def _library_fault(error: Exception, what: str) -> HeadraceError:
    """What a failure before any answer means: the network's may pass, an argument's may not."""
    from botocore import exceptions  # type: ignore[import-untyped]

    passing = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
    )
    kind = type(error).__name__
    inner = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, HeadraceError):  # of `pin`: where it may not connect to
        return type(inner)(f"Amazon Kinesis, {what}: {inner}")
    if isinstance(error, passing) or kind == "ResponseParserError":
        return Transient(f"Amazon Kinesis, {what}: no answer from the service ({kind})")
    return Terminal(f"Amazon Kinesis, {what}: the call cannot be made ({kind})")


def server_time(answer: Mapping[str, Any], fallback: float) -> int:
    """The service's clock at an answer, in milliseconds cut to the second; `fallback` is ours, in seconds."""
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return int(parsedate_to_datetime(said).timestamp()) * 1000
    except (TypeError, ValueError):
        return int(fallback) * 1000
