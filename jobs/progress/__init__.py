"""The progress of a run for a person: a bar on a terminal, lines by the clock elsewhere."""

from migrator.jobs.progress.bar import show_bar
from migrator.jobs.progress.lines import write_lines
from migrator.jobs.progress.tally import Shown, Tally

__all__ = ["Shown", "Tally", "show_bar", "write_lines"]
