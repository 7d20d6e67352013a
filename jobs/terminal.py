"""stdout and stderr: text that is safe to show there, and writing that survives a reader that has gone.

Results go to stdout, where a disk that is full is an error. Everything else goes to stderr, which may vanish at any
time without ending a run.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from migrator.errors import StorageError


def printable(text: str) -> str:
    """The text without control characters that a terminal would obey; names and reasons come from a tracker."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def say(text: str) -> None:
    """Write a result to stdout; a reader that has gone (`| head`) is no error. `StorageError` where a disk is full."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _redirect_to_devnull(sys.stdout)
    except OSError as error:
        _redirect_to_devnull(sys.stdout)
        raise StorageError(f"the result could not be written to standard output: {error.strerror}") from error


class LogFormat:
    """How lines on stderr are written: for people, or each as a JSON object."""

    as_json = False


LOG_FORMAT = LogFormat()
"""That of this process. It stands here because a signal handler writes lines, too."""


def tell(text: str, level: str = "info", prefix: str = "") -> None:
    """Write a line to stderr; that it can no longer be written to ends no run. `prefix` is for people only."""
    line = json_line(text, level) if LOG_FORMAT.as_json else prefix + text
    with _ignore_io_errors(sys.stderr):
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def json_line(message: str, level: str, at: float | None = None, **more: str) -> str:
    """A line of the log as JSON; `at` is Unix time, now if left out."""
    time = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return json.dumps({"time": time.isoformat(timespec="milliseconds"), "level": level, "message": message, **more})


class SafeStderr:
    """stderr as a file object for libraries that write to it. Like `tell`, it never raises `OSError`."""

    def write(self, text: str) -> int:
        """Write all of it, or nothing where stderr is gone."""
        with _ignore_io_errors(sys.stderr):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Show now what was written."""
        with _ignore_io_errors(sys.stderr):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@contextmanager
def _ignore_io_errors(stream: TextIO) -> Iterator[None]:
    """A stream that fails once is redirected to the null device."""
    try:
        yield
    except OSError:
        _redirect_to_devnull(stream)


def _redirect_to_devnull(stream: TextIO) -> None:
    """Discard what the stream still holds and all that follows; flushing it at exit would fail once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def leave_terminal() -> None:
    """Redirect to the null device what would go to a terminal that was closed; writing to it would be an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe outlives the terminal
            os.dup2(nowhere, number)
    os.close(nowhere)
