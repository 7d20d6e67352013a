"""Proof of a load: files at the target are read back and hashed.

A file whose content differs, or that is no longer there, makes its upload `failed`. The next load treats it like any
other: a file that is gone is sent again, one that differs only after a person deleted it there. A text that the target
re-encoded counts as the same, and is reported as altered.

Beware: a file that can't be read just now says nothing about its content; it is named and left as it is. One that no
list shows may be there all the same, so it is requested by its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrator import errors
from migrator.model import Altered, Attachment, EntityRef, Upload
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.finding import DIFFERS
from migrator.pipeline.reading import Reader
from migrator.pipeline.stop import StopToken
from migrator.pipeline.summary import ContentCounts, Failure
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.store import Catalog


class ContentCheck:
    """Reads back what arrived. `unread` are the files that could not be, in the form of failures."""

    def __init__(
        self, target: Target, catalog: Catalog, identity: str, executor: SerialExecutor, reader: Reader, stop: StopToken
    ) -> None:
        self._target, self._catalog, self._identity, self._executor = target, catalog, identity, executor
        self._reader, self._stop = reader, stop
        self._same = self._differ = 0
        self.unread: list[Failure] = []

    def counts(self) -> ContentCounts:
        """How many were read back, and with which result."""
        unread, same, differ = len(self.unread), self._same, self._differ
        return ContentCounts(same + differ + unread, same, differ, unread)

    async def run(self, wanted: Mapping[EntityRef, Sequence[Upload]], side_by_side: int) -> None:
        """Check all of these uploads, `side_by_side` target entities at once."""
        await run_workers(wanted.items(), self._entity, side_by_side, self._stop)

    async def _entity(self, wanted: tuple[EntityRef, Sequence[Upload]]) -> None:
        to, uploads = wanted
        try:
            there = {remote.id: remote for remote in await self._target.find_attachments(to)}
        except errors.GoneError:
            there = {}
        except errors.ItemFailedError as error:
            self.unread += [Failure.of_upload(upload, f"{to} could not be read back: {error}") for upload in uploads]
            return
        for upload in uploads:
            if self._stop.requested:
                self._stop.left_undone = True
                return
            try:
                problem, altered = await self._compare(upload, there.get(upload.remote_id or ""))
            except errors.ItemFailedError as error:
                self.unread.append(Failure.of_upload(upload, f"could not be read back: {error}"))
                continue
            self._same, self._differ = self._same + (not problem), self._differ + bool(problem)
            await self._executor.call(
                self._catalog.uploads.record_content_check, self._identity, upload, problem, altered
            )

    async def _compare(self, upload: Upload, listed: Attachment | None) -> tuple[str | None, Altered | None]:
        """How the file at the target differs from what was sent, None if it doesn't; and what is newly altered."""
        remote = listed or await self._unlisted(upload)
        if remote is None:
            return "not at the target any more", None
        if remote.name != upload.name and not upload.accepted:
            return f"it is named {remote.name!r} at the target now; it was {upload.name!r}", None
        found = await self._reader.sha256(remote)
        if found in {upload.blob.sha256, upload.sha256_there}:
            return None, None
        if await self._reader.as_text(remote, upload.blob) != found:
            return DIFFERS, None
        return None, {**upload.altered, "content": {"sent": upload.blob.sha256, "found": found}}

    async def _unlisted(self, upload: Upload) -> Attachment | None:
        """A list may lag: the file as the target gives it by its id; None if it says that there is none."""
        told = (upload.remote_id or "", upload.to, upload.name or "", upload.size_there)
        remote = Attachment(*told, locator=upload.locator)
        try:
            await self._reader.sha256(remote)
        except errors.GoneError:
            return None
        return remote
