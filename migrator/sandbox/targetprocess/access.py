"""Who may do what in a sandbox Targetprocess: passwords, cookies and two kinds of tokens."""

from base64 import b64decode
from binascii import Error as NotBase64Error
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Access:
    """The ways to log in: with a password, the cookie of a session, or a token in the query."""

    user: str
    password: str
    cookie: str
    access_token: str
    service_token: str

    def account(self, request: web.Request) -> str | None:
        """How a request is authenticated (basic, cookie, access_token, token); "requester" for one who may do nothing.

        None if it is not authenticated.
        """
        authorization = request.headers.get("Authorization", "")
        if authorization:
            return self._basic(authorization)
        if self.cookie in request.headers.get("Cookie", ""):
            return "cookie"
        query = lowered(request)
        if query.get("access_token") == self.access_token:
            return "access_token"
        return "token" if query.get("token") == self.service_token else None

    def _basic(self, authorization: str) -> str | None:
        scheme, _, encoded = authorization.partition(" ")
        try:
            pair = b64decode(encoded, validate=True).decode()
        except (NotBase64Error, UnicodeDecodeError):
            return None
        user, _, password = pair.partition(":")
        if scheme.lower() != "basic" or password != self.password:
            return None
        return {self.user.lower(): "basic", "requester": "requester"}.get(user.lower())


def lowered(request: web.Request) -> dict[str, str]:
    """The query with its names in lower case; the server ignores their case."""
    return {name.lower(): value for name, value in request.query.items()}
