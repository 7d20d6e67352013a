"""The configuration file: TOML becomes typed, checked settings; errors name the key.

Reading a configuration looks up no secrets; each one is looked up when the part that needs it is built, so a nightly
backup works without the target's password.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from migrator.config.messages import options_message, unknown_key, validation_messages
from migrator.config.sections import NotifySection, Settings
from migrator.config.storage import StorageSection
from migrator.config.stores import is_address, local_folder
from migrator.errors import ConfigError
from migrator.filenames import on_disk


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the folder to which relative paths are relative."""

    settings: Settings
    folder: Path

    @property
    def archive(self) -> Path:
        """The folder of the archive; if its blobs lie in an object store, that of its catalog."""
        archive, local = self.settings.archive, self.settings.storage.local
        if not is_address(archive):
            return resolved_path(self.folder, archive)
        return resolved_path(self.folder, local) if local else local_folder(archive)

    @property
    def dask(self) -> str | None:
        """The Dask cluster that fetches: its address, a scheduler file, or "local"."""
        where = self.settings.workers.dask
        return where if where is None or where == "local" or "://" in where else str(self.resolve(where))

    @property
    def unmatched_file(self) -> Path:
        """Where `map` lists the entities for which it found no row: beside the mapping, e.g. `mapping.open.csv`."""
        return self.mapping_file.with_name(f"{self.mapping_file.stem}.open.csv")

    @property
    def proposed_file(self) -> Path:
        """Where `migrate` writes the mapping that it proposes until a person accepts it: `mapping.proposed.csv`."""
        return self.mapping_file.with_name(f"{self.mapping_file.stem}.proposed.csv")

    @property
    def mapping_file(self) -> Path:
        """The path of the mapping."""
        return resolved_path(self.folder, self.settings.mapping.file)

    def resolve(self, written: str) -> Path:
        """A path from the file, resolved against its folder."""
        return resolved_path(self.folder, written)


def resolved_path(folder: Path, written: str) -> Path:
    """A path as written in a file of that folder; `~` is the home folder."""
    try:
        return folder / Path(on_disk(written)).expanduser()
    except RuntimeError:
        raise ConfigError(f"configuration: {written}: this home folder doesn't exist") from None


def read_configuration(path: Path) -> Configuration:
    """Read and check a file; `ConfigError` says what is wrong with it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"the configuration {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} is not valid TOML: {error}") from None
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(validation_messages(error, Settings)) from None
    if not is_address(settings.archive) and settings.storage != StorageSection():
        raise ConfigError(f"{path.name}: [storage] has no effect if archive is a folder")
    if not is_address(settings.archive) and settings.workers.dask not in {None, "local"}:
        raise ConfigError(
            f"{path.name}: workers.dask: other machines can't write into the folder {settings.archive}; "
            'name an archive in a bucket ("s3://..."), or "local" as the cluster'
        )
    if not is_address(settings.archive) and settings.encryption is not None:
        raise ConfigError(
            f"{path.name}: [encryption] is for an archive in an object store, and archive is a folder; "
            'one in a folder can be encrypted as archive = "file:///folder"'
        )
    return Configuration(settings, path.absolute().parent)


def read_notify(path: Path) -> NotifySection:
    """[notify] of a file whose other sections may be wrong, so that somebody hears of that; the defaults if it has none
    that can be read.
    """
    try:
        return NotifySection.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")).get("notify", {}))
    except (OSError, ValueError):
        return NotifySection()


def options_of(given: Mapping[str, Any], options_class: type[Any], where: str) -> Any:
    """[source.options] or [target.options] as the dataclass that the adapter declares."""
    known = [field.name for field in dataclasses.fields(options_class)]
    for key in given:
        if key not in known:
            raise ConfigError(unknown_key(f"{where}.{key}", known))
    try:
        return TypeAdapter(options_class).validate_python(dict(given))
    except ValidationError as error:
        raise ConfigError(options_message(error, where)) from None
