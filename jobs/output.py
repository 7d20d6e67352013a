"""What people and programs see: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migrator.progress import Progress, Silent


def printable(text: str) -> str:
    """The text without what a terminal would obey: names and reasons come from a tracker."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _document(value: dict[str, Any]) -> str:
    """JSON in one line, readable where the stream takes all of Unicode."""
    return json.dumps(value, ensure_ascii=(sys.stdout.encoding or "").lower() not in {"utf-8", "utf8"})


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Output:
    """Where a command's words go. With `--json` stdout gets exactly one document."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.quiet = False
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a name that the terminal can't show ends no run
                stream.reconfigure(errors="backslashreplace")
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)
        logging.getLogger().handlers[0].setFormatter(_Plain("%(message)s"))

    def configure(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        """Take over the options of the group."""
        self.as_json, self.quiet = as_json, quiet
        logging.getLogger("migrator").setLevel(logging.INFO if verbose else logging.WARNING)

    def note(self, text: str) -> None:
        """Something for the person at the terminal."""
        if not self.quiet:
            print(printable(text), file=sys.stderr, flush=True)  # noqa: T201

    def warn(self, text: str) -> None:
        """Something that a person has to know, asked for quiet or not."""
        print(f"warning: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201

    def error(self, text: str) -> None:
        """One line on why it ended."""
        print(f"migrator: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201

    def result(self, summary: dict[str, Any]) -> None:
        """The result of a command."""
        if self.as_json:
            print(_document(summary), flush=True)  # noqa: T201
        else:
            from jobs.report import print_summary

            print_summary(summary)

    def failed(self, command: str, code: int, message: str) -> int:
        """The document of a command that came to nothing; gives the code back."""
        if self.as_json:
            error = {"code": code, "message": message}
            print(_document({"command": command, "status": "failed", "error": error}))  # noqa: T201
        return code

    def interrupted(self, command: str) -> int:
        """The document of a command that was stopped before it had anything to tell."""
        if self.as_json:
            print(json.dumps({"command": command, "status": "interrupted"}))  # noqa: T201
        return 130

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """Progress of a run: a bar on a terminal, a line every so often elsewhere, nothing when quiet."""
        if self.quiet:
            yield Silent()
        elif sys.stderr.isatty() and not self.as_json:
            from jobs.bars import bar

            with bar(label) as progress:
                yield progress
        else:
            from jobs.bars import Lines

            lines = Lines(label, self.note)
            yield lines
            lines.end()
