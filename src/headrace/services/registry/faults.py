"""Errors of the Schema Registry."""

from headrace.errors import ApiError

NOT_FOUND = {
    "classes": "1010", "mixins": "1011", "schemas": "1012", "datatypes": "1013", "behaviors": "1014",
    "descriptors": "1015", "unions": "1016",
}  # fmt: skip
_WORDS = {"mixins": "field group", "datatypes": "data type", "classes": "class"}


def not_found(kind: str, id: str, version: int = 1) -> ApiError:
    """404 for an id that nothing has in a major version, with the code of its resource type."""
    word = _WORDS.get(kind, kind.rstrip("s"))
    text = f"The requested {word} resource {id} with version {version} is not found."
    code = f"XDM-{NOT_FOUND.get(kind, '1017')}-404"
    return ApiError(404, code, "Resource not found", text)


def invalid(
    detail: str, code: str = "XDM-1405-400", title: str = "Schema validation error"
) -> ApiError:
    """400 for a resource that breaks a rule."""
    return ApiError(400, code, title, detail)


def forbidden(id: str) -> ApiError:
    """403 for a change of a standard resource."""
    text = f"{id} is a standard resource and cannot be changed."
    return ApiError(403, "XDM-1018-403", "Forbidden", text)
