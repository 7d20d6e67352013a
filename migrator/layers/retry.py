"""Retries around any tracker: `Retrying(Verified(adapter))` for a source, `DryRun(Retrying(adapter))` for a target.

Calls are retried here and nowhere else. The request rate is not a layer, because it limits requests, and one call may
need several; it is in `wire.rate`.

Beware: an upload is never repeated blindly. Only one that certainly did not arrive (no connection, a 429 or 503) is
sent again; an `OutcomeUnknownError` goes up to the load, which looks at the target first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from typing_extensions import override

from migrator import errors
from migrator.layers.forwarding import SourceWrapper, TargetWrapper
from migrator.layers.login import Login, explained
from migrator.layers.retry_policy import MaxRetries, RetryPolicy
from migrator.layers.verifying_sink import verified_download
from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Body, Sink, Source, Target

T = TypeVar("T")
_MAX_REFUSED_FILES = 10
"""After this many refused files in a row, a refusal counts as final at once."""


class RetryingSource(SourceWrapper):
    """Repeats calls that may succeed next time; the sink of a download is rewound before each try.

    Once a tracker has answered, it is known to be reachable and to accept the credentials. From then on a refusal, a
    404 or a page in the middle of a listing is retried like any other fault, and a 401 that persists is about this one
    item, unless `check` is refused, too. `answered`: another process has seen that. `login` explains what is refused.
    """

    def __init__(
        self, inner: Source, policy: RetryPolicy, *, answered: bool = False, login: Login | None = None
    ) -> None:
        super().__init__(inner)
        self._policy, self._login = policy, login
        self._answered, self._refused_files = answered, 0

    @override
    async def check(self) -> str:
        description = await explained(self._policy.call_briefly(self._inner.check), self._login)
        self._answered = True
        return description

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._policy.call(self._inner.oddities)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return await self._call(lambda: self._inner.still_lists(attachment), self._mistakes_of_entity)

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        """`UnauthorizedError` where this listing alone is refused."""

        def mistakes(_: errors.MigratorError) -> int:
            if cursor is not None:  # in the middle of a listing nothing is final
                return self._policy.retries
            return self._policy.login_pages if self._answered else 0

        page = await self._call(lambda: self._inner.read(stream, cursor), mistakes)
        self._answered = True
        return page

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """`UnauthorizedError` where this entity alone is refused. `GoneError` only after a second request."""
        attachments = await self._call(lambda: self._inner.attachments_of(entity), self._mistakes_of_entity)
        self._answered = True
        return attachments

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        """`UnauthorizedError` where this file alone is refused."""

        async def once() -> None:
            sink.rewind()
            await self._inner.download(attachment, sink)

        login_pages = 0 if self._refused_files >= _MAX_REFUSED_FILES else None
        try:
            await self._call(once, self._mistakes_of_file, login_pages)
        except (errors.UnauthorizedError, errors.LoginPageError):
            self._refused_files += 1
            raise
        self._refused_files = 0

    def _mistakes_of_file(self, error: errors.MigratorError) -> int:
        """For a file, only a 401 may be a mistake, unless all recent files got one."""
        possible = isinstance(error, errors.AuthError) and self._answered and self._refused_files < _MAX_REFUSED_FILES
        return self._policy.login_pages if possible else 0

    def _mistakes_of_entity(self, error: errors.MigratorError) -> int:
        """For an entity, a 403 is final, and any other refusal, such as a 404, is checked once."""
        if not self._answered or isinstance(error, errors.ForbiddenError | errors.NotExposedError):
            return 0
        return 1 if isinstance(error, errors.RejectedError) else self._policy.retries

    async def _call(self, call: Callable[[], Awaitable[T]], mistakes: MaxRetries, login_pages: int | None = None) -> T:
        policy = self._policy if login_pages is None else replace(self._policy, login_pages=login_pages)
        try:
            return await policy.call(call, mistakes)
        except errors.AuthError as error:
            if not self._answered or not await self._accepts_credentials():
                raise
            raise errors.UnauthorizedError(f"{error}; other requests with the same credentials are answered") from error

    async def _accepts_credentials(self) -> bool:
        try:
            await self._inner.check()
        except errors.MigratorError:
            return False
        return True


class RetryingTarget(TargetWrapper):
    """Repeats calls that may succeed next time; uploads only if they certainly did not arrive."""

    def __init__(self, inner: Target, policy: RetryPolicy, *, login: Login | None = None) -> None:
        super().__init__(inner)
        self._policy, self._login = policy, login

    @override
    async def check(self) -> str:
        return await explained(self._policy.call_briefly(self._inner.check), self._login)

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._policy.call(self._inner.oddities)

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return await self._policy.call(lambda: self._inner.refuses(owner, draft))

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return await self._policy.call(lambda: self._inner.find_attachments(owner))

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        async def once() -> Attachment | None:
            try:
                return await self._inner.upload(owner, draft, body)
            except errors.UnexpectedBodyError as error:
                message = f"the answer to an upload is invalid ({error})"
                raise errors.OutcomeUnknownError(message, login=isinstance(error, errors.LoginPageError)) from error

        return await self._policy.call(once)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        await self._policy.call(lambda: self._inner.describe(remote, description))

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        """`UnexpectedBodyError` unless the listed size came: a truncated file would look like another one."""

        async def once() -> None:
            sink.rewind()
            await verified_download(
                lambda verifying: self._inner.read_back(remote, verifying), remote, sink, strict=True
            )

        await self._policy.call(once)

    @override
    async def delete(self, remote: Attachment) -> None:
        """`GoneError` may also mean that an earlier try deleted it and the answer was lost."""
        await self._policy.call(lambda: self._inner.delete(remote))

    @override
    async def require_creating(self) -> None:
        await self._policy.call(self._inner.require_creating)

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        """Repeated only if it certainly was not created."""

        async def once() -> EntityRef:
            try:
                return await self._inner.create_entity(draft)
            except errors.UnexpectedBodyError as error:
                raise errors.OutcomeUnknownError(f"the answer to creating an entity is invalid ({error})") from error

        return await self._policy.call(once)

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._policy.call(lambda: self._inner.find_entity(draft))
