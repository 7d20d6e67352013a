"""A new catalog in place of one that is lost or damaged, made from the manifest.

The one idea: it is made beside the old one, and takes its name when it is whole and safe; so a kill at any moment
leaves the old one, or none and a manifest to begin with again.
The one trap: what SQLite keeps beside a database (`-wal`, `-shm`) goes aside with it: beside the new one it is poison.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from migrator.errors import ArchiveDamagedError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.journal import manifest, record, replay
from migrator.store.layout import CATALOG, JOURNAL, NEW_CATALOG

BESIDE = ("", "-wal", "-shm", "-journal")


def remake(root: Path) -> list[str]:
    """Make the catalog anew; tells what of the manifest could not be read. The old one is kept under another name.

    Whoever calls holds the archive, and has no catalog open. `ArchiveDamagedError` if there is no manifest.
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
        record(made.db, "E21" if made.damage else made.end)
        made.db.execute("PRAGMA journal_mode = WAL")  # as every catalog is; closing it leaves nothing beside it
    return made.damage


def _put_aside(root: Path) -> None:
    there = [ending for ending in BESIDE if (root / f"{CATALOG}{ending}").exists()]
    taken = {path.name for path in root.iterdir()}
    numbers = (f"{CATALOG}.damaged-{number}" for number in range(1, 10**6))
    free = next(name for name in numbers if taken.isdisjoint(f"{name}{ending}" for ending in BESIDE))
    for ending in there:
        disk.rename(root / f"{CATALOG}{ending}", root / f"{free}{ending}")
