"""Redirects: where they lead, and what the responses of other hosts mean.

A tracker may keep its files on other hosts. Their answers are about themselves: a 404 there does not mean that the
attachment is gone, a 401 says nothing about our credentials, and a dead host nothing about the tracker.

Beware: a redirect that looks like one to a login page may lead to a file (`/auth/7`, `auth.cdn.example`). It is
followed, and counts as a login page only if no file arrives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from migrator import errors
from migrator.sniffing import looks_like_login
from migrator.wire.addresses import is_own, is_same_origin, parsed_url
from migrator.wire.cookies import Cookies
from migrator.wire.request import Request
from migrator.wire.transport import Response

_CONTENT_RANGE = re.compile(r"bytes\s+0-([0-9]{1,18})/([0-9]{1,18})", re.ASCII | re.IGNORECASE)


@dataclass(slots=True)
class Hop:
    """One request of a chain of redirects: its address, and how it got there. `subject` is for messages.

    own      it goes to the tracker, so credentials may be sent
    direct   it goes to the very origin that was configured
    foreign  it goes, or an earlier hop went, to another host: the response says nothing about the tracker
    login    a redirect looked like one to a login page, and the address that redirected did not
    """

    url: URL
    query: Mapping[str, str]
    subject: str
    own: bool = True
    direct: bool = True
    foreign: bool = False
    login: bool = False

    def next(self, home: URL, location: str) -> Hop:
        """The hop to which a redirect leads; `RejectedError` if its location is not usable."""
        try:
            url = self.url.join(parsed_url(location, self.url.scheme))
            usable = bool(location and url.host) and url.scheme in {"http", "https"}
        except ValueError:
            usable = False
        if not usable:
            raise self.judged(errors.RejectedError(f"{self.subject}: redirected to nowhere"))
        own, subject = is_own(home, url), self.subject.partition(", redirected to ")[0]
        if own:
            url = url.with_user(None)
        else:
            subject += f", redirected to {url.host_port_subcomponent}"
        login = self.login or (looks_like_login(location) and not looks_like_login(str(self.url)))
        return Hop(url, {}, subject, own, is_same_origin(home, url), self.foreign or not own, login)

    def is_same_address(self, other: Hop) -> bool:
        """Whether both go to the same address of the tracker, apart from the query."""
        return self.direct and other.direct and self.url.raw_path == other.url.raw_path

    def judged(self, fault: errors.MigratorError) -> errors.MigratorError:
        """The error that a failure means at this hop."""
        definite = isinstance(fault, errors.RejectedError | errors.AuthError)
        if self.login and (definite or isinstance(fault, errors.ConnectError)):
            return errors.LoginPageError(
                f"{self.subject}: redirected to a login page; are these credentials valid for this?"
            )
        if not self.foreign or isinstance(fault, errors.UnexpectedBodyError):
            return fault
        if definite:
            return errors.RejectedError(str(fault))
        return errors.RetriableError(str(fault), retry_after=getattr(fault, "retry_after", None))


class Redirects:
    """The redirects of one tracker, whose origin is `home`, and the cookies that they set."""

    def __init__(self, home: URL) -> None:
        self._home, self.cookies = home, Cookies()

    def next_hop(self, request: Request, hop: Hop, response: Response) -> Hop:
        """The hop to which a redirect leads. For an API call it is an error, unless it only sets a cookie."""
        following = hop.next(self._home, response.headers.get("Location", ""))
        repeatable = request.method == "GET" or response.status in {307, 308}
        if not (self._takes_cookie(hop, following, response) and repeatable) and not request.file:
            shown = following.url.with_user(None).with_query(None)
            raise following.judged(
                errors.RejectedError(f"{hop.subject}: the tracker redirects to {shown}; is `url` right?")
            )
        return following

    def only_sets_cookie(self, hop: Hop, response: Response) -> bool:
        """Whether a redirect leads to the same address and sets a cookie, which is kept."""
        try:
            following = hop.next(self._home, response.headers.get("Location", ""))
        except errors.MigratorError:
            return False
        return self._takes_cookie(hop, following, response)

    def _takes_cookie(self, hop: Hop, following: Hop, response: Response) -> bool:
        return hop.is_same_address(following) and self.cookies.take(hop.url, response.headers.items())


def length_of_part(headers: Mapping[str, str]) -> int | None:
    """The length of a file in a 206, if that is the whole file (RFC 9110, 14.4); else None."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None
    last, total, length = int(match[1]), int(match[2]), headers.get("Content-Length")
    return total if last + 1 == total and (length is None or int(length) == total) else None
