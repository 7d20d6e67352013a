"""The user in whose name a file is uploaded to Issuetrak: its author if active there, otherwise a fallback user.

Beware: how the API reports an inactive user is not documented. An author also counts as inactive if a file is refused
in the author's name and accepted in that of the fallback user.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from migrator.errors import GoneError, RejectedError, RetriableError, UnexpectedBodyError
from migrator.trackers.lenient import text

_USER = re.compile(r"[\w@+-][\w .@+'-]{0,99}")

Get = Callable[[str, str], Awaitable[dict[str, Any]]]
"""Requests a path; the second argument names its object in errors."""


class Authors:
    """The users of one target. Each is looked up once; `fallback` is empty where none is configured.

    Without `keep` every file is the fallback user's.
    """

    def __init__(self, get: Get, fallback: str, *, keep: bool) -> None:
        self._get, self._fallback, self._keep = get, fallback, keep
        self._known: dict[str, bool] = {}

    async def user_for(self, author: str) -> str:
        """The user for a file by this author; `RejectedError` if there is none."""
        if author and self._keep and await self.is_active(author):
            return author
        if not self._fallback:
            raise RejectedError(f"Issuetrak has no active user {author!r}, and options.created_by is not set")
        return self._fallback

    def fallback_for(self, author: str) -> str:
        """The fallback user for a file that was refused in this author's name; empty if there is no other user."""
        return "" if author.lower() == self._fallback.lower() else self._fallback

    def mark_inactive(self, author: str) -> None:
        """Treat an author as inactive from now on."""
        self._known[author.lower()] = False

    async def is_active(self, user: str) -> bool:
        """Whether this is the id of an active user."""
        name = user.lower()
        if name not in self._known and _USER.fullmatch(name):
            try:
                record = await self._get(f"users/{quote(name, safe='').lower()}/false", f"user {user!r}")
            except GoneError:
                record = {}
            except UnexpectedBodyError as error:  # during an upload, this error would mean that the file was sent
                raise RetriableError(f"user {user!r}: {error}") from None
            self._known[name] = is_active(record) and text(record.get("UserID")).lower() in {name, ""}
        return self._known.get(name, False)


def is_active(user: Mapping[str, Any]) -> bool:
    """Whether there is such a user and nothing says that it is inactive."""
    fields = {name.lower(): value for name, value in user.items()}
    not_denied = (fields.get(name) is not False for name in ("isactive", "active"))
    inactive = (fields.get(name) is True for name in ("isinactive", "inactive"))
    return bool(fields) and all(not_denied) and not any(inactive)
