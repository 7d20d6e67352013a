"""The crawl of a backup: reads pages of listings, has their files recorded and fetched, keeps checkpoints in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from migrator import errors
from migrator.model import Attachment, Cursor, Entity, Page, Status
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.backup.findings import Findings
from migrator.pipeline.backup.loop_detector import LoopDetector
from migrator.pipeline.backup.unchanged import UnchangedEntities
from migrator.pipeline.run import RunContext
from migrator.ports import Source
from migrator.progress import Progress
from migrator.selection import Selector
from migrator.store import Crawl, FreeSpace, is_content_changed

PAGES_IN_FLIGHT = 4
"""Pages processed at once. Their files keep all downloads busy; more pages would only take memory."""
PAGES_WITHOUT_CHECKPOINT = 64
"""Pages that were read and whose checkpoints wait for an earlier page: one slow file must not keep all others waiting.
A run that is killed reads them again."""


class Crawler:
    """Reads the listings of one source, from where the crawl stopped before."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        findings: Findings,
        selector: Selector,
        space: FreeSpace,
        context: RunContext,
        progress: Progress,
        *,
        downloads: int,
        allow_forbidden: bool,
    ) -> None:
        self._source, self._fetcher, self._findings, self._selector = source, fetcher, findings, selector
        self._space, self._progress, self._allow_forbidden = space, progress, allow_forbidden
        self._catalog, self._executor, self._run = context.catalog, context.executor, context.run
        self._crawl, self._failed = Crawl(context.run, {}), list[Entity]()
        self._partial = False
        self._unchanged: UnchangedEntities | None = None
        self._page_slots = asyncio.Semaphore(PAGES_IN_FLIGHT)
        self._checkpoint_slots = asyncio.Semaphore(PAGES_WITHOUT_CHECKPOINT)
        self._entity_slots = asyncio.Semaphore(downloads)
        self._unlisted_pages, self._last_page_read = 0, False
        self._in_progress: dict[str, Attachment] = {}  # and those that failed: no other page fetches them again

    def resume(
        self, crawl: Crawl, failed: list[Entity], *, partial: bool, unchanged: UnchangedEntities | None = None
    ) -> None:
        """Set where the crawl stands, before it reads. `failed`: entities that an earlier run could not list.

        `unchanged` decides which entities need not be asked; None: all are, and nothing is recorded for later crawls.
        """
        self._crawl, self._failed, self._partial = crawl, failed, partial
        self._unchanged = unchanged
        self._findings.seen.whole = crawl.start == self._run

    async def read_all(self) -> None:
        """Read every listing to its end, or until the selection is exhausted.

        `TrackerUnreachableError` if none can be read.
        """
        cursors = self._crawl.cursors
        previous: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as pages:
            for stream in self._source.capabilities.streams:
                cursor = cursors.get(stream)
                ended, loop = stream in cursors and cursor is None, LoopDetector(stream)
                self._findings.answered |= stream in cursors  # an earlier run read it
                while not ended and not self._selector.exhausted:
                    await self._checkpoint_slots.acquire()
                    await self._page_slots.acquire()
                    page = await self._read(stream, cursor, loop)
                    if page is None:
                        self._page_slots.release()
                        self._checkpoint_slots.release()
                        break
                    self._unlisted_pages += 1
                    previous = pages.create_task(self._process(stream, page, previous))
                    cursor = page.next
                    ended = cursor is None
            self._last_page_read = True
            self._count_listed(0)
        self._findings.require_answers()

    async def _read(self, stream: str, cursor: Cursor | None, loop: LoopDetector) -> Page | None:
        """A page of a listing; None, and a failure is noted, if the listing can't be read any further."""
        try:
            page = await self._source.read(stream, cursor)
            loop.check(page)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(f"the listing {stream!r} can't be read: {error}") from error
        except errors.ItemFailedError as error:
            self._findings.add_unread(stream, str(error))
            return None
        self._findings.answered = True
        self._findings.warn(*page.warnings)
        return page

    async def complete(self) -> None:
        """If the crawl ended early by a limit, ask for all files of the selected entities: not all were listed yet."""
        if self._selector.exhausted:
            selected = [Entity(ref) for ref in sorted(self._selector.selected, key=str)]
            await self._ask_and_fetch(selected)

    async def _process(self, stream: str, page: Page, previous: asyncio.Task[None] | None) -> None:
        """Record a page and have its files fetched; its checkpoint comes after that of the `previous` page."""
        try:
            await self._record_and_fetch(page)
        finally:
            self._page_slots.release()
        cursor, links = page.next, page.links
        del page  # it may be long until the one before it is done
        if previous is not None:
            await previous
        checkpoint = self._catalog.crawl.record_checkpoint
        await self._executor.call(checkpoint, self._run, stream, cursor, links, partial=self._partial)
        self._checkpoint_slots.release()

    async def _record_and_fetch(self, page: Page) -> None:
        """Record a page and have its files fetched."""
        if self._partial:
            self._findings.seen.add((*page.entities, *page.ask))
        entities = [entity for entity in page.ask if self._selector.may_select(entity.ref)]
        if self._unchanged is not None:  # before the page is recorded, as that says that it was seen
            entities = await self._unchanged.leave_out(entities)
        await self._list_and_fetch(page.entities, page.attachments, lists_rest=not entities)
        await self._ask_and_fetch(entities)
        for unread in page.unread:
            write = partial(self._catalog.crawl.record_entity_error, self._run, Entity(unread.ref), unread.reason)
            await self._executor.call(write)

    async def _ask_and_fetch(self, entities: Sequence[Entity]) -> None:
        """Ask for the attachments of these entities, record them, and have them fetched."""
        if not entities:
            return
        dates = self._unchanged.dates_of(entities) if self._unchanged is not None else {}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._attachments_of(entity)) for entity in entities]
        answers = [(entity.ref, task.result()) for entity, task in zip(entities, tasks, strict=True)]
        files = [file for _, listed in answers for file in listed or ()]
        await self._list_and_fetch((), files, lists_rest=True)
        if self._unchanged is not None:
            await self._unchanged.record(
                (ref, dates[ref]) for ref, listed in answers if ref in dates and listed is not None
            )

    async def _attachments_of(self, entity: Entity) -> tuple[Attachment, ...] | None:
        """The attachments of an entity; None, and the error is recorded, if they can't be listed."""
        async with self._entity_slots:
            try:
                return await self._source.attachments_of(entity)
            except errors.ConnectError as error:
                raise errors.TrackerUnreachableError(str(error)) from error
            except errors.ItemFailedError as error:
                expected = isinstance(error, errors.ForbiddenError) and self._allow_forbidden
                reason = f"listed, and then not there: {error}" if isinstance(error, errors.GoneError) else str(error)
                write = self._catalog.crawl.record_entity_error
                await self._executor.call(write, self._run, entity, reason, expected=expected)
                return None

    def _count_listed(self, pages: int) -> None:
        """All files of so many pages are listed now; once those of all are, the total is known."""
        self._unlisted_pages -= pages
        if self._last_page_read and not self._unlisted_pages and not self._selector.exhausted:
            self._progress.all_known()

    async def _list_and_fetch(
        self, entities: Sequence[Entity], attachments: Sequence[Attachment], *, lists_rest: bool = False
    ) -> None:
        """Record what is listed, and have it fetched. `lists_rest`: with that, all files of a page are listed."""
        # Recording an entity clears its error, so an entity that will not be asked is not recorded.
        entities = [entity for entity in entities if not self._partial or self._selector.may_select(entity.ref)]
        self._progress.entities(sum(entity.raw is not None for entity in entities))
        by_id = {attachment.id: attachment for attachment in attachments}
        listed = [(file, Status.PENDING if self._selector.select(file) else Status.SKIPPED) for file in by_id.values()]
        if any(status is Status.PENDING for _, status in listed):
            self._findings.seen.match()
        listed = await self._without_failed(listed)
        if self._selector.selection.limit is not None:
            await self._executor.call(self._catalog.crawl.record_selected, self._crawl, list(self._selector.selected))
        wanted = await self._executor.call(self._catalog.crawl.record_listing, self._run, entities, listed)
        await self._fetch([by_id[id_] for id_ in by_id if id_ in wanted], pages=int(lists_rest))

    async def _without_failed(self, listed: list[tuple[Attachment, Status]]) -> list[tuple[Attachment, Status]]:
        """In a crawl of a selection: a file outside of it that failed before stays a failure, so it isn't recorded."""
        outside = [file.id for file, status in listed if self._partial and status is Status.SKIPPED]
        failed = await self._executor.call(self._catalog.crawl.failed_among, outside) if outside else set()
        return [(file, status) for file, status in listed if status is not Status.SKIPPED or file.id not in failed]

    async def _fetch(self, attachments: Sequence[Attachment], *, again: bool = False, pages: int = 0) -> None:
        """Have files fetched, and wait until each is recorded. Files that another page has in progress are left out."""
        todo = [attachment for attachment in attachments if again or attachment.id not in self._in_progress]
        self._in_progress.update({attachment.id: attachment for attachment in todo})
        await self._executor.call(
            self._space.require_for_files, [attachment.size for attachment in todo], self._catalog
        )
        self._progress.known(len(todo), sum(max(0, attachment.size or 0) for attachment in todo))
        self._count_listed(pages)
        self._fetcher.expect(len(todo))
        left, all_recorded = len(todo), asyncio.Event()

        def recorded(attachment: Attachment, status: Status) -> None:
            nonlocal left
            left -= 1
            if status not in {Status.FAILED, Status.GONE}:
                self._in_progress.pop(attachment.id, None)
            if not left:
                all_recorded.set()

        for attachment in todo:
            await self._fetcher.put(attachment, recorded)
        if todo:
            await all_recorded.wait()

    async def retry_unfinished(self) -> None:
        """Try again what earlier runs of this crawl could not list or fetch.

        That includes files that failed in this run, if another page has listed them with new content since, or if they
        came empty and a later file had content, so that the storage is there.
        """
        for entity in self._failed:
            if self._selector.may_select(entity.ref) and (files := await self._attachments_of(entity)) is not None:
                await self._list_and_fetch((), files)
                await self._executor.call(self._catalog.crawl.record_entity_error, self._run, entity, None)
        after = ""
        while unfinished := await self._executor.call(self._catalog.crawl.unfinished, self._crawl, after):
            after = unfinished[-1].id
            for attachment in unfinished:
                if (failed := self._in_progress.get(attachment.id)) and is_content_changed(failed, attachment):
                    del self._in_progress[attachment.id]
            await self._fetch(
                [attachment for attachment in unfinished if not self._partial or self._selector.select(attachment)]
            )
        await self._fetch(self._fetcher.take_doubted(), again=True)
