"""Calls of Trac's plugin by JSON-RPC: what their answers mean, and many calls in one request.

Every answer has status 200 and holds a result or an error with a code: that of the HTTP status it stands for, or one of
JSON-RPC.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from migrator.errors import (
    ForbiddenError,
    GoneError,
    ItemFailedError,
    OutcomeUnknownError,
    RejectedError,
    RetriableError,
    ShortListingError,
    UnexpectedBodyError,
)
from migrator.trackers.lenient import as_object, integer, text
from migrator.trackers.strict import list_in, object_in
from migrator.wire import Answer, Base64CallBody, HttpClient, Request

PATH = "login/rpc"
ANY_STATUS = "status!=no-such-status"
"""Without a condition on the status, a query leaves out closed tickets."""
_BUSY = ("database is locked", "unable to get database connection", "timeout", "try again")
"""In the message of an error that may pass."""

Call = tuple[str, Sequence[object]]
"""A method and its parameters."""


class Api:
    """The API of one Trac."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def call(self, method: str, *params: object) -> Any:
        """The result of a call that only reads, or that may be repeated."""
        return result_in((await self._http.send(_request(encoded(method, *params)))).json(), method)

    async def write(self, method: str, *params: object) -> Any:
        """The result of a call that must not be repeated blindly."""
        return self._written(await self._http.write(_request(encoded(method, *params))), method)

    async def put(self, body: Base64CallBody, method: str) -> Any:
        """The result of a call that sends a file."""
        return self._written(await self._http.write(Request("POST", PATH, body=body)), method)

    def _written(self, answer: Answer, method: str) -> Any:
        """The result of a write. An error that may pass leaves it open whether anything was written."""
        try:
            return result_in(answer.json(), method)
        except UnexpectedBodyError:
            raise
        except RetriableError as error:
            raise OutcomeUnknownError(f"{error}: it may or may not have been done", finished=True) from None

    async def calls(self, calls: Sequence[Call]) -> list[Any]:
        """The result or error of each of many calls, made by one request. Raises errors that may pass."""
        named = [{"method": method, "params": params, "id": number} for number, (method, params) in enumerate(calls, 1)]
        answers = list_in(await self.call("system.multicall", *named))
        if [integer(as_object(answer).get("id")) for answer in answers] != [*range(1, len(calls) + 1)]:
            raise UnexpectedBodyError(f"{len(answers)} answers came to {len(calls)} calls, or in another order")
        return [_result_or_error(answer, method) for answer, (method, _) in zip(answers, calls, strict=True)]

    async def tickets(self, condition: str) -> list[int]:
        """The numbers of all tickets that meet a condition, whatever their status, in their order."""
        found = await self.call("ticket.query", f"{ANY_STATUS}&order=id&max=0&{condition}".rstrip("&"))
        numbers = [integer(number) for number in list_in(found)]
        if None in numbers:
            raise UnexpectedBodyError("ticket.query: the answer has something else than numbers")
        return sorted(number for number in numbers if number is not None)

    async def newest(self) -> int:
        """The highest number of all tickets that this account may see; 0 if there are none."""
        found = list_in(await self.call("ticket.query", f"{ANY_STATUS}&order=id&desc=1&max=1"))
        return max((integer(number) or 0 for number in found), default=0)

    async def count(self) -> int:
        """How many tickets there are. `ShortListingError` unless the query shows the highest of them."""
        numbers, newest = await self.tickets(""), await self.newest()
        if newest not in {0, *numbers}:
            raise ShortListingError(f"ticket.query: {len(numbers)} tickets were listed, and number {newest} is missing")
        return len(numbers)


def encoded(method: str, *params: object) -> bytes:
    """A call as it is sent."""
    return json.dumps({"id": 1, "method": method, "params": params}).encode()


def result_in(answer: object, method: str) -> Any:
    """The result that an answer holds, or its error."""
    fields = object_in(answer)
    if fields.get("error") is not None:
        raise error_for(as_object(fields["error"]), method)
    if "result" not in fields:
        raise UnexpectedBodyError(f"{method}: the answer holds no result")
    return fields["result"]


def error_for(error: dict[str, Any], method: str) -> ItemFailedError:
    """The error of ours that an error of the plugin means."""
    code, reason = integer(error.get("code")), " ".join(text(error.get("message")).split())[:300]
    message = f"{method}: error {code}" + (f", {reason}" if reason else "")
    if code == 404:
        return GoneError(message, status=404)
    if code == 403:
        return ForbiddenError(message, status=403)
    return RetriableError(message) if any(word in reason.lower() for word in _BUSY) else RejectedError(message)


def _result_or_error(answer: object, method: str) -> Any:
    try:
        return result_in(answer, method)
    except RejectedError as error:
        return error


def _request(body: bytes) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request("POST", PATH, headers=headers, body=body)
