"""User agents; names and unknown values follow Yauaa's habits."""

from functools import lru_cache
from typing import Any

from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
from headrace.mapping.values import text_of

_AGENTS = {"Mobile Safari": "Safari", "Chrome Mobile": "Chrome", "Firefox Mobile": "Firefox", "Chrome Mobile iOS": "Chrome", "Firefox iOS": "Firefox"}  # fmt: skip
_CONSOLES = ("playstation", "xbox", "nintendo")


@lru_cache(maxsize=1024)
def _fields(text: str) -> dict[str, str]:
    import ua_parser  # takes a server's start longer than all other functions, and few mappings need it

    found = ua_parser.parse(text[:2048])
    os_name, os_parts = "Unknown", []
    agent_name, agent_parts = "Unknown", []
    if found.os:
        os_name = found.os.family
        os_parts = [p for p in (found.os.major, found.os.minor, found.os.patch) if p]
    if found.user_agent:
        agent_name = _AGENTS.get(found.user_agent.family, found.user_agent.family)
        agent = found.user_agent
        agent_parts = [p for p in (agent.major, agent.minor, agent.patch) if p]
    os_version = ".".join(os_parts) or "??"
    agent_version = ".".join(agent_parts) or "??"
    return {
        "ua_os_name": os_name,
        "ua_os_version_major": f"{os_name} {os_parts[0] if os_parts else '??'}",
        "ua_os_version": os_version,
        "ua_os_name_version": f"{os_name} {os_version}",
        "ua_agent_version": agent_version,
        "ua_agent_version_major": f"{agent_name} {agent_parts[0] if agent_parts else '??'}",
        "ua_agent_name": agent_name,
        "ua_device_class": _device_class(
            text.lower(), os_name, found.device.family if found.device else ""
        ),
    }


def _device_class(text: str, os_name: str, device: str) -> str:
    if device == "Spider" or "bot" in text:
        return "Robot"
    if any(console in text for console in _CONSOLES):
        return "Game Console"
    if (
        "ipad" in text
        or "tablet" in text
        or "kindle" in text
        or ("android" in text and "mobile" not in text)
    ):
        return "TV" if "tv" in text else "Tablet"
    if "watch" in text:
        return "Watch"
    if "smart-tv" in text or "smarttv" in text or "appletv" in text or "apple tv" in text:
        return "TV"
    if "iphone" in text or "android" in text or "windows phone" in text or "ipod" in text:
        return "Phone"
    if os_name.startswith(("Windows", "Mac OS", "Linux", "Ubuntu", "Chrome OS", "Fedora")):
        return "Desktop"
    return "Mobile" if "mobile" in text else "Unknown"


def _reader(name: str) -> Any:
    return null_to_null(lambda text: _fields(text_of(text))[name])


_PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 5_1_1 like Mac OS X) AppleWebKit/534.46 (KHTML, like Gecko) "
    "Version/5.1 Mobile/9B206 Safari/7534.48.3"
)
_TEXT = (Parameter("userAgent", "string", "the text of a user agent"),)
FUNCTIONS = tuple(
    Function(name, "User Agent", _TEXT, "string", what, examples((f"{name}(userAgent)", f'"{example}"', f"{name}(null)", "null")), _reader(name), record={"userAgent": _PHONE})
    for name, what, example in (
        ("ua_os_name", "The operating system.", "iOS"),
        ("ua_os_version_major", "The operating system and its major version.", "iOS 5"),
        ("ua_os_version", "The version of the operating system.", "5.1.1"),
        ("ua_os_name_version", "The operating system and its version.", "iOS 5.1.1"),
        ("ua_agent_version", "The version of the agent.", "5.1"),
        ("ua_agent_version_major", "The agent and its major version.", "Safari 5"),
        ("ua_agent_name", "The agent.", "Safari"),
        ("ua_device_class", "The class of the device.", "Phone"),
    )
)  # fmt: skip
