"""Signers: how a request proves who sends it. Each attempt is signed anew.

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
from typing import Protocol, Self
from urllib.parse import parse_qs, quote

from typing_extensions import override
from yarl import URL

from migrator.errors import AuthError, ConfigError, RetriableError

PostForm = Callable[[str, Mapping[str, str] | bytes], Awaitable[tuple[int, bytes]]]
"""Posts an unsigned form, or a JSON document as bytes, to a path of the tracker; returns status and body."""


@dataclass(frozen=True, slots=True)
class RequestToSign:
    """What a signature may cover: the URL as it is sent, with its query, and the body.

    A streamed body may be iterated for the signature; it is iterated again when it is sent.
    """

    method: str
    url: URL
    body: bytes | AsyncIterable[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What to add to a request. `clock_offset` is how many seconds the clock used for it was ahead of ours."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    clock_offset: float = 0.0


UNSIGNED = Signature()


class Signer(Protocol):
    """Signs requests with one set of credentials. `sign` depends only on the request, the session and the clock."""

    @property
    def ready(self) -> bool:
        """Whether requests can be signed now, without `login` first."""

    async def sign(self, request: RequestToSign) -> Signature:
        """The signature for one attempt."""

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:
        """Learn from the headers of a 401 or 403; returns whether a new signature may be accepted."""

    async def login(self, post: PostForm) -> bool:
        """Open a session or renew it; returns False if these credentials have no session."""

    def worked(self) -> None:
        """Learn that a request was accepted."""

    def lent(self) -> Signer:
        """A signer with the current session, and without what it takes to log in, for another process."""


class _Sessionless:
    """A signer without a session."""

    ready = True

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Nothing to learn."""
        return False

    async def login(self, post: PostForm) -> bool:  # noqa: ARG002
        """No session to renew."""
        return False

    def worked(self) -> None:
        """Nothing to learn."""

    def lent(self) -> Self:
        """This one: what signs is all that it has."""
        return self


class HeaderAuth(_Sessionless):
    """One fixed header: an API key, a cookie, a bearer token. `ConfigError` if no header can hold the value."""

    def __init__(self, name: str, value: str) -> None:
        if not value.isprintable():
            raise ConfigError(f"the secret for {name} holds a line break or another character that no header takes")
        self._headers = {name: value}

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The same signature for every request."""
        return Signature(headers=self._headers)


def basic(username: str, password: str, charset: str = "utf-8") -> HeaderAuth:
    """HTTP Basic in the encoding that the server expects, or in UTF-8 if it can't hold the characters."""
    pair = f"{username}:{password}"
    try:
        encoded = pair.encode(charset)
    except UnicodeEncodeError:
        encoded = pair.encode()
    return HeaderAuth("Authorization", f"Basic {base64.b64encode(encoded).decode()}")


def bearer(token: str) -> HeaderAuth:
    """A token as `Authorization: Bearer`."""
    return HeaderAuth("Authorization", f"Bearer {token}")


class QueryTokenAuth(_Sessionless):
    """A token in the query, for APIs that accept it nowhere else."""

    def __init__(self, name: str, token: str) -> None:
        self._query = {name: token}

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The same signature for every request."""
        return Signature(query=self._query)


class HmacAuth(_Sessionless):
    """HMAC-SHA512 in three headers over method, id, time, path, query and body (Issuetrak).

    The key is the text of the API key, not what it decodes to. Each attempt gets its own id and time. When the Date of
    a refusal shows that the server's clock differs from ours, later signatures use the server's time.
    """

    CLOCK_TOLERANCE_SECONDS = 5.0  # Date is in whole seconds, and a response takes a while
    MAX_CLOCK_ERROR_SECONDS = 100 * 365 * 86_400.0  # no clock is that wrong, and dates end with the year 9999

    def __init__(self, key: str, prefix: str = "X-Issuetrak-API-") -> None:
        self._key, self._prefix = key.encode(), prefix
        self._clock_offset = 0.0

    async def sign(self, request: RequestToSign) -> Signature:
        """A streamed body is read once for it. The path is signed in lower case, however it is sent."""
        request_id, clock_offset = str(uuid.uuid4()), self._clock_offset
        moment = datetime.fromtimestamp(time.time() + clock_offset, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
        url = request.url
        lines = (request.method.upper(), request_id, moment, url.raw_path.lower(), url.raw_query_string, "")
        mac = hmac.new(self._key, "\n".join(lines).encode(), "sha512")
        if isinstance(request.body, bytes):
            mac.update(request.body)
        elif request.body is not None:
            async for chunk in request.body:
                mac.update(chunk)
        values = {
            "Request-ID": request_id,
            "Timestamp": moment,
            "Authorization": base64.b64encode(mac.digest()).decode(),
        }
        return Signature({self._prefix + name: value for name, value in values.items()}, clock_offset=clock_offset)

    @override
    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:
        """True if the signature used a clock other than the server's."""
        from email.utils import parsedate_to_datetime

        try:
            offset = parsedate_to_datetime(headers.get("Date", "")).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return False
        if (
            abs(offset - signature.clock_offset) <= self.CLOCK_TOLERANCE_SECONDS
            or abs(offset) > self.MAX_CLOCK_ERROR_SECONDS
        ):
            return False
        self._clock_offset = offset
        return True


class WrapAuth:
    """OAuth WRAP 0.9 (TeamPulse): a password buys an access token and a refresh token.

    The answer is form-encoded. Its values are decoded once and sent like that, as the vendor's SDK does. The vendor's
    documentation wants them encoded, and others quote them; both are tried until a token is accepted.
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
        """Whether there is a token."""
        return bool(self._access)

    def refused(self, signature: Signature, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """False: a new signature would have the same token; only a new login may help."""
        return False

    async def sign(self, request: RequestToSign) -> Signature:  # noqa: ARG002
        """The current access token."""
        return Signature(headers={"Authorization": self._authorization})

    @property
    def _authorization(self) -> str:
        spelled = self.SPELLINGS[self._spelling].format(token=self._access, encoded=quote(self._access, safe=""))
        return f"WRAP access_token={spelled}"

    def worked(self) -> None:
        """Keep the current spelling for all further tokens."""
        self._accepted = True

    def lent(self) -> Signer:
        """One that signs with the current access token."""
        return HeaderAuth("Authorization", self._authorization)

    async def login(self, post: PostForm) -> bool:
        """Refresh the token, or log in by password if that fails; `AuthError` if the password is refused, too.

        Until a token is accepted, the current one is first tried in the other spellings.
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
            raise RetriableError(f"POST {self.PATH}: no token in the answer (status {status})", status=status)
        return True

    def _accept(self, body: bytes) -> bool:
        fields = parse_qs(body.decode("utf-8", "replace").strip())
        token = fields.get("wrap_access_token", [""])[0]
        self._access = token if token.isprintable() else ""  # a line break would end the header it goes into
        self._refresh = fields.get("wrap_refresh_token", [self._refresh])[0]
        return bool(self._access)
