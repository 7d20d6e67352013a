"""Batches of small files, written by a process of its own: one hand-over a batch instead of three calls a file.

The one idea: a call to the disk gives the interpreter away, and while the event loop is busy a thread waits 0.3 ms to
get it back; for 10,000 small files that was a third of the time. The other process runs the very code that runs here
when it is not up yet, could not be started, or died: a batch that is written twice is written once.
The one trap: it may be at work for a moment longer than a parent that was killed. It inherits what holds the archive's
lock, so nobody else works on the archive before it has ended, which it does when its input ends.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from migrator.store import disk
from migrator.store.layout import BLOBS, INCOMING, blob_path, new_incoming_name

MANY = 16
"""Files in a batch from which on another process is worth starting."""
PATIENCE = 10.0
"""Seconds that it may take to end; a disk that hangs longer keeps it, and with it the lock."""

Content = bytes | str
"""What a file holds, or the name of the file in `incoming/` that holds it."""
Fresh = Sequence[tuple[str, Content]]
"""Files by their SHA-256, each once."""


def write_blobs(root: Path, fresh: Fresh) -> None:
    """Have these files in the archive at `root`; all are safe on disk when this returns. May be repeated; `OSError`."""
    incoming, blobs = root / INCOMING, root / BLOBS
    placed = [(incoming / _written(incoming, content), blob_path(root, sha256)) for sha256, content in fresh]
    waiting = [(path, blob) for path, blob in placed if path.exists() or not blob.exists()]
    disk.sync_files(incoming, [path for path, _ in waiting])
    for path, blob in waiting:
        disk.rename(path, blob)
    disk.sync_folders({blob.parent for _, blob in placed}, blobs)


def _written(incoming: Path, content: Content) -> str:
    """The name of a file that holds this."""
    if isinstance(content, str):
        return content
    name = new_incoming_name()
    disk.write_file(incoming / name, content, disk.SEALED)
    return name


class Scribe:
    """Writes for one archive. `held` are the descriptors of its lock; the process is started by the first large batch.

    Of one thread at a time; `close` may be called twice.
    """

    def __init__(self, root: Path, held: Collection[int] = ()) -> None:
        self._root, self._held = root, held
        self._process: subprocess.Popen[bytes] | None = None
        self._up = self._gone = False

    def write(self, fresh: Fresh) -> bool:
        """As `write_blobs`, if the other process is up. False: nothing is known of these files, write them here."""
        if not self._ready(len(fresh)):
            return False
        try:
            self._send(fresh)
            refusal = self._answer()
        except (OSError, EOFError, pickle.UnpicklingError):
            self._gone = True
            return False
        if refusal is not None:
            raise OSError(*refusal)
        return True

    def close(self) -> None:
        """End the process."""
        process, self._process, self._gone = self._process, None, True
        if process is not None and process.stdin and process.stdout:
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.stdout.close()

    def _ready(self, count: int) -> bool:
        """Whether it is up; it is started when it would first be of use."""
        if self._gone or self._up:
            return self._up and not self._gone
        try:
            if self._process is None:
                if count >= MANY:
                    self._process = self._start()
            elif self._has_spoken():
                self._answer()
                self._up = True
        except (OSError, EOFError, pickle.UnpicklingError):
            self._gone = True
        return self._up

    def _has_spoken(self) -> bool:
        out = self._process and self._process.stdout
        return bool(out and select.select([out], [], [], 0)[0])

    def _start(self) -> subprocess.Popen[bytes]:
        """It needs our code and the standard library; a session of its own, so that Ctrl-C is for us alone."""
        return subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-P", "-S", "-m", "migrator.store.writer", str(self._root.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=self._held,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).absolute().parents[2])},
        )

    def _send(self, fresh: Fresh) -> None:
        if self._process is not None and self._process.stdin:
            self._process.stdin.write(pickle.dumps(fresh))
            self._process.stdin.flush()

    def _answer(self) -> tuple[int, str] | None:
        """Nothing if all went well, else number and words of an `OSError`."""
        if self._process is None or not self._process.stdout:
            raise EOFError
        told: tuple[int, str] | None = pickle.load(self._process.stdout)  # noqa: S301 - our own
        return told


def serve(root: Path) -> None:
    """The other process: says that it is up, then writes one batch after the other until its input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    refusal: tuple[int, str] | None = None
    with suppress(EOFError, pickle.UnpicklingError, BrokenPipeError):
        while True:
            sys.stdout.buffer.write(pickle.dumps(refusal))
            sys.stdout.buffer.flush()
            refusal = _refusal(root, pickle.load(sys.stdin.buffer))  # noqa: S301 - our own


def _refusal(root: Path, fresh: Fresh) -> tuple[int, str] | None:
    try:
        write_blobs(root, fresh)
    except OSError as error:
        return error.errno or 0, error.strerror or str(error)
    return None


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
