"""The summaries of `init` and `completion` as text."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from migrator.jobs.lists import shown
from migrator.pipeline import summary as summaries


def print_init(out: Console, summary: summaries.InitSummary) -> None:
    """The file and the variables to set, or the reference."""
    if summary.reference is not None:
        out.print(Text(summary.reference), end="")
        return
    for path in summary.files or (summary.config,):
        out.print(shown(f"written: {path}"))
    if summary.files and summary.variables:
        out.print(shown(f"set there, in {summary.files[-1]}: {', '.join(summary.variables)}"))
        return
    if summary.variables:
        out.print("its secrets come from the environment; set these, or name another place in the file:")
    for variable in summary.variables or ():
        out.print(f"  export {variable}=...")


def print_completion(out: Console, summary: summaries.CompletionSummary) -> None:
    """The script alone."""
    out.print(Text(summary.script))
