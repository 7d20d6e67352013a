"""Requests to a Redmine, with checks of its answers: the account, complete lists, permanent failures.

Redmine answers 200 to anonymous visitors, with what everybody may see. The account is therefore checked along with
every listing, and a refusal by one route is not a refusal of the account.

Beware: with its REST API switched off, Redmine ignores the key. Public issues are listed as usual, and the account is
refused with an empty 403, whereas a wrong key gets a 401 (`require_login` of Redmine 5.0; recorded from a running one).
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from migrator.errors import (
    AuthError,
    ForbiddenError,
    ItemFailedError,
    RejectedError,
    RetriableError,
    ShortListingError,
)
from migrator.trackers.failed_attempts import FailedAttempts
from migrator.trackers.lenient import integer
from migrator.trackers.listing import Items
from migrator.trackers.strict import number_in, object_in, objects_in
from migrator.wire import HttpClient

T = TypeVar("T")

PAGE_SIZE = 100
"""Items on a page. Redmine silently reduces any larger number to this."""
SWITCHED_OFF = (
    "the REST API of this Redmine is switched off (Administration -> Settings -> API), so it ignores all credentials"
)


class Api:
    """The API of one Redmine, for one reader."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._attempts = FailedAttempts()

    async def account(self) -> dict[str, Any]:
        """The account of these credentials, or `AuthError`: no other route is sure to refuse wrong credentials."""
        try:
            return object_in(await self._http.get_json("users/current.json"), "user")
        except ForbiddenError as error:
            if str(error).endswith("status 403"):
                raise AuthError(SWITCHED_OFF) from None
            raise AuthError(str(error)) from None

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """An answer as JSON. A 401 of a route although the account is valid is `RetriableError`: it may pass."""
        try:
            return await self._http.get_json(path, query)
        except AuthError:
            await self.account()
            raise RetriableError(
                f"GET {path}: refused (status 401), although other routes accept this account", status=401
            ) from None

    async def first_issues(self) -> dict[str, Any]:
        """The answer of the list of issues to a request for two of them."""
        query = {"status_id": "*", "sort": "id", "limit": "2", "offset": "0"}
        return object_in(await self.get("issues.json", query))

    async def complete_list(self, path: str, key: str, query: Mapping[str, str] | None = None) -> Items:
        """All items of a list that can't be sorted, in the order of their numbers.

        `ShortListingError` if items are missing, or the list changed meanwhile.
        """
        by_number: dict[int, dict[str, Any]] = {}
        total, received = None, 0
        while True:
            window = {"limit": str(PAGE_SIZE), "offset": str(received)}
            answer = object_in(await self.get(path, {**(query or {}), **window}))
            items, stated, known = objects_in(answer, key), integer(answer.get("total_count")), len(by_number)
            if received and stated != total:
                raise ShortListingError(f"GET {path}: the listing changed while it was read")
            by_number.update((number_in(item), item) for item in items)
            total, received = stated, received + len(items)
            if len(by_number) == known or (total is not None and received >= total):
                break
        if total is not None and len(by_number) < total:
            raise ShortListingError(f"GET {path}: {len(by_number)} of {total} items were listed")
        return [by_number[number] for number in sorted(by_number)]

    async def result_or_final_error(self, name: str, call: Awaitable[T]) -> T | ItemFailedError:
        """The result of a call, or its error if that is definite or final (see `FailedAttempts`); else raises it."""
        try:
            result = await call
        except RejectedError as error:
            return error
        except RetriableError as error:
            if not self._attempts.is_final(name, error):
                raise
            return error
        self._attempts.forget(name)
        return result
