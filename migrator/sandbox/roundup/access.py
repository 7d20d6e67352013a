"""Who may use the REST API of a sandbox Roundup, and how often."""

import base64
from datetime import UTC, datetime, timedelta

from aiohttp import web

from migrator.sandbox.errors import RefusedError
from migrator.sandbox.roundup.records import RoundupQuirks
from migrator.sandbox.server import Sandbox

WRONG_PASSWORDS = (4, 600.0)
"""So many wrong passwords for one name in so many seconds; after that, the right one doesn't help either."""


class Access:
    """Looks at login, rate and the headers of a write, in the order in which Roundup does."""

    def __init__(self, sandbox: Sandbox, quirks: RoundupQuirks) -> None:
        self._sandbox, self._quirks = sandbox, quirks
        self._calls, self._failures = _Rate(), _Rate()

    def place(self, request: web.Request) -> str:
        """What the tracker calls itself: where it is reached, unless it is configured otherwise."""
        return self._quirks.address or f"{request.scheme}://{request.host}{self._sandbox.base_path}"

    def require(self, request: web.Request) -> dict[str, str]:
        """Refuse who is not logged in, asks too often, or writes without the headers of Roundup's own pages.

        Returns the headers in which an answer tells of the rate.
        """
        self._require_login(request)
        self._require_origin(request)
        if self._quirks.rate is None:
            return {}
        refused, headers = self._calls.take("", *self._quirks.rate)
        if not refused:
            return headers
        wait = headers["Retry-After"]
        message = f"Api rate limits exceeded. Please wait: {wait} seconds."
        raise RefusedError(429, message, headers=headers, source="ApiRateLimiter")

    def _require_login(self, request: web.Request) -> None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            raise RefusedError(401, text="Invalid Login - Support for jwt disabled.")
        if scheme.lower() != "basic":
            raise RefusedError(403, "Forbidden.")
        name, _, password = base64.b64decode(value).decode("utf-8", "replace").partition(":")
        count, seconds = WRONG_PASSWORDS
        if self._failures.is_spent(name, count, seconds):
            headers = {"Retry-After": str(int(seconds / count))}
            raise RefusedError(429, text="Logins occurring too fast.", headers=headers)
        if (name, password) != (self._sandbox.user, self._sandbox.password):
            self._failures.take(name, count, seconds)
            raise RefusedError(401, text="Invalid Login - Invalid login")

    def _require_origin(self, request: web.Request) -> None:
        """Refuse a request from another page; a write has to say from which page it comes."""
        place, headers = self.place(request), request.headers
        origin = "/".join(place.split("/")[:3])
        if headers.get("Origin", origin) != origin:
            raise RefusedError(400, "Client is not allowed to use Rest Interface.")
        if request.method in {"GET", "HEAD"}:
            return
        if "Origin" not in headers or "X-Requested-With" not in headers:
            raise RefusedError(400, "Required Header Missing")
        if not headers.get("Referer", place).startswith(place):
            raise RefusedError(400, f"Invalid Referer: {headers['Referer']}")


class _Rate:
    """So many calls in a period, spread evenly (Roundup's own way, the "generic cell rate algorithm")."""

    def __init__(self) -> None:
        self._free_at: dict[str, datetime] = {}

    def is_spent(self, key: str, count: int, seconds: float) -> bool:
        """Whether another call would be refused now."""
        now = datetime.now(UTC)
        ahead = (max(self._free_at.get(key, now), now) - now).total_seconds()
        return ahead > seconds - seconds / count

    def take(self, key: str, count: int, seconds: float) -> tuple[bool, dict[str, str]]:
        """Count a call; whether it is refused, and the headers that tell of it."""
        now, each = datetime.now(UTC), seconds / count
        refused = self.is_spent(key, count, seconds)
        if not refused:
            self._free_at[key] = max(self._free_at.get(key, now), now) + timedelta(seconds=each)
        ahead = (self._free_at[key] - now).total_seconds()
        headers = {
            "X-RateLimit-Limit": str(count),
            "X-RateLimit-Limit-Period": str(int(seconds)),
            "X-RateLimit-Remaining": str(min(int((seconds - ahead) / each), count)),
            "X-RateLimit-Reset": str(ahead),
        }
        return refused, headers | ({"Retry-After": str(int(each))} if refused else {})
