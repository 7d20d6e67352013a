"""`find` and `get` as text: a line for each file, which begins with what `get` takes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console

from migrator.jobs.lists import print_line, shown
from migrator.pipeline import summary as summaries
from migrator.printable import printable
from migrator.units import counted, human_size

MAX_COLUMN_CELLS = 40
"""A longer entity or name pushes the rest of its line to the right, so that it can be copied whole."""


def print_found(out: Console, summary: summaries.FindSummary) -> None:
    """What `get` takes for it, name, size, date and title of each file, and how many there are."""
    from migrator.pipeline.find import facts_of

    rows = [
        [_one_line(value) for value in (file.words, file.name, facts_of(file), file.title)] for file in summary.files
    ]
    widths = [_width(row[column] for row in rows) for column in range(3)]
    for row in rows:
        cells = [value + " " * (width - cell_len(value)) for value, width in zip(row, widths, strict=False)]
        print_line(out, "  ".join([*cells, row[3]]).rstrip())
    size = sum(file.size or 0 for file in summary.files)
    out.print(f"{counted(len(rows), 'file')}, {human_size(size)}" if rows else "nothing was found")


def _one_line(text: str) -> str:
    return printable(" ".join(text.split("\n")))


def _width(values: Iterable[str]) -> int:
    return max((cells for value in values if (cells := cell_len(value)) <= MAX_COLUMN_CELLS), default=0)


def print_got(out: Console, summary: summaries.GetSummary) -> None:
    """Which file it was, and where it is now."""
    file, size = summary.file, human_size(summary.file.size or 0)
    out.print(shown(f"written: {summary.out} ({file.owner} {file.name}, {size})"))
