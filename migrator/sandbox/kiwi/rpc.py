"""JSON-RPC as a sandbox Kiwi TCMS speaks it: sessions, permissions, one call or several, errors with status 200.

Beware: nearly every failure has status 200. Only without a session, or without a permission, is it 403, and there are
no words that tell these two apart. All strings in results are escaped as for HTML.
"""

import asyncio
import html
import inspect
import json
import secrets
import string
import time
from collections import Counter
from typing import Any

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.kiwi.methods import Method, Methods
from migrator.sandbox.kiwi.records import KiwiQuirks, Records
from migrator.sandbox.server import Sandbox, with_faults

MAX_BODY_BYTES = 10 * 1024**2
"""What the proxy before it lets through."""
INTERNAL, PARSE, UNKNOWN, PARAMETERS = -32603, -32700, -32601, -32602


class Rpc:
    """The handler of all calls, and the sessions."""

    def __init__(self, sandbox: Sandbox, quirks: KiwiQuirks, records: Records) -> None:
        self._sandbox, self._quirks = sandbox, quirks
        self._methods = Methods(records, self._faults, quirks)
        self.sessions: dict[str, float] = {}
        """When each session ends, by the clock that only goes forward."""
        self.calls: Counter[str] = Counter()
        """How often each method was called."""

    def _faults(self) -> Faults:
        return self._sandbox.faults

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer calls. Those that are no upload meet the faults that any request may meet."""
        if (request.content_length or 0) > MAX_BODY_BYTES:
            return page("413 Request Entity Too Large", 413)
        if b'.add_attachment"' in (await request.read())[:100]:
            return await self._answer(request)
        return await with_faults(request, self._answer, self._sandbox)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._quirks.locked > 0:
            self._quirks.locked -= 1
            return web.Response(status=302, headers={"Location": "/init-db/"})
        body = await request.read()
        if len(body) > self._quirks.max_request_bytes:
            return _told(
                _error(None, INTERNAL, "Internal error: Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.")
            )
        try:
            payload = json.loads(body)
        except ValueError as error:
            return _told(_error(None, PARSE, f"Parse error, unable to read the request: {error}"))
        await asyncio.sleep(self._quirks.delays.pop() if self._quirks.delays else 0)
        if isinstance(payload, list):
            return _told([self._called(call, request)[0] for call in payload])
        fault = self._upload_fault(payload)
        if fault == "fail_uploads":
            return self._sandbox.faults.refuse(fault)
        answer, status = self._called(payload, request)
        response = _told(answer, status)
        if payload.get("method") == "Auth.login" and "result" in answer:
            response.set_cookie("sessionid", answer["result"], httponly=True, samesite="Lax")
        if str(payload.get("method")).endswith(".add_attachment") and "result" in answer:
            return await self._sandbox.after_upload(request, fault, response)
        return response

    def _upload_fault(self, call: Any) -> str | None:
        """The fault of a call that adds a file."""
        params = call.get("params") if isinstance(call, dict) else None
        if not params or not str(call.get("method")).endswith(".add_attachment"):
            return None
        owner, name, *_ = params.values() if isinstance(params, dict) else (*params, "", "")
        return self._sandbox.faults.of_upload(owner, str(name))

    def _called(self, call: Any, request: web.Request) -> tuple[dict[str, Any], int]:
        """The answer to one call, and its status."""
        if not isinstance(call, dict) or "method" not in call:
            return _error(None, -32600, 'Invalid request: Missing parameter "method"'), 200
        name, params, id_ = str(call["method"]), call.get("params") or [], call.get("id")
        self.calls[name] += 1
        try:
            return self._result(name, params, id_, request), 200
        except RefusedError as error:
            return _error(id_, INTERNAL, f"Internal error: {error.message}"), error.status

    def _result(self, name: str, params: Any, id_: Any, request: web.Request) -> dict[str, Any]:
        method = self._log_in if name == "Auth.login" else self._methods.named(name, self._address(request))
        if method is None:
            return _error(id_, UNKNOWN, f'Method not found: "{name}"')
        if name != "Auth.login" and (name in self._quirks.forbidden or not self._knows(request)):
            raise RefusedError(403, f'Authentication failed when calling "{name}"')
        positional, named = ([], params) if isinstance(params, dict) else (params, {})
        try:
            inspect.signature(method).bind(*positional, **named)
        except TypeError:
            return _error(id_, PARAMETERS, f"Invalid parameters: {_refusal(method, positional, named)}")
        result = method(*positional, **named)
        if broken := self._break(name):
            raise RefusedError(200, broken)
        return {"id": id_, "jsonrpc": "2.0", "result": escaped(result)}

    def _break(self, name: str) -> str:
        """The error that this call ends with although it did its work; empty if there is none."""
        errors = self._quirks.broken.get(name)
        return errors.pop(0) if errors else ""

    def _address(self, request: web.Request) -> str:
        return (self._quirks.address or f"{request.scheme}://{request.host}") + self._sandbox.base_path

    def _knows(self, request: web.Request) -> bool:
        return self.sessions.get(request.cookies.get("sessionid", ""), 0.0) > time.monotonic()

    def _log_in(self, username: str, password: str) -> str:
        if (username, password) != (self._sandbox.user, self._sandbox.password):
            raise RefusedError(200, "Wrong username or password")
        session = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(32))
        self.sessions[session] = time.monotonic() + self._quirks.session_seconds
        return session


def _refusal(method: Method, positional: list[Any], named: dict[str, Any]) -> str:
    """What Python says of a call whose parameters don't fit."""
    try:
        method(*positional, **named)
    except TypeError as error:
        return str(error).replace(method.__qualname__, method.__name__)
    return ""


def _error(id_: Any, code: int, message: str) -> dict[str, Any]:
    return {"id": id_, "jsonrpc": "2.0", "error": {"code": code, "message": message}}


def _told(answer: Any, status: int = 200) -> web.Response:
    return web.json_response(answer, status=status)


def escaped(value: Any) -> Any:
    """The strings of a result as Kiwi sends them."""
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return html.escape(value) if isinstance(value, str) else value


def page(title: str, status: int) -> web.Response:
    """A page of the proxy before it."""
    text = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    )
    return web.Response(text=text, content_type="text/html", status=status)
