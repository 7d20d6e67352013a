"""stdout and stderr: text that is safe to show there, and writing that survives a reader that has gone.

Results go to stdout, where a disk that is full is an error. Everything else goes to stderr, which may vanish at any
time without ending a run.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from migrator.errors import StorageError


def printable(text: str) -> str:
    """The text without what a terminal would obey: names and reasons come from a tracker."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def say(text: str) -> None:
    """Write a result; a reader that has gone (`| head`) is no error. `StorageError` where a disk can't take it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
    except OSError as error:
        _to_nowhere(sys.stdout)
        raise StorageError(f"the result could not be written to standard output: {error.strerror}") from error


def tell(text: str) -> None:
    """Say something on stderr, if that is still to be had: a run doesn't end because nobody listens."""
    with _given_up(sys.stderr):
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class Listener:
    """stderr, for who writes to it by itself: as `tell`, it never fails."""

    def write(self, text: str) -> int:
        """All of it, or nothing."""
        with _given_up(sys.stderr):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """What was written is shown now."""
        with _given_up(sys.stderr):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@contextmanager
def _given_up(stream: TextIO) -> Iterator[None]:
    """A stream that fails is written to no more."""
    try:
        yield
    except OSError:
        _to_nowhere(stream)


def _to_nowhere(stream: TextIO) -> None:
    """What is still in the stream, and all that comes, is thrown away; at the end it would fail once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def leave_terminal() -> None:
    """The terminal was closed: what would be written to it goes nowhere, instead of being an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe outlives the terminal
            os.dup2(nowhere, number)
    os.close(nowhere)
