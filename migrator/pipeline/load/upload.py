"""Uploads of a load: one target entity at a time, exactly once in effect.

The files on the entity are listed first. Each upload is either found among those that no other upload accounts for, or
sent. The intent is committed before the bytes are sent, the result after the answer. What the answer says is believed
first, and compared with the list afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from migrator import errors
from migrator.filenames import name_at_target
from migrator.model import Attachment, Draft, EntityRef, Upload, UploadStatus
from migrator.pipeline.load.arrivals import Recognised, is_passing, recognise
from migrator.pipeline.load.confirming import Confirmer
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.pipeline.load.finding import Finder, not_seen
from migrator.pipeline.load.outcomes import CatalogOutcomes, DryRunOutcomes, Outcomes
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.load.target_state import Accepted, TargetState, TargetView, is_in_doubt
from migrator.pipeline.reading import Reader
from migrator.pipeline.run import RunContext
from migrator.pipeline.stop import back_off
from migrator.ports import Body, Target
from migrator.progress import Progress
from migrator.selection import Selector
from migrator.store import Archive, now

MAX_SENDS = 4
"""How often one upload is sent in a run."""
MAX_BLIND_SENDS = 2
"""The same if no answer was seen."""
FIRST_ATTACHED = "[first attached"
MAX_LOGIN_PAGES = 3
"""After this many uploads in a row answered by a login page, or with 401, the credentials are wrong."""


class Uploader:
    """Processes the uploads of one run."""

    def __init__(
        self, target: Target, archive: Archive, settings: LoadSettings, context: RunContext, progress: Progress
    ) -> None:
        self._target, self._archive, self._settings, self._progress = target, archive, settings, progress
        self._catalog, self._executor, self._run = context.catalog, context.executor, context.run
        self._stop = context.stop
        self.dry_run = DryRunReport()
        self.selector = Selector(settings.selection)
        self._outcomes: Outcomes = (
            DryRunOutcomes(self.dry_run)
            if settings.dry_run
            else CatalogOutcomes(self._catalog, self._executor, self._run, settings.identity)
        )
        self._view = TargetView(target, archive, self._catalog, self._executor, settings)
        self._finder = Finder(self._view, settings, self._outcomes, self._run)
        self._confirmer = Confirmer(target, self._view, self._finder, self._outcomes, progress)
        self._login_pages = 0

    def reader(self) -> Reader:
        """A reader for files of the target."""
        return self._view.reader()

    async def prepare(self) -> None:
        """Before the first entity: read what earlier runs learned about this target's lists."""
        verdict = await self._executor.call(self._catalog.settings.get, self._finder.setting) or ""
        self._finder.learned(verdict)
        self._confirmer.learned(verdict)

    async def process_entity(self, to: EntityRef) -> None:
        """Process all uploads to one target entity, one after the other, then compare with what arrived."""
        uploads = await self._executor.call(self._catalog.uploads.unsettled, self._settings.identity, to)
        uploads = [upload for upload in uploads if self.selector.select(_with_size(upload))]
        if uploads:
            self._progress.entities(1)
            self._progress.known(len(uploads), sum(upload.blob.size for upload in uploads))
            await self._settle_all(to, uploads)

    async def _settle_all(self, to: EntityRef, uploads: list[Upload]) -> None:
        try:
            state = await self._view.look(to)
            doubtful = [up for up in uploads if up.status is UploadStatus.IN_DOUBT and up.remote_id is None]
            recognised = await recognise(doubtful, state.free, state.reader)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            await self._fail_all(uploads, to, error)
            return
        state.names.update(upload.attachment.name for upload in uploads)
        state.open.update({upload.attachment.id: upload for upload in doubtful if not recognised.has(upload)})
        for upload in uploads:
            if self._stop.requested:
                self._stop.left_undone = True
                break
            await self._settle(upload, state, recognised)
        if state.waiting and not self._settings.dry_run:
            await self._confirmer.read_back(state)

    async def _fail_all(self, uploads: Sequence[Upload], to: EntityRef, error: errors.MigratorError) -> None:
        for upload in uploads:
            unwanted = upload.blob_now is None or self._is_remapped(upload)
            if unwanted and isinstance(error, errors.GoneError):
                await self._drop(upload)
            else:
                await self._fail(upload, f"{to} at the {'source' if self._settings.restores else 'target'}: {error}")

    async def _settle(self, upload: Upload, state: TargetState, recognised: Recognised) -> None:
        """Find or send one upload."""
        draft = self._draft(upload, state)
        try:
            remote = await self._finder.find(upload, draft, state, recognised)
            if remote := remote or await self._finder.find_late(upload, state, recognised):
                await self._confirmer.accept(upload, draft, remote, UploadStatus.ALREADY_THERE, state)
                self._progress.done()
                return
            if upload.blob_now is None or self._is_remapped(upload):
                await self._drop(upload)
                return
            if upload.blob_now != upload.blob:
                upload = replace(upload, blob=upload.blob_now)
                draft = self._draft(upload, state)
            await self._send(upload, draft, state)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.OutcomeUnknownError as error:
            await self._confirmer.doubt(upload, str(error))
        except errors.ItemFailedError as error:
            state.open.pop(upload.attachment.id, None)
            await self._fail(upload, str(error), name=draft.name)

    def _is_remapped(self, upload: Upload) -> bool:
        """Whether the mapping no longer sends the file to this entity."""
        return upload.to not in self._settings.mapping.get(upload.attachment.owner, ())

    async def _drop(self, upload: Upload) -> None:
        """Record an upload that is not there and no longer wanted there."""
        lost = "the source no longer has it" if upload.blob_now is None else "its row in the mapping is gone"
        reason = f"not there, and {lost}"
        await self._outcomes.record(upload, UploadStatus.ROLLED_BACK, error=reason)
        self._progress.done()

    def _draft(self, upload: Upload, state: TargetState) -> Draft:
        """What to send. If it was sent before, the name stays the same."""
        attachment, can = upload.attachment, self._target.capabilities
        name = upload.sent_name or name_at_target(
            attachment.name, self._target.legal_name, can.max_name_bytes, state.names, can.name_encoding
        )
        return Draft(
            name,
            attachment.media_type,
            self._description(attachment),
            upload.blob.size,
            attachment.created_at,
            attachment.created_by,
        )

    def _description(self, attachment: Attachment) -> str:
        """The original description, with a line for author and date if the target can't keep those.

        A file that is restored for the second time has that line already.
        """
        keeps = self._target.capabilities.keeps_author_and_date
        if keeps or not self._settings.provenance or not (attachment.created_by or attachment.created_at):
            return attachment.description
        if self._settings.restores and FIRST_ATTACHED in attachment.description:
            return attachment.description
        by = f" by {attachment.created_by}" if attachment.created_by else ""
        at = f" on {attachment.created_at}" if attachment.created_at else ""
        return f"{attachment.description}\n{FIRST_ATTACHED}{by}{at}]".strip()

    async def _send(self, upload: Upload, draft: Draft, state: TargetState) -> None:
        """Send an upload; if its outcome is unknown, look for it before sending it again."""
        body = await asyncio.to_thread(self._archive.body, upload.blob)
        if body is None:
            raise errors.RejectedError("its blob is damaged or missing; run the backup again")
        if reason := await self._target.refuses(upload.to, draft):
            raise errors.RejectedError(reason)
        for number in range(1, MAX_SENDS + 1):
            upload = state.open[upload.attachment.id] = await self._intend(upload, draft, state)
            failure = await self._try(upload, draft, body, state)
            if failure is None:
                return
            if failure.accepted:
                await self._take(upload, draft, None, state, str(failure))
                return
            logged_out = self._count_if_logged_out(failure)
            waits = [0.0] if logged_out else self._finder.waits_after(failure)
            if await self._find_sent(upload, draft, state, waits):
                return
            again = not logged_out and number < (MAX_SENDS if failure.finished else MAX_BLIND_SENDS)
            broke = not failure.at_work
            if not again or not self._finder.is_absent(upload, state, finished=failure.finished, broke=broke):
                break
        raise errors.OutcomeUnknownError(f"sent {number} times, and not found at the target: {failure}")

    async def _intend(self, upload: Upload, draft: Draft, state: TargetState) -> Upload:
        """Record that an upload is about to be sent; returns the upload with what was recorded.

        Files that no upload accounts for were there before (`seen`). Repeated attempts keep the `seen` of the first.
        """
        attempted = is_in_doubt(upload) and upload.remote_id is None
        upload = replace(
            upload,
            status=UploadStatus.IN_DOUBT,
            remote_id=None,
            sent_name=draft.name,
            sent_at=now(),
            sent_run=self._run,
            seen=upload.seen if attempted else frozenset(state.listed.keys() - state.accounted.keys()),
            accepted=False,
            altered={},
        )
        await self._outcomes.intend(upload, draft.name)
        return upload

    async def _try(
        self, upload: Upload, draft: Draft, body: Body, state: TargetState
    ) -> errors.OutcomeUnknownError | None:
        """Send an upload once; returns the error if its outcome is unknown. Raises a definite no."""
        try:
            remote = await self._target.upload(upload.to, draft, body)
        except errors.OutcomeUnknownError as error:
            return error
        except errors.LoginPageError as error:
            return errors.OutcomeUnknownError(str(error), finished=True, login=True)
        except errors.RejectedError as error:
            self._count_if_logged_out(error)
            raise
        self._login_pages = 0
        self._progress.transferred(draft.size)
        await self._take(upload, draft, remote, state)
        return None

    def _count_if_logged_out(self, error: errors.MigratorError) -> bool:
        """Whether an upload was answered as if nobody were logged in; counts these, and raises `AuthError` after
        MAX_LOGIN_PAGES in a row.
        """
        page = isinstance(error, errors.OutcomeUnknownError) and error.login
        if not page and getattr(error, "status", None) != 401:
            return False
        self._login_pages += 1
        if self._login_pages >= MAX_LOGIN_PAGES:
            raise errors.AuthError(f"{error} ({MAX_LOGIN_PAGES} uploads in a row)") from error
        return True

    async def _take(
        self, upload: Upload, draft: Draft, remote: Attachment | None, state: TargetState, why: str = ""
    ) -> None:
        """The target accepted an upload. Its answer is believed, unless it names a file that was there before."""
        before = state.listed.get(remote.id) if remote else None
        new = remote and (before is None or is_passing(before.name)) and remote.id not in state.accounted
        if remote and (new or self._settings.dry_run):
            await self._confirmer.believe(upload, draft, remote, state)
            return
        await self._outcomes.record(upload, UploadStatus.IN_DOUBT, accepted=True, error=not_seen(why))
        if not await self._find_sent(upload, draft, state, [0.0]):
            await self._finder.note(prompt=False)  # accepted, but the list requested right afterwards lacks it
            upload = replace(upload, accepted=True, seen=upload.seen | state.listed.keys())
            state.waiting.append(Accepted(upload, draft, None, why))

    async def _find_sent(self, upload: Upload, draft: Draft, state: TargetState, waits: Sequence[float]) -> bool:
        """Look for the file that an upload became: one that was not listed before. If that fails, it stays in doubt."""
        with_listed = replace(upload, seen=upload.seen | state.listed.keys())
        try:
            for wait in waits:
                await back_off(wait)
                if remote := await self._finder.new_one(with_listed, state):
                    await self._finder.note(prompt=not wait)
                    await self._confirmer.believe(upload, draft, remote, state, looked=True)
                    return True
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.OutcomeUnknownError:
            raise
        except errors.ItemFailedError as error:
            raise errors.OutcomeUnknownError(f"sent without an answer, and looking for it failed: {error}") from error
        return False

    async def _fail(self, upload: Upload, reason: str, name: str | None = None) -> None:
        """Record a failed upload. If it was in doubt when the run began, it stays so."""
        status = UploadStatus.IN_DOUBT if is_in_doubt(upload) else UploadStatus.FAILED
        await self._outcomes.fail(upload, status, reason, name)
        self._progress.done(failed=True)


def _with_size(upload: Upload) -> Attachment:
    """The attachment, with the size of its blob."""
    return replace(upload.attachment, size=upload.blob.size)
