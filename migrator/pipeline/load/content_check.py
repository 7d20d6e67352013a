"""Proof of a load: files of the target are read back and hashed.

The one idea: a file whose content differs, or that is not there any more, makes its upload `failed`; the next load
settles it like any other: what is gone is sent again, what differs only after a person deleted it there. A text that
the target re-encoded is the same, and told as altered.
The one trap: a file that can't be read just now says nothing about its content: it is named, and stays as it is. And
one that no list shows may be there: it is asked for by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from migrator import errors
from migrator.model import Altered, Attachment, EntityRef, Upload
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.upload import DIFFERS
from migrator.pipeline.reading import Reader
from migrator.pipeline.run import InFlight
from migrator.ports import Target
from migrator.store import Catalog


class Stoppable(Protocol):
    """The load: knows whether it is being stopped, is told if something was left, and has what was sent."""

    stopping: bool
    cut_short: bool

    def reader(self) -> Reader:
        """Reads files of the target back, and knows what was sent."""


class ContentCheck:
    """Reads back what arrived. `unread` are the files that could not be, in the form of failures."""

    def __init__(self, target: Target, catalog: Catalog, identity: str, desk: SerialExecutor, run: Stoppable) -> None:
        self._target, self._catalog, self._identity, self._desk, self._run = target, catalog, identity, desk, run
        self._reader = run.reader()
        self._same = self._differ = 0
        self.unread: list[dict[str, str | None]] = []

    def counts(self) -> dict[str, int]:
        """For the summary: so many were read back, and how they were."""
        unread = len(self.unread)
        same, differ = self._same, self._differ
        return {"checked": same + differ + unread, "same": same, "differ": differ, "unreadable": unread}

    async def run(self, wanted: Mapping[EntityRef, Sequence[Upload]], side_by_side: int, in_flight: InFlight) -> None:
        """Check all of these uploads, so many target entities at once."""
        queue = list(wanted.items())[::-1]

        async def worker() -> None:
            while queue and not self._run.stopping:
                with in_flight:
                    await self._entity(*queue.pop())

        async with asyncio.TaskGroup() as group:
            for _ in range(side_by_side):
                group.create_task(worker())
        self._run.cut_short |= bool(queue)

    async def _entity(self, to: EntityRef, uploads: Sequence[Upload]) -> None:
        try:
            there = {remote.id: remote for remote in await self._target.find_attachments(to)}
        except errors.GoneError:
            there = {}
        except errors.ItemFailedError as error:
            self.unread += [_failure(upload, f"{to} could not be read back: {error}") for upload in uploads]
            return
        for upload in uploads:
            if self._run.stopping:
                self._run.cut_short = True
                return
            try:
                problem, altered = await self._compare(upload, there.get(upload.remote_id or ""))
            except errors.ItemFailedError as error:
                self.unread.append(_failure(upload, f"could not be read back: {error}"))
                continue
            self._same, self._differ = self._same + (not problem), self._differ + bool(problem)
            await self._desk.run(self._catalog.record_content_check, self._identity, upload, problem, altered)

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


def _failure(upload: Upload, reason: str) -> dict[str, str | None]:
    of = upload.attachment
    return {
        "kind": of.owner.kind,
        "entity": of.owner.id,
        "attachment": of.id,
        "name": of.name,
        "reason": reason,
        "target_kind": upload.to.kind,
        "target_id": upload.to.id,
        "status": str(upload.status),
    }
