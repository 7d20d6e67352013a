"""Settling uploads: one target entity at a time, exactly once in effect.

The one idea: what is on the entity is listed first; files that are accounted for are set aside; each upload then
either finds itself among the rest or is sent. The intent is committed before the bytes go out, the result after the
answer.
The one trap: a file of the same name and size is not yet the same file. Before something that was never sent counts
as already there its content is read back and compared; after a crash name and size are enough only where the content
can't be read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrator import errors
from migrator.archive import Archive
from migrator.catalog import Catalog
from migrator.mapping import Mapping, Row
from migrator.model import Attachment, Draft, EntityRef, Upload, UploadStatus
from migrator.naming import name_at_target
from migrator.pipeline.desk import Desk
from migrator.pipeline.rehearsal import Rehearsal
from migrator.ports import BodyFacts, Target
from migrator.progress import Progress
from migrator.selection import EVERYTHING, Choice, Selection

LOOKS = 3
"""How often an upload whose answer was lost is looked for: the tracker may still be at work on it."""
SENDS = 4
"""How often at most one upload is sent in a run; one whose answer was lost only BLIND_SENDS times."""
BLIND_SENDS = 2
LIKE_IT = "a file of this name and size is there, and can't be read back to tell whether it is this one"
DIFFERS = "the content of the file at the target is not what was sent"


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """`identity` names the target. `look_again` is the wait in seconds after each look for a lost upload.

    `create_missing` creates a stub for each entity without a row, enters it in `mapping` and gives it to `add_rows`.
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


@dataclass(frozen=True, slots=True)
class _There:
    """What is on one target entity: all of it by id, files not accounted for, and every name in use."""

    listed: dict[str, Attachment]
    free: list[Attachment]
    names: set[str]


class Settler:
    """Settles the uploads of one run. `stopping` is asked before each upload; `cut_short` says that some were left."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        catalog: Catalog,
        settings: LoadSettings,
        desk: Desk,
        run: int,
        progress: Progress,
    ) -> None:
        self._target, self._archive, self._catalog, self._desk = target, archive, catalog, desk
        self._settings, self._run, self._progress = settings, run, progress
        self.stopping = self.cut_short = False
        self.rehearsal = Rehearsal()
        self.choice = Choice(settings.selection)

    async def settle_entity(self, to: EntityRef) -> None:
        """All uploads to one target entity, one after the other, then a look at what arrived."""
        uploads = await self._desk.run(self._catalog.unsettled_uploads, self._settings.identity, to)
        uploads = [upload for upload in uploads if self.choice.takes(with_size(upload))]
        if uploads:
            self._progress.entities(1)
            self._progress.known(len(uploads), sum(upload.blob.size for upload in uploads))
            await self._settle_all(to, uploads)

    async def _settle_all(self, to: EntityRef, uploads: list[Upload]) -> None:
        try:
            there = await self._look(to)
        except errors.ConnectFailed as error:
            raise errors.TrackerUnreachable(str(error)) from error
        except (errors.Retriable, errors.Rejected) as error:
            await self._fail_all(uploads, to, error)
            return
        there.names.update(upload.attachment.name for upload in uploads)
        sent = []
        for upload in uploads:
            if self.stopping:
                self.cut_short = True
                break
            if await self._settle(upload, there):
                sent.append(upload)
        if sent and not self._settings.dry_run:
            await self._read_back(to, sent)

    async def _fail_all(self, uploads: Sequence[Upload], to: EntityRef, error: errors.MigratorError) -> None:
        for upload in uploads:
            if isinstance(error, errors.Gone) and self._is_stray(upload):
                await self._drop(upload)
            else:
                await self._fail(upload, f"{to} at the target: {error}")

    async def _look(self, to: EntityRef) -> _There:
        found = await self._target.find_attachments(to)
        arrived = dict((await self._desk.run(self._catalog.arrived, self._settings.identity, to)).values())
        free = [remote for remote in found if remote.id not in arrived]
        names = {remote.name for remote in found} | set(arrived.values())
        return _There({remote.id: remote for remote in found}, free, names)

    async def _settle(self, upload: Upload, there: _There) -> bool:
        """One upload: found or sent. True if it was sent in this run."""
        draft = self._draft(upload, there)
        try:
            if remote := await self._known(upload, there) or await self._match(upload, draft, there.free):
                await self._accept(upload, draft, remote, UploadStatus.ALREADY_THERE, there)
                return False
            if self._is_stray(upload):
                await self._drop(upload)
                return False
            remote = await self._send(upload, draft, there)
            await self._accept(upload, draft, remote, UploadStatus.UPLOADED, there)
        except errors.ConnectFailed as error:
            raise errors.TrackerUnreachable(str(error)) from error
        except errors.Unanswered as error:
            await self._record(upload, UploadStatus.IN_DOUBT, error=str(error))
            self._progress.done(failed=True)
            return False
        except (errors.Retriable, errors.Rejected) as error:
            await self._fail(upload, str(error), name=draft.name)
            return False
        return True

    async def _known(self, upload: Upload, there: _There) -> Attachment | None:
        """The file that an earlier run made of it; one that was read back and differed has to be right by now."""
        known = there.listed.get(upload.remote_id or "")
        if known and upload.differs and await self._hash(known) != upload.blob.sha256:
            raise errors.Rejected(f"{DIFFERS}; once it is deleted there, the next load sends it again")
        return known

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
        name = upload.name or name_at_target(
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

    async def _match(self, upload: Upload, draft: Draft, free: Sequence[Attachment]) -> Attachment | None:
        """Among the files that are not accounted for, the one that is this upload; `Rejected` where one can't tell."""
        for remote in sorted(like(draft, free), key=lambda remote: remote.id in upload.seen):
            try:
                same = await self._hash(remote) == upload.blob.sha256
            except errors.Gone:
                same = False
            except (errors.Rejected, errors.WrongBody) as error:
                same = remote.id not in upload.seen and remote.size == draft.size
                if same and upload.status is not UploadStatus.IN_DOUBT:
                    raise errors.Rejected(f"{LIKE_IT}: {error}") from error
            if same:
                return remote
        return None

    async def _hash(self, remote: Attachment) -> str:
        sink = HashSink()
        await self._target.read_back(remote, sink)
        return sink.sha256.hexdigest()

    async def _send(self, upload: Upload, draft: Draft, there: _There) -> Attachment:
        """Send it; when its fate is unknown, look for it before sending it again."""
        body = await asyncio.to_thread(self._archive.body, upload.blob)
        if body is None:
            raise errors.Rejected("its blob is damaged or missing; run the backup again")
        limit = self._target.capabilities.max_attachment_bytes
        if limit is not None and draft.size > limit:
            raise errors.Rejected(f"too large: {draft.size} bytes; this target takes at most {limit}")
        for number in range(1, SENDS + 1):
            await self._intend(upload, draft, there)
            fate = errors.Unanswered("accepted, but not found at the target")
            try:
                if remote := await self._target.upload(upload.to, draft, body):
                    self._progress.moved(draft.size)
                    return remote
            except errors.Unanswered as error:
                fate = error
            if remote := await self._find_sent(upload, draft, there, looks=1 if fate.finished else LOOKS):
                return remote
            if not fate.finished and number >= BLIND_SENDS:
                break
        raise errors.Unanswered(f"sent {number} times, and not found at the target: {fate}")

    async def _find_sent(self, upload: Upload, draft: Draft, there: _There, *, looks: int) -> Attachment | None:
        """What was not there before and is the file that was sent; a look that fails leaves it in doubt."""
        doubtful = replace(upload, status=UploadStatus.IN_DOUBT)
        try:
            for _ in range(looks):
                fresh = [remote for remote in (await self._look(upload.to)).free if remote.id not in there.listed]
                if remote := await self._match(doubtful, draft, fresh):
                    return remote
                await asyncio.sleep(self._settings.look_again)
        except (errors.Retriable, errors.Rejected) as error:
            raise errors.Unanswered(f"sent without an answer, and looking for it failed: {error}") from error
        return None

    async def _accept(
        self, upload: Upload, draft: Draft, remote: Attachment, status: UploadStatus, there: _There
    ) -> None:
        """It is there: check what the target made of it, describe it if it is ours, then record it."""
        there.free[:] = [other for other in there.free if other.id != remote.id]
        there.names.add(draft.name)
        ours = status is UploadStatus.UPLOADED or is_ours(upload, remote)
        facts: dict[str, Any] = {"name": draft.name, "remote_id": remote.id, "ours": ours}
        if remote.name != draft.name or remote.size not in {None, draft.size}:
            reason = f"arrived as {remote.name!r}, {remote.size} bytes; sent were {draft.name!r}, {draft.size} bytes"
            await self._record(upload, UploadStatus.IN_DOUBT, error=reason, **facts)
            raise errors.Rejected(reason)
        wanted = draft.description
        if ours and wanted and wanted != remote.description and self._target.capabilities.sets_description:
            await self._record(upload, UploadStatus.IN_DOUBT, error="being described", **facts)
            await self._target.describe(remote, wanted)
        await self._record(upload, status, locator=remote.locator, **facts)
        self._progress.done()

    async def _read_back(self, to: EntityRef, sent: Sequence[Upload]) -> None:
        """Hold what was sent against what the target lists now."""
        try:
            there = await self._look(to)
        except (errors.Retriable, errors.Rejected) as error:
            for upload in sent:
                await self._fail(upload, f"accepted by the target, but reading back failed: {error}")
            return
        arrived = await self._desk.run(self._catalog.arrived, self._settings.identity, to)
        for upload in sent:
            remote_id, name = arrived[upload.attachment.id]
            remote = there.listed.get(remote_id)
            if remote is None or remote.name != name or remote.size not in {None, upload.blob.size}:
                await self._fail(upload, "accepted by the target, but not there as it was sent when read back")

    def _description(self, attachment: Attachment) -> str:
        """The original description, and a line on who and when where the target can't keep those."""
        keeps = self._target.capabilities.keeps_author_and_date
        if keeps or not self._settings.provenance or not (attachment.created_by or attachment.created_at):
            return attachment.description
        by = f" by {attachment.created_by}" if attachment.created_by else ""
        at = f" on {attachment.created_at}" if attachment.created_at else ""
        return f"{attachment.description}\n[first attached{by}{at}]".strip()

    async def _intend(self, upload: Upload, draft: Draft, there: _There) -> None:
        if not self._settings.dry_run:
            before = [remote.id for remote in like(draft, there.listed.values())]
            write = self._catalog.record_intent
            await self._desk.run(write, self._run, self._settings.identity, upload, draft.name, before)

    async def _record(self, upload: Upload, status: UploadStatus, *, error: str | None = None, **facts: Any) -> None:
        if self._settings.dry_run:
            self.rehearsal.note(upload, status, facts.get("name"), error)
            return
        write, identity = self._catalog.record_upload, self._settings.identity
        await self._desk.run(write, self._run, identity, upload, status, error=error, **facts)

    async def _fail(self, upload: Upload, reason: str, name: str | None = None) -> None:
        """It did not go. What stood in doubt when the run began stays so: its fate is still not settled."""
        in_doubt = upload.status is UploadStatus.IN_DOUBT
        status = UploadStatus.IN_DOUBT if in_doubt else UploadStatus.FAILED
        if self._settings.dry_run:
            self.rehearsal.note(upload, status, name, reason)
        else:
            await self._record(upload, status, error=reason)
        self._progress.done(failed=True)


def like(draft: Draft, files: Iterable[Attachment]) -> list[Attachment]:
    """Those that may be this file, going by name and size."""
    return [remote for remote in files if remote.name == draft.name and remote.size in {None, draft.size}]


def with_size(upload: Upload) -> Attachment:
    """The attachment, with the size that its blob has."""
    return replace(upload.attachment, size=upload.blob.size)


def is_ours(upload: Upload, remote: Attachment) -> bool:
    """Whether what was found there is what an earlier run sent: it was in doubt, or is known by its id."""
    known = upload.status is UploadStatus.IN_DOUBT or remote.id == upload.remote_id
    return known and upload.sent_run is not None and remote.id not in upload.seen


class HashSink:
    """Hashes a file of the target."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    async def start(self, facts: BodyFacts) -> None:
        """See `Sink`."""

    async def write(self, chunk: bytes) -> None:
        """See `Sink`."""
        self.sha256.update(chunk)

    def rewind(self) -> None:
        """See `Sink`."""
        self.sha256 = hashlib.sha256()

    def warn(self, text: str) -> None:
        """See `Sink`."""
