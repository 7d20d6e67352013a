"""Cookies that a load balancer sets along with a redirect to the very address that was requested.

Without its cookie such a redirect never ends. All other cookies are ignored: the tracker might identify us by a session
that it opened itself, in place of the credentials.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from aiohttp import CookieJar


class Cookies:
    """The cookies of one tracker, sent to it alone."""

    def __init__(self) -> None:
        self._jar: CookieJar | None = None

    @property
    def any(self) -> bool:
        """Whether there are cookies."""
        return self._jar is not None

    def take(self, url: URL, headers: Iterable[tuple[str, str]]) -> bool:
        """Keep the cookies that a response sets; whether it set any."""
        lines = [value for name, value in headers if name.lower() == "set-cookie"]
        if lines:
            from aiohttp import CookieJar

            self._jar = self._jar or CookieJar(unsafe=True)  # that is, also from bare addresses
            self._jar.update_cookies_from_headers(lines, url)
        return bool(lines)

    def added_to(self, sent: str, url: URL) -> str:
        """The `Cookie` header for a request whose own one is `sent`: what that names is not replaced."""
        if self._jar is None:
            return sent
        names = {pair.partition("=")[0].strip() for pair in sent.split(";")}
        kept = self._jar.filter_cookies(url).values()
        more = [f"{cookie.key}={cookie.coded_value}" for cookie in kept if cookie.key not in names]
        return "; ".join([sent, *more] if sent.strip() else more)
