"""Looks files of an archive up, and takes one of them out of it. Reads only.

Beware: a file gets its name only when it is whole and its hash is right, so it is written under another one first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.filenames import legal, readable
from migrator.model import Blob
from migrator.pipeline.export import BlobDamagedError, copy_blob, name_new_file
from migrator.pipeline.summary import FindSummary, FoundFile
from migrator.store import Archive, Catalog, blob_name, disk_errors, folded, hash_file, own_limits
from migrator.units import human_size

MAX_SHOWN = 20
"""Candidates that an error lists."""
READ_BYTES = 1024 * 1024
DATE_CHARACTERS = len("2026-01-31")


def find(catalog: Catalog, texts: Sequence[str]) -> FindSummary:
    """The files in whose name, title or description all these texts occur, or whose id or entity they name."""
    return FindSummary(texts=tuple(texts), files=tuple(FoundFile(**row) for row in catalog.searching.find(texts)))


def the_file(catalog: Catalog, which: str, name: str = "") -> FoundFile:
    """The one file that is meant: of the entity `[KIND:]ID` with this name, part of a name or attachment id.

    If there is no such entity, the file with the attachment id `which`. Of files with equal content any will do.
    `ConfigError` lists the candidates if there are several, or says why there is none.
    """
    rows = catalog.searching.owned_by(which) or catalog.searching.with_id(which)
    of_entity = [FoundFile(**row) for row in rows]
    if not of_entity:
        raise ConfigError(f"this archive has no file of {which!r}; `migrator find` looks for names, titles and ids")
    found = _named(of_entity, name) if name else of_entity
    if not found:
        raise ConfigError(f"{which} has no file {name!r}; it has:\n{_listed(of_entity)}")
    if not (held := [file for file in found if file.sha256]):
        raise ConfigError(f"the archive does not hold this file:\n{_listed(found)}")
    if len({file.sha256 for file in held}) > 1:
        words = f"{which} {name}".strip()
        raise ConfigError(f"{words!r} is ambiguous; name one of these by the words at the beginning:\n{_listed(held)}")
    return held[0]


def _named(files: Sequence[FoundFile], name: str) -> list[FoundFile]:
    """The files that are named most exactly: by attachment id, by name, by name in any case, by a part of it.

    An id comes first, so that each file can be named, also beside one whose name is that id.
    """
    wanted = folded(name)
    ways: tuple[Callable[[FoundFile], bool], ...] = (
        lambda file: file.attachment == name,
        lambda file: file.name == name,
        lambda file: folded(file.name) == wanted,
        lambda file: fnmatchcase(folded(file.name), f"*{wanted.replace('[', '[[]')}*"),
    )
    return next((found for way in ways if (found := [*filter(way, files)])), [])


def _listed(files: Sequence[FoundFile]) -> str:
    lines = [
        f"  {file.words}  {file.name}" + (f" ({facts})" if (facts := facts_of(file)) else "")
        for file in files[:MAX_SHOWN]
    ]
    more = [f"  ... and {len(files) - MAX_SHOWN} more"] if len(files) > MAX_SHOWN else []
    return "\n".join([*(" ".join(line.split("\n")) for line in lines), *more])


def facts_of(file: FoundFile) -> str:
    """Its size, date and, if it isn't stored, status, as people read them."""
    size = "" if file.size is None else human_size(file.size)
    status = "" if file.status == "stored" else file.status
    return ", ".join(filter(None, (size, file.created_at[:DATE_CHARACTERS], status)))


def save(archive: Archive, file: FoundFile, out: Path, *, replace: bool = False) -> Path:
    """Write a file to `out`, or under its own name into `out` if that is a folder; returns the path. Blocks.

    `ConfigError` if there is a file already, unless it is to be replaced; `ArchiveDamagedError` if the blob is damaged.
    """
    blob = _blob_of(file)
    try:
        path = Path(os.path.realpath(out / legal(file.name) if out.is_dir() else out))
        _require_usable(archive, path, replace=replace)
    except OSError as error:
        raise ConfigError(f"{readable(out)}: {error.strerror}") from error
    partial = path.with_name(f".migrator-get.{os.getpid()}.partial")
    with disk_errors(str(path)):
        try:
            partial.unlink(missing_ok=True)
            with archive.files([blob.sha256]) as path_of:
                copy_blob(blob, path_of(blob.sha256), partial, lambda _: None, file.created_at)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            if replace:
                partial.replace(path)
            else:
                name_new_file(partial, path)
        except BlobDamagedError as error:
            raise _damaged(blob, str(error)) from error
        except FileExistsError:
            raise ConfigError(_exists(path)) from None
        finally:
            partial.unlink(missing_ok=True)
    return path


def _require_usable(archive: Archive, path: Path, *, replace: bool) -> None:
    if path.is_relative_to(os.path.realpath(archive.root)):
        raise ConfigError(f"{readable(path)} is inside the archive")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {readable(path.parent)}")
    if os.path.lexists(path) and not path.is_file():
        raise ConfigError(f"{readable(path)} is not a file that can be replaced; without -o it goes to standard output")
    if path.exists() and not replace:
        raise ConfigError(_exists(path))


def _exists(path: Path) -> str:
    return f"{readable(path)} already exists; --force replaces it"


def content(archive: Archive, file: FoundFile) -> Iterator[bytes]:
    """The bytes of a file. It is hashed before the first of them, and again meanwhile; `ArchiveDamagedError`."""
    blob = _blob_of(file)
    sha256 = hashlib.sha256()
    try:
        with archive.files([blob.sha256]) as path_of, own_limits(str(path := path_of(blob.sha256))):
            if hash_file(path) != blob:
                raise _damaged(blob, "damaged")
            with path.open("rb") as opened:
                while chunk := opened.read(READ_BYTES):
                    sha256.update(chunk)
                    yield chunk
    except OSError as error:
        raise _damaged(blob, error.strerror or "unreadable") from error
    if sha256.hexdigest() != blob.sha256:
        raise _damaged(blob, "damaged")


def _blob_of(file: FoundFile) -> Blob:
    if file.sha256 is None or file.size is None:
        raise ConfigError(f"the archive does not hold {file.name!r}")
    return Blob(file.sha256, file.size)


def _damaged(blob: Blob, problem: str) -> ArchiveDamagedError:
    hint = "`migrator verify ARCHIVE` says more, and the next backup fetches it again where the source still has it"
    return ArchiveDamagedError(f"{blob_name(blob.sha256)}: {problem}; {hint}")
