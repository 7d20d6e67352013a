"""`manifest.jsonl`: every change of the catalog's rows, as lines of JSON; the file is append-only.

The lines of one transaction form a batch. A closing line numbers the batch and holds a SHA-256 of the previous closing
line's hash and the batch's bytes, so any line that was changed, removed or swapped is noticed. A batch is safe on disk
before its transaction is committed, so the catalog can always be rebuilt from here.

Beware: lines after the last closing line, and a truncated last line, belong to a transaction that was never committed.
Readers skip them, and the next writer cuts them off.

A line is one of:
    {"manifest": 1, "schema": [...]}                    the first line; names the migrations that made the tables
    {"TABLE": ROW, "column": value, ...}                the new state of a row; columns that are left out stay the same
    {"TABLE": ROW, "deleted": true}                     a row that was deleted
    {"TABLE": [[FIRST, LAST], ...], "last_run": RUN}    rows that a run saw again, with no other change
    {..., "last_run": RUN, "all_but": true}             exceptions: absent rows that it saw, present rows that it didn't
    {"batch": NUMBER, "lines": COUNT, "sha256": HASH}   the closing line
ROW is the SQLite rowid, or the key in `blobs` and `settings`, which have no rowid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from migrator.store import disk
from migrator.store.layout import JOURNAL

FORMAT = 1
_CLOSING = b'{"batch":'
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """The end of a batch: its number, the file's length in bytes up to there, and its hash."""

    batch: int = 0
    length: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The lines of one transaction. `sound` if they match their closing line; `end` is where the batch ends."""

    lines: list[bytes]
    sound: bool
    end: JournalPosition


def path_in(root: Path) -> Path:
    """The path of an archive's manifest."""
    return root / JOURNAL


def first_line(schema: Iterable[str]) -> bytes:
    """The first line of a manifest; `schema` names the migrations that made the tables."""
    return json.dumps({"manifest": FORMAT, "schema": list(schema)}, separators=(",", ":")).encode() + b"\n"


def write_batch(path: Path, after: JournalPosition, chunks: Iterable[bytes]) -> JournalPosition:
    """Write complete lines and their closing line at a position, cutting off what was there. Not yet durable."""
    sha256, count, length = hashlib.sha256(after.sha256.encode()), 0, after.length
    buffered = b""
    for chunk in chunks:
        sha256.update(chunk)
        count += chunk.count(b"\n")
        buffered += chunk
        if len(buffered) > _CHUNK_BYTES:
            disk.write_at(path, length, buffered)
            length, buffered = length + len(buffered), b""
    last = _closing(after.batch + 1, count, sha256.hexdigest())
    disk.write_at(path, length, buffered + last)
    return JournalPosition(after.batch + 1, length + len(buffered) + len(last), sha256.hexdigest())


def sync(path: Path) -> None:
    """Make everything written to the manifest durable."""
    disk.sync_files(path.parent, [path])


def batches(path: Path, after: JournalPosition = JournalPosition()) -> Iterator[Batch]:
    """The batches of a manifest after a position. A damaged one has the lines that are still there."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(after.length)
        lines, sha256 = [], hashlib.sha256(after.sha256.encode())
        for line in file:
            if not line.startswith(_CLOSING):
                lines.append(line)
                sha256.update(line)
                continue
            number, recorded = _read_closing(line)
            expected = _closing(after.batch + 1, len(lines), sha256.hexdigest())
            if expected != line and expected.startswith(line):
                return  # the write of this line was interrupted
            after = JournalPosition(number or after.batch + 1, file.tell(), recorded)
            yield Batch(lines, line == expected, after)
            lines, sha256 = [], hashlib.sha256(recorded.encode())


def is_at(path: Path, position: JournalPosition) -> bool:
    """Whether a batch ends at this position, judged by its closing line."""
    return position.length > 0 and _closing_before(path, position.length) == (position.batch, position.sha256)


def ends_batch(path: Path, length: int) -> bool:
    """Whether any batch ends after this many bytes."""
    return _closing_before(path, length) is not None


def _closing_before(path: Path, length: int) -> tuple[int, str] | None:
    """Number and hash of the closing line that ends after this many bytes; None if there is none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, length - 200))
        before = file.read(min(max(0, length), 200))
        if before.endswith(b"\n") and len(before) == min(length, 200):
            number, sha256 = _read_closing(before.splitlines(keepends=True)[-1])
            return (number, sha256) if number else None
    return None


def schema(path: Path) -> list[str] | None:
    """The migrations that the first line names; None if there is no such line."""
    with suppress(FileNotFoundError, ValueError), path.open("rb") as file:
        head = json.loads(file.readline())
        if isinstance(head, dict) and head.get("manifest") == FORMAT and isinstance(head.get("schema"), list):
            return [str(name) for name in head["schema"]]
    return None


def latest_run(path: Path) -> int:
    """The highest run in the manifest, 0 for none. A catalog that has only older runs has lost something."""
    latest = seen = 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if line.startswith(b'{"runs":') and (digits := line[8 : line.find(b",")]).isdigit():
                seen = max(seen, int(digits))
            elif line.startswith(_CLOSING):
                latest = seen
    return latest


def _closing(number: int, count: int, sha256: str) -> bytes:
    return b'{"batch":%d,"lines":%d,"sha256":"%s"}\n' % (number, count, sha256.encode())


def _read_closing(line: bytes) -> tuple[int, str]:
    """Number and hash of a closing line; 0 and an empty text if it isn't one."""
    try:
        closing = json.loads(line)
        return int(closing["batch"]), str(closing["sha256"])
    except (ValueError, KeyError, TypeError):
        return 0, ""
