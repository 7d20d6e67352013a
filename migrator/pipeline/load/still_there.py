"""Whether what earlier loads brought to the target is still there.

The catalog says only that a file arrived once; somebody may have deleted it there since, or emptied the target. So each
load lists every entity that has such files: one list for each entity, no file is read.

Beware: a list alone proves nothing. A file that it lacks is requested by its id, and only if the target says that this
is gone, too, it is one of the `VanishedUploads`. If it can't be found out, the file is named, and its upload stays as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from migrator import errors
from migrator.model import Attachment, EntityRef, Upload
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.reading import Reader, remote_of
from migrator.pipeline.run import RunContext
from migrator.pipeline.summary import Failure
from migrator.pipeline.vanished import VanishedUploads
from migrator.pipeline.workers import run_workers
from migrator.ports import Target
from migrator.progress import Progress

NO_LONGER_THERE = "no longer at the target; the next load sends it again"
"""Why an upload that had arrived has failed."""
GONE_IN_A_DRY_RUN = "no longer at the target; a load records that, and the one after it sends it again"


class PresenceCheck:
    """Looks for the uploads that earlier runs settled. `unread` could not be looked for."""

    def __init__(
        self,
        target: Target,
        context: RunContext,
        settings: LoadSettings,
        vanished: VanishedUploads,
        reader: Reader,
        progress: Progress,
    ) -> None:
        self._target, self._settings, self._vanished = target, settings, vanished
        self._uploads, self._executor = context.catalog.uploads, context.executor
        self._run, self._stop = context.run, context.stop
        self._reader, self._progress = reader, progress
        self.unread: list[Failure] = []

    async def run(self, entities: Iterable[EntityRef], selects: Callable[[Upload], bool], count: int) -> None:
        """Look at these target entities, `count` side by side, for the uploads that `selects` selects."""

        async def look_at(to: EntityRef) -> None:
            uploads = await self._executor.call(self._uploads.settled_before, self._settings.identity, to, self._run)
            uploads = [upload for upload in uploads if selects(upload)]
            if self._settings.selection.partial:
                self._progress.known(len(uploads), 0)
            await self._look(to, uploads)

        await run_workers(entities, look_at, count, self._stop)

    async def _look(self, to: EntityRef, uploads: list[Upload]) -> None:
        if not uploads:
            return
        try:
            listed = {remote.id for remote in await self._target.find_attachments(to)}
        except errors.GoneError:
            listed = set()
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            for upload in uploads:
                self._could_not_look(upload, f"{to} could not be listed: {error}")
            return
        unlisted = [upload for upload in uploads if upload.remote_id not in listed]
        missing = [upload for upload in unlisted if await self._is_missing(upload)]
        await self._vanished.looked_for(len(uploads), missing)
        for _ in range(len(uploads) - len(unlisted)):
            self._progress.done()

    async def _is_missing(self, upload: Upload) -> bool:
        """Request a file by its id that its entity doesn't list."""
        try:
            missing = not await is_there(upload, self._reader)
        except errors.ConnectError as error:
            raise errors.TrackerUnreachableError(str(error)) from error
        except errors.ItemFailedError as error:
            self._could_not_look(upload, f"no longer listed, and asking for it failed: {error}")
            return False
        self._progress.done(failed=missing)
        return missing

    def _could_not_look(self, upload: Upload, reason: str) -> None:
        self.unread.append(Failure.of_upload(upload, reason))
        self._progress.done(failed=True)


async def is_there(upload: Upload, reader: Reader) -> bool:
    """Whether the target returns a file by its id that no list shows; False if it says that this is gone.

    Raises what else reading it raises.
    """
    remote: Attachment = remote_of(upload)
    try:
        await reader.sha256(remote)
    except errors.GoneError:
        return False
    return True
