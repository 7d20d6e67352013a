"""Settling uploads: one target entity at a time, exactly once in effect.

The one idea: what is on the entity is listed first; files that are accounted for are set aside; each upload then
either finds itself among the rest or is sent. The intent is committed before the bytes go out, the result after the
answer. What an answer told is believed, and afterwards looked for.
The one trap: a file of the same name and size is not yet the same file, and a file of another name may be it. Before
something that was never sent counts as already there its content is read back and compared; what was sent is known by
being new (see `arrivals.py`); and what isn't listed is not sent again before it surely isn't there (`evidence.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from migrator import errors
from migrator.filenames import name_at_target
from migrator.mapping import Mapping, Row, Rows
from migrator.model import Altered, Attachment, Draft, EntityRef, Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.arrivals import Recognised, altered_of, is_passing, recognise, same_name
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.pipeline.load.evidence import LATE, PROMPT, Evidence
from migrator.pipeline.reading import Reader
from migrator.pipeline.run import back_off
from migrator.ports import Body, Target
from migrator.progress import Progress
from migrator.selection import EVERYTHING, Selection, Selector
from migrator.store import Archive, Catalog, now

SENDS = 4
"""How often at most one upload is sent in a run; one whose answer was lost only BLIND_SENDS times."""
BLIND_SENDS = 2
LOGIN_PAGES = 3
"""After so many uploads in a row that were answered by a login page, or with 401, the credentials are no good."""
LIKE_IT = "a file of this name and size is there, and can't be read back to tell whether it is this one"
DIFFERS = "the content of the file at the target is not what was sent"
NOT_SEEN = "not seen at the target yet: the next load looks for it, and sends it again only once it surely isn't there"


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """`identity` names the target. `look_again` is the length of a second in all waits for what was sent, `second` that
    in its age, as `look_again` if it is not given.

    `create_missing` creates a stub for each entity without a row, enters it in `mapping` and gives it to `add_rows`.
    `rows` is the mapping as it was written, if it comes from a file; `source_kinds` are all that the source can have.
    `strict`: files without a row, and rows that name nothing, make the run incomplete.
    """

    identity: str
    mapping: Mapping
    uploads: int = 4
    provenance: bool = True
    dry_run: bool = False
    verify_content: bool = False
    look_again: float = 1.0
    selection: Selection = EVERYTHING
    create_missing: bool = False
    add_rows: Callable[[Sequence[Row]], object] | None = None
    rows: Rows | None = None
    source_kinds: tuple[str, ...] = ()
    strict: bool = False
    second: float | None = None


@dataclass(frozen=True, slots=True)
class _There:
    """What is on one target entity: all of it by id, files not accounted for, and every name in use.

    `accounted` has, by id, when each file that an upload of this archive accounts for was sent. `waiting` are the
    uploads that the target accepted, to be seen there yet; `open` those that were sent and of which that isn't known.
    """

    to: EntityRef
    listed: dict[str, Attachment]
    free: list[Attachment]
    names: set[str]
    accounted: dict[str, str]
    reader: Reader
    waiting: list[_Accepted] = field(default_factory=list)
    open: dict[str, Upload] = field(default_factory=dict)

    def shows_newer(self, upload: Upload) -> bool:
        """Whether a file is listed that came after an upload was sent."""
        times = [self.accounted.get(id_) for id_ in self.listed if id_ not in upload.seen]
        return any(at is None or at > upload.sent_at for at in times)


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An upload that the target says to have, as it was sent; `remote` is which file it is, None if it didn't tell.

    `why` is what may be the reason where it never shows. `looked`: a list was asked for since it was sent, so that the
    next one says nothing of how soon lists tell.
    """

    upload: Upload
    draft: Draft
    remote: Attachment | None
    why: str = ""
    looked: bool = False


class Uploader:
    """Settles the uploads of one run. `stopping` is asked before each upload; `cut_short` says that some were left."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        catalog: Catalog,
        settings: LoadSettings,
        desk: SerialExecutor,
        run: int,
        progress: Progress,
    ) -> None:
        self._target, self._archive, self._catalog, self._desk = target, archive, catalog, desk
        self._settings, self._run, self._progress = settings, run, progress
        self.stopping = self.cut_short = False
        self.rehearsal = DryRunReport()
        self.choice = Selector(settings.selection)
        self._evidence = self._evidence_of("")
        self._login_pages = 0
        self._in_vain = False

    async def prepare(self) -> None:
        """Before the first entity: what earlier runs saw of this target's lists."""
        verdict = await self._desk.run(self._catalog.setting, self._key)
        self._evidence, self._in_vain = self._evidence_of(verdict or ""), verdict == LATE

    def _evidence_of(self, verdict: str) -> Evidence:
        wait, unit = self._settings.look_again, self._settings.second
        return Evidence(self._run, verdict, wait=wait, unit=wait if unit is None else unit)

    @property
    def _key(self) -> str:
        return f"lists of {self._settings.identity}"

    async def settle_entity(self, to: EntityRef) -> None:
        """All uploads to one target entity, one after the other, then a look at what arrived."""
        uploads = await self._desk.run(self._catalog.unsettled_uploads, self._settings.identity, to)
        uploads = [upload for upload in uploads if self.choice.select(with_size(upload))]
        if uploads:
            self._progress.entities(1)
            self._progress.known(len(uploads), sum(upload.blob.size for upload in uploads))
            await self._settle_all(to, uploads)

    async def _settle_all(self, to: EntityRef, uploads: list[Upload]) -> None:
        try:
            there = await self._look(to)
            doubtful = [one for one in uploads if one.status is UploadStatus.IN_DOUBT and one.remote_id is None]
            recognised = await recognise(doubtful, there.free, there.reader)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            await self._fail_all(uploads, to, error)
            return
        there.names.update(upload.attachment.name for upload in uploads)
        there.open.update({one.attachment.id: one for one in doubtful if one.attachment.id not in recognised.found})
        for upload in uploads:
            if self.stopping:
                self.cut_short = True
                break
            await self._settle(upload, there, recognised)
        if there.waiting and not self._settings.dry_run:
            await self._read_back(there)

    async def _fail_all(self, uploads: Sequence[Upload], to: EntityRef, error: errors.MigratorError) -> None:
        for upload in uploads:
            if isinstance(error, errors.GoneError) and self._is_stray(upload):
                await self._drop(upload)
            else:
                await self._fail(upload, f"{to} at the target: {error}")

    async def _look(self, to: EntityRef) -> _There:
        found = await self._target.find_attachments(to)
        arrived = (await self._desk.run(self._catalog.arrived, self._settings.identity, to)).values()
        accounted = {remote_id: sent_at for remote_id, _, sent_at in arrived}
        free = [remote for remote in found if remote.id not in accounted]
        names = {remote.name for remote in found} | {name for _, name, _ in arrived}
        return _There(to, {remote.id: remote for remote in found}, free, names, accounted, self.reader())

    def reader(self) -> Reader:
        """Reads files of the target back, and knows what was sent."""
        return Reader(self._target, self._archive)

    async def _settle(self, upload: Upload, there: _There, recognised: Recognised) -> None:
        """One upload: found or sent."""
        draft = self._draft(upload, there)
        try:
            remote = await self._find(upload, draft, there, recognised)
            if remote := remote or await self._late(upload, there, recognised):
                await self._accept(upload, draft, remote, UploadStatus.ALREADY_THERE, there)
                self._progress.done()
                return
            if self._is_stray(upload):
                await self._drop(upload)
            else:
                await self._send(upload, draft, there)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.OutcomeUnknownError as error:
            await self._doubt(upload, str(error))
        except errors.ItemFailedError as error:
            there.open.pop(upload.attachment.id, None)
            await self._fail(upload, str(error), name=draft.name)

    async def _find(self, upload: Upload, draft: Draft, there: _There, recognised: Recognised) -> Attachment | None:
        """The file on the entity that this upload is: by its id, as what is new there, or as what was there before."""
        known = await self._known(upload, there) or recognised.found.get(upload.attachment.id)
        return known or await self._match(upload, draft, there)

    async def _known(self, upload: Upload, there: _There) -> Attachment | None:
        """The file that an earlier run made of it; one that was read back and differed has to be right by now."""
        if upload.remote_id is None:
            return None
        known = there.listed.get(upload.remote_id) or await self._unlisted(upload, there)
        if known and upload.differs and await there.reader.sha256(known) != upload.sha256_there:
            raise errors.RejectedError(f"{DIFFERS}; once it is deleted there, the next load sends it again")
        return known

    async def _unlisted(self, upload: Upload, there: _There) -> Attachment | None:
        """A file that no list shows, as far as the target gives its bytes by its id: a list may lag."""
        told = upload.name or upload.sent_name or ""
        remote = Attachment(upload.remote_id or "", upload.to, told, upload.size_there, locator=upload.locator)
        contents = await there.reader.of(remote)
        if not contents.for_good:
            raise errors.RetriableError(f"file {remote.id} is on no list, and asking for it failed: {contents.why}")
        return remote if contents.sha256 in {upload.blob.sha256, upload.sha256_there} else None

    async def _late(self, upload: Upload, there: _There, recognised: Recognised) -> Attachment | None:
        """What was sent before and is listed after all, None where it surely isn't there; else `OutcomeUnknownError`.

        What got no answer is waited for: a run that was killed is often run again at once.
        """
        if reason := recognised.unsure.get(upload.attachment.id):
            raise errors.OutcomeUnknownError(f"sent, no answer seen; {reason}")
        if upload.sent_run is None or upload.deleting or (not upload.remote_id and not _in_doubt(upload)):
            return None
        accepted = upload.accepted or bool(upload.remote_id and _in_doubt(upload))
        if self._is_absent(replace(upload, accepted=accepted), there):
            return None
        if accepted or upload.remote_id or self._evidence.verdict == LATE:
            what = "accepted by the target" if accepted else "sent, no answer seen"
            raise errors.OutcomeUnknownError(f"{what}, and {NOT_SEEN}")
        return None if self._settings.dry_run else await self._wait_for(upload, there)

    async def _wait_for(self, upload: Upload, there: _There) -> Attachment | None:
        for wait in self._evidence.last_waits():
            await back_off(wait)
            if remote := await self._new_one(upload, there):
                await self._note(prompt=False)
                return remote
            if self._is_absent(upload, there):
                break
        return None

    def _is_absent(self, upload: Upload, there: _There, *, finished: bool = False, broke: bool = False) -> bool:
        begun = any(is_passing(file.name) and file.id not in upload.seen for file in there.free)
        newer = there.shows_newer(upload)
        return begun or self._evidence.is_absent(upload, newer=newer, finished=finished, broke=broke)

    def _is_stray(self, upload: Upload) -> bool:
        """Whether the mapping sends it elsewhere by now, or nowhere."""
        return upload.to not in self._settings.mapping.get(upload.attachment.owner, ())

    async def _drop(self, upload: Upload) -> None:
        """It is not there, and no longer to be: never sent there again."""
        if not self._settings.dry_run:
            await self._record(upload, UploadStatus.ROLLED_BACK, error="not there, and its row in the mapping is gone")
        self._progress.done()

    def _draft(self, upload: Upload, there: _There) -> Draft:
        """What to send; the name of an earlier try stays."""
        attachment, can = upload.attachment, self._target.capabilities
        name = upload.sent_name or name_at_target(
            attachment.name, self._target.legal_name, can.max_name_bytes, there.names, can.name_encoding
        )
        return Draft(
            name,
            attachment.media_type,
            self._description(attachment),
            upload.blob.size,
            attachment.created_at,
            attachment.created_by,
        )

    async def _match(self, upload: Upload, draft: Draft, there: _There) -> Attachment | None:
        """Among the files that are not accounted for, one that was there before and is the same; `RejectedError` where
        one can't tell.
        """
        for remote in like(draft, there.free):
            contents = await there.reader.of(remote)
            if contents.sha256 == upload.blob.sha256:
                return remote
            if contents.sha256 is None and not contents.gone and remote.id not in upload.seen:
                if not contents.for_good:
                    raise errors.RetriableError(contents.why)
                if remote.size == draft.size and not _in_doubt(upload):
                    raise errors.RejectedError(f"{LIKE_IT}: {contents.why}")
        return None

    async def _send(self, upload: Upload, draft: Draft, there: _There) -> None:
        """Send it; when its fate is unknown, look for it before sending it again.

        One look is enough only after an error of the target itself, where its lists are known to be prompt.
        """
        body = await asyncio.to_thread(self._archive.body, upload.blob)
        if body is None:
            raise errors.RejectedError("its blob is damaged or missing; run the backup again")
        if reason := await self._target.refuses(upload.to, draft):
            raise errors.RejectedError(reason)
        for number in range(1, SENDS + 1):
            upload = there.open[upload.attachment.id] = await self._intend(upload, draft, there)
            fate = await self._try(upload, draft, body, there)
            if fate is None:
                return
            if fate.accepted:
                await self._take(upload, draft, None, there, str(fate))
                return
            refused = self._expect_login(fate)
            if await self._find_sent(upload, draft, there, [0.0] if refused else self._waits_after(fate)):
                return
            again = not refused and number < (SENDS if fate.finished else BLIND_SENDS)
            if not again or not self._is_absent(upload, there, finished=fate.finished, broke=not fate.at_work):
                break
        raise errors.OutcomeUnknownError(f"sent {number} times, and not found at the target: {fate}")

    def _waits_after(self, fate: errors.OutcomeUnknownError) -> list[float]:
        """Seconds to wait before each look for what ended like this."""
        if fate.finished and self._evidence.verdict == PROMPT:
            return [0.0]
        return [0.0, *self._evidence.last_waits()] if fate.at_work else self._evidence.waits()

    async def _try(self, upload: Upload, draft: Draft, body: Body, there: _There) -> errors.OutcomeUnknownError | None:
        """Send it once; gives why its fate is unknown. Raises a definite no."""
        try:
            remote = await self._target.upload(upload.to, draft, body)
        except errors.OutcomeUnknownError as error:
            return error
        except errors.LoginPageError as error:
            return errors.OutcomeUnknownError(str(error), finished=True, login=True)
        except errors.RejectedError as error:
            self._expect_login(error)
            raise
        self._login_pages = 0
        self._progress.moved(draft.size)
        await self._take(upload, draft, remote, there)
        return None

    def _expect_login(self, error: errors.MigratorError) -> bool:
        """Whether an upload was answered as if nobody were logged in; `AuthError` where nothing else comes."""
        page = isinstance(error, errors.OutcomeUnknownError) and error.login
        if not page and getattr(error, "status", None) != 401:
            return False
        self._login_pages += 1
        if self._login_pages >= LOGIN_PAGES:
            raise errors.AuthError(f"{error} ({LOGIN_PAGES} uploads in a row)") from error
        return True

    async def _take(
        self, upload: Upload, draft: Draft, remote: Attachment | None, there: _There, why: str = ""
    ) -> None:
        """The target accepted it. What its answer told is believed; an id that was there before tells nothing."""
        before = there.listed.get(remote.id) if remote else None
        new = remote and (before is None or is_passing(before.name)) and remote.id not in there.accounted
        if remote and (new or self._settings.dry_run):
            await self._believe(upload, draft, remote, there)
            return
        await self._record(upload, UploadStatus.IN_DOUBT, accepted=True, error=_not_seen(why))
        if not await self._find_sent(upload, draft, there, [0.0]):
            await self._note(prompt=False)  # taken, and the list that was asked right after it lacks it
            upload = replace(upload, accepted=True, seen=upload.seen | there.listed.keys())
            there.waiting.append(_Accepted(upload, draft, None, why))

    async def _find_sent(self, upload: Upload, draft: Draft, there: _There, waits: Sequence[float]) -> bool:
        """Look for what was not there before and is the file that was sent; a look that fails leaves it in doubt."""
        fresh = replace(upload, seen=upload.seen | there.listed.keys())
        try:
            for wait in waits:
                await back_off(wait)
                if remote := await self._new_one(fresh, there):
                    await self._note(prompt=not wait)
                    await self._believe(upload, draft, remote, there, looked=True)
                    return True
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.OutcomeUnknownError:
            raise
        except errors.ItemFailedError as error:
            raise errors.OutcomeUnknownError(f"sent without an answer, and looking for it failed: {error}") from error
        return False

    async def _new_one(self, upload: Upload, there: _There) -> Attachment | None:
        """The file that this upload became, if it is listed now; `OutcomeUnknownError` where one can't tell."""
        now_there = await self._look(there.to)
        if any(one.remote and one.remote.id not in now_there.listed for one in there.waiting):
            await self._note(prompt=False)
        there.waiting[:] = [replace(one, looked=True) for one in there.waiting]
        free = [remote for remote in now_there.free if remote.id not in there.accounted]
        others = [one for one in there.open.values() if one.attachment.id != upload.attachment.id]
        recognised = await recognise([upload, *others], free, self.reader())
        if reason := recognised.unsure.get(upload.attachment.id):
            raise errors.OutcomeUnknownError(f"sent, and {reason}")
        return recognised.found.get(upload.attachment.id)

    async def _believe(
        self, upload: Upload, draft: Draft, remote: Attachment, there: _There, *, looked: bool = False
    ) -> None:
        """This file is the upload; at the end the list is asked, too."""
        there.accounted[remote.id] = upload.sent_at
        there.open.pop(upload.attachment.id, None)
        await self._accept(upload, draft, remote, UploadStatus.UPLOADED, there)
        self._progress.done()
        there.waiting.append(_Accepted(upload, draft, remote, looked=looked))

    async def _note(self, *, prompt: bool) -> None:
        if self._evidence.note(prompt=prompt) and not self._settings.dry_run:
            await self._desk.run(self._catalog.set_setting, self._key, self._evidence.verdict)

    async def _accept(
        self, upload: Upload, draft: Draft, remote: Attachment, status: UploadStatus, there: _There
    ) -> None:
        """It is there: see what the target made of it, describe it if it is ours, then record it."""
        there.free[:] = [other for other in there.free if other.id != remote.id]
        there.names.update((draft.name, remote.name))
        ours = status is UploadStatus.UPLOADED or is_ours(upload, remote)
        facts: dict[str, Any] = {"name": remote.name or draft.name, "remote_id": remote.id, "ours": ours}
        facts["altered"] = await self._altered(upload, draft, remote, there, facts) if ours else {}
        wanted = draft.description
        if ours and wanted and wanted != remote.description and self._target.capabilities.sets_description:
            await self._record(upload, UploadStatus.IN_DOUBT, error="being described", **facts)
            await self._target.describe(remote, wanted)
        unlisted = status is UploadStatus.ALREADY_THERE and remote.id not in there.listed
        await self._record(upload, status, locator=remote.locator or None, accepted=unlisted, **facts)

    async def _altered(
        self, upload: Upload, draft: Draft, remote: Attachment, there: _There, facts: dict[str, Any]
    ) -> Altered:
        """What the target altered. Where it can't be told whether that is right, it is in doubt, by its id."""
        try:
            return await altered_of(draft.name, upload.blob, remote, there.reader)
        except errors.ItemFailedError as error:
            reason = f"arrived as {remote.name!r}, {remote.size} bytes; sent were {draft.name!r}, {draft.size} bytes"
            await self._record(upload, UploadStatus.IN_DOUBT, error=f"{reason}: {error}", **facts)
            raise errors.RejectedError(reason) from error

    async def _read_back(self, there: _There) -> None:
        """Hold what was sent against what the target lists now, with patience where it is not listed yet."""
        left = there.waiting
        for wait in self._evidence.waits():
            await back_off(wait)
            try:
                now_there = await self._look(there.to)
                left = await self._not_seen(left, now_there)
            except errors.ConnectError as error:
                raise errors.TrackerUnreachableError(str(error)) from error
            except errors.ItemFailedError as error:
                for one in left:
                    await self._doubt(one.upload, f"accepted by the target, but reading back failed: {error}")
                return
            if not wait and (left or not there.waiting[-1].looked):
                await self._note(prompt=not left)
            if not left or self._in_vain:  # waiting was no use before
                break
        self._in_vain |= bool(left)
        for one in left:
            await self._settle_unseen(one)

    async def _not_seen(self, waiting: Sequence[_Accepted], there: _There) -> list[_Accepted]:
        """Those that are not listed; what is listed is recorded as it is there."""
        open_ones = [one.upload for one in waiting if one.remote is None]
        recognised = await recognise(open_ones, there.free, there.reader)
        left = []
        for one in waiting:
            remote = there.listed.get(one.remote.id) if one.remote else recognised.found.get(one.upload.attachment.id)
            if remote is None:
                left.append(one)
            elif one.remote is None or not _is_as_sent(one, remote):
                await self._record_seen(one, remote, there)
        return left

    async def _record_seen(self, one: _Accepted, remote: Attachment, there: _There) -> None:
        """The list tells more than the answer did, or something else."""
        try:
            await self._accept(one.upload, one.draft, remote, UploadStatus.UPLOADED, there)
        except errors.ConnectError:
            raise
        except errors.ItemFailedError as error:
            await self._doubt(one.upload, f"accepted by the target, but not there as it was sent: {error}")
        else:
            if one.remote is None:
                self._progress.done()

    async def _settle_unseen(self, one: _Accepted) -> None:
        """On no list: what the target gives by its id is there, everything else in doubt.

        What it is called there only a list tells, so that is asked by the next load, too.
        """
        if await self._is_there_by_id(one):
            await self._record(one.upload, UploadStatus.UPLOADED, accepted=True)
            return
        await self._record(one.upload, UploadStatus.IN_DOUBT, accepted=True, error=_not_seen(one.why))
        self._progress.done(failed=True)

    async def _is_there_by_id(self, one: _Accepted) -> bool:
        if one.remote is None:
            return False
        contents = await self.reader().of(one.remote)
        return contents.sha256 == one.upload.blob.sha256

    def _description(self, attachment: Attachment) -> str:
        """The original description, and a line on who and when where the target can't keep those."""
        keeps = self._target.capabilities.keeps_author_and_date
        if keeps or not self._settings.provenance or not (attachment.created_by or attachment.created_at):
            return attachment.description
        by = f" by {attachment.created_by}" if attachment.created_by else ""
        at = f" on {attachment.created_at}" if attachment.created_at else ""
        return f"{attachment.description}\n[first attached{by}{at}]".strip()

    async def _intend(self, upload: Upload, draft: Draft, there: _There) -> Upload:
        """Record that it is about to be sent; gives the upload as it then stands.

        What no upload of this archive accounts for was there before, and is nobody's of ours. Of several attempts in
        a row the first one's word on that stays.
        """
        known = _in_doubt(upload) and upload.remote_id is None
        seen = upload.seen if known else frozenset(there.listed.keys() - there.accounted.keys())
        upload = replace(
            upload,
            status=UploadStatus.IN_DOUBT,
            remote_id=None,
            sent_name=draft.name,
            sent_at=now(),
            sent_run=self._run,
            seen=seen,
            accepted=False,
            altered={},
        )
        if not self._settings.dry_run:
            write, identity = self._catalog.record_intent, self._settings.identity
            await self._desk.run(write, self._run, identity, upload, draft.name, seen, upload.sent_at)
        return upload

    async def _record(self, upload: Upload, status: UploadStatus, *, error: str | None = None, **facts: Any) -> None:
        if self._settings.dry_run:
            self.rehearsal.note(upload, status, facts.get("name"), error)
            return
        write, identity = self._catalog.record_upload, self._settings.identity
        await self._desk.run(write, self._run, identity, upload, status, error=error, **facts)

    async def _doubt(self, upload: Upload, reason: str) -> None:
        await self._record(upload, UploadStatus.IN_DOUBT, error=reason)
        self._progress.done(failed=True)

    async def _fail(self, upload: Upload, reason: str, name: str | None = None) -> None:
        """It did not go. What stood in doubt when the run began stays so: its fate is still not settled."""
        status = UploadStatus.IN_DOUBT if _in_doubt(upload) else UploadStatus.FAILED
        if self._settings.dry_run:
            self.rehearsal.note(upload, status, name, reason)
        else:
            await self._record(upload, status, error=reason)
        self._progress.done(failed=True)


def _not_seen(why: str) -> str:
    return f"accepted by the target, and {NOT_SEEN}" + (f" ({why})" if why else "")


def _in_doubt(upload: Upload) -> bool:
    """Whether it was sent, and never seen on a list."""
    return upload.status is UploadStatus.IN_DOUBT or upload.accepted


def _is_as_sent(one: _Accepted, remote: Attachment) -> bool:
    """Whether the list tells of a file what the answer to its upload told."""
    told = one.remote or remote
    return remote.name == told.name and remote.size in {None, told.size}


def like(draft: Draft, files: Iterable[Attachment]) -> list[Attachment]:
    """Those that may be this file, going by name and size."""
    return [remote for remote in files if same_name(remote.name, draft.name) and remote.size in {None, draft.size}]


def with_size(upload: Upload) -> Attachment:
    """The attachment, with the size that its blob has."""
    return replace(upload.attachment, size=upload.blob.size)


def is_ours(upload: Upload, remote: Attachment) -> bool:
    """Whether what was found there is what an earlier run sent: it was in doubt, or is known by its id."""
    known = upload.status is UploadStatus.IN_DOUBT or remote.id == upload.remote_id
    return known and upload.sent_run is not None and remote.id not in upload.seen
