"""Writes the manifest, as a write-ahead log of the catalog: changes are durable in it before the catalog commits them.

`settings` holds the position of the batch that belongs to the last commit. A kill or power cut can only leave the
manifest ahead, and the next run that opens the catalog applies what it lacks. So the manifest is never behind the
catalog, and while it is kept, commits need no flush of their own: flushing the manifest makes them durable.

A manifest that has grown to more than twice its size after the last rewrite is rewritten by the next run, so that its
size depends on what the archive holds, and not on its age.

Beware: a manifest that doesn't match its position (missing, truncated, damaged) is not touched by readers. A run that
works on the archive (`ensure`) rewrites it from the catalog, unless the manifest has newer runs than the catalog.
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
from migrator.store.journal.changes import JOURNAL_KEY, Changes
from migrator.store.journal.manifest import JournalPosition
from migrator.store.journal.replay import LineReplayer, applied
from migrator.store.layout import JOURNAL, NEW_JOURNAL, name_for_damaged
from migrator.store.schema import has_table

MIN_GROWTH_BYTES = 1 << 20
"""A manifest that grew by less than this is not rewritten."""


def recorded_position(db: Database, path: Path | None = None) -> JournalPosition | str | None:
    """The position recorded in a catalog; if its manifest has to be rewritten, the code of the reason, maybe empty.

    None if it never had a manifest. A value that can't be read becomes a position that matches no manifest. With the
    manifest's `path`, a rewrite that did not get as far as replacing it has not begun: its position is still that.
    """
    if (recorded := _recorded(db)) is None:
        return None
    position, code = recorded
    return position if code is None or (path is not None and manifest.is_at(path, position)) else code


def is_replaced(db: Database, path: Path) -> bool:
    """Whether the manifest is a new one that says what the catalog says, and a kill came before that was recorded."""
    position, code = _recorded(db) or (JournalPosition(), None)
    return code is not None and position.length > 0 and path.exists() and not manifest.is_at(path, position)


def _recorded(db: Database) -> tuple[JournalPosition, str | None] | None:
    """The recorded position, and why the manifest has to be rewritten, if it has to."""
    row = db.execute("SELECT value FROM settings WHERE key = ?", [JOURNAL_KEY]).fetchone()
    if row is None:
        return None
    position = JournalPosition()
    try:
        value: dict[str, Any] = json.loads(row[0])
        if value.keys() - {"base", "rewrite"} == set(JournalPosition.__slots__):
            position = JournalPosition(value["batch"], value["length"] + 0, value["sha256"])
        return position, str(value["rewrite"]) if "rewrite" in value else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return JournalPosition(), None


def record_position(
    db: Database, position: JournalPosition | str, *, base: int | None = None, rewritten: bool = False
) -> None:
    """Store a position in a catalog, or the code of the reason why its manifest has to be rewritten.

    `base` is the manifest's length in bytes after it was last rewritten; None keeps the recorded one. `rewritten`: the
    manifest at this position, which says all that the catalog does, is about to be replaced by one that says the same.
    """
    value: dict[str, Any] = {"rewrite": position}
    if isinstance(position, JournalPosition):
        value = {name: getattr(position, name) for name in JournalPosition.__slots__}
        value["base"] = recorded_base(db) if base is None else base
        if rewritten:
            value["rewrite"] = ""
    db.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [JOURNAL_KEY, json.dumps(value)],
    )


def recorded_base(db: Database) -> int:
    """The manifest's length in bytes after it was last rewritten; 0 if that is unknown."""
    row = db.execute("SELECT value FROM settings WHERE key = ?", [JOURNAL_KEY]).fetchone()
    try:
        return int(json.loads(row[0]).get("base", 0)) if row else 0
    except (ValueError, TypeError, AttributeError):
        return 0


def catch_up(db: Database, root: Path) -> None:
    """Apply the batches that only the manifest has, after a kill. Call it before the migrations: it has those, too."""
    if not has_table(db, "settings"):
        return
    path = manifest.path_in(root)
    position = recorded_position(db, path)
    if not isinstance(position, JournalPosition) or not manifest.is_at(path, position):
        return
    if path.stat().st_size > position.length:
        with disk_errors(JOURNAL):
            manifest.sync(path)  # the writer may have been killed before its own flush
    lines = LineReplayer(db)
    for batch in manifest.batches(path, position):
        if not batch.sound:
            break
        with db.atomic():
            lines.apply(batch.lines)
            record_position(db, batch.end)


class Journal:
    """The manifest of an open catalog, after `catch_up`. `position` is None while no manifest is kept."""

    def __init__(self, db: Database, root: Path) -> None:
        self._db, self._root, self._path = db, root, manifest.path_in(root)
        position = recorded_position(db, self._path)
        fits = isinstance(position, JournalPosition) and manifest.is_at(self._path, position)
        self.position: JournalPosition | None = None
        self._base = recorded_base(db)
        self._of_older_tables = fits and not self._same_tables()
        self._set_position(position if isinstance(position, JournalPosition) and fits and self._same_tables() else None)
        self._changes = Changes(db)

    def _same_tables(self) -> bool:
        return manifest.schema(self._path) == applied(self._db)

    def ensure(self, *, anew: bool = False) -> None:
        """Make the manifest match, by rewriting it if necessary. `ArchiveDamagedError` if it has newer runs.

        `anew`: the catalog was just made from it. On return the names of both files are durable; a kill may have come
        between a rename and its flush.
        """
        with disk_errors(JOURNAL):
            disk.sync_folders([self._root], self._root)
        recorded = recorded_position(self._db, self._path)
        if self.position is None:
            latest = self._db.execute("SELECT coalesce(max(run_id), 0) FROM runs").fetchone()[0]
            if not anew and manifest.latest_run(self._path) > latest:
                raise ArchiveDamagedError(
                    f"catalog.db knows less than {JOURNAL}; `migrator rebuild ARCHIVE` rebuilds it from there"
                )
        outgrown = self.position is not None and self.position.length > 2 * self._base + MIN_GROWTH_BYTES
        if outgrown or self._of_older_tables or recorded is None:
            self._mark_sound(recorded)
            recorded = ""
        if self.position is None:
            with self._db.atomic():
                position = self._rewrite(recorded)
            self._set_position(position)

    def append(self) -> JournalPosition | None:
        """Make a transaction's changes durable in the manifest, before its commit; returns the new `position`."""
        if self.position is None:
            self._changes.clear()
            if isinstance(recorded_position(self._db, self._path), JournalPosition):
                record_position(self._db, "")
            return None
        lines = self._changes.lines()
        if (first := next(lines, None)) is None:
            self._changes.clear()
            return self.position
        with disk_errors(JOURNAL):
            position = manifest.write_batch(self._path, self.position, chain([first], lines))
            manifest.sync(self._path)
        record_position(self._db, position, base=self._base)
        self._changes.clear()
        return position

    def note_seen(self, since_run: int) -> None:
        """A crawl that began with this run ends in this transaction: write which rows it saw."""
        self._changes.note_seen(since_run)

    def mark_damaged(self, code: str) -> None:
        """Mark the manifest as damaged: the next run that works on the archive rewrites it."""
        with self._db.atomic():
            record_position(self._db, code)
        self._set_position(None)

    def _mark_sound(self, position: JournalPosition | str | None) -> None:
        """Before a sound manifest is replaced: if another one is there afterwards, a kill left it; it is no damage."""
        with self._db.atomic():
            record_position(self._db, position or "", rewritten=True)
        self._set_position(None)

    def _set_position(self, position: JournalPosition | None) -> None:
        self.position = position
        self._db.execute(f"PRAGMA synchronous = {'FULL' if position is None else 'NORMAL'}")

    def _rewrite(self, recorded: JournalPosition | str | None) -> JournalPosition:
        """Replace the manifest by a new one with every row. A damaged one is kept under another name."""
        fresh, position = self._root / NEW_JOURNAL, JournalPosition()
        with disk_errors(JOURNAL):
            for chunks in _batched(chain([manifest.first_line(applied(self._db))], self._changes.everything())):
                position = manifest.write_batch(fresh, position, chunks)
            manifest.sync(fresh)
            if recorded and self._path.exists():
                disk.rename(self._path, name_for_damaged(self._path))
            disk.rename(fresh, self._path)
            disk.sync_folders([self._root], self._root)
        self._base = position.length
        record_position(self._db, position, base=self._base)
        return position


def _batched(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Batches of chunks: the first line together with the first rows, then each chunk by itself."""
    rest = iter(chunks)
    yield [chunk for chunk in (next(rest), next(rest, None)) if chunk is not None]
    for chunk in rest:
        yield [chunk]
