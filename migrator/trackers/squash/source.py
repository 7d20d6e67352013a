"""Squash TM as a source: the walk over all owners, and the files of each."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from migrator.errors import NotExposedError
from migrator.model import Attachment, Cursor, Entity, Page
from migrator.ports import Source
from migrator.trackers.squash.client import API, Options, SquashTM
from migrator.trackers.squash.tree import OwnerTree, is_unreadable_listing
from migrator.wire import HttpClient


class SquashSource(SquashTM, Source):
    """The owners in each of the seven lists; after each page of a list, everything below its items."""

    def __init__(self, http: HttpClient, options: Options) -> None:
        super().__init__(http, options)
        self.capabilities = replace(self.capabilities, dates_changes=options.change_dates)
        self._tree = OwnerTree(
            self._get,
            self._records,
            f"{http.base}/{API}",
            options.page_size,
            projects=options.project_files == "read",
            dates=options.change_dates,
        )

    @override
    async def read(self, stream: str, cursor: Cursor | None) -> Page:
        return await self._tree.page(stream, cursor)

    @override
    async def attachments_of(self, entity: Entity) -> tuple[Attachment, ...]:
        """An entity that stands for an unreadable listing has all files below it, once the listing can be read."""
        if not is_unreadable_listing(entity.ref):
            return await self.find_attachments(entity.ref)
        files: list[Attachment] = []
        cursor: Cursor | None = await self._tree.resume_listing(entity.ref)
        while cursor is not None:
            page = await self._tree.page("", cursor)
            for failure in page.unread:
                raise NotExposedError(failure.reason)
            for owner in page.ask:
                files += await self.attachments_of(owner)
            cursor = page.next
        return tuple(files)
