"""A process that writes batches of small files: one message per batch instead of three system calls per file.

Each system call releases the GIL; while the event loop is busy, getting it back takes about 0.3 ms. For 10,000 small
files that was a third of the run. While the process is starting, or if it could not be started or has died, the same
code runs in this process instead; writing a batch twice is harmless.

Beware: it may outlive a killed parent for a moment. It inherits the descriptors that hold the archive's lock, so no
other run can use the archive until it has ended, which it does when its input ends.
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

MIN_FILES_TO_START = 16
"""Only a batch with at least this many files is worth starting the process."""
MAX_CLOSE_SECONDS = 10.0
"""How long to wait for the process to end; if the disk hangs longer, the process stays, and keeps the lock."""

Content = bytes | str
"""The bytes of a file, or the name of the file in `incoming/` that has them."""
Fresh = Sequence[tuple[str, Content]]
"""New contents with their SHA-256; no hash occurs twice."""


def write_blobs(root: Path, fresh: Fresh) -> None:
    """Write these files to the archive at `root`; all are durable on return. `OSError`. Repeating it is harmless."""
    incoming, blobs = root / INCOMING, root / BLOBS
    placed = [(incoming / _written(incoming, content), blob_path(root, sha256)) for sha256, content in fresh]
    waiting = [(path, blob) for path, blob in placed if path.exists() or not blob.exists()]
    disk.sync_files(incoming, [path for path, _ in waiting])
    for path, blob in waiting:
        disk.rename(path, blob)
    disk.sync_folders({blob.parent for _, blob in placed}, blobs)


def _written(incoming: Path, content: Content) -> str:
    """The name in `incoming/` of a file with this content."""
    if isinstance(content, str):
        return content
    name = new_incoming_name()
    disk.write_file(incoming / name, content, disk.SEALED)
    return name


class Scribe:
    """Writes for one archive. `held` are the descriptors of its lock; the first large batch starts the process.

    Use it from one thread at a time; `close` may be called twice.
    """

    def __init__(self, root: Path, held: Collection[int] = ()) -> None:
        self._root, self._held = root, held
        self._process: subprocess.Popen[bytes] | None = None
        self._up = self._failed = False

    def write(self, fresh: Fresh) -> bool:
        """Like `write_blobs`, by the process. Returns False if it isn't up or has failed: then call `write_blobs`."""
        if not self._ready(len(fresh)):
            return False
        try:
            self._send(fresh)
            refusal = self._answer()
        except (OSError, EOFError, pickle.UnpicklingError):
            self._failed = True
            return False
        if refusal is not None:
            raise OSError(*refusal)
        return True

    def close(self) -> None:
        """End the process."""
        process, self._process, self._failed = self._process, None, True
        if process is not None and process.stdin and process.stdout:
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(MAX_CLOSE_SECONDS)
            process.stdout.close()

    def _ready(self, count: int) -> bool:
        """Whether the process is up; it is started when it would first be useful."""
        if self._failed or self._up:
            return self._up and not self._failed
        try:
            if self._process is None:
                if count >= MIN_FILES_TO_START:
                    self._process = self._start()
            elif self._has_answered():
                self._answer()
                self._up = True
        except (OSError, EOFError, pickle.UnpicklingError):
            self._failed = True
        return self._up

    def _has_answered(self) -> bool:
        out = self._process and self._process.stdout
        return bool(out and select.select([out], [], [], 0)[0])

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process, with the standard library alone. It has its own session, so Ctrl-C doesn't reach it."""
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
        """None if the process succeeded, otherwise number and text of its `OSError`."""
        if self._process is None or not self._process.stdout:
            raise EOFError
        refusal: tuple[int, str] | None = pickle.load(self._process.stdout)  # noqa: S301 - our own
        return refusal


def serve(root: Path) -> None:
    """The process: report that it is up, then write one batch after the other until the input ends."""
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
