"""The output of a command: notes, warnings, progress and its result, for a person or as JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, TextIO

from migrator.errors import StorageError
from migrator.jobs.given import pasteable
from migrator.jobs.terminal import LIVE_DISPLAY, LOG_FORMAT, coloured, json_line, say, tell
from migrator.printable import LINES, printable
from migrator.progress import Progress, Silent

if TYPE_CHECKING:
    from migrator.jobs.progress import Tally
    from migrator.pipeline.summary import Summary
    from migrator.wire import Waits


def _document(value: Mapping[str, object]) -> str:
    """JSON on one line, unescaped if the stream can encode all of Unicode."""
    return json.dumps(value, ensure_ascii=(sys.stdout.encoding or "").lower() not in {"utf-8", "utf8"})


class _LogFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if LOG_FORMAT.as_json:
            trace = {"traceback": self.formatException(record.exc_info)} if record.exc_info else {}
            return json_line(printable(record.getMessage(), LINES), record.levelname.lower(), record.created, **trace)
        mark = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        return coloured(mark) + printable(super().format(record), LINES)


class _LogHandler(logging.StreamHandler[TextIO]):
    """The log on stderr; while there is a progress bar, printed above it."""

    above: Callable[[str], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.above is None:
            super().emit(record)
        else:
            self.above(self.format(record))


class Output:
    """Writes the output of a command. With `--json`, stdout gets exactly one document; with `--log-format json`, each
    line on stderr is one.
    """

    def __init__(self, *, as_json: bool = False, log_as_json: bool = False) -> None:
        LOG_FORMAT.as_json = log_as_json
        self.as_json = as_json
        self.quiet = False
        self.warnings: list[str] = []
        self.prefix, self.bars = "", True
        self.given: str | None = None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a name that the terminal can't encode must not end a run
                stream.reconfigure(errors="backslashreplace")
        self._log = _LogHandler(sys.stderr)
        self._log.setFormatter(_LogFormatter("%(message)s"))
        logging.basicConfig(handlers=[self._log], level=logging.WARNING, force=True)

    def configure(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        """Take over the options of the group."""
        self.as_json, self.quiet = as_json, quiet
        logging.getLogger("migrator").setLevel(logging.INFO if verbose else logging.WARNING)

    def part(self, name: str, *, bars: bool) -> Output:
        """The same for one of several things that the command works on: its lines begin with its name.

        It has warnings of its own. Two at once can't both have a bar.
        """
        part = copy(self)
        part.warnings, part.prefix, part.bars = [], f"{name}: " if name else "", bars
        return part

    def note(self, text: str) -> None:
        """Write a line for the person at the terminal, unless quiet."""
        if not self.quiet:
            tell(printable(self.prefix + text, LINES))

    def warn(self, text: str) -> None:
        """Write a warning, quiet or not."""
        text = pasteable(text, self.given)
        self.warnings.append(text)
        tell(printable(self.prefix + text, LINES), "warning", "warning: ")

    def error(self, text: str) -> None:
        """Write why the command, or a part of it, failed."""
        tell(printable(self.prefix + pasteable(text, self.given), LINES), "error", "error: ")

    def notes_of(self, error: BaseException) -> None:
        """Write what there is to say beside an error: what is kept, and how to go on."""
        for text in getattr(error, "__notes__", ()):
            tell(printable(self.prefix + text, LINES), "error")

    def result(self, summary: Summary) -> None:
        """Write the result of a command; not of a quiet night in which all was well."""
        if self.as_json:
            say(_document(summary.as_json()) + "\n")
        elif not (self.quiet and summary.silent_if_quiet):
            from migrator.jobs.text import summary_text

            say(pasteable(summary_text(summary), self.given))

    def suggest(self, summary: Summary) -> None:
        """Write what to run next, for a person; `given` is the configuration or archive of this command."""
        if self.quiet or self.as_json or LOG_FORMAT.as_json:
            return
        from migrator.jobs.next_step import next_step

        if text := next_step(summary, self.given):
            tell(printable(text), prefix="next: ")

    def failed(self, command: str, code: int, message: str) -> int:
        """Write the document of a command that failed; returns the code."""
        if self.as_json:
            error = {"code": code, "message": pasteable(message, self.given)}
            with suppress(StorageError):  # the message is on stderr as well
                say(_document({"command": command, "status": "failed", "error": error}) + "\n")
        return code

    def interrupted(self, command: str) -> int:
        """Write the document of a command that was stopped before it had a result."""
        if self.as_json:
            say(_document({"command": command, "status": "interrupted"}) + "\n")
        return 130

    @contextmanager
    def progress(
        self, label: str, *, noun: str = "file", done: str = "done", waits: Waits | None = None
    ) -> Iterator[Progress]:
        """Show the progress of a run: a bar on a terminal, otherwise lines by the clock; nothing when quiet.

        See `migrator.jobs.progress.Shown`.
        """
        if self.quiet:
            yield Silent()
            return
        from migrator.jobs.progress import Shown, show_bar, write_lines

        if not (self.bars and _shows_bars()) or self.as_json or LOG_FORMAT.as_json:
            with write_lines(Shown(label, noun, done, waits), self.note) as progress:
                yield progress
            return
        with show_bar(Shown(self.prefix + label, noun, done, waits)) as progress, self._above(progress):
            yield progress

    @contextmanager
    def _above(self, progress: Tally) -> Iterator[None]:
        """Have everything that is written to stderr printed above the bar of this progress."""
        self._log.above, LIVE_DISPLAY.print_above = progress.note, progress.print_above
        try:
            yield
        finally:
            self._log.above = LIVE_DISPLAY.print_above = None


def _shows_bars() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
