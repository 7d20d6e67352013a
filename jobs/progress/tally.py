"""Counts the events of a run, and knows how fast it goes and how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from typing_extensions import override

from migrator.progress import Progress
from migrator.wire import Wait, Waits

RATE_SECONDS = 10.0
"""The rate that is shown is that of the last seconds, so many of them."""
TIME_LEFT_SECONDS = 60.0
"""The time left is estimated from the rate of more of them, as it would jump otherwise."""
MIN_ESTIMATE_SECONDS = 3.0
"""Before that, nothing is estimated."""
SAMPLE_SECONDS = 0.5
SILENCE_SECONDS = 10.0
"""After so long without any event, the silence is what is shown."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How the progress of one command is worded: its name, what it handles, and what has become of those.

    `done` is what can be said of a finished one after "is": `kept`. `waits` are those for the tracker, if there is one.
    """

    label: str
    noun: str = "file"
    done: str = "done"
    waits: Waits | None = None


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    files: int
    bytes: int
    settled_bytes: int


@dataclass(frozen=True, slots=True)
class _Rate:
    """Per second."""

    files: float = 0.0
    bytes: float = 0.0
    settled_bytes: float = 0.0


class Tally(Progress):
    """The counts. `seen` are entities, `wanted` are the files known so far, and all of them if `total_known`.

    `settled_bytes` are those that were transferred, and those that need not be.
    """

    def __init__(self, shown: Shown, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown, self.clock = shown, clock
        self.seen = self.files = self.wanted = self.bytes = self.wanted_bytes = self.failures = 0
        self.settled_bytes = 0
        self.total_known = False
        self.began = self.last_event = clock()
        self._samples = deque([_Sample(self.began, 0, 0, 0)])

    @override
    def entities(self, count: int) -> None:
        self.seen += count
        self._changed()

    @override
    def known(self, files: int, size: int) -> None:
        self.wanted += files
        self.wanted_bytes += size
        self._changed()

    @override
    def all_known(self) -> None:
        self.total_known = True

    @override
    def transferred(self, size: int) -> None:
        self.bytes += size
        self.settled_bytes += size
        self._changed()

    @override
    def done(self, *, failed: bool = False, not_transferred: int = 0) -> None:
        self.files += 1
        self.settled_bytes += not_transferred
        self.failures += failed
        self._changed()

    @override
    def note(self, text: str) -> None:
        """Shows nothing; what shows something overrides it."""

    def print_above(self, text: str) -> None:
        """Print a line of somebody else; only a bar has to be asked for that."""

    def _changed(self) -> None:
        self.last_event = now = self.clock()
        if now - self._samples[-1].at >= SAMPLE_SECONDS:
            self._samples.append(self._sample(now))
            while self._samples[1].at < now - TIME_LEFT_SECONDS:
                self._samples.popleft()

    def _sample(self, now: float) -> _Sample:
        return _Sample(now, self.files, self.bytes, self.settled_bytes)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self.clock() - self.began

    @property
    def good(self) -> int:
        """The files that are done and did not fail."""
        return self.files - self.failures

    @property
    def silence(self) -> float:
        """Seconds since the last event, if that is long ago, otherwise 0."""
        silent = self.clock() - self.last_event
        return silent if silent >= SILENCE_SECONDS else 0.0

    @property
    def wait(self) -> Wait | None:
        """What is being waited for, if that began during a silence."""
        latest = self.shown.waits.latest if self.shown.waits else None
        return latest if latest and self.silence and latest.began >= self.last_event else None

    @property
    def bytes_per_second(self) -> float:
        """The rate of the last seconds."""
        return self._per_second(RATE_SECONDS).bytes

    @property
    def share(self) -> float:
        """The share of the known files that is done, from 0 to 1."""
        return min(1.0, self.files / self.wanted) if self.wanted else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the files known so far still take; None if that can't be said, or all are done.

        The number of files and the bytes each allow an estimate; the longer one counts.
        """
        if self.silence or self.files >= self.wanted or self.seconds < MIN_ESTIMATE_SECONDS:
            return None
        rate = self._per_second(TIME_LEFT_SECONDS)
        left = [(self.wanted - self.files) / rate.files] if rate.files else []
        if rate.settled_bytes and self.wanted_bytes > self.settled_bytes:
            left.append((self.wanted_bytes - self.settled_bytes) / rate.settled_bytes)
        return max(left, default=None)

    def _per_second(self, seconds: float) -> _Rate:
        """How fast it was in the last `seconds`."""
        now = self.clock()
        before = self._samples[0]
        for sample in self._samples:
            if sample.at > now - seconds:
                break
            before = sample
        if now - self.last_event >= seconds or now <= before.at:
            return _Rate()
        elapsed = now - before.at
        return _Rate(
            (self.files - before.files) / elapsed,
            (self.bytes - before.bytes) / elapsed,
            (self.settled_bytes - before.settled_bytes) / elapsed,
        )
