"""Calls to the JSON-RPC of a Kiwi TCMS: a result, or the error that its answer means.

Beware: a session that has ended and a missing permission are both answered with 403. Only another call, which every
account may make, tells them apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from migrator.errors import (
    ForbiddenError,
    GoneError,
    OutcomeUnknownError,
    RejectedError,
    RetriableError,
    UnexpectedBodyError,
)
from migrator.ports import Body
from migrator.trackers.lenient import as_object, as_objects, integer, text
from migrator.trackers.strict import list_in, object_in
from migrator.wire import Base64JsonBody, HttpClient, RawBody, Request, written_json

PATH = "json-rpc/"
"""With the slash: without it, Kiwi redirects, and the redirect turns a call into a request for a page."""
ENVELOPE = {"jsonrpc": "2.0", "id": 1}
OWNER_PARAMETERS = {"TestCase": "case_id", "TestPlan": "plan_id"}

MAX_SENDS = 4
"""How often one call that is refused is sent before it fails, for now."""

_INTERNAL = -32603
"""The code of whatever went wrong inside of a method; the other codes mean that the call itself is wrong."""
_TOO_LARGE = "DATA_UPLOAD_MAX_MEMORY_SIZE"
_NO_DATABASE = "/init-db/"
"""Where Kiwi redirects every request while its database is locked or away, before it looks at the request."""
_REFUSED_FIELD = "{'"
"""The message of a refused value is a dictionary, as Python writes it: the field, and the reasons."""


class MethodError(RetriableError):
    """A method was carried out and failed inside, for a reason that may pass."""


class Api:
    """The API of one Kiwi."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def call(self, method: str, *params: object) -> Any:
        """The result of a call that may be repeated. `MethodError` if the method failed inside."""
        return result_in(await self._answer(_request(_call(method, params))), method)

    async def call_each(self, method: str, ids: Sequence[int]) -> dict[int, Any]:
        """The results of calls with one id each, sent together; ids that were answered with an error are missing."""
        calls = [_call(method, [number]) | {"id": place} for place, number in enumerate(ids, 1)]
        answers = {integer(answer.get("id")): answer for answer in as_objects(await self._answer(_request(calls)))}
        results = ((number, answers.get(place, {})) for place, number in enumerate(ids, 1))
        return {number: answer["result"] for number, answer in results if answer.get("result") is not None}

    async def create(self, method: str, values: Mapping[str, object]) -> Any:
        """The result of a call that creates something; errors as for `attach`."""
        return await self._write(method, _request(_call(method, [values])))

    async def attach(self, kind: str, number: int, name: str, body: Body) -> None:
        """Add a file. `RejectedError` if Kiwi refuses it, `OutcomeUnknownError` after any other error of the method."""
        method, owner = f"{kind}.add_attachment", {OWNER_PARAMETERS[kind]: number, "filename": name}
        streamed = _FileCall(method, Base64JsonBody(owner, "b64content", body))
        await self._write(method, Request("POST", PATH, body=RawBody(streamed, "application/json")))

    async def _write(self, method: str, request: Request) -> Any:
        try:
            return result_in(await self._answer(request, once=True), method)
        except MethodError as error:
            raise OutcomeUnknownError(f"{method}: it may or may not have been done ({error})", finished=True) from None

    async def find(self, kind: str, **lookups: object) -> list[Any]:
        """The test cases or plans that meet these conditions, in no order."""
        return list_in(await self.call(f"{kind}.filter", lookups))

    async def require(self, kind: str, number: int) -> None:
        """`GoneError` if there is certainly no such test case or plan."""
        if not await self.find(kind, pk=number):
            raise GoneError(f"{kind} {number} does not exist")

    async def _answer(self, request: Request, *, once: bool = False) -> Any:
        """The answer to a request. After a 403 because the session has ended, log in and send it again.

        Another request may have logged in meanwhile, or kept the session alive that had just ended; so being logged in
        means a missing permission only if the call is refused again.
        """
        was_logged_in = False
        for _ in range(MAX_SENDS):
            session = self._http.lend()
            try:
                return await self._sent(request, once=once)
            except ForbiddenError as error:
                refusal = error
            is_logged_in = await self._is_logged_in() and self._http.lend().logins == session.logins
            if is_logged_in and was_logged_in:
                raise ForbiddenError(f"this account has no permission for it: {refusal}", status=403)
            was_logged_in = is_logged_in
            if not is_logged_in:
                await self._http.renewed(session, files=False)
        raise RetriableError(f"each session that Kiwi opened ended at once: {refusal}")

    async def _is_logged_in(self) -> bool:
        try:
            await self._sent(_request(_call("KiwiTCMS.version", [])))
        except ForbiddenError:
            return False
        return True

    async def _sent(self, request: Request, *, once: bool = False) -> Any:
        """The answer to one request. `RetriableError` while the database is away; then nothing was carried out."""
        try:
            return (await (self._http.write if once else self._http.send)(request)).json()
        except RejectedError as error:
            if _NO_DATABASE not in str(error):
                raise
            raise RetriableError(f"Kiwi has no connection to its database, or can't use it ({error})") from None


class _FileCall(Body):
    """The call of a method with these parameters, one of which is a file."""

    def __init__(self, method: str, params: Base64JsonBody) -> None:
        self._head = f'{written_json({**ENVELOPE, "method": method})[:-1]},"params":'.encode()
        self._params = params
        self.size = len(self._head) + int(params.headers["Content-Length"]) + 1

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        async for chunk in self._params:
            yield chunk
        yield b"}"


def _call(method: str, params: object) -> dict[str, object]:
    return {**ENVELOPE, "method": method, "params": params}


def _request(value: object) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request("POST", PATH, headers=headers, body=written_json(value).encode())


def result_in(answer: object, method: str) -> Any:
    """The result in an answer, or the error that it means."""
    fields = object_in(answer)
    if "error" not in fields:
        if "result" not in fields:
            raise UnexpectedBodyError(f"{method}: the answer holds neither a result nor an error")
        return fields["result"]
    error = as_object(fields["error"])
    message = " ".join(text(error.get("message")).removeprefix("Internal error: ").split())[:300]
    if _TOO_LARGE in message:
        raise RejectedError(f"{method}: too large: {message}", status=413)
    if message.startswith(_REFUSED_FIELD):
        raise RejectedError(f"{method}: Kiwi refuses it: {message.partition(': ')[2].strip('[]{}')}")
    if integer(error.get("code")) != _INTERNAL or message.startswith("[("):
        raise RejectedError(f"{method}: {message}")
    raise MethodError(f"{method}: {message}")
