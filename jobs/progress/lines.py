"""Progress without a terminal: lines by the clock, also while nothing happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from typing_extensions import override

from migrator.jobs.progress.tally import Shown, Tally
from migrator.jobs.progress.words import last_line, line

PAUSES_SECONDS = ((60.0, 10.0), (600.0, 60.0))
"""Until so many seconds have passed, there is a line each so many seconds."""
LAST_PAUSE_SECONDS = 600.0
"""From then on."""


def pause_after(seconds: float) -> float:
    """How long until the next line, `seconds` after the beginning: six hours make 50 lines and not 2,000."""
    return next((pause for until, pause in PAUSES_SECONDS if seconds < until), LAST_PAUSE_SECONDS)


@contextmanager
def write_lines(shown: Shown, say: Callable[[str], None]) -> Iterator[Tally]:
    """Lines by the clock, and one at the end. They come from a thread of their own, so that nothing holds them up."""
    tally, ended = _Noting(shown, say), threading.Event()
    writer = threading.Thread(target=_write_lines, args=(tally, say, ended), name="progress", daemon=True)
    writer.start()
    try:
        yield tally
    finally:
        ended.set()
        writer.join()
        if ended_with := last_line(tally):
            say(ended_with)


def _write_lines(tally: Tally, say: Callable[[str], None], ended: threading.Event) -> None:
    next_line = 0.0
    while True:
        next_line += pause_after(next_line)
        if ended.wait(max(0.0, next_line - tally.seconds)):
            return
        say(line(tally))


class _Noting(Tally):
    def __init__(self, shown: Shown, say: Callable[[str], None]) -> None:
        super().__init__(shown)
        self._say = say

    @override
    def note(self, text: str) -> None:
        self._say(f"{self.shown.label}: {text}")
