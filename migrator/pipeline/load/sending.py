"""Sends the files of one entity, one after the other, exactly once in effect.

The intent is committed before a file is sent, the result together with the next intent. What the answer says is
believed first, and compared with the list afterwards.

Beware: an intent is committed only when its file is about to be sent. A file that is in doubt and never was sent makes
the next load wait until it is certainly absent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from migrator import errors
from migrator.model import Attachment, Draft, Upload, UploadStatus
from migrator.pipeline.load.arrivals import is_passing
from migrator.pipeline.load.confirming import Confirmer
from migrator.pipeline.load.finding import Finder
from migrator.pipeline.load.outcomes import Outcomes
from migrator.pipeline.load.refused_words import refused_word_in
from migrator.pipeline.load.target_state import Accepted, TargetState, is_in_doubt
from migrator.pipeline.run import RunContext
from migrator.pipeline.stop import back_off
from migrator.ports import Body, Target
from migrator.progress import Progress
from migrator.store import Archive, BlobBody, now

Outgoing = tuple[Upload, Draft]
"""An upload that has to be sent, and what is sent."""

DAMAGED = "its blob is damaged or missing"
MAX_SENDS = 4
"""How often one upload is sent in a run."""
MAX_BLIND_SENDS = 2
"""The same if no answer was seen."""
MAX_LOGIN_PAGES = 3
"""After this many uploads in a row answered by a login page, or with 401, the credentials are wrong."""


class Sender:
    """Sends what is missing at the target. `slots` limits concurrent writes over all entities."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        context: RunContext,
        outcomes: Outcomes,
        finder: Finder,
        confirmer: Confirmer,
        slots: asyncio.Semaphore,
        progress: Progress,
        *,
        dry_run: bool,
    ) -> None:
        self._target, self._archive, self._outcomes, self._dry_run = target, archive, outcomes, dry_run
        self._finder, self._confirmer, self._slots, self._progress = finder, confirmer, slots, progress
        self._run, self._stop = context.run, context.stop
        # A restore sends what the source has lost, so no backup can fetch it again.
        self._damaged = DAMAGED if finder.side == "source" else f"{DAMAGED}; run the backup again"
        self._login_pages = 0

    async def send_all(self, outgoing: Sequence[Outgoing], state: TargetState) -> None:
        """Send files to one entity, one after the other, so that they arrive in this order."""
        for upload, draft in outgoing:
            if self._stop.requested:
                self._stop.left_undone = True
                break
            await self._confirmer.handled(upload, draft, state, self._send(upload, draft, state))

    async def _send(self, upload: Upload, draft: Draft, state: TargetState) -> None:
        """Send an upload; if its outcome is unknown, look for it before sending it again."""
        body = await self._body_of(upload, draft)
        for number in range(1, MAX_SENDS + 1):
            async with self._slots:
                if self._stop.requested:
                    self._stop.left_undone = True
                    return
                upload = state.open[upload.attachment.id] = await self._intend(upload, draft, state)
                answer = await self._try(upload, draft, body)
            if not isinstance(answer, errors.OutcomeUnknownError):
                await self._take(upload, draft, answer, state)
                return
            failure = answer
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
        raise errors.OutcomeUnknownError(f"sent {number} times, and not found at the {self._finder.side}: {failure}")

    async def _body_of(self, upload: Upload, draft: Draft) -> Body:
        """The bytes to send; `RejectedError` if they can't be sent.

        A dry run also looks for what the target refuses in any file. In a load the target decides, as another version
        of it may refuse less.
        """
        body = await asyncio.to_thread(self._archive.body, upload.blob)
        if body is None:
            raise errors.RejectedError(self._damaged)
        if reason := await self._target.refuses(upload.to, draft):
            raise errors.RejectedError(reason)
        if self._dry_run and (word := await refused_word_in(body, self._target.capabilities.refused_words)):
            raise errors.RejectedError(f"it contains {word}, which this target refuses in any file")
        return body

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

    async def _try(self, upload: Upload, draft: Draft, body: Body) -> Attachment | errors.OutcomeUnknownError | None:
        """Send an upload once; returns the new file as the answer describes it, or the error if its outcome is
        unknown. Raises a definite no.
        """
        try:
            remote = await self._target.upload(upload.to, draft, body)
        except errors.OutcomeUnknownError as error:
            if isinstance(body, BlobBody) and body.is_damaged:  # seen before its last bytes: nothing has arrived
                raise errors.RejectedError(self._damaged) from error
            return error
        except errors.LoginPageError as error:
            return errors.OutcomeUnknownError(str(error), finished=True, login=True)
        except errors.RejectedError as error:
            self._count_if_logged_out(error)
            raise
        self._login_pages = 0
        if not self._dry_run:
            self._progress.transferred(draft.size)
        return remote

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
        if remote and (new or self._dry_run):
            await self._confirmer.believe(upload, draft, remote, state)
            return
        await self._outcomes.record(upload, UploadStatus.IN_DOUBT, accepted=True, error=self._finder.not_seen(why))
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
