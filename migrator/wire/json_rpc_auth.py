"""A login by JSON-RPC: name and password buy a session, which goes into a cookie (Kiwi TCMS).

Beware: a wrong password is answered with status 200 and an error inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from migrator.errors import AuthError, RetriableError
from migrator.wire.auth import HeaderAuth, PostForm, RequestToSign, Signature, Signer
from migrator.wire.json_codec import read_json

_REFUSALS = ("username or password", "username and password")
"""In the message of an error that means wrong credentials; any other error may pass."""


class JsonRpcAuth:
    """A session that the method `method` opens, sent as the cookie `cookie`."""

    def __init__(self, path: str, method: str, cookie: str, username: str, password: str) -> None:
        self._path, self._method, self._cookie = path, method, cookie
        self._params = [username, password]
        self._session = ""

    @property
    def ready(self) -> bool:
        """Whether there is a session."""
        return bool(self._session)

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The current session."""
        return Signature(headers={"Cookie": f"{self._cookie}={self._session}"})

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """False: only a new login may help."""
        return False

    def worked(self) -> None:
        """Nothing to learn."""

    def lent(self) -> Signer:
        """One that signs with the current session."""
        return HeaderAuth("Cookie", f"{self._cookie}={self._session}")

    async def login(self, post: PostForm) -> bool:
        """Open another session; `AuthError` if the name or password is wrong."""
        call = {"jsonrpc": "2.0", "id": 1, "method": self._method, "params": self._params}
        status, body = await post(self._path, json.dumps(call).encode())
        answer = _object_in(body)
        session = answer.get("result")
        message = str(_object(answer.get("error")).get("message", ""))
        if any(word in message.lower() for word in _REFUSALS) or status in {401, 403}:
            raise AuthError(f"{self._method}: the tracker refused username and password")
        if status != 200 or not isinstance(session, str) or not (session.isascii() and session.isalnum()):
            reason = " ".join(message.split())[:200] or "is `url` right?"
            raise RetriableError(f"{self._method}: no session in the answer (status {status}): {reason}")
        self._session = session
        return True


def _object_in(body: bytes) -> Mapping[str, object]:
    try:
        return _object(read_json(body))
    except (ValueError, RecursionError):
        return {}


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
