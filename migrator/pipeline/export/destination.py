"""Where an export is built, and how it gets its name when it is complete."""

from __future__ import annotations

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
        exists = os.path.lexists(self.path)
        key = hashlib.sha256(os.fsencode(f"{os.path.realpath(root)}\0{self.path}")).hexdigest()[:12]
        # An empty folder can't be replaced if it is a mount point or we may not write to its parent: it is filled.
        self._inside = exists and (self.path.is_mount() or not os.access(self.path.parent, os.W_OK))
        self.partial = (self.path if self._inside else self.path.parent) / f".export-{key}.partial"
        if exists and (
            file or not self.path.is_dir() or {entry.name for entry in self.path.iterdir()} - {self.partial.name}
        ):
            raise ConfigError(f"{readable(destination)} already exists{'' if file else ' and is not empty'}")

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
        if self.partial.is_dir():
            shutil.rmtree(self.partial)
        else:
            self.partial.unlink(missing_ok=True)

    def finish(self) -> None:
        """Make the export safe on disk, then give it its name. It never replaces anything but an empty folder."""
        sync_filesystem(self.partial.parent)
        if self._file:
            name_new_file(self.partial, self.path)
        elif self._inside:
            for entry in sorted(self.partial.iterdir(), key=lambda entry: entry.name in {INDEX, "bagit.txt"}):
                entry.rename(self.path / entry.name)
            self.partial.rmdir()
        else:
            self.partial.rename(self.path)
        sync_filesystem(self.path.parent)
