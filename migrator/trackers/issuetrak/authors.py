"""The user in whose name a file is uploaded to Issuetrak: its author if active there, otherwise a fallback user.

Beware: how an inactive user is reported is not documented. A refused upload therefore also counts as a sign, once the
same file was accepted in the fallback user's name.
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
"""Asks for a path; the second text says what for, in an error."""


class Authors:
    """The users of one target. Each is asked for once; `fallback` is empty where none is configured."""

    def __init__(self, get: Get, fallback: str, *, keep: bool) -> None:
        self._get, self._fallback, self._keep = get, fallback, keep
        self._known: dict[str, bool] = {}

    async def of(self, wanted: str) -> str:
        """The user for a file of this author; `RejectedError` if there is none."""
        if wanted and self._keep and await self.is_active(wanted):
            return wanted
        if not self._fallback:
            raise RejectedError(f"{wanted!r} is no active user of this Issuetrak, and options.created_by is not set")
        return self._fallback

    def instead_of(self, author: str) -> str:
        """The spare user for a file that was refused in this author's name; empty if it is no other."""
        return "" if author.lower() == self._fallback.lower() else self._fallback

    def strike(self, author: str) -> None:
        """No more files in this author's name."""
        self._known[author.lower()] = False

    async def is_active(self, user: str) -> bool:
        """Whether this is a user's id."""
        name = user.lower()
        if name not in self._known and _USER.fullmatch(name):
            try:
                found = await self._get(f"users/{quote(name, safe='').lower()}/false", f"user {user!r}")
            except GoneError:
                found = {}
            except UnexpectedBodyError as error:  # of an upload it would mean that it was sent
                raise RetriableError(f"user {user!r}: {error}") from None
            self._known[name] = is_active(found) and text(found.get("UserID")).lower() in {name, ""}
        return self._known.get(name, False)


def is_active(user: Mapping[str, Any]) -> bool:
    """Whether there is such a user and nothing says that it is inactive."""
    told = {name.lower(): value for name, value in user.items()}
    says_yes = (told.get(name) is not False for name in ("isactive", "active"))
    says_no = (told.get(name) is True for name in ("isinactive", "inactive"))
    return bool(told) and all(says_yes) and not any(says_no)
