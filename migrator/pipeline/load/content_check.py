"""The content check of a load: files at the target are read back and hashed.

If the content differs, the upload is `failed`, and sent again only after a person has deleted it there. A file that is
gone is one of the `VanishedUploads`. A text that the target re-encoded counts as the same, and is reported as altered.

Beware: that a file can't be read now says nothing about its content; it is named, and its upload stays unchanged. A
file that no list shows may still be there, so it is requested by its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrator import errors
from migrator.model import Altered, Attachment, EntityRef, Upload
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.finding import DIFFERS
from migrator.pipeline.load.still_there import NO_LONGER_THERE, is_there
from migrator.pipeline.reading import Reader, remote_of
from migrator.pipeline.stop import StopToken
from migrator.pipeline.summary import ContentCounts, Failure
from migrator.pipeline.vanished import VanishedUploads
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.store import Catalog


class ContentCheck:
    """Reads back files that arrived. `unread` are failures for those that could not be read."""

    def __init__(
        self,
        target: Target,
        catalog: Catalog,
        identity: str,
        executor: SerialExecutor,
        reader: Reader,
        stop: StopToken,
        vanished: VanishedUploads,
    ) -> None:
        self._target, self._catalog, self._identity, self._executor = target, catalog, identity, executor
        self._reader, self._stop, self._vanished = reader, stop, vanished
        self._same = self._differ = 0
        self.unread: list[Failure] = []

    def counts(self) -> ContentCounts:
        """The number of files read back, by result."""
        unread, same, differ = len(self.unread), self._same, self._differ
        return ContentCounts(same + differ + unread, same, differ, unread)

    async def run(self, uploads: Mapping[EntityRef, Sequence[Upload]], count: int) -> None:
        """Check these uploads, `count` target entities side by side."""
        await run_workers(uploads.items(), self._check_entity, count, self._stop)

    async def _check_entity(self, item: tuple[EntityRef, Sequence[Upload]]) -> None:
        to, uploads = item
        try:
            listed = {remote.id: remote for remote in await self._target.find_attachments(to)}
        except errors.GoneError:
            listed = {}
        except errors.ItemFailedError as error:
            self.unread += [Failure.of_upload(upload, f"{to} could not be read back: {error}") for upload in uploads]
            return
        for upload in uploads:
            if self._stop.requested:
                self._stop.left_undone = True
                return
            try:
                problem, altered = await self._compare(upload, listed.get(upload.remote_id or ""))
            except errors.ItemFailedError as error:
                self.unread.append(Failure.of_upload(upload, f"could not be read back: {error}"))
                continue
            self._same, self._differ = self._same + (not problem), self._differ + bool(problem)
            await self._vanished.looked_for(1, [upload] if problem == NO_LONGER_THERE else [])
            if problem == NO_LONGER_THERE:
                continue
            await self._executor.call(
                self._catalog.uploads.record_content_check, self._identity, upload, problem, altered
            )

    async def _compare(self, upload: Upload, listed: Attachment | None) -> tuple[str | None, Altered | None]:
        """How the file at the target differs from what was sent, None if it doesn't; and what is newly altered."""
        remote = listed or (remote_of(upload) if await is_there(upload, self._reader) else None)
        if remote is None:
            return NO_LONGER_THERE, None
        if remote.name != upload.name and not upload.accepted:
            return f"it is now called {remote.name!r} at the target; it was {upload.name!r}", None
        sha256 = await self._reader.sha256_of(remote, upload.hashes)
        if sha256 in upload.hashes:
            return None, None
        if await self._reader.as_text(remote, upload.blob) != sha256:
            return DIFFERS.format(side="target"), None
        return None, {**upload.altered, "content": {"sent": upload.blob.sha256, "found": sha256}}
