"""What people and programs see: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migrator.progress import Progress, Silent


class Output:
    """Where a command's words go. With `--json` stdout gets exactly one document."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.quiet = False
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING, force=True)

    def configure(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        """Take over the options of the group."""
        self.as_json, self.quiet = as_json, quiet
        logging.getLogger("migrator").setLevel(logging.INFO if verbose else logging.WARNING)

    def note(self, text: str) -> None:
        """Something for the person at the terminal."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def error(self, text: str) -> None:
        """One line on why it ended."""
        print(f"migrator: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def result(self, summary: dict[str, Any]) -> None:
        """The result of a command."""
        if self.as_json:
            print(json.dumps(summary, ensure_ascii=False), flush=True)  # noqa: T201
        else:
            from jobs.report import print_summary

            print_summary(summary)

    def failed(self, command: str, code: int, message: str) -> int:
        """The document of a command that came to nothing; gives the code back."""
        if self.as_json:
            error = {"code": code, "message": message}
            print(json.dumps({"command": command, "status": "failed", "error": error}, ensure_ascii=False))  # noqa: T201
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
