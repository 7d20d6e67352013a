"""Catalog and journal of an archive, put in place of those of another archive that is a copy of it.

Beware: the catalog is replaced first. If a kill comes before the journal is, the next copy, or the next run, makes the
journal anew.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.store import disk
from migrator.store.catalog import Catalog, copied, opened_to_read
from migrator.store.disk import disk_errors
from migrator.store.journal import manifest
from migrator.store.layout import CATALOG, NEW_CATALOG, NEW_JOURNAL
from migrator.store.repair import SUFFIXES

if TYPE_CHECKING:
    from migrator.store.blobs import Archive

CHUNK_BYTES = 1024 * 1024
_RUNS = """
SELECT run_id, command, started_at, coalesce(summary, '') FROM runs
WHERE command NOT IN ('verify', 'export', 'rebuild')
"""


def damaged_in_copy(target: Archive, catalog: Catalog) -> set[str] | None:
    """The blobs that a verify of this copy has found damaged; None if it has no catalog yet.

    `ConfigError` unless what is there is an earlier state of the other archive: each of its runs that may have changed
    something is one of the other's. `ArchiveDamagedError` if nobody can tell, because there is a journal, and no
    catalog that can be read. A copy that was killed never has a journal alone.
    """
    name = target.address.url if target.address else target.root
    held = _runs_and_damage(target.root / CATALOG)
    if held is None:
        if manifest.latest_run(manifest.path_in(target.root)):
            lost = f"its {CATALOG} is missing or damaged, so it can't be told whether it is a copy of this archive"
            raise ArchiveDamagedError(f"{name}: {lost}; `migrator rebuild {name}` makes a new one")
        return None
    runs, damaged = held
    known = set(catalog.db.execute(_RUNS).fetchall())
    begun = {run[:3] for run in known}
    if not all(run in known or (not run[3] and run[:3] in begun) for run in runs):
        raise ConfigError(f"{name} is not an earlier copy of this archive: it has runs that this one doesn't")
    return damaged


def _runs_and_damage(path: Path) -> tuple[list[Any], set[str]] | None:
    """What a catalog says; None if there is none, or if it can't be read."""
    if not path.exists():
        return None
    with suppress(sqlite3.Error), closing(opened_to_read(path)) as db:
        runs = db.execute(_RUNS).fetchall()
        return runs, {sha256 for (sha256,) in db.execute("SELECT sha256 FROM blobs WHERE problem IS NOT NULL")}
    return None


def take_catalog(root: Path, source: Path) -> None:
    """Replace catalog and journal in the folder `root` by copies of those in `source`. The caller holds both."""
    fresh, journal = root / NEW_CATALOG, root / NEW_JOURNAL
    with disk_errors(str(root)):
        copied(source / CATALOG, fresh)
        disk.remove(journal)
        if (path := manifest.path_in(source)).exists():
            copy_file(path, journal)
        disk.sync_files(root, [path for path in (fresh, journal) if path.exists()])
        for suffix in SUFFIXES[1:]:
            disk.remove(root / f"{CATALOG}{suffix}")
        disk.rename(fresh, root / CATALOG)
        if journal.exists():
            disk.rename(journal, manifest.path_in(root))
        else:
            disk.remove(manifest.path_in(root))
        disk.sync_folders([root], root)


def copy_file(path: Path, to: Path) -> None:
    """Copy a file, readable by its owner only; not yet durable."""
    handle = disk.create(to)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                disk.write_all(handle, chunk)
    finally:
        disk.close(handle)
