"""Recheck: files that are stored are downloaded again and compared with the archive, all of them or the next share.

A file that was changed and kept its size and date shows in no listing. So its bytes are hashed, and kept only if they
are others than the archive has: then the file is downloaded once more, to be stored like any other.

Each run goes on where the one before ended, so 1 % of the files in each of 100 runs are all of them. A file that can't
be downloaded is a failure of this run, and what is stored of it stays. The next run tries it again, with or without a
recheck.

Beware: how far a round has come is recorded after the files before it, or a kill would leave out a changed one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from migrator.model import Attachment, Outcome, Status
from migrator.pipeline.backup.fetch import Fetcher
from migrator.pipeline.backup.recorder import FetchResult, Recorder
from migrator.pipeline.run import RunContext
from migrator.pipeline.workers import run_workers
from migrator.progress import Progress
from migrator.store import Crawl, RecheckRound, StoredFile

FILES_PER_BATCH = 256


class Rechecker:
    """The rechecks of one run; `share`, from 0 to 1, is how much of the files it takes. `wants` tells which count."""

    def __init__(
        self,
        fetcher: Fetcher,
        recorder: Recorder,
        context: RunContext,
        progress: Progress,
        *,
        share: float,
        downloads: int,
        wants: Callable[[Attachment], bool],
    ) -> None:
        self._fetcher, self._recorder, self._progress = fetcher, recorder, progress
        self._executor, self._records, self._run = context.executor, context.catalog.rechecks, context.run
        self._stop, self._share, self._downloads, self._wants = context.stop, share, downloads, wants
        self._retried: set[str] = set()
        self._compared = self._differing = self._failed = 0

    @property
    def counts(self) -> dict[str, int] | None:
        """How many files were compared, had other content, or could not be downloaded; None without a recheck."""
        compared = {"files": self._compared, "replaced": self._differing, "failed": self._failed}
        return compared if self._share or self._compared else None

    async def work(self, crawl: Crawl) -> None:
        """What failed in an earlier run, and then this run's share of the files that the crawl has listed."""
        await self._retry_failed(crawl)
        if self._share:
            await self._continue_round(crawl)

    async def _retry_failed(self, crawl: Crawl) -> None:
        after, failed = "", self._records.failed
        while not self._stop.left_undone and (
            files := await self._executor.call(failed, crawl, after, FILES_PER_BATCH)
        ):
            await self._compare(crawl, files, None)
            after = files[-1].attachment.id
            self._retried.update(file.attachment.id for file in files)

    async def _continue_round(self, crawl: Crawl) -> None:
        place = await self._executor.call(self._records.round, partial=crawl.partial)
        if (place.crawl, place.share) != (crawl.start, self._share):
            count = await self._executor.call(self._records.count, crawl)
            place = replace(place, crawl=crawl.start, share=self._share, left=math.ceil(count * self._share))
        turns = 0
        while place.left and turns < 2 and not self._stop.left_undone:
            batch = min(place.left, FILES_PER_BATCH)
            files = await self._executor.call(self._records.following, crawl, place.after, batch)
            if files:
                place = replace(place, after=files[-1].attachment.id, left=place.left - len(files))
                await self._compare(crawl, files, place)
            else:
                place, turns = replace(place, after=""), turns + 1

    async def _compare(self, crawl: Crawl, files: Sequence[StoredFile], reached: RecheckRound | None) -> None:
        """Compare some files and record what came of it, and that the round has `reached` this place."""
        if not files:
            return
        passed, failed, todo = list[str](), list[tuple[str, str]](), list[StoredFile]()
        for file in files:
            if file.stored_run >= crawl.start:
                passed.append(file.attachment.id)  # fetched a moment ago
            elif self._wants(file.attachment) and file.attachment.id not in self._retried:
                todo.append(file)
        self._progress.known(len(todo), sum(file.blob.size for file in todo))

        async def compare(file: StoredFile) -> None:
            outcome = await self._outcome(file)
            self._compared += 1
            if outcome.status is Status.FAILED:
                reason = f"it is stored, and could not be fetched again: {outcome.error}"
                failed.append((file.attachment.id, reason))
            else:
                passed.append(file.attachment.id)

        await run_workers(todo, compare, self._downloads, self._stop)
        self._failed += len(failed)
        done = None if self._stop.left_undone else reached
        record = self._records.record
        await self._executor.call(record, self._run, passed, failed, done, partial=crawl.partial)

    async def _outcome(self, file: StoredFile) -> Outcome:
        """Compare one file; content that differs, and a file that is gone, are recorded. Any other failure is not."""
        outcome = await self._fetcher.compare(file.attachment, file.blob)
        if outcome.blob not in {None, file.blob}:
            self._progress.known(1, file.blob.size)
            outcome = await self._fetcher.fetch(file.attachment)
        elif outcome.status is not Status.GONE:
            return outcome
        if outcome.status in {Status.STORED, Status.GONE}:
            self._differing += outcome.blob not in {None, file.blob}
            recorded = asyncio.Event()
            self._recorder.add(FetchResult(outcome, lambda *_: recorded.set()))
            await recorded.wait()
        return outcome
