"""Requests to a Redmine that verify its answers: the account, whole lists, and what is permanently broken.

Redmine answers 200 to anonymous visitors, with what everybody may see. The account is therefore checked along with
every listing, and a refusal of one route is not a refusal of the account.

Beware: with its REST API switched off, Redmine ignores the key. Public issues are listed as usual, and the account is
refused with an empty 403, whereas a wrong key gets a 401 (Redmine 5.0, `require_login`; so recorded).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from migrator.errors import (
    AuthError,
    ConnectError,
    ForbiddenError,
    ItemFailedError,
    RejectedError,
    RetriableError,
    ShortListingError,
    ThrottledError,
)
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Items
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import HttpClient

T = TypeVar("T")

PAGE_SIZE = 100  # more is cut down to this without a word
MAX_ATTEMPTS = 3
"""Attempts at a broken route before it becomes a failure of its own, and the rest is read."""
SWITCHED_OFF = (
    "the REST API of this Redmine is switched off (Administration -> Settings -> API), so no credentials are looked at"
)


class Api:
    """Of one Redmine, for one reader."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._failures: Counter[str] = Counter()

    async def account(self) -> dict[str, Any]:
        """Whose the credentials are; the one route that surely refuses wrong ones. `AuthError` with the reason."""
        try:
            return object_in(await self._http.get_json("users/current.json"), "user")
        except ForbiddenError as error:
            if str(error).endswith("status 403"):
                raise AuthError(SWITCHED_OFF) from None
            raise AuthError(str(error)) from None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """An answer as JSON. A 401 while the account is good elsewhere is that route's own, and may pass."""
        try:
            return await self._http.get_json(path, query)
        except AuthError:
            await self.account()
            raise RetriableError(
                f"GET {path}: refused (status 401), though the account is good elsewhere", status=401
            ) from None

    async def first_issues(self) -> dict[str, Any]:
        """The answer of the issues' list to a small question: at most two of them, and what it tells beside."""
        query = {"status_id": "*", "sort": "id", "limit": "2", "offset": "0"}
        return object_in(await self.get("issues.json", query))

    async def complete_list(self, path: str, key: str, query: Mapping[str, str] | None = None) -> Items:
        """Every item of a list that has no order to go by, by number.

        `ShortListingError` where it isn't all, or changed.
        """
        found: dict[int, dict[str, Any]] = {}
        total, came = None, 0
        while True:
            window = {"limit": str(PAGE_SIZE), "offset": str(came)}
            answer = object_in(await self.get(path, {**(query or {}), **window}))
            items, told, known = objects_in(answer, key), integer(answer.get("total_count")), len(found)
            if came and told != total:
                raise ShortListingError(f"GET {path}: the listing changed while it was read")
            found.update((number_in(item), item) for item in items)
            total, came = told, came + len(items)
            if len(found) == known or (total is not None and came >= total):
                break
        if total is not None and len(found) < total:
            raise ShortListingError(f"GET {path}: {len(found)} of {total} items were listed")
        return [found[number] for number in sorted(found)]

    async def result_or_final_error(self, name: str, call: Awaitable[T]) -> T | ItemFailedError:
        """What a call gives, or its error if that is definite or came `MAX_ATTEMPTS` times; else raises it."""
        try:
            result = await call
        except RejectedError as error:
            return error
        except RetriableError as error:
            self._failures[name] += 1
            if self._failures[name] < MAX_ATTEMPTS or isinstance(error, ConnectError | ThrottledError):
                raise
            return error
        self._failures.pop(name, None)
        return result
