"""stdout and stderr: writing that survives when the reader is gone.

Results go to stdout, where a full disk is an error. Everything else goes to stderr, which may be closed at any time
without ending a run.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TextIO

from migrator.errors import StorageError


def say(text: str) -> None:
    """Write a result to stdout. A closed pipe (`| head`) is no error; `StorageError` if the disk is full."""
    with _stdout_errors():
        sys.stdout.write(text)
        sys.stdout.flush()


def say_bytes(content: Iterable[bytes]) -> None:
    """The same for bytes. What `content` raises passes through."""
    for chunk in content:
        with _stdout_errors():
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


@contextmanager
def _stdout_errors() -> Iterator[None]:
    try:
        yield
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


_COLOURS = {"error: ": "31", "warning: ": "33"}
"""Of the words with which a line begins: red and yellow, as ANSI escape codes have them."""


class LiveDisplay:
    """What is shown at the bottom of the terminal and redrawn all the time, such as a progress bar."""

    print_above: Callable[[str], None] | None = None
    """Prints a line above it; None if there is no such display."""


LIVE_DISPLAY = LiveDisplay()
"""That of this process."""


def tell(text: str, level: str = "info", prefix: str = "") -> None:
    """Write a line to stderr, above a progress bar if there is one; errors are ignored.

    `prefix` is for people only, coloured on a terminal.
    """
    line = json_line(text, level) if LOG_FORMAT.as_json else coloured(prefix) + text
    if LIVE_DISPLAY.print_above is not None:
        LIVE_DISPLAY.print_above(line)
        return
    with _ignore_io_errors(sys.stderr):
        sys.stderr.write(f"{line}\n")  # at once, as another thread may write, too
        sys.stderr.flush()


def coloured(prefix: str) -> str:
    """`error: ` in red and `warning: ` in yellow, if stderr is a terminal that has colours and NO_COLOR is not set."""
    code, plain = _COLOURS.get(prefix), os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return prefix if code is None or plain or not sys.stderr.isatty() else f"\x1b[{code}m{prefix}\x1b[0m"


def json_line(message: str, level: str, at: float | None = None, **more: str) -> str:
    """A line of the log as JSON; `at` is Unix time, now if left out."""
    time = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return json.dumps({"time": time.isoformat(timespec="milliseconds"), "level": level, "message": message, **more})


class SafeStderr:
    """stderr as a file object for libraries that write to it. Like `tell`, it never raises `OSError`."""

    def write(self, text: str) -> int:
        """Write text; errors are ignored."""
        with _ignore_io_errors(sys.stderr):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush; errors are ignored."""
        with _ignore_io_errors(sys.stderr):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@contextmanager
def _ignore_io_errors(stream: TextIO) -> Iterator[None]:
    """Ignore an error of a stream, and redirect it to the null device."""
    try:
        yield
    except OSError:
        _redirect_to_devnull(stream)


def _redirect_to_devnull(stream: TextIO) -> None:
    """Discard what the stream has buffered and all that follows; otherwise flushing it at exit would fail again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def exit_at_once() -> None:
    """End the process with status 130, and give the terminal its cursor back, which a live display hides."""
    if LIVE_DISPLAY.print_above is not None:
        with _ignore_io_errors(sys.stderr):
            sys.stderr.write("\x1b[?25h\n")
            sys.stderr.flush()
    os._exit(130)


def leave_terminal() -> None:
    """Redirect stdout and stderr to the null device if they are a closed terminal, where writing fails."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe outlives the terminal
            os.dup2(nowhere, number)
    os.close(nowhere)
