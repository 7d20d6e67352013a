"""Progress on a terminal: a bar, and below or beside it what fits.

The bar comes first: it is there however narrow the terminal is. On a wide one everything is in one line. When the run
ends, the bar gives way to one line of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text
from typing_extensions import override

from migrator.jobs.progress import words
from migrator.jobs.progress.tally import Shown, Tally
from migrator.jobs.terminal import SafeStderr

WIDE_COLUMNS = 100
"""From this width on, one line is enough."""
BAR_COLUMNS, MIN_BAR_COLUMNS = 24, 10
MARGIN_COLUMNS = 3
"""Left free at the end of a line: the `^C` that a terminal shows there would otherwise break it."""
REFRESHES_PER_SECOND = 4


@contextmanager
def show_bar(shown: Shown) -> Iterator[Tally]:
    """A live bar on stderr."""
    console = Console(file=cast("IO[str]", SafeStderr()), highlight=False)
    tally = _Noting(shown, console)
    with Live(
        Display(tally),
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=True,
        redirect_stdout=False,  # what else is written goes above the bar by `terminal.LIVE_DISPLAY`
        redirect_stderr=False,
    ):
        yield tally
    if ended_with := words.last_line(tally):
        console.print(Text(ended_with), soft_wrap=True)


class _Noting(Tally):
    def __init__(self, shown: Shown, console: Console) -> None:
        super().__init__(shown)
        self._console = console

    @override
    def note(self, text: str) -> None:
        """Print a line above the bar, with the command's name."""
        self.print_above(f"{self.shown.label}: {text}")

    @override
    def print_above(self, text: str) -> None:
        self._console.print(Text.from_ansi(text), soft_wrap=True)


class Display:
    """What is shown of a tally, made anew each time for the width that the terminal has then."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line, or two."""
        width = options.max_width - MARGIN_COLUMNS
        label = words.longest((f"{self._tally.shown.label} ", self._tally.shown.label[: width // 3] + " "), width // 2)
        if width + MARGIN_COLUMNS >= WIDE_COLUMNS:
            right = words.fitting(((0, words.percent(self._tally)),), width)
            yield from self._bar(console, options, label, BAR_COLUMNS, right)
            used = len(label) + BAR_COLUMNS + len(right) + 2 * bool(right) + 2
            left = words.time_left(self._tally)
            yield Segment("  ")
            yield from self._details(console, options, width - used - (len(left) + 2 if left else 0), left)
            return
        room = width - len(label) - MIN_BAR_COLUMNS - 2
        sides = [words.percent(self._tally), words.time_left(self._tally)]
        right = words.longest(("  ".join(filter(None, sides)), sides[0]), room)
        yield from self._bar(console, options, label, width - len(label) - (len(right) + 2 if right else 0), right)
        yield Segment.line()
        yield from self._details(console, options, width)

    def _bar(self, console: Console, options: ConsoleOptions, label: str, columns: int, right: str) -> RenderResult:
        tally = self._tally
        yield Segment(label)
        gauge = ProgressBar(
            max(1, tally.wanted),
            min(tally.files, tally.wanted),
            columns,
            pulse=not tally.wanted,
            complete_style="green",
            finished_style="green",
            pulse_style="green",
            animation_time=tally.seconds,
        )
        segments = list(console.render(gauge, options))
        yield from segments
        yield Segment(" " * (columns - sum(cell_len(segment.text) for segment in segments)))
        if right:
            yield Segment(f"  {right}")

    def _details(self, console: Console, options: ConsoleOptions, width: int, left: str = "") -> RenderResult:
        if waiting := words.waiting(self._tally, width):
            text = Text(waiting, "yellow")
        else:
            text = Text(", ".join(filter(None, (words.counts(self._tally, width), left))))
            text.highlight_regex(r"[\d,]+ failed", "yellow")
        text.no_wrap = True
        yield from console.render(text, options.update(no_wrap=True, overflow="crop"))
