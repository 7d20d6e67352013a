"""Fetching: files are taken from a queue and downloaded side by side; each gets an outcome.

An error of one file must neither cancel the others nor vanish, so it becomes a status with its reason. One file never
speaks for the tracker: the credentials are wrong only if every file was refused, and a 404 makes a file `gone` only if
the tracker, asked again, no longer lists it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from migrator import errors
from migrator.model import Attachment, Blob, Outcome, Status
from migrator.pipeline.backup.recorder import FetchResult, Recorded, Recorder, StoreSink
from migrator.pipeline.reading import HashSink
from migrator.pipeline.stop import StopToken
from migrator.ports import Source
from migrator.progress import Progress, Silent
from migrator.store import Archive

MIN_REFUSED, MAX_REFUSED = 3, 1000
"""If this many files were refused and none was fetched, the credentials are wrong. MIN_REFUSED counts at the end of a
run; at MAX_REFUSED the run ends at once.
"""
MAX_EMPTY = 3
"""Files of unknown size that may be empty before one that isn't; more look like a storage outage."""
MAX_DOUBTED = 10_000
"""Files that failed because they were empty, and are fetched again in the same run if a later file has content."""


class Fetcher:
    """The downloads of one run. `work` is one download task of several.

    `witness` finds a file of unlisted size that an earlier run fetched and that was not empty.
    """

    def __init__(
        self,
        source: Source,
        archive: Archive,
        recorder: Recorder,
        stop: StopToken,
        progress: Progress,
        *,
        downloads: int,
        allow_forbidden: bool,
        witness: Callable[[], Awaitable[Attachment | None]],
    ) -> None:
        self._source, self._archive, self._recorder = source, archive, recorder
        self._stop, self._progress, self._allow_forbidden = stop, progress, allow_forbidden
        self._queue: asyncio.Queue[tuple[Attachment, Recorded]] = asyncio.Queue(2 * downloads)
        self._tried = self._stored = self._refused = self._missing = 0
        self._refusal = ""
        # These are about files of unlisted size.
        self._empty, self._some_content, self._witness = 0, False, witness
        self._asking = asyncio.Lock()
        self._doubted: list[Attachment] = []

    async def put(self, attachment: Attachment, recorded: Recorded) -> None:
        """Queue a file; `recorded` is called once its outcome is in the catalog. Waits while the queue is full."""
        await self._queue.put((attachment, recorded))

    async def work(self) -> None:
        """Fetch one file after the other until cancelled, or until a stop."""
        while not self._stop.requested:
            attachment, recorded = await self._queue.get()
            with self._stop.in_flight():
                await self._recorder.add(await self.fetch(attachment, recorded))

    def require_some(self) -> None:
        """After the last file: `AuthError` if several were requested and every one was refused."""
        if self._refused >= MIN_REFUSED and self._refused == self._tried:
            raise errors.AuthError(f"{self._refusal} (all {self._refused} files)")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the downloads as a whole."""
        empty = f"{self._empty} files came empty, and the tracker lists no size of them"
        counted = ((self._missing_warning(), self._missing), (empty, self._empty))
        return tuple(warning for warning, count in counted if count)

    def _missing_warning(self) -> str:
        none_stored = "none of the files could be had: " if not self._stored else ""
        clause = "is listed, and answers that it is" if self._missing == 1 else "are listed, and answer that they are"
        return (
            f"{none_stored}{self._missing} {clause} not there; is the storage behind the tracker away, or "
            "does a proxy pass on only the API?"
        )

    async def fetch(self, attachment: Attachment, recorded: Recorded) -> FetchResult:
        """Download a file, for the recorder to store."""
        sink, body = StoreSink(self._archive, self._progress), None

        async def store() -> Blob:
            nonlocal body
            await self._source.download(attachment, sink)
            blob, body = await sink.finish()
            await self._require_content(attachment, blob, sink)
            return blob

        try:
            outcome = await self._outcome(attachment, store)
        finally:
            sink.discard()
        return FetchResult(replace(outcome, warning=sink.warning), body if outcome.blob else None, recorded)

    async def compare(self, attachment: Attachment, stored: Blob) -> Outcome:
        """Download a file that is stored already, and keep nothing of it: the blob is what came."""

        async def hash_it() -> Blob:
            sink = HashSink(progress=self._progress)
            await self._source.download(attachment, sink)
            if stored.size and not sink.size and _is_unlisted(attachment.size):
                raise errors.UnexpectedBodyError("empty, and no size is listed to hold that against")
            return Blob(sink.sha256.hexdigest(), sink.size)

        return await self._outcome(attachment, hash_it)

    async def _outcome(self, attachment: Attachment, download: Callable[[], Awaitable[Blob]]) -> Outcome:
        """Download a file, and say how that went."""
        self._tried += 1
        try:
            blob = await download()
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            status, reason = await self._outcome_of(attachment, error)
            self._progress.done(failed=status is Status.FAILED)
            return Outcome(attachment, status, None, reason)
        self._stored += 1
        self._progress.done()
        return Outcome(attachment, Status.STORED, blob)

    def take_doubted(self) -> list[Attachment]:
        """The files that failed because they were empty, if others were not: they may be fetched again, once."""
        doubted, self._doubted = self._doubted if self._some_content else [], []
        return doubted

    async def _require_content(self, attachment: Attachment, blob: Blob, sink: StoreSink) -> None:
        """If no size is listed, an empty body proves nothing: only a few are accepted, with a warning.

        Once a file of unlisted size has content, all are accepted: the storage behind the tracker is there.
        """
        if not _is_unlisted(attachment.size):
            return
        if blob.size:
            self._some_content = True
            return
        if self._empty >= MAX_EMPTY and not await self._gives_content():
            if len(self._doubted) < MAX_DOUBTED:
                self._doubted.append(attachment)
            raise errors.UnexpectedBodyError(
                "empty, as all files before it of which no size is listed; is the storage behind the tracker away?"
            )
        self._empty += 1
        sink.warn("empty, and no size is listed to hold that against")

    async def _gives_content(self) -> bool:
        """Whether any file of unlisted size had content. If none had, one that the archive has is fetched again."""
        async with self._asking:
            if not self._some_content and (known := await self._witness()):
                sink = StoreSink(self._archive, Silent())
                try:
                    await self._source.download(known, sink)
                    self._some_content = (await sink.finish())[0].size > 0
                except errors.ItemFailedError:
                    pass  # it says nothing about the others
                finally:
                    sink.discard()
                    self._witness = _no_witness
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
            return Status.FAILED, f"{error}; whether the tracker still lists it could not be found out ({failure})"
        if not listed:
            return Status.GONE, str(error)
        self._missing += 1
        return Status.FAILED, f"{error}, though the tracker still lists it"


def _is_unlisted(size: int | None) -> bool:
    """Whether the tracker doesn't list a size; some list -1 for that."""
    return size is None or size < 0


async def _no_witness() -> None:
    """Takes the place of a witness: it is asked only once."""
