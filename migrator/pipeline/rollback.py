"""Rollback: list what loads sent, compare each file with what was sent, delete it, record it.

Only files that a load is known to have sent are deleted, by their id at the target, and only if they are still those
files: same name and size as they had there, and same content if it can be read back. What a load merely found there, or
what was changed there, stays.

Beware: a kill may come between the delete and its record. So the upload is recorded as in doubt before the delete. The
next rollback then finds the file gone and counts it, and the next load looks before it sends again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from migrator import errors
from migrator.model import Attachment, EntityRef, RunStatus, Upload, UploadStatus
from migrator.pipeline.load import Remapped, fits, is_passing, likeness, resembles
from migrator.pipeline.reading import HashSink, hash_of, remote_of
from migrator.pipeline.run import DRY_RUN, Job, RunContext, run_context
from migrator.pipeline.summary import DeletionCounts, Failure, RollbackSummary
from migrator.pipeline.vanished import NOT_BELIEVED, VanishedUploads
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.progress import Progress, Silent
from migrator.store import Catalog

DELETED, ALREADY_GONE, CHANGED, IMPOSSIBLE, FAILED = "deleted", "already_gone", "changed", "impossible", "failed"
NO_DELETE = "this tracker's API can't delete files: it has to be done by hand"


@dataclass(frozen=True, slots=True)
class RollbackSettings:
    """The settings of a rollback. `identity` names the target.

    `load` is the id of the run to undo; None undoes all loads into this target. `only` restricts it to these
    attachments on these target entities. `accept_gone`: what is not at the target any more is gone, however much it is.
    """

    identity: str
    load: int | None = None
    deletes: int = 4
    dry_run: bool = False
    only: Remapped | None = None
    accept_gone: bool = False


async def rollback(
    target: Target,
    catalog: Catalog,
    settings: RollbackSettings,
    *,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> RollbackSummary:
    """One run; the caller holds the archive. May be repeated at any time.

    In a dry run nothing is deleted, and nothing recorded but the run. `ConfigError` if `load` is not the id of a load.
    """
    name = f"rollback{DRY_RUN}" if settings.dry_run else "rollback"
    async with run_context(catalog, name, lambda: _require_load(catalog, settings.load)) as context:
        return await context.execute(_Rollback(target, settings, context, progress or Silent()), stop)


def _require_load(catalog: Catalog, load: int | None) -> None:
    if load is not None and not catalog.runs.is_load(load):
        message = (
            f"run {load} is not a load of this archive, or was only a dry run; `migrator status ARCHIVE` lists the runs"
        )
        raise errors.ConfigError(message)


class _Rollback(Job[RollbackSummary]):
    def __init__(self, target: Target, settings: RollbackSettings, context: RunContext, progress: Progress) -> None:
        self._target, self._settings, self._progress = target, settings, progress
        self._catalog, self._executor = context.catalog, context.executor
        self._run, self._stop = context.run, context.stop
        self._planned = 0
        self._counts: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._vanished = VanishedUploads(
            self._record_vanished, "load" if settings.only else "rollback", accepted=settings.accept_gone
        )

    @override
    async def flush(self) -> None:
        """Every deletion is recorded as soon as it is done, so nothing waits here."""

    @override
    def summary(self, _: RunStatus) -> RollbackSummary:
        counts, dry_run = self._counts, self._settings.dry_run
        return RollbackSummary(
            deletions=DeletionCounts(
                planned=self._planned,
                deleted=0 if dry_run else counts[DELETED],
                already_gone=counts[ALREADY_GONE],
                changed=counts[CHANGED],
                impossible=counts[IMPOSSIBLE],
                failed=counts[FAILED],
            ),
            dry_run={"would_delete": counts[DELETED]} if dry_run else None,
            failures=tuple(self._failures),
        )

    @override
    async def work(self) -> None:
        settings = self._settings
        entities = await self._executor.call(
            self._catalog.uploads.entities_to_roll_back, settings.identity, settings.load
        )
        if (only := settings.only) is not None:
            entities = {to: count for to, count in Counter(to for _, to in only).items() if to in entities}
        self._planned = sum(entities.values())
        self._progress.known(self._planned, 0)
        self._progress.all_known()
        count = min(settings.deletes, self._target.capabilities.max_writes)
        await run_workers(entities, self._roll_back_entity, count, self._stop)
        await self._vanished.judge()
        for upload in self._vanished.not_believed:
            self._count(upload, FAILED, NOT_BELIEVED)
        self._failures += self._vanished.failures

    async def _roll_back_entity(self, to: EntityRef) -> None:
        """Roll back the files that were sent to one target entity, one after the other."""
        settings = self._settings
        uploads = await self._executor.call(self._catalog.uploads.to_roll_back, settings.identity, to, settings.load)
        uploads = [upload for upload in uploads if self._is_meant(upload)]
        self._progress.entities(1)
        if not self._target.capabilities.deletes:
            for upload in uploads:
                self._count(upload, IMPOSSIBLE, NO_DELETE)
            return
        try:
            listed = await self._list(to)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            for upload in uploads:
                self._count(upload, FAILED, f"{to} at the target: {error}")
            return
        await self._vanished.looked_for(len(uploads), [])
        for upload in uploads:
            if self._stop.requested:
                self._stop.left_undone = True
                break
            await self._roll_back(upload, listed)

    async def _record_vanished(self, uploads: Sequence[Upload]) -> None:
        for upload in uploads:
            await self._record(upload, UploadStatus.ROLLED_BACK)
            self._count(upload, ALREADY_GONE)

    def _is_meant(self, upload: Upload) -> bool:
        only = self._settings.only
        return only is None or (upload.attachment.id, upload.to) in only

    async def _list(self, to: EntityRef) -> dict[str, Attachment] | None:
        """The files on the entity, by id. None if it no longer exists, or this account may not see it: some servers
        give the same answer in both cases.
        """
        try:
            return {remote.id: remote for remote in await self._target.find_attachments(to)}
        except errors.GoneError:
            return None

    async def _roll_back(self, upload: Upload, listed: dict[str, Attachment] | None) -> None:
        files = {} if listed is None else listed
        try:
            remote = files.get(upload.remote_id) if upload.remote_id else await self._find_sent(upload, files)
            if remote is None and upload.remote_id and upload.accepted:
                remote = await self._unlisted(upload)
            if remote is None:
                await self._settle_missing(upload, list_is_proof=listed is not None)
            elif upload.remote_id and (reason := await self._change(upload, remote)):
                self._count(upload, CHANGED, reason)
            else:
                await self._delete(upload, remote)
                files.pop(remote.id, None)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            self._count(upload, FAILED, str(error))

    async def _find_sent(self, upload: Upload, files: dict[str, Attachment]) -> Attachment | None:
        """The file of an upload whose answer was never seen: it was not there before, and holds the bytes sent.

        The target may have altered its name. A file whose name can't come from that one may be somebody else's.
        """
        arrived = await self._executor.call(self._catalog.uploads.arrived, self._settings.identity, upload.to)
        known = {remote_id for remote_id, _, _ in arrived.values()} | upload.seen
        sent_name = upload.sent_name or upload.name or ""
        fresh = [remote for remote in files.values() if remote.id not in known and fits(upload, remote)]
        for remote in sorted(fresh, key=lambda remote: -likeness(sent_name, remote.name)):
            digest, alike = (
                await self._digest(remote, upload),
                is_passing(remote.name) or resembles(sent_name, remote.name),
            )
            if digest is None and alike:
                raise errors.RejectedError(f"file {remote.id} may be this one, but it can't be read back to be sure")
            if digest == upload.blob.sha256 and not alike:
                raise errors.RejectedError(
                    f"file {remote.id} ({remote.name!r}) has the same content, and may be somebody else's"
                )
            if digest == upload.blob.sha256:
                return remote
        return None

    async def _unlisted(self, upload: Upload) -> Attachment | None:
        """A file that no list ever showed, if the target returns it by its id and it holds what was sent."""
        remote = remote_of(upload)
        return remote if await self._digest(remote, upload) in upload.hashes else None

    async def _settle_missing(self, upload: Upload, *, list_is_proof: bool) -> None:
        """Settle an upload whose file is not on its entity: it is gone, or was moved.

        If it can't be requested by its id, the list decides.

        An upload in doubt that has no id, or was never listed, stays in doubt: it may still arrive.
        """
        if upload.remote_id is None or (upload.accepted and upload.status is UploadStatus.IN_DOUBT):
            self._count(upload, ALREADY_GONE)
            return
        try:
            await self._target.read_back(remote_of(upload), HashSink())
        except (errors.RejectedError, errors.UnexpectedBodyError) as error:
            if not list_is_proof and not isinstance(error, errors.GoneError):
                raise
            if upload.deleting:
                await self._record(upload, UploadStatus.ROLLED_BACK)
                self._count(upload, DELETED)
            else:
                await self._vanished.looked_for(0, [upload])
            return
        self._count(upload, CHANGED, f"no longer on {upload.to}, but still there: it was moved")

    async def _change(self, upload: Upload, remote: Attachment) -> str:
        """How the file differs from the one that was sent; empty if it doesn't."""
        name_known = remote.name and not upload.accepted  # a list has to show it first, and some lists show none
        if (name_known and remote.name != upload.name) or remote.size not in {None, upload.size_there}:
            was = f"{upload.name!r}, {upload.size_there} bytes"
            return f"it is now {remote.name!r}, {remote.size} bytes; it was {was}"
        digest = await self._digest(remote, upload)
        if digest is None and remote.size is None:
            raise errors.RejectedError(
                "neither its size nor its content can be read, so it is not sure which file it is"
            )
        return "its content has changed" if digest not in {None, *upload.hashes} else ""

    async def _digest(self, remote: Attachment, upload: Upload) -> str | None:
        """The hash of the content of what may be this upload; None if it can't be read."""
        try:
            return await hash_of(self._target, remote, upload.hashes)
        except (errors.RejectedError, errors.UnexpectedBodyError):
            return None

    async def _delete(self, upload: Upload, remote: Attachment) -> None:
        """Delete the file, recorded before and after. If the target refuses, the upload gets its former status back."""
        if self._settings.dry_run:
            self._count(upload, DELETED)
            return
        await self._record(upload, UploadStatus.IN_DOUBT, remote_id=remote.id, error="being deleted by a rollback")
        try:
            await self._target.delete(remote)
        except errors.GoneError:
            pass
        except errors.RejectedError as error:
            former = UploadStatus.UPLOADED if upload.deleting else upload.status
            await self._record(upload, former, error=f"not deleted by a rollback: {error}")
            raise
        await self._record(upload, UploadStatus.ROLLED_BACK)
        self._count(upload, DELETED)

    async def _record(
        self, upload: Upload, status: UploadStatus, *, remote_id: str | None = None, error: str | None = None
    ) -> None:
        if not self._settings.dry_run:
            write, identity = self._catalog.uploads.record, self._settings.identity
            await self._executor.call(write, self._run, identity, upload, status, remote_id=remote_id, error=error)

    def _count(self, upload: Upload, result: str, reason: str | None = None) -> None:
        """Count how a deletion ended; with a reason it is a failure."""
        self._counts[result] += 1
        self._progress.done(failed=reason is not None)
        if reason is not None:
            self._failures.append(Failure.of_upload(upload, reason, result))
