"""Says of a failed login where it was tried, and what to correct: side, tracker, address, account, key, remedy."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from migrator import errors

T = TypeVar("T")
_KEY = re.compile(r"`(url|proxy|proxy_auth)`|`?\b(tls\.\w+)\b`?")
_PLAIN_REFUSAL = re.compile(r"refused the credentials \(status 401\)")
_WRONG = {
    "api_key": "wrong API key",
    "cookie": "the cookie is wrong, or no longer valid",
    "token": "wrong token",
    "access_token": "wrong token",
}


@dataclass(frozen=True, slots=True)
class Login:
    """Where a section of the configuration logs in: `side` is its name, `keys` are those of its credentials.

    `tracker` is the product's name; `user` is empty if the credentials have no user name. `proxied`: by a proxy.
    """

    side: str
    tracker: str
    url: str
    keys: tuple[str, ...] = ()
    user: str = ""
    proxied: bool = False

    def failure(self, error: errors.MigratorError) -> errors.FatalError:
        """The error of a login, explained. Only refused credentials are `AuthError`."""
        kind = errors.AuthError if isinstance(error, errors.AuthError) else errors.TrackerUnreachableError
        return kind(f"{self.side} ({self.tracker}, {self.url}): {self._keys_named(self._explained(error))}")

    def _explained(self, error: errors.MigratorError) -> str:
        match error:
            case errors.AuthError():
                return self._refused(str(error))
            case errors.ConnectError():
                return "; ".join(filter(None, (str(error), self._remedy(error))))
            case errors.LoginPageError():
                return f"{error}; are `url` and {self._of_auth()} right?"
            case errors.ForbiddenError():
                return f"{error}; may this account use the API?"
            case errors.RejectedError() | errors.UnexpectedBodyError() | errors.RetriableError(status=404 | 405):
                return f"this is not {self.tracker}; is `url` right? ({error})"
        return str(error)

    def _refused(self, reason: str) -> str:
        if "`proxy_auth`" in reason:
            return reason
        if not _PLAIN_REFUSAL.search(reason):
            return f"{self._who()} was refused; see {self._of_auth()} ({reason})"
        wrong = next((words for key, words in _WRONG.items() if key in self.keys), "wrong name or password")
        wrong = f"user {self.user}: {wrong}" if self.user else wrong
        return f"{wrong}; correct {self._of_auth()} ({reason})"

    def _who(self) -> str:
        return f"user {self.user}" if self.user else "this account"

    def _of_auth(self) -> str:
        return " and ".join(f"{self.side}.auth.{key}" for key in self.keys) or f"[{self.side}.auth]"

    def _remedy(self, error: errors.ConnectError) -> str:
        """What to do; if the host is not the tracker's, it is the proxy that could not be reached."""
        elsewhere = f" {urlsplit(self.url).hostname}:" not in str(error)
        return error.remedy.replace("`url`", "`proxy`") if self.proxied and elsewhere else error.remedy

    def _keys_named(self, text: str) -> str:
        """The text with the whole names of the keys that it mentions."""
        return _KEY.sub(lambda match: f"{self.side}.{match[1] or match[2]}", text)


async def explained(login: Awaitable[T], place: Login | None) -> T:
    """The result of a login; a failure says where it was tried."""
    try:
        return await login
    except (errors.AuthError, errors.TrackerUnreachableError) as error:
        if place is None:
            raise
        cause = error.__cause__
        raise place.failure(cause if isinstance(cause, errors.ItemFailedError) else error) from error
