"""What a Pub/Sub connection and its source name: both generations of names and parameters."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.errors import ConfigurationError
from headrace.sources.contract import Settings

PROJECT_AUTH = frozenset(
    {"Project Based Authentication", "Google PubSub authentication credentials"}
)
SCOPED_AUTH = frozenset(
    {
        "Topic & Subscription Based Authentication",
        "Google PubSub Scoped authentication credentials",
    }
)
_PATH = re.compile(r"projects/([^/]+)/(topics|subscriptions)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Names:
    """Full paths of what is named, and the project; `scoped` says that the connection reaches no more than these."""

    scoped: bool
    project: str | None
    topic: str | None
    subscription: str | None


def names_of(settings: Settings) -> Names:
    """ConfigurationError for a name in no known form, or one without a project."""
    scoped = settings.auth_spec in SCOPED_AUTH
    if not scoped and settings.auth_spec not in PROJECT_AUTH:
        raise ConfigurationError(f"'{settings.auth_spec}' is no authentication of Pub/Sub")
    given = {
        kind: _given(settings, f"{kind}Name", f"{kind}Id") for kind in ("topic", "subscription")
    }
    if scoped and not any(given.values()):
        raise ConfigurationError(
            "the Pub/Sub connection names neither a topic (topicName) nor a subscription (subscriptionName)"
        )
    project = _project(settings)
    return Names(
        scoped, project, _path("topics", given["topic"], project),
        _path("subscriptions", given["subscription"], project),
    )  # fmt: skip


def _given(settings: Settings, *names: str) -> str | None:
    """The source's own word first: a connection may serve several sources."""
    for parameters in (settings.params, settings.auth):
        for name in names:
            text = str(parameters.get(name) or "").strip()
            if text:
                return text
    return None


def _project(settings: Settings) -> str | None:
    stated = str(settings.auth.get("projectId") or "").strip()
    if stated:
        return stated
    for parameters in (settings.params, settings.auth):
        for name in ("subscriptionName", "topicName", "subscriptionId", "topicId"):
            found = _PATH.fullmatch(str(parameters.get(name) or "").strip())
            if found:
                return found[1]
    return str(account(settings).get("project_id") or "") or None


def _path(kind: str, text: str | None, project: str | None) -> str | None:
    if text is None:
        return None
    found = _PATH.fullmatch(text)
    if found:
        if found[2] != kind:
            raise ConfigurationError(f"'{text}' must have the form projects/PROJECT/{kind}/NAME")
        return text
    if "/" in text:
        raise ConfigurationError(f"'{text}' must have the form projects/PROJECT/{kind}/NAME")
    if project is None:
        raise ConfigurationError(f"'{text}' needs a project: projects/PROJECT/{kind}/{text}")
    return f"projects/{project}/{kind}/{text}"


def account(settings: Settings) -> Mapping[str, Any]:
    """The service account of the connection as far as it can be read; empty when it cannot."""
    given = settings.auth.get("credentials")
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {}
    return given if isinstance(given, dict) else {}
