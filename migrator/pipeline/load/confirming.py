"""Confirms uploads: what arrived is described, recorded, and compared with what the target lists afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from migrator import errors
from migrator.model import Altered, Attachment, Draft, Upload, UploadStatus
from migrator.pipeline.load.arrivals import altered_of, recognise
from migrator.pipeline.load.evidence import LATE
from migrator.pipeline.load.finding import Finder
from migrator.pipeline.load.outcomes import Outcomes, UploadFacts
from migrator.pipeline.load.target_state import Accepted, TargetState, TargetView, is_in_doubt
from migrator.pipeline.stop import back_off
from migrator.ports import Target
from migrator.progress import Progress

T = TypeVar("T")


class Confirmer:
    """Records how uploads ended, and reads back what was sent to an entity. `slots` limits concurrent writes."""

    def __init__(
        self,
        target: Target,
        view: TargetView,
        finder: Finder,
        outcomes: Outcomes,
        slots: asyncio.Semaphore,
        progress: Progress,
    ) -> None:
        self._target, self._view, self._finder, self._outcomes = target, view, finder, outcomes
        self._slots, self._progress = slots, progress
        self._in_vain = False  # waiting for late lists was no use before

    def learned(self, verdict: str) -> None:
        """Set what earlier runs learned about this target's lists: if they are late, waiting for them is no use."""
        self._in_vain = verdict == LATE

    async def believe(
        self, upload: Upload, draft: Draft, remote: Attachment, state: TargetState, *, looked: bool = False
    ) -> None:
        """Record that this file is the upload; `read_back` compares it with the list at the end."""
        state.accounted[remote.id] = upload.sent_at
        state.open.pop(upload.attachment.id, None)
        await self.accept(upload, draft, remote, UploadStatus.UPLOADED, state)
        self._progress.done()
        state.waiting.append(Accepted(upload, draft, remote, looked=looked))

    async def accept(
        self, upload: Upload, draft: Draft, remote: Attachment, status: UploadStatus, state: TargetState
    ) -> None:
        """Record an upload that is there: see what the target altered, and describe the file if it is ours."""
        state.take(remote, draft.name)
        ours = status is UploadStatus.UPLOADED or _is_ours(upload, remote)
        facts: UploadFacts = {"name": remote.name or draft.name, "remote_id": remote.id, "ours": ours}
        facts["altered"] = await self._altered(upload, draft, remote, state, facts) if ours else {}
        wanted = draft.description
        can = self._target.capabilities
        if ours and wanted and wanted != remote.description and can.sets_description and can.changes_description:
            await self._outcomes.record(upload, UploadStatus.IN_DOUBT, **facts | {"error": "being described"})
            async with self._slots:
                await self._target.describe(remote, wanted)
        # An answer without a size doesn't say that all of it arrived: until a listing does, the next load looks again.
        unlisted = remote.id not in state.listed and (status is UploadStatus.ALREADY_THERE or remote.size is None)
        facts |= {"locator": remote.locator or None, "accepted": unlisted}
        self._outcomes.record_later(upload, status, **facts)
        if status is UploadStatus.ALREADY_THERE:  # to find it took longer than to record it
            await self._outcomes.flush()

    async def _altered(
        self, upload: Upload, draft: Draft, remote: Attachment, state: TargetState, facts: UploadFacts
    ) -> Altered:
        """What the target altered. If that can't be found out, the upload is in doubt, with its id."""
        try:
            return await altered_of(draft.name, upload.blob, remote, state.reader)
        except errors.ItemFailedError as error:
            reason = (
                f"arrived as {remote.name!r} with {remote.size} bytes; {draft.size} bytes were sent, as {draft.name!r}"
            )
            await self._outcomes.record(upload, UploadStatus.IN_DOUBT, **facts | {"error": f"{reason}: {error}"})
            raise errors.RejectedError(reason) from error

    async def doubt(self, upload: Upload, reason: str) -> None:
        """Record an upload whose outcome is unknown."""
        await self._outcomes.record(upload, UploadStatus.IN_DOUBT, error=reason)
        self._progress.done(failed=True)

    async def fail(self, upload: Upload, reason: str, name: str | None = None) -> None:
        """Record a failed upload. If it was in doubt when the run began, it stays so."""
        status = UploadStatus.IN_DOUBT if is_in_doubt(upload) else UploadStatus.FAILED
        await self._outcomes.fail(upload, status, reason, name)
        self._progress.done(failed=True, not_transferred=upload.blob.size)

    async def handled(self, upload: Upload, draft: Draft, state: TargetState, step: Awaitable[T]) -> T | None:
        """The result of a step of one upload. None if it failed; then that is recorded."""
        try:
            return await step
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.OutcomeUnknownError as error:
            await self.doubt(upload, str(error))
        except errors.ItemFailedError as error:
            state.open.pop(upload.attachment.id, None)
            await self.fail(upload, str(error), name=draft.name)
        return None

    async def read_back(self, state: TargetState) -> None:
        """Compare what was sent with what the target lists now; wait for what is not listed yet."""
        left = state.waiting
        for wait in self._finder.evidence.waits():
            await back_off(wait)
            try:
                left = await self._not_listed(left, await self._view.look(state.to))
            except errors.ConnectError as error:
                raise errors.TrackerUnreachableError(str(error)) from error
            except errors.ItemFailedError as error:
                for accepted in left:
                    await self.doubt(
                        accepted.upload, f"accepted by the {self._finder.side}, but reading back failed: {error}"
                    )
                return
            if not wait and (left or not state.waiting[-1].looked):
                await self._finder.note(prompt=not left)
            if not left or self._in_vain:
                break
        self._in_vain |= bool(left)
        for accepted in left:
            await self._settle_unseen(accepted)

    async def _not_listed(self, waiting: Sequence[Accepted], state: TargetState) -> list[Accepted]:
        """Those that are not listed. The others are recorded as the list shows them."""
        nameless = [accepted.upload for accepted in waiting if accepted.remote is None]
        recognised = await recognise(nameless, state.free, state.reader)
        left = []
        for accepted in waiting:
            id_ = accepted.upload.attachment.id
            remote = state.listed.get(accepted.remote.id) if accepted.remote else recognised.files.get(id_)
            if remote is None:
                left.append(accepted)
            elif accepted.remote is None or not accepted.is_as_sent(remote):
                await self._record_seen(accepted, remote, state)
        return left

    async def _record_seen(self, accepted: Accepted, remote: Attachment, state: TargetState) -> None:
        """Record what the list shows; the answer to the upload said less, or something else."""
        upload = accepted.upload
        try:
            await self.accept(upload, accepted.draft, remote, UploadStatus.UPLOADED, state)
        except errors.ConnectError:
            raise
        except errors.ItemFailedError as error:
            await self.doubt(upload, f"accepted by the {self._finder.side}, but not there as it was sent: {error}")
        else:
            if accepted.remote is None:
                self._progress.done()

    async def _settle_unseen(self, accepted: Accepted) -> None:
        """Settle an upload that no list shows: if the target gives it by its id it is there, otherwise in doubt.

        Its name there is known only from a list, so the next load looks for it again.
        """
        if await self._is_there_by_id(accepted):
            await self._outcomes.record(accepted.upload, UploadStatus.UPLOADED, accepted=True)
            return
        await self._outcomes.record(
            accepted.upload, UploadStatus.IN_DOUBT, accepted=True, error=self._finder.not_seen(accepted.why)
        )
        self._progress.done(failed=True)

    async def _is_there_by_id(self, accepted: Accepted) -> bool:
        if accepted.remote is None:
            return False
        contents = await self._view.reader().contents_of(accepted.remote)
        return contents.sha256 == accepted.upload.blob.sha256


def _is_ours(upload: Upload, remote: Attachment) -> bool:
    """Whether a file that is there was sent by an earlier run: its upload was in doubt, or its id is known."""
    known = upload.status is UploadStatus.IN_DOUBT or remote.id == upload.remote_id
    return known and upload.sent_run is not None and remote.id not in upload.seen
