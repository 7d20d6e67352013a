"""Keeps the manifest in step with the catalog: changes are safe there before the catalog commits them.

`settings` holds the position of the batch that belongs to the last commit. A kill or power cut can only leave the
manifest ahead; whoever opens the catalog next applies what it lacks. So the manifest is never behind the catalog, and
while it is kept, commits need no flush of their own: flushing the manifest makes them durable.

Beware: a manifest that doesn't match its position (missing, cut, damaged) is left alone by readers. A run that works on
the archive (`keep`) rewrites it from the catalog, unless the manifest knows more than the catalog does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from migrator.errors import ArchiveDamagedError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.journal import manifest
from migrator.store.journal.changes import MARK, Changes
from migrator.store.journal.manifest import JournalPosition
from migrator.store.journal.replay import Lines, applied
from migrator.store.layout import JOURNAL, NEW_JOURNAL


def recorded(db: Database) -> JournalPosition | str | None:
    """The position that a catalog holds; a string, the code of the reason, if its manifest has to be rewritten.

    None if it never had a manifest; an unreadable value becomes a position that matches no manifest.
    """
    row = db.execute("SELECT value FROM settings WHERE key = ?", [MARK]).fetchone()
    if row is None:
        return None
    try:
        told: dict[str, Any] = json.loads(row[0])
        return (
            str(told["rewrite"])
            if "rewrite" in told
            else JournalPosition(told["batch"], told["length"] + 0, told["sha256"])
        )
    except (ValueError, TypeError, KeyError):
        return JournalPosition()


def record(db: Database, mark: JournalPosition | str) -> None:
    """Store a position in a catalog, or the code of the reason why its manifest has to be rewritten."""
    told = (
        {"rewrite": mark}
        if isinstance(mark, str)
        else {name: getattr(mark, name) for name in JournalPosition.__slots__}
    )
    db.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", [MARK, json.dumps(told)]
    )


def catch_up(db: Database, root: Path) -> None:
    """Apply what a kill left in the manifest only. Call it before migrating the tables: migrations are in it, too."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone():
        return
    mark, path = recorded(db), manifest.path_in(root)
    if not isinstance(mark, JournalPosition) or not manifest.stands(path, mark):
        return
    if path.stat().st_size > mark.length:
        with disk_errors(JOURNAL):
            manifest.make_safe(path)  # a kill may have come before the writer did it
    lines = Lines(db)
    for batch in manifest.batches(path, mark):
        if not batch.sound:
            break
        with db.atomic():
            lines.apply(batch.lines)
            record(db, batch.end)


class Journal:
    """The manifest of an open catalog that has caught up. `mark` is None while no manifest is kept."""

    def __init__(self, db: Database, root: Path) -> None:
        self._db, self._root, self._path = db, root, manifest.path_in(root)
        found = recorded(db)
        fits = isinstance(found, JournalPosition) and manifest.stands(self._path, found)
        self.mark: JournalPosition | None = None
        self._settle(found if isinstance(found, JournalPosition) and fits and self._same_tables() else None)
        self._changes = Changes(db)

    def _same_tables(self) -> bool:
        return manifest.schema(self._path) == applied(self._db)

    def keep(self, *, anew: bool = False) -> None:
        """Have a matching manifest, rewritten if necessary. `ArchiveDamagedError` if it knows more than the catalog.

        `anew`: the catalog was just made from it. On return the names of both files are durable; a kill may have come
        between a rename and its flush.
        """
        with disk_errors(JOURNAL):
            disk.sync_folders([self._root], self._root)
        if self.mark is None:
            latest = self._db.execute("SELECT coalesce(max(run_id), 0) FROM runs").fetchone()[0]
            if not anew and manifest.latest_run(self._path) > latest:
                raise ArchiveDamagedError(
                    f"catalog.db knows less than {JOURNAL}; `migrator rebuild` makes it anew from there"
                )
            if (was := recorded(self._db)) is None:
                self.distrust("")  # so that a manifest without a recorded position means damage, not a kill
            with self._db.atomic():
                mark = self._write_whole(was)
            self._settle(mark)

    def append(self) -> JournalPosition | None:
        """At the end of a transaction, make its changes safe in the manifest; returns the new value for `mark`."""
        if self.mark is None:
            self._changes.clear()
            if isinstance(recorded(self._db), JournalPosition):
                record(self._db, "")
            return None
        lines = self._changes.lines()
        if (first := next(lines, None)) is None:
            return self.mark
        with disk_errors(JOURNAL):
            mark = manifest.write_batch(self._path, self.mark, chain([first], lines))
            manifest.make_safe(self._path)
        record(self._db, mark)
        self._changes.clear()
        return mark

    def distrust(self, code: str) -> None:
        """Mark the manifest as damaged: the next run that works on the archive rewrites it."""
        with self._db.atomic():
            record(self._db, code)
        self._settle(None)

    def _settle(self, mark: JournalPosition | None) -> None:
        self.mark = mark
        self._db.execute(f"PRAGMA synchronous = {'FULL' if mark is None else 'NORMAL'}")

    def _write_whole(self, was: JournalPosition | str | None) -> JournalPosition:
        """Replace the manifest by a new one of everything. The old one is kept under another name if it was damaged."""
        fresh, mark = self._root / NEW_JOURNAL, JournalPosition()
        with disk_errors(JOURNAL):
            for pieces in _gathered(chain([manifest.first_line(applied(self._db))], self._changes.everything())):
                mark = manifest.write_batch(fresh, mark, pieces)
            manifest.make_safe(fresh)
            if was and self._path.exists():
                disk.rename(self._path, aside(self._path))
            disk.rename(fresh, self._path)
            disk.sync_folders([self._root], self._root)
        record(self._db, mark)
        return mark


def aside(path: Path) -> Path:
    """An unused name under which a damaged file can be kept."""
    return next(
        found for number in range(1, 10**6) if not (found := path.with_name(f"{path.name}.damaged-{number}")).exists()
    )


def _gathered(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Batches of chunks: the first line together with the first rows, then each chunk by itself."""
    rest = iter(pieces)
    yield [piece for piece in (next(rest), next(rest, None)) if piece is not None]
    for piece in rest:
        yield [piece]
