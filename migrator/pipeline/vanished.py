"""Uploads that are no longer at the target: believed to be gone if they are few.

Beware: an account that may no longer see files gets the same answers as if they were deleted. A load that sent them
again would double them, and a rollback that called them gone would leave them there. So many at once are only named,
until a person accepts it (`--accept-gone`), as a backup does with what its source no longer lists.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from migrator.model import EntityRef, Upload
from migrator.pipeline.summary import Failure
from migrator.units import counted

FEW = 10
"""So many may vanish at once, whatever their share."""
MAX_SHARE = 0.2
"""The largest share of the files looked for that may vanish without a person's consent."""
MAX_KEPT = 10_000
"""So many may vanish without consent, even if their share is smaller."""
NOT_BELIEVED = "not found at the target; nothing was recorded, as so many are missing at once"

Record = Callable[[Sequence[Upload]], Awaitable[None]]
"""Records that uploads are gone."""


class VanishedUploads:
    """Counts what was looked for, and keeps what was not found until `judge`, which has it recorded or not.

    `accepted`: a person says that it is gone, however much it is. `command` is what would say so. Afterwards `gone` is
    how many were recorded, `not_believed` those that were not, and `failures` say why.
    """

    def __init__(self, record: Record, command: str, *, accepted: bool) -> None:
        self._record, self._command, self._accepted = record, command, accepted
        self._looked = self._missing = 0
        self._kept: list[Upload] = []
        self.gone = 0
        self.not_believed: list[Upload] = []
        self.failures: list[Failure] = []

    async def looked_for(self, uploads: int, missing: Sequence[Upload]) -> None:
        """So many uploads were looked for, and these are not at the target."""
        self._looked += uploads
        self._missing += len(missing)
        if self._accepted:
            await self._believe(missing)
        else:
            self._kept += missing[: MAX_KEPT - len(self._kept)]

    async def judge(self) -> None:
        """Record what is missing, or say that so much is not believed."""
        kept, self._kept = self._kept, []
        if self._accepted or self._missing <= FEW or self._missing <= min(MAX_SHARE * self._looked, MAX_KEPT):
            await self._believe(kept)
            return
        looked_for = counted(self._looked, "file that was sent", "files that were sent")
        reason = (
            f"{self._missing:,} of {looked_for} are not at the target: was it emptied, or may this account no longer "
            f"see them? If they are gone, say so once: `migrator {self._command} CONFIG --accept-gone`"
        )
        self.not_believed = kept
        self.failures = [Failure(EntityRef("", ""), None, "files of earlier loads", reason)]

    async def _believe(self, missing: Sequence[Upload]) -> None:
        self.gone += len(missing)
        if missing:
            await self._record(missing)
