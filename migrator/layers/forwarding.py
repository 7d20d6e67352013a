"""A `Source` and a `Target` that pass every call on; a layer overrides the methods that it changes.

Beware: a new method of the ports has to be passed on here, and `RetryingSource` or `RetryingTarget` has to retry it.
"""

from __future__ import annotations

from typing_extensions import override

from migrator.model import Attachment, Cursor, Draft, Entity, EntityDraft, EntityRef, Page
from migrator.ports import Body, Sink, Source, Target


class SourceWrapper(Source):
    """The source `inner`, unchanged."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities

    @override
    async def check(self) -> str:
        return await self._inner.check()

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._inner.oddities()

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        return await self._inner.read(stream, cursor)

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        return await self._inner.attachments_of(entity)

    @override
    async def still_lists(self, attachment: Attachment) -> bool:
        return await self._inner.still_lists(attachment)

    @override
    async def download(self, attachment: Attachment, sink: Sink) -> None:
        await self._inner.download(attachment, sink)


class TargetWrapper(Target):
    """The target `inner`, unchanged."""

    def __init__(self, inner: Target) -> None:
        self._inner = inner
        self.capabilities = inner.capabilities

    @override
    async def check(self) -> str:
        return await self._inner.check()

    @override
    async def oddities(self) -> tuple[str, ...]:
        return await self._inner.oddities()

    @override
    async def close(self) -> None:
        await self._inner.close()

    @override
    def legal_name(self, name: str) -> str:
        return self._inner.legal_name(name)

    @override
    async def refuses(self, owner: EntityRef, draft: Draft) -> str | None:
        return await self._inner.refuses(owner, draft)

    @override
    async def find_attachments(self, owner: EntityRef) -> tuple[Attachment, ...]:
        return await self._inner.find_attachments(owner)

    @override
    async def upload(self, owner: EntityRef, draft: Draft, body: Body) -> Attachment | None:
        return await self._inner.upload(owner, draft, body)

    @override
    async def describe(self, remote: Attachment, description: str) -> None:
        await self._inner.describe(remote, description)

    @override
    async def read_back(self, remote: Attachment, sink: Sink) -> None:
        await self._inner.read_back(remote, sink)

    @override
    async def delete(self, remote: Attachment) -> None:
        await self._inner.delete(remote)

    @override
    async def require_creating(self) -> None:
        await self._inner.require_creating()

    @override
    async def create_entity(self, draft: EntityDraft) -> EntityRef:
        return await self._inner.create_entity(draft)

    @override
    async def find_entity(self, draft: EntityDraft) -> EntityRef | None:
        return await self._inner.find_entity(draft)
