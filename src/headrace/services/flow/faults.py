"""Flow Service's errors by number."""

from headrace.errors import ApiError


def invalid(number: int, detail: str) -> ApiError:
    """A 400 of Flow Service."""
    return ApiError(400, f"FLOW-{number}-400", "Invalid request", detail)


def connector(number: int, detail: str) -> ApiError:
    """A 400 of the connector side."""
    return ApiError(400, f"CONNECTOR-{number}-400", "Invalid request", detail)


def missing(kind: str, id: str) -> ApiError:
    """The 404 of an unknown id."""
    return ApiError(
        404,
        "FLOW-1439-404",
        "Resource not found",
        f"There is no entity with id {id} in {kind}.",
        id=id,
        type=kind,
    )
