"""Where an export is built, and how it gets its name when it is complete."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.pipeline.export.copies import OnBytes, name_new_file
from migrator.pipeline.export.formats import INDEX, TREES, ExportFormat
from migrator.pipeline.export.placing import LocalFiles
from migrator.pipeline.export.zipped import Zip, new_file
from migrator.store import sync_filesystem


class Destination:
    """Where an export is built, and how it gets its name. `ConfigError` if the destination is in use."""

    def __init__(self, root: Path, destination: Path, *, file: bool) -> None:
        self._named, self.path, self._file = destination, Path(os.path.realpath(destination)), file
        if self.path.is_relative_to(os.path.realpath(root)):
            raise ConfigError(f"{readable(destination)} is inside the archive")
        exists = _exists(self.path)
        key = hashlib.sha256(os.fsencode(f"{os.path.realpath(root)}\0{self.path}")).hexdigest()[:12]
        # An empty folder can't be replaced if it is a mount point or we may not write to its parent: it is filled.
        self._inside = exists and (self.path.is_mount() or not os.access(self.path.parent, os.W_OK))
        self.partial = (self.path if self._inside else self.path.parent) / f".export-{key}.partial"
        # The names that an export gives one by one, so that a kill may leave some of them.
        self._given = self.path / f".export-{key}.names"
        if exists and (file or not self.path.is_dir() or self._names_of_others()):
            raise ConfigError(f"{readable(destination)} already exists{'' if file else ' and is not empty'}")

    def _names_of_others(self) -> set[str]:
        """What is in the folder, and was not left there by an export from this archive that was killed."""
        there = {entry.name for entry in self.path.iterdir()}
        return there - {self.partial.name, self._given.name, *self._names_given()}

    def _names_given(self) -> list[str]:
        try:
            return [os.fsdecode(name) for name in self._given.read_bytes().split(b"\0")[:-1]]
        except FileNotFoundError:
            return []

    @property
    def shown(self) -> str:
        """The destination, for people."""
        return readable(self._named)

    def format(self, shape: str, on_bytes: OnBytes, *, links: bool) -> ExportFormat:
        """What writes the files of the export."""
        if shape == "zip":
            return Zip(lambda: new_file(self.partial), on_bytes)
        return TREES[shape](self.partial, LocalFiles(self.partial, on_bytes, links=links))

    def prepare(self, size: int) -> None:  # noqa: ARG002 - how much is to come matters in a bucket only
        """Make the folder around it, and remove what an earlier export left unfinished."""
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove everything that was built."""
        for path in (self.partial, *(self.path / name for name in self._names_given())):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if self._inside:
            self._given.unlink(missing_ok=True)

    def finish(self) -> None:
        """Make the export safe on disk, then give it its name. It never replaces anything but an empty folder."""
        sync_filesystem(self.partial.parent)
        if self._file:
            name_new_file(self.partial, self.path)
        elif self._inside:
            entries = sorted(self.partial.iterdir(), key=lambda entry: entry.name in {INDEX, "bagit.txt"})
            self._given.write_bytes(b"".join(os.fsencode(entry.name) + b"\0" for entry in entries))
            sync_filesystem(self.path)
            for entry in entries:
                entry.rename(self.path / entry.name)
            self.partial.rmdir()
            self._given.unlink()
        else:
            self.partial.rename(self.path)
        sync_filesystem(self.path.parent)


def _exists(path: Path) -> bool:
    """Whether there is anything. `ConfigError` if nothing can be there: below a file, or under too long a name."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}:
            raise ConfigError(f"{readable(path)}: {error.strerror}") from error
        return False
    return True
