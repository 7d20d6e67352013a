"""What a load knows about one target entity: its files, which of them are uploads, and which uploads are under way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrator.model import Attachment, Draft, EntityRef, Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.arrivals import same_name
from migrator.pipeline.load.outcomes import Outcomes
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.reading import Reader
from migrator.ports import Target
from migrator.store import Archive, Catalog


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that the target accepted. `remote` is the file that it became, None if the answer didn't say.

    `why` may explain why no list shows it. `looked`: a list was requested since then, so the next list proves nothing
    about how soon lists are up to date.
    """

    upload: Upload
    draft: Draft
    remote: Attachment | None
    why: str = ""
    looked: bool = False

    def is_as_sent(self, listed: Attachment) -> bool:
        """Whether the list shows the file as the answer to its upload did."""
        answered = self.remote or listed
        return listed.name == answered.name and listed.size in {None, answered.size}


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target entity: all files `listed`, by id; the `free` ones, which no upload accounts for; all names in use.

    `accounted` has the files that uploads of this archive account for: by id, when each was sent. `waiting` are uploads
    that the target accepted and that its list has not shown yet; `open`, by attachment, uploads that were sent and may
    or may not have arrived.
    """

    to: EntityRef
    listed: dict[str, Attachment]
    free: list[Attachment]
    names: set[str]
    accounted: dict[str, str]
    reader: Reader
    waiting: list[Accepted] = field(default_factory=list)
    open: dict[str, Upload] = field(default_factory=dict)

    def shows_newer(self, upload: Upload) -> bool:
        """Whether a file is listed that arrived after this upload was sent."""
        sent = [self.accounted.get(id_) for id_ in self.listed if id_ not in upload.seen]
        return any(at is None or at > upload.sent_at for at in sent)

    def take(self, remote: Attachment, *names: str) -> None:
        """Account for a file, and add names that are in use."""
        self.free[:] = [other for other in self.free if other.id != remote.id]
        self.names.update((remote.name, *names))


class TargetView:
    """Combines what the target lists and what the catalog knows."""

    def __init__(
        self,
        target: Target,
        archive: Archive,
        catalog: Catalog,
        executor: SerialExecutor,
        settings: LoadSettings,
        outcomes: Outcomes,
    ) -> None:
        self._target, self._archive, self._outcomes = target, archive, outcomes
        self._catalog, self._executor, self._settings = catalog, executor, settings

    def reader(self) -> Reader:
        """A new reader, which reads each file once."""
        return Reader(self._target, self._archive)

    async def look(self, to: EntityRef) -> TargetState:
        """An entity as it is listed now."""
        await self._outcomes.flush()
        listed = await self._target.find_attachments(to)
        arrived = (await self._executor.call(self._catalog.uploads.arrived, self._settings.identity, to)).values()
        accounted = {remote_id: sent_at for remote_id, _, sent_at in arrived}
        if self._settings.restores:
            ids = [remote.id for remote in listed]
            known = await self._executor.call(self._catalog.restoring.known, to, ids)
            accounted = {**dict.fromkeys(known, ""), **accounted}
        free = [remote for remote in listed if remote.id not in accounted]
        names = {remote.name for remote in listed} | {name for _, name, _ in arrived}
        return TargetState(to, {remote.id: remote for remote in listed}, free, names, accounted, self.reader())


def similar_files(names: Iterable[str], size: int, files: Iterable[Attachment]) -> list[Attachment]:
    """The files that may be this one, by name and size."""
    names = list(names)
    fit = (remote for remote in files if remote.size in {None, size})
    return [remote for remote in fit if any(same_name(remote.name, name) for name in names)]


def is_in_doubt(upload: Upload) -> bool:
    """Whether an upload was sent, and no list has shown it."""
    return upload.status is UploadStatus.IN_DOUBT or upload.accepted
