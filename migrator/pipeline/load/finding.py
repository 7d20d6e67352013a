"""Which file at the target an upload is: by its id, because it is new on its entity, or because it was there before.

What was sent is recognised among the new files (see `arrivals.py`). What is not listed is not sent again before it is
certainly absent (see `evidence.py`).

Beware: a file of the same name and size may be another file, and a file of another name may be the same. Before an
upload that was never sent counts as already there, the file's content is read back and compared.
"""

from __future__ import annotations

from dataclasses import replace

from migrator import errors
from migrator.model import Attachment, Draft, Upload
from migrator.pipeline.load.arrivals import Recognised, is_passing, recognise
from migrator.pipeline.load.drafts import Drafts
from migrator.pipeline.load.evidence import LATE, PROMPT, UNANSWERED_SECONDS, Evidence
from migrator.pipeline.load.outcomes import Outcomes
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.load.target_state import TargetState, TargetView, is_in_doubt, similar_files
from migrator.pipeline.reading import remote_of
from migrator.pipeline.stop import back_off
from migrator.progress import Progress

SAME_NAME_AND_SIZE = "a file with this name and size is there, but it can't be read back to tell whether it is this one"
DIFFERS = "the content of the file at the {side} is not what was sent"
NOT_SEEN = (
    "not seen at the {side} yet: the next {command} looks for it, and sends it again only if it is not there for sure"
)

WAITS = (
    "an earlier {command} ended before an upload was answered: that is looked for up to {seconds:.0f} s before it is "
    "sent again"
)
TOO_SOON = "no longer at the {side}, though it was sent just now; a {command} in ten minutes sends it again"


class Finder:
    """Finds uploads at the target, and learns how soon its lists show them. `setting` keeps that for later runs.

    `side` is what messages call the tracker.
    """

    def __init__(
        self,
        view: TargetView,
        drafts: Drafts,
        settings: LoadSettings,
        outcomes: Outcomes,
        run: int,
        progress: Progress,
    ) -> None:
        self._view, self._drafts, self._settings, self._outcomes, self._run = view, drafts, settings, outcomes, run
        self._progress, self._waits_told = progress, False
        self.side = settings.side
        self.setting = f"lists of {settings.identity}"
        self.evidence = self._evidence_of("")

    def learned(self, verdict: str) -> None:
        """Set what earlier runs learned about this target's lists."""
        self.evidence = self._evidence_of(verdict)

    def _evidence_of(self, verdict: str) -> Evidence:
        wait, unit = self._settings.look_again, self._settings.second
        return Evidence(self._run, verdict, wait=wait, unit=wait if unit is None else unit)

    async def note(self, *, prompt: bool) -> None:
        """Note, also for later runs, whether an accepted upload was listed at the first look."""
        if self.evidence.note(prompt=prompt):
            await self._outcomes.keep(self.setting, self.evidence.verdict)

    async def find(self, upload: Upload, draft: Draft, state: TargetState, recognised: Recognised) -> Attachment | None:
        """The file on the entity that this upload is: by its id, among the new ones, or among those there before."""
        known = await self._known(upload, state) or recognised.files.get(upload.attachment.id)
        if self._settings.restores:
            known = known or state.listed.get(upload.attachment.id)  # it is back, under its own id
        return known or await self._match(upload, draft, state)

    async def _known(self, upload: Upload, state: TargetState) -> Attachment | None:
        """The file that an earlier run uploaded. `RejectedError` if it differed when read back and still does."""
        if upload.remote_id is None:
            return None
        known = state.listed.get(upload.remote_id) or await self._unlisted(upload, state)
        if known and upload.differs and await state.reader.sha256(known) != upload.sha256_there:
            differs, command = DIFFERS.format(side=self.side), self._settings.command
            raise errors.RejectedError(f"{differs}; once it is deleted there, the next {command} sends it again")
        return known

    async def _unlisted(self, upload: Upload, state: TargetState) -> Attachment | None:
        """A file that no list shows yet, if the target returns it by its id and its bytes are right."""
        remote = remote_of(upload)
        contents = await state.reader.contents_of(remote, upload.hashes)
        if not contents.for_good:
            raise errors.RetriableError(f"file {remote.id} is on no list, and asking for it failed: {contents.reason}")
        return remote if contents.sha256 in upload.hashes else None

    async def _match(self, upload: Upload, draft: Draft, state: TargetState) -> Attachment | None:
        """The same file, if it was there before and no upload accounts for it. `RejectedError` if that is uncertain."""
        names = [draft.name, *self._drafts.names_of(upload, state.names)]
        for remote in similar_files(names, draft.size, state.free):
            contents = await state.reader.contents_of(remote, {upload.blob.sha256})
            if contents.sha256 == upload.blob.sha256:
                return remote
            if contents.sha256 is None and not contents.gone and remote.id not in upload.seen:
                if not contents.for_good:
                    raise errors.RetriableError(contents.reason)
                if remote.size == draft.size and not is_in_doubt(upload):
                    raise errors.RejectedError(f"{SAME_NAME_AND_SIZE}: {contents.reason}")
        return None

    async def find_late(self, upload: Upload, state: TargetState, recognised: Recognised) -> Attachment | None:
        """The file of an upload that an earlier run sent; None if it is certainly absent.

        `OutcomeUnknownError` if that is uncertain. An upload without an answer is waited for, because a run that was
        killed is often repeated at once.
        """
        if reason := recognised.unsure.get(upload.attachment.id):
            raise errors.OutcomeUnknownError(f"sent, no answer seen; {reason}")
        if upload.sent_run is None or upload.deleting or (not upload.remote_id and not is_in_doubt(upload)):
            return None
        if upload.differs and not is_in_doubt(upload):
            if self.evidence.is_deleted(upload):
                return None
            raise errors.RejectedError(TOO_SOON.format(side=self.side, command=self._settings.command))
        accepted = upload.accepted or bool(upload.remote_id and is_in_doubt(upload))
        if self.is_absent(replace(upload, accepted=accepted), state):
            return None
        if accepted or upload.remote_id or self.evidence.verdict == LATE:
            stage = f"accepted by the {self.side}" if accepted else "sent, no answer seen"
            raise errors.OutcomeUnknownError(f"{stage}, and {self._not_seen_yet}")
        return None if self._settings.dry_run else await self._wait_for(upload, state)

    async def _wait_for(self, upload: Upload, state: TargetState) -> Attachment | None:
        if not self._waits_told:
            self._waits_told = True
            self._progress.note(WAITS.format(command=self._settings.command, seconds=UNANSWERED_SECONDS))
        for wait in self.evidence.last_waits():
            await back_off(wait)
            if remote := await self.new_one(upload, state):
                await self.note(prompt=False)
                return remote
            if self.is_absent(upload, state):
                break
        return None

    def is_absent(self, upload: Upload, state: TargetState, *, finished: bool = False, broke: bool = False) -> bool:
        """Whether an upload that was sent is certainly absent: see `Evidence.is_absent`."""
        begun = any(is_passing(file.name) and file.id not in upload.seen for file in state.free)
        newer = state.shows_newer(upload)
        return begun or self.evidence.is_absent(upload, newer=newer, finished=finished, broke=broke)

    def waits_after(self, failure: errors.OutcomeUnknownError) -> list[float]:
        """Seconds to wait before each look for an upload that failed like this.

        One look is enough after an error of the target itself, if its lists are known to be prompt.
        """
        if failure.finished and self.evidence.verdict == PROMPT:
            return [0.0]
        return [0.0, *self.evidence.last_waits()] if failure.at_work else self.evidence.waits()

    async def new_one(self, upload: Upload, state: TargetState) -> Attachment | None:
        """The file that this upload became, if it is listed now; `OutcomeUnknownError` if that is uncertain."""
        now = await self._view.look(state.to)
        if any(other.remote and other.remote.id not in now.listed for other in state.waiting):
            await self.note(prompt=False)
        state.waiting[:] = [replace(other, looked=True) for other in state.waiting]
        free = [remote for remote in now.free if remote.id not in state.accounted]
        others = [other for other in state.open.values() if other.attachment.id != upload.attachment.id]
        recognised = await recognise([upload, *others], free, self._view.reader())
        if reason := recognised.unsure.get(upload.attachment.id):
            raise errors.OutcomeUnknownError(f"sent, and {reason}")
        return recognised.files.get(upload.attachment.id)

    def not_seen(self, why: str) -> str:
        """The error of an upload that was accepted and that no list shows."""
        return f"accepted by the {self.side}, and {self._not_seen_yet}" + (f" ({why})" if why else "")

    @property
    def _not_seen_yet(self) -> str:
        return NOT_SEEN.format(side=self.side, command=self._settings.command)
