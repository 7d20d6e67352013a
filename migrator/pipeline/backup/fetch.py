"""Fetching: files are queued, handed out in batches, and each gets an outcome.

An error of one file must neither cancel the others nor vanish, so it becomes a status with its reason. One file never
speaks for the tracker: the credentials are wrong only if every file was refused, and a 404 makes a file `gone` only if
the tracker, asked again, no longer lists it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from migrator import errors
from migrator.model import Attachment, Blob, Outcome, Status
from migrator.pipeline.backup.pace import Pace
from migrator.pipeline.backup.recorder import FetchResult, Recorded, Recorder
from migrator.pipeline.fetch_place import Fetched, FetchPlace
from migrator.pipeline.reading import HashSink
from migrator.pipeline.stop import StopToken
from migrator.ports import Source
from migrator.progress import Progress

MAX_UNRECORDED = 1024
"""Files that are queued or handed out and not recorded yet. A kill loses no more downloads than these."""
BATCHES_IN_FLIGHT = 4
"""So many batches of files may be handed out. One whose last file waits for long holds up no other."""
MIN_REFUSED, MAX_REFUSED = 3, 1000
"""If this many files were refused and none was fetched, the credentials are wrong. MIN_REFUSED counts at the end of a
run; at MAX_REFUSED the run ends at once.
"""
MAX_EMPTY = 3
"""Files of unknown size that may be empty before one that isn't; more look like a storage outage."""
MAX_DOUBTED = 10_000
"""Files that failed because they were empty, and are fetched again in the same run if a later file has content."""


class Fetcher:
    """The downloads of one run: queues files, has `place` fetch them, judges what came, and hands that to the recorder.

    `work` is one task. `witness` finds a file of unlisted size that an earlier run fetched and that was not empty.
    """

    def __init__(
        self,
        source: Source,
        place: FetchPlace,
        recorder: Recorder,
        stop: StopToken,
        progress: Progress,
        *,
        allow_forbidden: bool,
        witness: Callable[[], Awaitable[Attachment | None]],
    ) -> None:
        self._source, self._place, self._recorder = source, place, recorder
        self._stop, self._progress, self._allow_forbidden = stop, progress, allow_forbidden
        self._queue: deque[tuple[Attachment, Recorded]] = deque()
        self._may_take, self._slots = asyncio.Event(), asyncio.Semaphore(MAX_UNRECORDED)
        self._handed_out = 0
        self._pace = Pace()
        self._tried = self._stored = self._refused = self._missing = 0
        self._refusal = ""
        # These are about files of unlisted size.
        self._empty, self._some_content, self._witness = 0, False, witness
        self._asking = asyncio.Lock()
        self._doubted: list[Attachment] = []

    async def put(self, attachment: Attachment, recorded: Recorded) -> None:
        """Queue a file; `recorded` is called once its outcome is in the catalog. Waits while too many are under way."""
        await self._slots.acquire()

        def freed(attachment: Attachment, status: Status) -> None:
            self._slots.release()
            recorded(attachment, status)

        self._queue.append((attachment, freed))
        self._may_take.set()

    def expect(self, files: int) -> None:
        """That many more files will be put."""
        self._place.expect(files)

    async def work(self) -> None:
        """Have batches fetched until cancelled, or until a stop."""
        async with asyncio.TaskGroup() as batches:
            while not self._stop.requested:
                if batch := self._take_batch():
                    batches.create_task(self._fetch_batch(batch))
                else:
                    self._may_take.clear()
                    await self._may_take.wait()

    def _take_batch(self) -> dict[str, tuple[Attachment, Recorded]]:
        """The next files of the queue by id; none while enough are handed out. One queued twice is in two batches."""
        batch: dict[str, tuple[Attachment, Recorded]] = {}
        size = self._pace.batch_size()
        if self._handed_out > (BATCHES_IN_FLIGHT - 1) * size:
            return batch
        while self._queue and len(batch) < size and self._queue[0][0].id not in batch:
            attachment, recorded = self._queue.popleft()
            batch[attachment.id] = attachment, recorded
        self._handed_out += len(batch)
        return batch

    async def _fetch_batch(self, batch: dict[str, tuple[Attachment, Recorded]]) -> None:
        def report(results: Sequence[Fetched]) -> None:
            self._pace.count(len(results))
            self._handed_out -= len(results)
            self._may_take.set()
            for fetched in results:
                attachment, recorded = batch[fetched.attachment_id]
                if fetched.blob is not None and (fetched.blob.size or not _is_unlisted(attachment.size)):
                    outcome = self._stored_as(attachment, fetched.blob, fetched.warning)
                    self._recorder.add(FetchResult(outcome, recorded))
                elif judging.open:
                    judging.group.create_task(judge(attachment, recorded, fetched))

        async def judge(attachment: Attachment, recorded: Recorded, fetched: Fetched) -> None:
            with self._stop.in_flight():
                self._recorder.add(FetchResult(await self._judged(attachment, fetched), recorded))

        async with _Judging() as judging:
            await self._place.fetch([attachment for attachment, _ in batch.values()], report)

    def require_some(self) -> None:
        """After the last file: `AuthError` if several were requested and every one was refused."""
        if self._refused >= MIN_REFUSED and self._refused == self._tried:
            raise errors.AuthError(f"{self._refusal} (all {self._refused} files)")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the downloads as a whole."""
        empty = f"{self._empty} files came empty, and the tracker lists no sizes for them"
        counted = ((self._missing_warning(), self._missing), (empty, self._empty))
        return tuple(warning for warning, count in counted if count)

    def _missing_warning(self) -> str:
        none_stored = "none of the files could be fetched: " if not self._stored else ""
        clause = "is listed, and answers that it is" if self._missing == 1 else "are listed, and answer that they are"
        return (
            f"{none_stored}{self._missing} {clause} not there; is the storage behind the tracker unavailable, or "
            "does a proxy forward only the API?"
        )

    async def fetch(self, attachment: Attachment) -> Outcome:
        """Fetch one file now, for the recorder to record; after a stop it is not fetched, which is a failure."""
        results: list[Fetched] = []
        await self._place.fetch([attachment], results.extend)
        if not results:
            return Outcome(attachment, Status.FAILED, error="the run was stopped before it")
        return await self._judged(attachment, results[0])

    async def compare(self, attachment: Attachment, stored: Blob) -> Outcome:
        """Download a file that is stored already, and keep nothing of it: the blob is what came."""
        sink = HashSink(progress=self._progress)
        try:
            await self._source.download(attachment, sink)
            if stored.size and not sink.size and _is_unlisted(attachment.size):
                raise errors.UnexpectedBodyError("empty, and no size is listed to compare it with")
        except errors.ItemFailedError as error:
            return await self._failed_as(attachment, error)
        return self._stored_as(attachment, Blob(sink.sha256.hexdigest(), sink.size), None)

    def _stored_as(self, attachment: Attachment, blob: Blob, warning: str | None) -> Outcome:
        """The outcome of a file that came."""
        self._tried += 1
        self._stored += 1
        if blob.size and _is_unlisted(attachment.size):
            self._some_content = True
        self._progress.done()
        return Outcome(attachment, Status.STORED, blob, warning=warning)

    async def _judged(self, attachment: Attachment, fetched: Fetched) -> Outcome:
        """The outcome of any file. Raises what is fatal."""
        error, blob, warning = fetched.error, fetched.blob, fetched.warning
        if isinstance(error, errors.ItemFailedError):
            return await self._failed_as(attachment, error)
        if error is not None:
            raise error
        assert blob is not None  # noqa: S101 - there is a blob or an error
        if not blob.size and _is_unlisted(attachment.size):
            try:
                await self._accept_empty(attachment)
            except errors.ItemFailedError as refusal:
                return await self._failed_as(attachment, refusal)
            doubt = "empty, and no size is listed to compare it with"
            warning = doubt if warning is None else f"{warning}; {doubt}"
        return self._stored_as(attachment, blob, warning)

    async def _failed_as(self, attachment: Attachment, error: errors.ItemFailedError) -> Outcome:
        """The outcome of a file that didn't come; `TrackerUnreachableError` if there was no connection."""
        self._tried += 1
        if isinstance(error, errors.ConnectError):
            raise errors.TrackerUnreachableError(str(error)) from error
        status, reason = await self._outcome_of(attachment, error)
        self._progress.done(failed=status is Status.FAILED, not_transferred=max(0, attachment.size or 0))
        return Outcome(attachment, status, None, reason)

    def take_doubted(self) -> list[Attachment]:
        """The files that failed because they were empty, if others were not: they may be fetched again, once."""
        doubted, self._doubted = self._doubted if self._some_content else [], []
        return doubted

    async def _accept_empty(self, attachment: Attachment) -> None:
        """If no size is listed, an empty body proves nothing: only a few are accepted, with a warning.

        Once a file of unlisted size has content, all are accepted: the storage behind the tracker is there.
        """
        if self._empty >= MAX_EMPTY and not await self._gives_content():
            if len(self._doubted) < MAX_DOUBTED:
                self._doubted.append(attachment)
            raise errors.UnexpectedBodyError(
                "empty, like all files before it without a listed size; is the storage behind the tracker unavailable?"
            )
        self._empty += 1

    async def _gives_content(self) -> bool:
        """Whether any file of unlisted size had content. If none had, one that the archive has is fetched again."""
        async with self._asking:
            if not self._some_content and (known := await self._witness()):
                self._witness, sink = _no_witness, HashSink()
                with suppress(errors.ItemFailedError):  # that says nothing about the others
                    await self._source.download(known, sink)
                    self._some_content = sink.size > 0
        return self._some_content

    async def _outcome_of(self, attachment: Attachment, error: errors.MigratorError) -> tuple[Status, str]:
        """The status of a file after an error, and the reason."""
        if isinstance(error, errors.GoneError):
            return await self._gone(attachment, error)
        if isinstance(error, errors.ForbiddenError) and self._allow_forbidden:
            return Status.SKIPPED, str(error)
        if isinstance(error, errors.LoginPageError | errors.UnauthorizedError):
            self._refused, self._refusal = self._refused + 1, str(error)
            if self._refused >= MAX_REFUSED and not self._stored:
                raise errors.AuthError(f"{error} (the first {self._refused} files)") from error
        return Status.FAILED, str(error)

    async def _gone(self, attachment: Attachment, error: errors.GoneError) -> tuple[Status, str]:
        """Ask whether the tracker still lists the file."""
        try:
            listed = await self._source.still_lists(attachment)
        except errors.ItemFailedError as failure:
            self._missing += 1
            return Status.FAILED, f"{error}; it could not be determined whether the tracker still lists it ({failure})"
        if not listed:
            return Status.GONE, str(error)
        self._missing += 1
        return Status.FAILED, f"{error}, though the tracker still lists it"


class _Judging:
    """The tasks that judge the files of one batch; what one of them raises cancels the rest."""

    def __init__(self) -> None:
        self.group, self.open = asyncio.TaskGroup(), True

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.group.__aexit__(kind, error, trace)
        finally:
            self.open = False


def _is_unlisted(size: int | None) -> bool:
    """Whether the tracker doesn't list a size; some list -1 for that."""
    return size is None or size < 0


async def _no_witness() -> None:
    """Takes the place of a witness: it is asked only once."""
