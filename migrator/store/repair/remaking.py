"""Replace a lost or damaged catalog by a new one, made from the manifest.

The new one is made beside the old one and renamed when it is complete and safe. So a kill at any moment leaves either
the old catalog, or none and a manifest to start from again.

Beware: the files that SQLite keeps beside a database (`-wal`, `-shm`) have to be moved away with the old catalog. Left
beside the new one, they would corrupt it.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from migrator.errors import ArchiveDamagedError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.journal import manifest, record_position, replay
from migrator.store.layout import CATALOG, JOURNAL, NEW_CATALOG

BESIDE = ("", "-wal", "-shm", "-journal")


def remake(root: Path) -> list[str]:
    """Rebuild the catalog; returns what of the manifest could not be read. The old catalog is kept under another name.

    The caller holds the archive's lock and has no catalog open. `ArchiveDamagedError` if there is no manifest.
    """
    path, fresh = manifest.path_in(root), root / NEW_CATALOG
    if not path.exists():
        raise ArchiveDamagedError(
            f"{root} has no {JOURNAL} to make a catalog from; start anew with a `migrator backup`"
        )
    with disk_errors(CATALOG):
        disk.remove(fresh)
        disk.write_file(fresh, b"")
        made = _made(path, fresh)
        disk.sync_files(root, [fresh])
        _put_aside(root)
        disk.rename(fresh, root / CATALOG)
        disk.sync_folders([root], root)
    return made


def _made(path: Path, fresh: Path) -> list[str]:
    try:
        made = replay(path, into=str(fresh))
    except ValueError as error:
        raise ArchiveDamagedError(f"{JOURNAL}: {error}") from error
    with closing(made.db):
        record_position(made.db, "E21" if made.damage else made.end)
        made.db.execute("PRAGMA journal_mode = WAL")  # like every catalog; closing it removes the files beside it
    return made.damage


def _put_aside(root: Path) -> None:
    there = [ending for ending in BESIDE if (root / f"{CATALOG}{ending}").exists()]
    taken = {path.name for path in root.iterdir()}
    numbers = (f"{CATALOG}.damaged-{number}" for number in range(1, 10**6))
    free = next(name for name in numbers if taken.isdisjoint(f"{name}{ending}" for ending in BESIDE))
    for ending in there:
        disk.rename(root / f"{CATALOG}{ending}", root / f"{free}{ending}")
