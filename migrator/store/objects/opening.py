"""Whether an archive in a bucket is encrypted, and the key of its names: made with the archive, or taken from there.

The key is random. It lies in the folder of each machine that works on the archive, and in the bucket, encrypted to the
recipients; beside it lies its fingerprint, by which a machine that can't decrypt it sees that its own is the same.

Beware: an archive is encrypted from its first file on, or never; `migrator copy` makes another one that is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes

from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.store import disk
from migrator.store.disk import disk_errors
from migrator.store.layout import ENCRYPTED_SUFFIX, JOURNAL, KEY_FINGERPRINT, NAMES_KEY, README
from migrator.store.objects import age
from migrator.store.objects.bucket import Bucket
from migrator.store.objects.encoding import PLAIN, Encoding, Encrypted, no_identity

KEY_BYTES = 32
_THERE = NAMES_KEY + ENCRYPTED_SUFFIX


@dataclass(frozen=True, slots=True)
class Encryption:
    """The public keys to encrypt to, and where to get the private key, if something has to be read."""

    recipients: tuple[str, ...]
    identity: Callable[[], str] = field(default=no_identity, repr=False)

    def require_recipients(self) -> None:
        """`ConfigError` if a recipient is no public key, or if pyrage is missing."""
        age.parsed_recipients(self.recipients)


def encoding_of(bucket: Bucket, folder: Path, encryption: Encryption | None, *, create: bool = False) -> Encoding:
    """How the archive in a bucket is written. `folder` is where this machine keeps its catalog, and the key.

    A key is made only with `create`, and kept by `put_key`.

    `ConfigError` if it is encrypted and `encryption` is missing, or the other way round, or if the key is needed from
    the bucket and the identity doesn't open it. `ArchiveDamagedError` if what is there is no key.
    """
    key = _kept(folder)
    if encryption is None:
        if key is not None or (not (folder / JOURNAL).exists() and bucket.size(_THERE) is not None):
            raise ConfigError(f"{bucket.name} is encrypted: name a configuration that has [encryption]")
        return PLAIN
    encryption.require_recipients()

    def identity() -> str:
        text = encryption.identity()
        _opened(bucket, text)
        return text

    if key is None or _is_another(bucket, key):
        key = _taken(bucket, encryption)
        if key is None:
            _require_new(bucket, folder, create=create)
            key = token_bytes(KEY_BYTES)
        else:
            _keep(folder, key)
    return Encrypted(encryption.recipients, key, identity)


def put_key(bucket: Bucket, folder: Path, encoding: Encoding, *, again: bool = False) -> None:
    """Keep the key here and in the bucket, unless it is there; `again`: although it is, as the recipients are others
    now. The caller holds both.
    """
    if isinstance(encoding, Encrypted) and (again or bucket.size(KEY_FINGERPRINT) is None):
        _keep(folder, encoding.names_key)
        bucket.put(_THERE, encoding.encode(encoding.names_key.hex().encode()))
        bucket.put(KEY_FINGERPRINT, _fingerprint(encoding.names_key))


def _fingerprint(key: bytes) -> bytes:
    return hmac.new(key, b"fingerprint", hashlib.sha256).hexdigest().encode()


def _is_another(bucket: Bucket, key: bytes) -> bool:
    """Whether the key in the bucket is another one, such as that of an archive that was begun anew."""
    found = bucket.read(KEY_FINGERPRINT)
    return found is not None and found[0] != _fingerprint(key)


def _taken(bucket: Bucket, encryption: Encryption) -> bytes | None:
    """The key as it lies in the bucket; None if there is none."""
    if bucket.size(_THERE) is None:
        return None
    return _opened(bucket, encryption.identity())


def _opened(bucket: Bucket, identity: str) -> bytes | None:
    """The key in the bucket, which proves that this is the private key of the archive."""
    found = bucket.read(_THERE)
    if found is None:
        return None
    try:
        return bytes.fromhex(b"".join(age.decrypted(iter([found[0]]), age.parsed_identities(identity))).decode())
    except age.UndecryptableError as error:
        if age.OTHER_RECIPIENTS in str(error):
            raise ConfigError(f"configuration: {bucket.name} is not encrypted for encryption.identity") from None
        raise ArchiveDamagedError(f"{bucket.name}: {_THERE}: {error}") from error
    except ValueError as error:
        raise ArchiveDamagedError(f"{bucket.name}: {_THERE} is not a valid key") from error


def _require_new(bucket: Bucket, folder: Path, *, create: bool) -> None:
    """`ConfigError` if there is an archive already, which is not encrypted, or if there is none and none is made."""
    found = bucket.read(README)
    if (folder / JOURNAL).exists() or bucket.size(JOURNAL) is not None or (found and found[0] == PLAIN.readme.encode()):
        raise ConfigError(
            f"{bucket.name} is not encrypted, and can't be encrypted later: `migrator copy` it to another address, "
            "named by a configuration with [encryption]"
        )
    if not create:
        raise ConfigError(f"{bucket.name} is not an archive: it has no catalog")


def _kept(folder: Path) -> bytes | None:
    """The key that this machine has."""
    with disk_errors(NAMES_KEY), suppress(FileNotFoundError):
        try:
            return bytes.fromhex((folder / NAMES_KEY).read_text())
        except ValueError:
            raise ArchiveDamagedError(
                f"{folder / NAMES_KEY} is not a valid key; delete it to use the one in the bucket"
            ) from None
    return None


def _keep(folder: Path, key: bytes) -> None:
    fresh = folder / f"{NAMES_KEY}.new"
    with disk_errors(NAMES_KEY):
        disk.remove(fresh)
        disk.write_file(fresh, key.hex().encode())
        disk.sync_files(folder, [fresh])
        disk.rename(fresh, folder / NAMES_KEY)
        disk.sync_folders([folder], folder)
