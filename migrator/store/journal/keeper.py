"""The catalog keeps its manifest: each transaction's changes are safe there before the transaction is committed.

The one idea: `settings` holds the mark of the batch that belongs to the last commit. A kill or power cut leaves the
manifest ahead; whoever opens the catalog next applies what it lacks. So the manifest is never behind the catalog, and
while it is kept, a commit needs no flush of its own: the manifest's makes it last.
The one trap: a manifest that does not fit its mark (missing, cut, damaged) is left alone by whoever only looks; a run
that works on the archive (`keep`) writes it anew from the catalog, unless it knows more than the catalog does.
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
    """The mark that a catalog holds; a string if its manifest is to be written anew, which is the code of why.

    None if it has never had a manifest; one that makes no sense becomes a mark that fits none.
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
    """Put a mark, or the code of why the manifest is to be written anew, into a catalog."""
    told = (
        {"rewrite": mark}
        if isinstance(mark, str)
        else {name: getattr(mark, name) for name in JournalPosition.__slots__}
    )
    db.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", [MARK, json.dumps(told)]
    )


def catch_up(db: Database, root: Path) -> None:
    """Apply what a kill left in the manifest only. To be called before the tables are migrated: it is told of those."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'settings'").fetchone():
        return
    mark, path = recorded(db), manifest.path_in(root)
    if not isinstance(mark, JournalPosition) or not manifest.stands(path, mark):
        return
    if path.stat().st_size > mark.length:
        with disk_errors(JOURNAL):
            manifest.make_safe(path)  # a kill may have come before it was
    lines = Lines(db)
    for batch in manifest.batches(path, mark):
        if not batch.sound:
            break
        with db.atomic():
            lines.apply(batch.lines)
            record(db, batch.end)


class Journal:
    """The manifest of one open catalog that has caught up. `mark` is None while it is not kept."""

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
        """Have a manifest that fits, written anew if need be. `ArchiveDamagedError` if it knows more than the catalog.

        `anew`: the catalog was just made from it. That both have their names is safe when this returns: a kill may
        have come between giving one and making it safe.
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
                self.distrust("")  # so that a manifest without a mark is a sign of damage, and not of a kill
            with self._db.atomic():
                mark = self._write_whole(was)
            self._settle(mark)

    def append(self) -> JournalPosition | None:
        """Inside of a transaction, at its end: its changes are safe in the manifest. Gives the mark for `mark`."""
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
        """The manifest was found damaged: the next run that works on the archive writes it anew."""
        with self._db.atomic():
            record(self._db, code)
        self._settle(None)

    def _settle(self, mark: JournalPosition | None) -> None:
        self.mark = mark
        self._db.execute(f"PRAGMA synchronous = {'FULL' if mark is None else 'NORMAL'}")

    def _write_whole(self, was: JournalPosition | str | None) -> JournalPosition:
        """A new manifest of all there is, in place of the old one, which is kept aside if it was found damaged."""
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
    """A name that is free, for a damaged file that is kept."""
    return next(
        found for number in range(1, 10**6) if not (found := path.with_name(f"{path.name}.damaged-{number}")).exists()
    )


def _gathered(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The first line goes with the first rows; every other piece is a batch of its own."""
    rest = iter(pieces)
    yield [piece for piece in (next(rest), next(rest, None)) if piece is not None]
    for piece in rest:
        yield [piece]
