"""Backup: crawl -> fetch -> store -> record, all of them at once, checkpoints in order.

The one idea: a page of a listing is a task. It records what it lists, has the missing files fetched by the workers,
waits until they are recorded and until the page before it is done, and then commits its cursor. So listing goes on
while files stream, and a checkpoint never says more than what is on disk.
A listing that can't be read is one failure, and the others are read; only where none can be is the tracker out of
reach. What is fatal (credentials refused, nobody there, disk full) stops everything, after recording what was finished.
Beware: nothing is called gone unless all of the source was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from migrator import errors
from migrator.dates import same_moment
from migrator.model import Attachment, Cursor, Entity, Page, RunStatus, Status
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.backup.findings import Findings
from migrator.pipeline.backup.loop_detector import LoopDetector
from migrator.pipeline.backup.recorder import Recorder, missing_blobs
from migrator.pipeline.backup.relocation import relocate
from migrator.pipeline.run import RunContext, run_context
from migrator.ports import Source
from migrator.progress import Progress, Silent
from migrator.selection import EVERYTHING, Selection, Selector
from migrator.store import Archive, Catalog, Crawl, FreeSpace, Vanished

__all__ = ["BackupSettings", "backup", "missing_blobs", "relocate"]


PAGES_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """`identity` names the source; `kinds` empty means all. A `selection` that leaves something out makes a crawl of
    its own, which resumes as such and leaves that of the whole alone. `max_gone` is the share of what is held that may
    vanish from the source at once, 0 to 1; None: all of it.
    """

    identity: str
    kinds: tuple[str, ...] = ()
    downloads: int = 16
    allow_forbidden: bool = False
    selection: Selection = EVERYTHING
    max_gone: float | None = 0.2


async def backup(
    source: Source,
    archive: Archive,
    catalog: Catalog,
    settings: BackupSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> dict[str, Any]:
    """One run: resumes the crawl that was under way, or starts one. Whoever calls holds the archive.

    Gives the summary of `contract.md`; `stop` drains and ends it as `interrupted`. Raises what is fatal, with the
    run recorded as `failed` and all finished files kept.
    """
    async with run_context(catalog, "backup", lambda: catalog.claim_source(settings.identity)) as frame:
        work = _Backup(source, archive, settings, frame, progress or Silent())
        await frame.desk.run(work.begin)
        return await frame.carry_out(work, stop or asyncio.Event())


class _Backup:
    def __init__(
        self, source: Source, archive: Archive, settings: BackupSettings, frame: RunContext, progress: Progress
    ) -> None:
        self._source, self._archive, self._settings, self._progress = source, archive, settings, progress
        self._catalog, self._desk, self._run, self._in_flight = frame.catalog, frame.desk, frame.run, frame.in_flight
        self._recorder = Recorder(archive, frame.catalog, frame.desk, frame.run, settings.downloads)
        self._fetcher = Fetcher(
            source,
            archive,
            self._recorder,
            frame.in_flight,
            progress,
            downloads=settings.downloads,
            allow_forbidden=settings.allow_forbidden,
            witness=lambda: frame.desk.run(frame.catalog.stored_of_unlisted_size),
        )
        self._findings = Findings(progress)
        self._room = FreeSpace(archive.root)
        self._crawl = Crawl(frame.run, {})
        self._pages = asyncio.Semaphore(PAGES_IN_FLIGHT)
        self._asks = asyncio.Semaphore(settings.downloads)
        self._taken: dict[str, Attachment] = {}
        self._partial = settings.selection.partial
        self._choice = Selector(settings.selection, frozenset(settings.kinds))
        self._failed: list[Entity] = []

    def begin(self) -> None:
        """Resume the crawl that was under way, or start one."""
        kinds, selection = sorted(self._settings.kinds), self._settings.selection
        scope = repr((kinds, selection.key)) if self._partial else repr(kinds)
        self._crawl = self._catalog.begin_crawl(self._run, scope, kinds, partial=self._partial)
        self._choice.selected.update(self._catalog.selected_entities(self._crawl))
        self._failed = self._catalog.failed_entities(self._crawl)
        self._catalog.count_changes(self._run)

    def drain(self) -> None:
        """See `Work`."""
        self._fetcher.drain()

    async def flush(self) -> None:
        """See `Work`."""
        await self._recorder.flush()

    def summary(self, status: RunStatus) -> dict[str, Any]:
        """See `Work`. A crawl that came to its end is over, also where some of it could not be read."""
        catalog, start, findings = self._catalog, self._crawl.start, self._findings
        vanished = Vanished()
        if status is RunStatus.COMPLETE:
            vanished = catalog.end_crawl(
                self._crawl,
                self._settings.kinds,
                left_out=self._source.capabilities.left_out,
                whole=not findings.unread,
                max_gone=self._settings.max_gone,
            )
            findings.judge(catalog, self._crawl, self._settings.selection, self._settings.kinds, vanished)
            findings.warn(*self._fetcher.warnings)
        catalog.record_failures_of_the_whole(findings.failures)
        gone = vanished.files if vanished.believed else 0
        return {
            "entities": catalog.entity_count(start),
            "attachments": catalog.backup_counts(start, self._run, gone),
            "changes": catalog.changes(),
            "bytes": catalog.stored_bytes(self._run),
            "warnings": findings.warnings,
            "failures": catalog.failures(start),
        }

    async def work(self) -> bool:
        """See `Work`."""
        await self._expect_lost()
        if not self._partial:
            await self._desk.run(self._expect_room)
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._recorder.run())]
            helpers += [group.create_task(self._fetcher.work()) for _ in range(self._settings.downloads)]
            await self._read_all()
            await self._complete()
            await self._backlog()
            for task in helpers:
                task.cancel()
        self._fetcher.expect_some()
        return True

    async def _expect_lost(self) -> None:
        """Blobs that verify found damaged, or whose file is missing, are wanted again."""
        suspects = await self._desk.run(self._catalog.problem_blobs)
        self._archive.untrusted.update(suspects)
        lost = list({*suspects, *await self._desk.run(missing_blobs, self._archive, self._catalog)})
        if lost and (count := await self._desk.run(self._catalog.requeue, lost)):
            self._progress.note(f"{len(lost)} blobs are damaged or missing; {count} files are fetched again")

    def _expect_room(self) -> None:
        """What an earlier run listed is known before anything is asked for."""
        if size := self._catalog.bytes_to_come(self._crawl.start, self._room.largest()):
            self._room.require(size)

    async def _read_all(self) -> None:
        cursors = self._crawl.cursors
        before: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as pages:
            for stream in self._source.capabilities.streams:
                cursor = cursors.get(stream)
                ended, rounds = stream in cursors and cursor is None, LoopDetector(stream)
                self._findings.answered |= stream in cursors
                while not ended and not self._choice.exhausted:
                    await self._pages.acquire()
                    page = await self._read(stream, cursor, rounds)
                    if page is None:
                        self._pages.release()
                        break
                    before = pages.create_task(self._page(stream, page, before))
                    cursor = page.next
                    ended = cursor is None
        self._findings.expect_answers()

    async def _read(self, stream: str, cursor: Cursor | None, rounds: LoopDetector) -> Page | None:
        """A page of a listing; None if the listing can't be read any further, which is noted."""
        try:
            page = await self._source.read(stream, cursor)
            rounds.note(page)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(f"the listing {stream!r} can't be read: {error}") from error
        except errors.ItemFailedError as error:
            self._findings.can_not_list(stream, str(error))
            return None
        self._findings.answered = True
        self._findings.warn(*page.warnings)
        return page

    async def _complete(self) -> None:
        """The listing ended early: what the entities taken have beyond what was listed is asked for."""
        if self._choice.exhausted:
            taken = [Entity(ref) for ref in sorted(self._choice.selected, key=str)]
            await self._list_and_fetch((), await self._ask(taken))

    async def _page(self, stream: str, page: Page, before: asyncio.Task[None] | None) -> None:
        try:
            await self._list_and_fetch(page.entities, page.attachments)
            if asked := [entity for entity in page.ask if self._choice.may_select(entity.ref)]:
                await self._list_and_fetch((), await self._ask(asked))
            for unread in page.unread:
                write = partial(self._catalog.record_entity_error, self._run, Entity(unread.ref), unread.reason)
                await self._desk.run(write)
            if before is not None:
                await before
            checkpoint = self._catalog.record_checkpoint
            await self._desk.run(checkpoint, self._run, stream, page.next, page.links, partial=self._partial)
        finally:
            self._pages.release()

    async def _ask(self, entities: Sequence[Entity]) -> list[Attachment]:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._attachments_of(entity)) for entity in entities]
        return [attachment for task in asked for attachment in task.result() or ()]

    async def _attachments_of(self, entity: Entity) -> tuple[Attachment, ...] | None:
        """None if they can't be listed, which is recorded."""
        async with self._asks:
            try:
                return await self._source.attachments_of(entity)
            except errors.ConnectError as error:
                raise errors.TrackerUnreachableError(str(error)) from error
            except errors.ItemFailedError as error:
                expected = isinstance(error, errors.ForbiddenError) and self._settings.allow_forbidden
                reason = f"listed, and then not there: {error}" if isinstance(error, errors.GoneError) else str(error)
                write = self._catalog.record_entity_error
                await self._desk.run(write, self._run, entity, reason, expected=expected)
                return None

    async def _list_and_fetch(self, entities: Sequence[Entity], attachments: Sequence[Attachment]) -> None:
        # Listing an entity again clears what was wrong with it, so one that will not be asked is left as it is.
        entities = [entity for entity in entities if not self._partial or self._choice.may_select(entity.ref)]
        self._progress.entities(sum(entity.raw is not None for entity in entities))
        by_id = {attachment.id: attachment for attachment in attachments}
        listed = [(a, Status.PENDING if self._choice.select(a) else Status.SKIPPED) for a in by_id.values()]
        if self._settings.selection.limit is not None:
            await self._desk.run(self._catalog.record_selected, self._crawl, list(self._choice.selected))
        wanted = await self._desk.run(self._catalog.record_listing, self._run, entities, listed)
        await self._fetch([by_id[id_] for id_ in by_id if id_ in wanted])

    async def _fetch(self, attachments: Sequence[Attachment], *, again: bool = False) -> None:
        """Have these files fetched, and wait until each is recorded; what another page is at already is left out."""
        todo = [attachment for attachment in attachments if again or attachment.id not in self._taken]
        self._taken.update({attachment.id: attachment for attachment in todo})
        await self._desk.run(self._room.require_for_files, [attachment.size for attachment in todo], self._catalog)
        self._progress.known(len(todo), sum(attachment.size or 0 for attachment in todo))
        left, all_recorded = len(todo), asyncio.Event()

        def recorded(attachment: Attachment, status: Status) -> None:
            nonlocal left
            left -= 1
            if status not in {Status.FAILED, Status.GONE}:
                self._taken.pop(attachment.id, None)
            if not left:
                all_recorded.set()

        for attachment in todo:
            await self._fetcher.put(attachment, recorded)
        if todo:
            await all_recorded.wait()

    async def _backlog(self) -> None:
        """What an earlier run of this crawl listed and did not get, or could not list.

        And what failed in this one before another page listed it with another content, or others showed that it is so.
        """
        for entity in self._failed:
            if self._choice.may_select(entity.ref) and (found := await self._attachments_of(entity)) is not None:
                await self._list_and_fetch((), found)
                await self._desk.run(self._catalog.record_entity_error, self._run, entity, None)
        after = ""
        while some := await self._desk.run(self._catalog.unfinished, self._crawl, after):
            after = some[-1].id
            for attachment in some:
                if (failed := self._taken.get(attachment.id)) and not _same_content(failed, attachment):
                    del self._taken[attachment.id]
            await self._fetch(
                [attachment for attachment in some if not self._partial or self._choice.select(attachment)]
            )
        await self._fetch(self._fetcher.take_doubted(), again=True)


def _same_content(one: Attachment, other: Attachment) -> bool:
    """Whether two listings tell of the same content, as far as they tell."""
    return one.size == other.size and same_moment(one.created_at, other.created_at)
