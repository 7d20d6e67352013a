"""A change of mind: what went to an entity that its row in the mapping names no more.

The one idea: it is only told, unless deleting is asked for; and deleted is what this archive sent, what is still the
file that was sent, and what has arrived wherever the mapping says now.
The one trap: a row that is simply gone says nothing of a new place, so what it brought stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migrator import errors
from migrator.catalog import Catalog
from migrator.catalog.uploads import Stray
from migrator.model import EntityRef, UploadStatus
from migrator.pipeline.desk import Desk
from migrator.pipeline.settle import HashSink, LoadSettings
from migrator.ports import Target

LEFT, DELETED, GONE, KEPT, FAILED = "left", "deleted", "already_gone", "kept", "failed"


class Moved:
    """What one load finds at former entities, and what becomes of it."""

    def __init__(self, target: Target, catalog: Catalog, settings: LoadSettings, desk: Desk, run: int) -> None:
        self._target, self._catalog, self._desk = target, catalog, desk
        self._settings, self._run = settings, run
        self._fates: dict[tuple[str, EntityRef], tuple[str, str]] = {}

    async def delete(self, stopping: Callable[[], bool]) -> None:
        """Delete what can be; the reason why not is in the summary."""
        for stray in await self._desk.run(self._catalog.strays, self._settings.identity):
            if stopping():
                return
            try:
                fate = await self._one(stray)
            except errors.ConnectFailed as error:
                raise errors.TrackerUnreachable(str(error)) from error
            except (errors.Retriable, errors.Rejected) as error:
                fate = FAILED, str(error)
            self._fates[stray.upload.attachment.id, stray.upload.to] = fate

    async def _one(self, stray: Stray) -> tuple[str, str]:
        upload = stray.upload
        new = self._settings.mapping.get(upload.attachment.owner, ())
        if not new:
            return KEPT, "its row is gone, and no new one says where it belongs"
        if not set(new) <= await self._desk.run(self._catalog.arrived_at, self._settings.identity, upload.attachment.id):
            return KEPT, "it has not arrived at the new entity yet"
        if not upload.attempts:
            return KEPT, "it was there before; this archive did not send it"
        if not self._target.capabilities.deletes:
            return FAILED, "this target's API can't delete files"
        fate = await self._delete_if_ours(stray)
        if fate[0] in {DELETED, GONE}:
            await self._desk.run(
                self._catalog.record_upload, self._run, self._settings.identity, upload, UploadStatus.ROLLED_BACK
            )
        return fate

    async def _delete_if_ours(self, stray: Stray) -> tuple[str, str]:
        try:
            there = {file.id: file for file in await self._target.find_attachments(stray.upload.to)}
            remote = there.get(stray.upload.remote_id or "")
            if remote is None:
                return GONE, ""
            sink = HashSink()
            await self._target.read_back(remote, sink)
            if remote.name != stray.upload.name or sink.sha256.hexdigest() != stray.upload.blob.sha256:
                return KEPT, "it was changed there"
            await self._target.delete(remote)
        except errors.Gone:
            return GONE, ""
        return DELETED, ""

    def failures(self) -> list[dict[str, Any]]:
        """What was to be deleted and could not."""
        return [row for row in self.summary(self._strays) if row["fate"] == FAILED]

    def summary(self, strays: list[Stray]) -> list[dict[str, Any]]:
        """One row for each file at a former entity."""
        return [self._told(stray) for stray in strays]
