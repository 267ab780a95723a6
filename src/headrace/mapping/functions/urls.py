"""URL functions."""

import re
from typing import Any
from urllib.parse import quote, unquote

from headrace.mapping.errors import TransformError
from headrace.mapping.functions.definition import Function, Parameter, examples, null_to_null
from headrace.mapping.limits import bounded_text
from headrace.mapping.values import shorten, text_of, truth

CATEGORY = "URL"
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://(?:(?P<user>[^/?#@\s]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\s]*)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?(?:#(?P<anchor>\S*))?"
)
_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22, "ssh": 22}


def _parts(url: Any) -> dict[str, str | None] | None:
    found = _URL.fullmatch(text_of(url))
    return found.groupdict() if found else None


@null_to_null
def get_url_protocol(url: Any) -> str | None:
    parts = _parts(url)
    return parts["scheme"] if parts else None


@null_to_null
def get_url_host(url: Any) -> str | None:
    parts = _parts(url)
    return (parts["host"] or None) if parts else None


@null_to_null
def get_url_port(url: Any) -> int | None:
    parts = _parts(url)
    if parts is None:
        return None
    if parts["port"]:
        return int(parts["port"])
    return _PORTS.get((parts["scheme"] or "").lower())


@null_to_null
def get_url_path(url: Any, full: Any = True) -> str | None:
    parts = _parts(url)
    if parts is None:
        return None
    path = parts["path"] or ""
    return path if truth(full) else path.rpartition("/")[2]


def _anchor_mode(anchor: Any) -> str:
    mode = text_of(anchor)
    if mode not in ("retain", "remove", "append"):
        raise TransformError(
            f"get_url_query_str: the anchor is handled by retain, remove or append, not {shorten(mode)}."
        )
    return mode


@null_to_null
def get_url_query_str(url: Any, anchor: Any = "retain") -> dict[str, str] | None:
    mode = _anchor_mode(anchor)
    parts = _parts(url)
    if parts is None:
        return None
    out: dict[str, str] = {}
    name = ""
    for pair in filter(None, (parts["query"] or "").split("&")):
        name, _, value = pair.partition("=")
        name = unquote(name)
        out[name] = unquote(value)
    if parts["anchor"] is not None:
        if mode == "append":
            out["_anchor_"] = parts["anchor"]
        elif mode == "retain" and out:
            out[name] += f"#{parts['anchor']}"
    return out


@null_to_null
def get_url_encoded(text: Any) -> str:
    return bounded_text(quote(text_of(text), safe="", errors="replace").replace("~", "%7E"))


@null_to_null
def get_url_decoded(text: Any) -> str:
    return unquote(text_of(text))


def _function(
    name: str, returns: str, what: str, example: tuple[str, ...], call: Any, *more: Parameter
) -> Function:
    first = Parameter("url", "string", "the URL or text")
    return Function(name, CATEGORY, (first, *more), returns, what, examples(example), call)


_FULL = Parameter("full", "boolean", "the whole path, true by default", optional=True)
_ANCHOR = Parameter("anchor", "string", "retain (to the last value), remove or append (as _anchor_)", optional=True, check=_anchor_mode)  # fmt: skip
FUNCTIONS = (
    _function("get_url_protocol", "string", "The scheme of a URL, null when it is none.", ('get_url_protocol("https://platform.adobe.com/home")', '"https"', 'get_url_protocol("home")', "null"), get_url_protocol),
    _function("get_url_host", "string", "The host of a URL, null when it is none.", ('get_url_host("https://platform.adobe.com/home")', '"platform.adobe.com"'), get_url_host),
    _function("get_url_port", "integer", "The port of a URL, by default that of its scheme.", ('get_url_port("sftp://example.com/a.csv")', "22", 'get_url_port("https://example.com:8443")', "8443"), get_url_port),
    _function("get_url_path", "string", "The path of a URL, or only its last segment.", ('get_url_path("https://example.com/a/b.csv")', '"/a/b.csv"', 'get_url_path("https://example.com/a/b.csv", false)', '"b.csv"'), get_url_path, _FULL),
    _function("get_url_query_str", "map", "The parameters of a URL's query.", ('get_url_query_str("foo://example.com/?name=ferret#nose", "retain")', '{"name":"ferret#nose"}', 'get_url_query_str("foo://example.com/?name=ferret#nose", "remove")', '{"name":"ferret"}', 'get_url_query_str("foo://example.com/?name=ferret#nose", "append")', '{"name":"ferret","_anchor_":"nose"}'), get_url_query_str, _ANCHOR),
    _function("get_url_encoded", "string", "Percent-encodes all reserved characters.", ('get_url_encoded("a b/~é")', '"a%20b%2F%7E%C3%A9"'), get_url_encoded),
    _function("get_url_decoded", "string", "Decodes percent-encoded text; a plus stays a plus.", ('get_url_decoded("a%20b+c")', '"a b+c"'), get_url_decoded),
)  # fmt: skip
