"""Progress for tests: events in order, and counts whose clock the test sets."""

from __future__ import annotations

from migrator.jobs.progress import Shown, Tally
from migrator.wire import Waits


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorded(Tally):
    """Counts, and keeps what `known` files there were when the first one was done, and when the total was known."""

    def __init__(self) -> None:
        super().__init__(Shown("test"))
        self.wanted_at_first_done: int | None = None
        self.wanted_when_known: int | None = None

    def all_known(self) -> None:
        super().all_known()
        if self.wanted_when_known is None:
            self.wanted_when_known = self.wanted

    def done(self, *, failed: bool = False, not_transferred: int = 0) -> None:
        if self.wanted_at_first_done is None:
            self.wanted_at_first_done = self.wanted
        super().done(failed=failed, not_transferred=not_transferred)


def tally_at(clock: Clock, *, label: str = "backup", done: str = "kept", waits: Waits | None = None) -> Tally:
    """A tally of a tracker's files."""
    return Tally(Shown(label, "file", done, waits or Waits()), clock)


def run_for(tally: Tally, clock: Clock, seconds: int, *, files: int = 1, size: int = 0, failed: bool = False) -> None:
    """Let so many files, each of this size, be done in each of these seconds."""
    for _ in range(seconds):
        clock.now += 1
        for _ in range(files):
            tally.transferred(size)
            tally.done(failed=failed)
