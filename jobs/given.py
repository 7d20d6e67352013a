"""What a command works on: a configuration, an archive, or one that is found by the other."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.jobs.terminal import tell

if TYPE_CHECKING:
    from migrator.config import Configuration

_HINT = re.compile(r"(?<=`migrator )([a-z]+) (CONFIG|ARCHIVE)(?=[ `])")
"""A command in a hint, and what it works on."""


def configuration_for(given: Path) -> Path:
    """The configuration itself; for an archive, the one beside it or in the current folder that names it.

    `ConfigError` unless exactly one does.
    """
    try:
        if not given.is_dir():
            return given
    except OSError:
        return given  # whoever reads it says why it can't be read
    from migrator.store import is_archive

    if not is_archive(given):
        raise ConfigError(f"{given} is a folder, but a configuration is needed here (`migrator init` writes one)")
    found = _configurations_of(given)
    if len(found) != 1:
        several = f"one of {', '.join(path.name for path in found)}" if found else "none beside it names it"
        raise ConfigError(f"{given} is an archive, but a configuration that names it is needed here: {several}")
    tell(f"{given} is the archive of {found[0]}; using that configuration")
    return found[0]


def _configurations_of(archive: Path) -> list[Path]:
    """Those beside an archive or in the current folder that name it."""
    found = sorted({path.resolve() for folder in (archive.parent, Path()) for path in folder.glob("*.toml")})
    return [path for path in found if _archive_of(path) == archive.resolve()]


def is_file(path: Path) -> bool:
    """Whether there is a file. `ConfigError` if this account may not look, or if nothing can have this name."""
    try:
        return path.is_file()
    except OSError as error:
        raise ConfigError(f"{readable(path)}: {error.strerror}") from error


def pasteable(text: str, given: str | None) -> str:
    """A text whose hints can be run as they are: in place of CONFIG or ARCHIVE they have what the command was given.

    Where that is an archive, and no configuration or more than one names it, CONFIG stays.
    """
    if given is None:
        return text

    def filled(hint: re.Match[str]) -> str:
        known = hint[2] == "ARCHIVE" or _leads_to_configuration(Path(given))
        return f"{hint[1]} {shlex.quote(given)}" if known else hint[0]

    return _HINT.sub(filled, text)


def _leads_to_configuration(path: Path) -> bool:
    with suppress(OSError):
        return path.is_file() or (path.is_dir() and len(_configurations_of(path)) == 1)
    return False


def naming_file(message: str, given: str | None) -> str:
    """The message of an error in the configuration, with the name of the file in place of `configuration`."""
    if given is None:
        return message
    first, *others = re.split("(?:^|(?<=; ))configuration: ", message)
    return first + "".join([f"{Path(given).name}: ", *others]) if others else message


def _archive_of(path: Path) -> Path | None:
    from migrator.config import read_configuration

    with suppress(ConfigError):
        return read_configuration(path).archive.resolve()
    return None


def require_backup(configuration: Configuration, config: Path) -> None:
    """`ConfigError` if the archive that a configuration names has never been written. A bucket isn't asked here."""
    from migrator.config import is_address
    from migrator.store import JOURNAL, is_archive

    root = configuration.archive
    if is_address(configuration.settings.archive):
        return
    if not is_archive(root) and not (root / JOURNAL).is_file() and not (root / "blobs").is_dir():
        raise ConfigError(f"nothing is backed up yet: {root} is not an archive; run: migrator backup {config}")
