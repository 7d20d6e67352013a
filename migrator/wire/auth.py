"""Signers: how a request proves who sends it. Signed anew for each attempt, sent to the tracker's own origin only.

`sign` depends only on the request and the clock; only a signer with a session also logs in.

Beware: a query token is a secret inside a URL, so no URL may appear in a message.
"""

from __future__ import annotations

import base64
import hmac
import time
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import parse_qs, quote

from typing_extensions import override
from yarl import URL

from migrator.errors import AuthError, ConfigError, RetriableError

PostForm = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Posts a form to a path of the tracker, unsigned; gives status and body."""


@dataclass(frozen=True, slots=True)
class RequestToSign:
    """What a signature may cover: the address as it is sent, query included, and the body.

    A body that is streamed can be iterated for the signature; it is iterated once more when it is sent.
    """

    method: str
    url: URL
    body: bytes | AsyncIterable[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What to add to a request. `clock` tells how many seconds the signer was ahead of our own clock."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    clock: float = 0.0


UNSIGNED = Signature()


class Signer(Protocol):
    """Credentials at work."""

    @property
    def ready(self) -> bool:
        """False: log in before the first request."""

    async def sign(self, request: RequestToSign) -> Signature:
        """Sign one attempt."""

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:
        """Learn from the headers of a 401 or 403. True: a new signature may do better, sign and send once more."""

    async def login(self, post: PostForm) -> bool:
        """Open a session, or renew it. False: there is none to renew, the credentials are what they are."""

    def worked(self) -> None:
        """Take note that a request went through with the signature of the moment."""


class _Plain:
    """A signer without a session."""

    ready = True

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 - the protocol's
        """Nothing to learn."""
        return False

    async def login(self, post: PostForm) -> bool:  # noqa: ARG002 - the signature is the protocol's
        """Nothing to renew."""
        return False

    def worked(self) -> None:
        """Nothing to learn."""


class HeaderAuth(_Plain):
    """One fixed header: an API key, a Cookie, a Bearer token. `ConfigError` where it can't be one."""

    def __init__(self, name: str, value: str) -> None:
        if not value.isprintable():
            raise ConfigError(f"the secret for {name} holds a line break or another character that no header takes")
        self._headers = {name: value}

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The same for every request."""
        return Signature(headers=self._headers)


def basic(username: str, password: str, charset: str = "utf-8") -> HeaderAuth:
    """HTTP Basic in the encoding that the server reads; UTF-8 for what is not in it."""
    pair = f"{username}:{password}"
    try:
        known = pair.encode(charset)
    except UnicodeEncodeError:
        known = pair.encode()
    return HeaderAuth("Authorization", f"Basic {base64.b64encode(known).decode()}")


def bearer(token: str) -> HeaderAuth:
    """A token in the header of its own kind."""
    return HeaderAuth("Authorization", f"Bearer {token}")


class QueryTokenAuth(_Plain):
    """A token in the query, for APIs that take it nowhere else."""

    def __init__(self, name: str, token: str) -> None:
        self._query = {name: token}

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The same for every request."""
        return Signature(query=self._query)


class HmacAuth(_Plain):
    """HMAC-SHA512 in three headers over method, id, time, path, query and body (Issuetrak).

    The key is the text of the API key, not what it decodes to. Each attempt gets an id and a time of its own. When a
    refusal's Date shows that the server's clock is not ours, the time is told by the server's from then on.
    """

    CLOCK_TOLERANCE_SECONDS = 5.0  # seconds; Date is in whole ones, and an answer takes a while
    MAX_CLOCK_ERROR_SECONDS = 100 * 365 * 86_400.0  # seconds; no clock is that wrong, and dates end with the year 9999

    def __init__(self, key: str, prefix: str = "X-Issuetrak-API-") -> None:
        self._key, self._prefix = key.encode(), prefix
        self._clock = 0.0

    async def sign(self, request: RequestToSign) -> Signature:
        """A streamed body is read once for it. The path is signed in lower case, whatever case it is sent in."""
        number, clock = str(uuid.uuid4()), self._clock
        moment = datetime.fromtimestamp(time.time() + clock, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
        url = request.url
        lines = (request.method.upper(), number, moment, url.raw_path.lower(), url.raw_query_string, "")
        mac = hmac.new(self._key, "\n".join(lines).encode(), "sha512")
        if isinstance(request.body, bytes):
            mac.update(request.body)
        elif request.body is not None:
            async for chunk in request.body:
                mac.update(chunk)
        told = {
            "Request-ID": number,
            "Timestamp": moment,
            "Authorization": base64.b64encode(mac.digest()).decode(),
        }
        return Signature({self._prefix + name: value for name, value in told.items()}, clock=clock)

    @override
    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:
        """True where the signature went by another clock than the server's."""
        try:
            ahead = parsedate_to_datetime(headers.get("Date", "")).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return False
        if abs(ahead - signature.clock) <= self.CLOCK_TOLERANCE_SECONDS or abs(ahead) > self.MAX_CLOCK_ERROR_SECONDS:
            return False
        self._clock = ahead
        return True


class WrapAuth:
    """OAuth WRAP 0.9 (TeamPulse): a password buys an access token and a refresh token.

    The answer is form-encoded; its values are decoded once and sent as they are then, as the vendor's SDK does. The
    vendor's documentation wants them encoded, others quote them: both are tried while no token was ever accepted.
    """

    SPELLINGS = ("{token}", "{encoded}", '"{token}"')
    PATH = "Authenticate/WRAPv0.9"
    CLIENT = "uri:TeamPulse"

    def __init__(self, username: str, password: str) -> None:
        self._user = {"wrap_client_id": self.CLIENT, "wrap_username": username, "wrap_password": password}
        self._access = ""
        self._refresh = ""
        self._spelling = 0
        self._accepted = False

    @property
    def ready(self) -> bool:
        """Once logged in."""
        return bool(self._access)

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """A new signature with the same token would not do better; a new login may."""
        return False

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The access token of the moment."""
        spelled = self.SPELLINGS[self._spelling].format(token=self._access, encoded=quote(self._access, safe=""))
        return Signature(headers={"Authorization": f"WRAP access_token={spelled}"})

    def worked(self) -> None:
        """From now on tokens are spelled like this one."""
        self._accepted = True

    async def login(self, post: PostForm) -> bool:
        """Refresh if that works, else by password. `AuthError` if that is refused too.

        While no token was ever accepted, the one at hand is first spelled in each other way.
        """
        if self._access and not self._accepted:
            self._spelling = (self._spelling + 1) % len(self.SPELLINGS)
            if self._spelling:
                return True
        if self._refresh:
            form = {"wrap_client_id": self.CLIENT, "wrap_refresh_token": self._refresh}
            status, body = await post(self.PATH, form)
            if status == 200 and self._accept(body):
                return True
            self._refresh = ""
        status, body = await post(self.PATH, self._user)
        if status in {401, 403}:
            raise AuthError(f"POST {self.PATH}: the tracker refused username and password")
        if status != 200 or not self._accept(body):
            raise RetriableError(f"POST {self.PATH}: no token in the answer (status {status})")
        return True

    def _accept(self, body: bytes) -> bool:
        fields = parse_qs(body.decode("utf-8", "replace").strip())
        token = fields.get("wrap_access_token", [""])[0]
        self._access = token if token.isprintable() else ""  # a line break would end the header it goes into
        self._refresh = fields.get("wrap_refresh_token", [self._refresh])[0]
        return bool(self._access)
