"""How many files of an entity are announced together: their intents are recorded in one transaction.

A transaction costs more than sending a small file, so it pays to record several intents at once.

Beware: if the run is killed, all of them are in doubt, also those that were not sent. So no more are announced than are
sent within a second, and none ahead if the target's lists are late, because then a doubt lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

from migrator.model import Draft, Upload, UploadStatus
from migrator.pipeline.load.evidence import LATE

SECONDS_AHEAD = 1.0
"""No more is announced than is sent in this time."""
MAX_ANNOUNCED_SECONDS = 2.0
"""An intent that is older is recorded anew before the file is sent: its age says how soon the file must be listed."""
MAX_ANNOUNCED_FILES = 8
MAX_ANNOUNCED_BYTES = 1024 * 1024
"""Files that are announced together are in memory. A larger one is announced alone, and streamed."""

Outgoing = tuple[Upload, Draft]
"""An upload that has to be sent, and what is sent."""


class Announcing:
    """Learns how long a file takes, from those that were sent. At first files are announced one by one."""

    def __init__(self) -> None:
        self._seconds_per_file = SECONDS_AHEAD

    def sent(self, count: int, seconds: float) -> None:
        """Note how long it took to send `count` files of one entity."""
        self._seconds_per_file = seconds / count

    def count(self, outgoing: Sequence[Outgoing], lists: str) -> int:
        """How many of the files to announce together, at least one; `lists` is the verdict on the target's lists.

        Only what was never sent is announced together with others.
        """
        if lists == LATE:
            return 1
        most = min(MAX_ANNOUNCED_FILES, int(SECONDS_AHEAD / max(self._seconds_per_file, 1e-6)))
        sizes = accumulate(upload.blob.size for upload, _ in outgoing[:most])
        fitting = zip(outgoing, sizes, strict=False)
        return max(1, sum(1 for _ in takewhile(lambda pair: _is_plain(*pair), fitting)))


def _is_plain(outgoing: Outgoing, total_bytes: int) -> bool:
    return outgoing[0].status is UploadStatus.PLANNED and total_bytes <= MAX_ANNOUNCED_BYTES
