"""How large batches are: few files while little is known, more as they come faster."""

from __future__ import annotations

import asyncio

MAX_BATCH_FILES, MIN_BATCH_FILES = 256, 16
BATCH_SECONDS = 0.25
"""A batch has as many files as are fetched in this time."""


class Pace:
    """How many files are recorded per second, measured over the last second or so."""

    def __init__(self) -> None:
        self._began, self._files, self._rate = -1.0, 0, 0.0

    def batch_size(self) -> int:
        """How many files a batch may have: few while little is known."""
        return max(MIN_BATCH_FILES, min(MAX_BATCH_FILES, int(self._rate * BATCH_SECONDS)))

    def count(self, files: int) -> None:
        """That many more files were fetched."""
        now = asyncio.get_running_loop().time()
        if self._began < 0:
            self._began = now
        self._files += files
        if (passed := now - self._began) > BATCH_SECONDS / 2:
            rate = self._files / passed
            self._rate = rate if passed > 1 else max(rate, self._rate)
            if passed > 1:
                self._began, self._files = now, 0
