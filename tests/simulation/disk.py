"""A disk that forgets at a power cut what was not flushed: contents and names of files.

It takes the place of `migrator.store.disk` and passes every call on, but remembers what a file system may still lose.
So a flush that the program forgets shows as a loss, though the test machine loses nothing.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from migrator.store import disk as real
from migrator.store.catalog.database import CatalogDatabase


class ForgetfulDisk:
    """What a power cut may still take.

    `contents` are files whose content is not flushed; of those that were appended to, the first `safe` bytes are.
    `names` are renames that are not flushed, in their order: old path, new path, and the content that the new path had
    before.
    """

    def __init__(self) -> None:
        self.contents: set[Path] = set()
        self.safe: dict[Path, int] = {}
        self.catalog = b""
        self.names: list[tuple[Path, Path, bytes | None]] = []
        self._open: dict[int, Path] = {}

    def create(self, file: real.StrPath, mode: int = real.OWNER_ONLY) -> int:
        path = Path(file)
        handle = real_create(path, mode)
        self._open[handle] = path
        self.contents.add(path)
        return handle

    def write_all(self, handle: int, chunk: bytes) -> None:
        self.contents.add(self._open[handle])
        real_write_all(handle, chunk)

    def write_at(self, path: Path, at: int, chunk: bytes) -> None:
        if path not in self.contents:
            self.safe[path] = at
        self.contents.add(path)
        real_write_at(path, at, chunk)

    def sync_files(self, folder: Path, files: Collection[real.StrPath]) -> None:
        paths = [Path(file) for file in files]
        assert all(path.parent == folder for path in paths)
        self.contents.difference_update(paths)
        for path in paths:
            self.safe.pop(path, None)

    def rename(self, old: real.StrPath, new: real.StrPath) -> None:
        path, to = Path(old), Path(new)
        before = to.read_bytes() if to.exists() else None
        same = to not in self.contents | {path, *(known for _, known, _ in self.names)} and before == path.read_bytes()
        real_rename(path, to)
        self._open.update({handle: to for handle, known in self._open.items() if known == path})
        if path in self.contents:
            self.contents.discard(path)
            self.contents.add(to)
        elif same:  # both have the same content, so it doesn't matter which of them a power cut leaves
            return
        self.safe.pop(path, None)
        self.names.append((path, to, before))

    def sync_folders(self, folders: Collection[Path], root: Path) -> None:
        assert all(folder.is_relative_to(root) for folder in folders)
        self.names = [name for name in self.names if name[1].parent not in folders]

    def remove(self, path: Path) -> None:
        real_remove(path)
        self.contents.discard(path)

    def remember(self, catalog: CatalogDatabase) -> None:
        """Remember the catalog as it is: a power cut may bring it back, because only the manifest is flushed."""
        with closing(sqlite3.connect(":memory:")) as copy:
            catalog.db.conn.backup(copy)
            state = bytearray(copy.serialize())
        state[18:20] = b"\2\2"  # the copy's header says rollback journal; the catalog's says WAL
        self.catalog = bytes(state)

    def _go_back(self, root: Path) -> None:
        for ending in ("", "-wal", "-shm"):  # deleted, not overwritten: a killed run still has them open
            (root / f"catalog.db{ending}").unlink(missing_ok=True)
        (root / "catalog.db").write_bytes(self.catalog)

    def power_cut(self, rng: random.Random, root: Path) -> None:
        """Lose some of what may be lost: any of the names, any part of the contents."""
        for path, to, before in reversed(self.names):
            if rng.random() < 0.5 and to.exists():
                to.rename(path)
                if before is not None:
                    _replace(to, before)
                if to in self.contents:
                    self.contents.add(path)
        for path in sorted(self.contents):
            if path.exists() and (keeps := rng.choice([0.0, 0.0, 0.5, 1.0])) < 1.0:
                content = path.read_bytes()
                safe = self.safe.get(path, 0)
                kept = content[: safe + int((len(content) - safe) * keeps)]
                _replace(path, kept if rng.random() < 0.5 else kept.ljust(len(content), b"\0"))
        if self.catalog and rng.random() < 0.7:
            self._go_back(root)
        self.contents, self.names, self.safe, self.catalog = set(), [], {}, b""


def _replace(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # a blob can't be written to
    path.write_bytes(content)


real_create, real_write_all, real_write_at = real.create, real.write_all, real.write_at
real_rename, real_remove = real.rename, real.remove
