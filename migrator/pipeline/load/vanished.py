"""Uploads that are no longer at the target: they have failed, and the next load sends them again, if they are few.

Beware: an account that may no longer see files gets the same answers as if they were deleted, and to send them again
would double them. So many at once are only named, until a person accepts it (`load --accept-gone`), as a backup does
with what its source no longer lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from migrator.model import EntityRef, Upload, UploadStatus
from migrator.pipeline.load.dry_run import DryRunReport
from migrator.pipeline.load.settings import LoadSettings
from migrator.pipeline.run import RunContext
from migrator.pipeline.summary import Failure
from migrator.units import counted

FEW = 10
"""So many may vanish at once, whatever their share."""
MAX_SHARE = 0.2
"""The largest share of the files looked for that may vanish without a person's consent."""
MAX_KEPT = 10_000
"""So many may vanish without consent, even if their share is smaller."""
NO_LONGER_THERE = "no longer at the target; the next load sends it again"
"""Why an upload that had arrived has failed."""
NOT_BELIEVED = "not found at the target; nothing was recorded, as so many are missing at once"
_IN_A_DRY_RUN = "no longer at the target; a load records that, and the one after it sends it again"


class VanishedUploads:
    """Counts what was looked for, and keeps what was not found until `judge`. `failures` are there afterwards.

    In a dry run what is missing is reported in `report`, and nothing is recorded.
    """

    def __init__(self, context: RunContext, settings: LoadSettings, report: DryRunReport) -> None:
        self._uploads, self._executor = context.catalog.uploads, context.executor
        self._settings, self._report = settings, report
        self._looked = 0
        self._kept: list[Upload] = []
        self.missing = 0
        self.failures: list[Failure] = []

    async def looked_for(self, uploads: int, missing: Sequence[Upload]) -> None:
        """So many uploads were looked for, and these are not at the target."""
        self._looked += uploads
        self.missing += len(missing)
        if self._settings.dry_run:
            for upload in missing:
                self._report.add(upload, UploadStatus.FAILED, upload.name, _IN_A_DRY_RUN)
        elif self._settings.accept_gone:
            await self._record(missing)
        else:
            self._kept += missing[: MAX_KEPT - len(self._kept)]

    async def judge(self) -> None:
        """Record what is missing, or say that so much is not believed."""
        kept, self._kept = self._kept, []
        if self._settings.accept_gone or self.missing <= FEW or self.missing <= self._most():
            await self._record(kept)
            return
        self.failures = [Failure.of_upload(upload, NOT_BELIEVED) for upload in kept]
        looked_for = counted(self._looked, "file that earlier loads sent", "files that earlier loads sent")
        reason = (
            f"{self.missing:,} of {looked_for} are not at the target: was it emptied, or may this account no longer "
            "see them? They are sent again only after `migrator load CONFIG --accept-gone`"
        )
        self.failures.append(Failure(EntityRef("", ""), None, "files of earlier loads", reason))

    def _most(self) -> float:
        return min(MAX_SHARE * self._looked, MAX_KEPT)

    async def _record(self, missing: Sequence[Upload]) -> None:
        record, identity = self._uploads.record_content_check, self._settings.identity
        records = [partial(record, identity, upload, NO_LONGER_THERE) for upload in missing]
        if records:
            await self._executor.call(self._uploads.record_together, records)
