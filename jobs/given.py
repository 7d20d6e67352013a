"""What a command works on: a configuration, an archive, or one that is found by the other."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import ConfigError
from migrator.jobs.terminal import tell

if TYPE_CHECKING:
    from migrator.config import Configuration


def configuration_for(given: Path) -> Path:
    """The configuration itself; for an archive, the one beside it or in the current folder that names it.

    `ConfigError` unless exactly one does.
    """
    if not given.is_dir():
        return given
    from migrator.store import is_archive

    if not is_archive(given):
        raise ConfigError(f"{given} is a folder, but a configuration is needed here (`migrator init` writes one)")
    found = sorted({path.resolve() for folder in (given.parent, Path()) for path in folder.glob("*.toml")})
    found = [path for path in found if _archive_of(path) == given.resolve()]
    if len(found) != 1:
        several = f"one of {', '.join(path.name for path in found)}" if found else "none beside it names it"
        raise ConfigError(f"{given} is an archive, but a configuration that names it is needed here: {several}")
    tell(f"{given} is the archive of {found[0]}; using that configuration")
    return found[0]


def naming_file(message: str, given: Path | None) -> str:
    """The message of an error in the configuration, with the name of the file in place of `configuration`."""
    if given is None:
        return message
    first, *others = re.split("(?:^|(?<=; ))configuration: ", message)
    return first + "".join([f"{given.name}: ", *others]) if others else message


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
