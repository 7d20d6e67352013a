"""Progress for people: a bar on a terminal (rich), plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from typing_extensions import override

from migrator.jobs.terminal import SafeStderr
from migrator.progress import Progress
from migrator.units import human_size

LINE_INTERVAL_SECONDS = 10.0
"""Seconds between two lines."""


class Tally(Progress):
    """Counts the events of `Progress`. `seen` are entities, `wanted` is what is known of the files to come."""

    def __init__(self) -> None:
        self.seen = self.files = self.wanted = self.bytes = self.wanted_bytes = self.failures = 0
        self.began = time.monotonic()

    @override
    def entities(self, count: int) -> None:
        self.seen += count
        self.changed()

    @override
    def known(self, files: int, size: int) -> None:
        self.wanted += files
        self.wanted_bytes += size
        self.changed()

    @override
    def transferred(self, size: int) -> None:
        self.bytes += size
        self.changed()

    @override
    def done(self, *, failed: bool = False) -> None:
        self.files += 1
        self.failures += failed
        self.changed()

    @override
    def note(self, text: str) -> None:
        pass

    def changed(self) -> None:
        """Called after each event; shows nothing here."""

    def line(self) -> str:
        """All counts as one line of text."""
        per_second = self.bytes / max(0.001, time.monotonic() - self.began)
        seconds_left = (self.wanted_bytes - self.bytes) / per_second if self.bytes else 0
        eta = f", about {seconds_left:.0f} s to go" if seconds_left > 1 else ""
        failures = f", {self.failures} failed" if self.failures else ""
        rate = f"{human_size(self.bytes)} ({human_size(per_second)}/s)"
        return f"{self.seen} entities, {self.files}/{self.wanted} files, {rate}{failures}{eta}"


class LineProgress(Tally):
    """Writes a line every LINE_INTERVAL_SECONDS, and one at the end."""

    def __init__(self, label: str, say: Callable[[str], None]) -> None:
        super().__init__()
        self._label, self._say = label, say
        self._next = self.began + LINE_INTERVAL_SECONDS

    @override
    def changed(self) -> None:
        """Write a line, if it is time for one."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_INTERVAL_SECONDS
            self._say(f"{self._label}: {self.line()}")

    @override
    def note(self, text: str) -> None:
        self._say(f"{self._label}: {text}")

    def end(self) -> None:
        """Write the last line."""
        self._say(f"{self._label}: {self.line()}, {time.monotonic() - self.began:.1f} s")


@contextmanager
def bar(label: str) -> Iterator[Tally]:
    """A live bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as LiveDisplay

    class Bar(Tally):
        @override
        def changed(self) -> None:
            live.update(task, completed=self.files, total=self.wanted or None, words=self.line())

        @override
        def note(self, text: str) -> None:
            live.console.print(f"{label}: {text}", markup=False)

    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[words]}"), TimeElapsedColumn())
    with LiveDisplay(*columns, console=Console(file=cast("IO[str]", SafeStderr())), refresh_per_second=5) as live:
        task = live.add_task(label, total=None, words="")
        yield Bar()
