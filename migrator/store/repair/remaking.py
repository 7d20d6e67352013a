"""Replaces a lost or damaged catalog by a new one, made from the manifest.

The new one is made beside the old one and renamed when it is complete and safe. So a kill at any moment leaves either
the old catalog, or none and a manifest to start from again.

Beware: the files that SQLite keeps beside a database (`-wal`, `-shm`) have to be renamed together with the old catalog.
If they stayed, they would corrupt the new one.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from migrator.errors import ArchiveDamagedError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.journal import manifest, record_position, replay
from migrator.store.layout import CATALOG, JOURNAL, NEW_CATALOG, name_for_damaged
from migrator.store.schema import FULL_CRAWL_KEY

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Of the catalog, and of the files that SQLite keeps beside it."""


def remake(root: Path) -> list[str]:
    """Rebuild the catalog; returns which parts of the manifest were damaged. The old catalog is kept under a new name.

    If parts were damaged, the next crawl asks every entity, because they may have said that one has to be asked.
    The caller holds the archive's lock and has no catalog open. `ArchiveDamagedError` if there is no manifest.
    """
    path, fresh = manifest.path_in(root), root / NEW_CATALOG
    if not path.exists():
        raise ArchiveDamagedError(f"{root} has no {JOURNAL} to make a catalog from; start again with `migrator backup`")
    with disk_errors(CATALOG):
        disk.remove(fresh)
        disk.write_file(fresh, b"")
        damage = _made(path, fresh)
        disk.sync_files(root, [fresh])
        put_aside(root)
        disk.rename(fresh, root / CATALOG)
        disk.sync_folders([root], root)
    return damage


def _made(path: Path, fresh: Path) -> list[str]:
    try:
        result = replay(path, into=str(fresh))
    except ValueError as error:
        raise ArchiveDamagedError(f"{JOURNAL}: {error}") from error
    with closing(result.db):
        if result.damage:
            result.db.execute("DELETE FROM settings WHERE key = ?", [FULL_CRAWL_KEY])
        record_position(result.db, "E21" if result.damage else result.end)
        result.db.execute("PRAGMA journal_mode = WAL")  # like every catalog; closing it removes the files beside it
    return result.damage


def put_aside(root: Path) -> None:
    """Keep the catalog, if there is one, under another name."""
    kept = name_for_damaged(root / CATALOG, SUFFIXES)
    for suffix in SUFFIXES:
        path = root / f"{CATALOG}{suffix}"
        if path.exists():
            disk.rename(path, Path(f"{kept}{suffix}"))
