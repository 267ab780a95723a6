"""The table of token endpoints."""

from collections.abc import Callable

from headrace.http.contract import Answer, Call, Route
from headrace.services.ims.service import ImsService
from headrace.services.ims.wire import fields, token_answer

Grant = Callable[[dict[str, str]], tuple[str, int]]


def routes(service: ImsService) -> list[Route]:
    """Lifetimes are in the unit that the endpoint's clients read: seconds, but milliseconds for codes and assertions.

    A client that takes the milliseconds of a code's token for seconds merely renews it later than it could.
    """

    def seconds(grant: Grant) -> Callable[[Call], Answer]:
        return lambda call: token_answer(*grant(fields(call)))

    def milliseconds(grant: Grant) -> Callable[[Call], Answer]:
        def handler(call: Call) -> Answer:
            token, lifetime = grant(fields(call))
            return token_answer(token, lifetime * 1000)

        return handler

    table = [
        ("/ims/token/v3", seconds(service.client_credentials), "Token for client credentials"),
        ("/ims/token/v2", seconds(service.client_credentials), "Token for client credentials"),
        ("/ims/token/v1", milliseconds(service.authorization_code), "Token for a code"),
        ("/ims/exchange/jwt", milliseconds(service.jwt_exchange), "Token for an assertion"),
    ]
    return [Route("POST", path, handler, "ims", text, auth="none") for path, handler, text in table]
