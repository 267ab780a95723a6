"""The Accept header of the Schema Registry: which view of a resource is wanted."""

import re
from dataclasses import dataclass

from headrace.errors import ApiError

_GRAMMAR = re.compile(
    r"application/vnd\.adobe\.(xed|xdm)((?:-[a-z0-9]+)*)\+json\s*(?:;\s*version\s*=\s*(\d+)(?:\.\d+)?)?\s*"
)
_SUFFIXES = frozenset(
    {"v2", "id", "link", "full", "notext", "desc", "flat", "deprecated", "deprecatefield"}
)
_ANY = ("", "*/*", "application/json", "application/*")


@dataclass(frozen=True, slots=True)
class View:
    """`suffixes` are those of the media type, `version` the major version or None, `family` is xed or xdm."""

    suffixes: frozenset[str] = frozenset()
    version: int | None = None
    family: str = "xdm"

    @property
    def full(self) -> bool:
        return bool(self.suffixes & {"full", "flat", "deprecated", "deprecatefield"})

    @property
    def descriptors(self) -> bool:
        """Whether the descriptors of a schema are to be shown with it."""
        return "desc" in self.suffixes

    @property
    def deprecations(self) -> bool:
        """Whether fields that a descriptor deprecates are to be marked."""
        return bool(self.suffixes & {"deprecated", "deprecatefield"})

    @property
    def ids(self) -> bool:
        return "id" in self.suffixes


def _refuse(code: str, header: str, pattern: str) -> ApiError:
    detail = f"The supplied Accept header is not valid: {header} - A valid Accept value should look like {pattern}"
    return ApiError(400, f"XDM-{code}-400", "Accept header invalid", detail)


def _parse(header: str) -> View | None:
    text = header.split(",")[0].strip()
    if text.split(";")[0].strip() in _ANY:
        return View(version=1)
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        return None
    suffixes = frozenset(filter(None, found[2].split("-")))
    if not suffixes <= _SUFFIXES:
        return None
    return View(suffixes, int(found[3]) if found[3] else None, found[1])


def list_view(header: str) -> View:
    """For lists; ApiError XDM-1006-400."""
    view = _parse(header)
    if view is None:
        raise _refuse("1006", header, "application/vnd.adobe.{xed|xdm}+json")
    return view


def lookup_view(header: str) -> View:
    """For one resource, which must name its major version; ApiError XDM-1007-400."""
    view = _parse(header)
    if view is None or view.version is None:
        pattern = "application/vnd.adobe.{xed|xdm}+json; version=1 (Version should be specified)"
        raise _refuse("1007", header, pattern)
    return view


def lenient_view(header: str) -> View:
    """For calls that take any Accept (behaviors, unions, sample data)."""
    return _parse(header) or View(version=1)


def descriptor_view(header: str) -> View:
    """For lists of descriptors; ApiError XDM-1008-400."""
    view = _parse(header)
    if view is None or not _fits_descriptors(view, "v2", "id", "link"):
        raise _refuse("1008", header, "application/vnd.adobe.xdm-id+json")
    return view


def descriptor_lookup_view(header: str) -> None:
    """For one descriptor; ApiError XDM-1009-400."""
    view = _parse(header)
    if view is None or not _fits_descriptors(view):
        raise _refuse("1009", header, "application/vnd.adobe.xdm+json")


def _fits_descriptors(view: View, *suffixes: str) -> bool:
    """Descriptors have standard names only, and few views."""
    return view.family == "xdm" and view.suffixes <= set(suffixes)
