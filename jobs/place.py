"""Where an archive is: a folder of this machine, or a bucket, with a folder of this machine for catalog and journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migrator import store
from migrator.config import is_address, local_folder, store_address
from migrator.errors import ConfigError
from migrator.filenames import readable
from migrator.jobs.given import is_file

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.pipeline.export import InBucket

OBSTORE_KEYS = {
    "s3": {
        "access_key": "access_key_id",
        "secret_key": "secret_access_key",
        "session_token": "session_token",
        "region": "region",
        "endpoint": "endpoint",
    },
    "az": {"access_key": "account_name", "secret_key": "account_key", "endpoint": "endpoint"},
    "gs": {},
    "file": {},
}
"""What [storage] may say about a store, and obstore's names for it."""


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """An archive in a bucket, and the folder of this machine for its catalog."""

    folder: Path
    address: store.BucketAddress
    known: store.InStep
    encryption: store.Encryption | None = None

    def bucket(self) -> store.Bucket:
        """The bucket; no request is made."""
        return store.Bucket.at(self.address)


Place = Path | ArchivePlace
"""An archive: a folder with all of it, or one in a bucket."""


def place_of(configuration: Configuration) -> Place:
    """The archive of a configuration. Looks up the keys of its store."""
    from migrator.config import look_up

    settings, url = configuration.settings.storage, configuration.settings.archive
    if not is_address(url):
        return _folder(configuration.archive)
    known, options = OBSTORE_KEYS[url.partition("://")[0]], {}
    for key in ("access_key", "secret_key", "session_token", "region", "endpoint"):
        value = getattr(settings, key)
        if value is not None and key not in known:
            raise ConfigError(f"configuration: storage.{key} has no effect for {url}")
        if value is not None:
            is_secret = key not in {"region", "endpoint"}
            options[known[key]] = look_up(value, f"storage.{key}", configuration.folder) if is_secret else value
    if (settings.endpoint or "").startswith("http:") and not settings.allow_http:
        raise ConfigError("configuration: storage.endpoint has no TLS: storage.allow_http = true permits that")
    encryption = _encryption_of(configuration)
    told = store.InStep(
        url,
        endpoint=settings.endpoint or "",
        region=settings.region or "",
        allow_http=settings.allow_http,
        recipients=encryption.recipients if encryption else (),
    )
    return ArchivePlace(configuration.archive, store.BucketAddress(url, options, settings.allow_http), told, encryption)


def _encryption_of(configuration: Configuration) -> store.Encryption | None:
    """[encryption]; the private key is looked up when something is read."""
    from migrator.config import look_up_text

    section = configuration.settings.encryption
    if section is None:
        return None
    identity, folder = section.identity, configuration.folder
    if identity is None:
        return store.Encryption(section.recipients)
    return store.Encryption(section.recipients, lambda: look_up_text(identity, "encryption.identity", folder))


def place_named(given: str) -> Place:
    """The archive that somebody names: a folder, an address, or the configuration of either.

    An address is reached as the cloud's environment says. A folder that holds the catalog of a bucket stands for that.
    """
    if is_address(given):
        try:
            url = store_address(given)
        except ValueError as error:
            raise ConfigError(f"{given}: {error}") from None
        folder = local_folder(url)
        return _reached(folder, store.in_step(folder) or store.InStep(url))
    path = Path(given)
    if is_file(path):
        from migrator.config import read_configuration

        return place_of(read_configuration(path))
    return _folder(path)


def destination_named(given: str, archive: Place, *, file: bool) -> Path | InBucket:
    """Where somebody wants an export: a path, or an address; with `file` that of an object.

    A store of the same kind as the archive's is reached like that, another one as the cloud's environment says.
    """
    from migrator.pipeline.export import InBucket

    if not is_address(given):
        return Path(given)
    try:
        url, name = store_address(given), ""
    except ValueError as error:
        raise ConfigError(f"{given}: {error}") from None
    if file:
        url, _, name = url.rpartition("/")
        if url.endswith(":/"):
            raise ConfigError(f"{given} names no file in a bucket")
    address = store.BucketAddress(url)
    if isinstance(archive, ArchivePlace) and url.partition("://")[0] == archive.address.url.partition("://")[0]:
        address = store.BucketAddress(url, archive.address.options, archive.address.allow_http)
    if any(address.is_within(of_archive) for of_archive in addresses_of(archive)):
        raise ConfigError(f"{given} is inside the archive")  # before the folder at a file:// address is made
    return InBucket(store.Bucket.at(address), name)


def _folder(path: Path) -> Place:
    """A folder with an archive, or what the catalog in it belongs to."""
    known = store.in_step(path)
    return _reached(path, known) if known else path


def _reached(folder: Path, known: store.InStep) -> ArchivePlace:
    names = OBSTORE_KEYS[known.url.partition("://")[0]]
    options = {names[key]: value for key in ("endpoint", "region") if (value := getattr(known, key)) and key in names}
    encryption = store.Encryption(known.recipients) if known.recipients else None
    return ArchivePlace(folder, store.BucketAddress(known.url, options, known.allow_http), known, encryption)


def folder_of(place: Place) -> Path:
    """The folder of this machine in which the catalog is."""
    return place if isinstance(place, Path) else place.folder


def addresses_of(place: Place) -> list[store.BucketAddress]:
    """Where an archive is, its folder on this machine included."""
    folder = store.BucketAddress(f"file://{folder_of(place)}")
    return [folder, place.address] if isinstance(place, ArchivePlace) else [folder]


def shown(place: Place) -> str:
    """An archive as people see it."""
    return readable(place) if isinstance(place, Path) else place.address.url


def plain_keys(configuration: Configuration) -> list[str]:
    """A warning for each key of the store that the file has in plain text."""
    from migrator.config import warning_of_plain_text

    settings = configuration.settings.storage
    given = {key: getattr(settings, key) for key in ("secret_key", "session_token")}
    found = [f"storage.{key}" for key, value in given.items() if isinstance(value, str)]
    encryption = configuration.settings.encryption
    if encryption is not None and isinstance(encryption.identity, str):
        found.append("encryption.identity")
    return [warning_of_plain_text(key) for key in found]
