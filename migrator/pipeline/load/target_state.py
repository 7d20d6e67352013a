"""What is on one target entity, as a load sees it: its files, those that uploads account for, those on their way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrator.model import Attachment, Draft, EntityRef, Upload, UploadStatus
from migrator.pipeline.executor import SerialExecutor
from migrator.pipeline.load.arrivals import same_name
from migrator.pipeline.reading import Reader
from migrator.ports import Target
from migrator.store import Archive, Catalog


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that the target says to have, as it was sent; `remote` is which file it is, None if it didn't say.

    `why` may be the reason if it never shows. `looked`: a list was asked for since it was sent, so that the next one
    says nothing of how soon lists are up to date.
    """

    upload: Upload
    draft: Draft
    remote: Attachment | None
    why: str = ""
    looked: bool = False

    def is_as_sent(self, listed: Attachment) -> bool:
        """Whether the list says of the file what the answer to its upload said."""
        answered = self.remote or listed
        return listed.name == answered.name and listed.size in {None, answered.size}


@dataclass(frozen=True, slots=True)
class TargetState:
    """One target entity: all files `listed`, by id; those that no upload accounts for (`free`); every name in use.

    `accounted` has, by id, when each file that an upload of this archive accounts for was sent. `waiting` are the
    uploads that the target accepted and that are yet to be seen on its list; `open` those that were sent and of which
    it isn't known whether they arrived, by attachment.
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
        """Whether a file is listed that came after an upload was sent."""
        sent = [self.accounted.get(id_) for id_ in self.listed if id_ not in upload.seen]
        return any(at is None or at > upload.sent_at for at in sent)

    def take(self, remote: Attachment, *names: str) -> None:
        """A file is accounted for from now on, and these names are in use."""
        self.free[:] = [other for other in self.free if other.id != remote.id]
        self.names.update((remote.name, *names))


class TargetView:
    """Looks at entities of the target, and at what the catalog says of them."""

    def __init__(
        self, target: Target, archive: Archive, catalog: Catalog, executor: SerialExecutor, identity: str
    ) -> None:
        self._target, self._archive = target, archive
        self._catalog, self._executor, self._identity = catalog, executor, identity

    def reader(self) -> Reader:
        """Reads files of the target back, each once."""
        return Reader(self._target, self._archive)

    async def look(self, to: EntityRef) -> TargetState:
        """The entity as it is listed now."""
        listed = await self._target.find_attachments(to)
        arrived = (await self._executor.call(self._catalog.uploads.arrived, self._identity, to)).values()
        accounted = {remote_id: sent_at for remote_id, _, sent_at in arrived}
        free = [remote for remote in listed if remote.id not in accounted]
        names = {remote.name for remote in listed} | {name for _, name, _ in arrived}
        return TargetState(to, {remote.id: remote for remote in listed}, free, names, accounted, self.reader())


def like(draft: Draft, files: Iterable[Attachment]) -> list[Attachment]:
    """Those that may be this file, going by name and size."""
    return [remote for remote in files if same_name(remote.name, draft.name) and remote.size in {None, draft.size}]


def is_in_doubt(upload: Upload) -> bool:
    """Whether it was sent, and never seen on a list."""
    return upload.status is UploadStatus.IN_DOUBT or upload.accepted
