"""How identity namespaces word their errors."""

from headrace.errors import ApiError


def invalid(detail: str) -> ApiError:
    return ApiError(400, "INVALID_REQUEST_PARAMS", "Namespace validation", detail)


def not_found(id: str) -> ApiError:
    code = "NAMESPACE_NOT_FOUND"
    return ApiError(404, code, code, f"There is no namespace with id {id}.")


def conflict(code: str) -> ApiError:
    return ApiError(
        409,
        "INTEGRATION_CODE_EXISTS",
        "NAMESPACE_CODE_CONFLICT",
        f"A namespace with code {code} exists already; letter case does not tell codes apart.",
    )
