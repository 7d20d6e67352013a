"""How an archive lies in a bucket: as it is (`Plain`), or encrypted under names that say nothing (`Encrypted`)."""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from typing_extensions import override

from migrator.errors import ConfigError
from migrator.store.layout import BLOB_FOLDERS, BUCKET_README, ENCRYPTED_README, ENCRYPTED_SUFFIX
from migrator.store.objects import age


class IdentityNeededError(ConfigError):
    """Something is encrypted, and there is no private key to read it."""


def no_identity() -> str:
    """The private key of somebody who has none."""
    raise IdentityNeededError("configuration: encryption.identity is needed to read what is encrypted in the bucket")


class Encoding(Protocol):
    """Names and contents in a bucket. What is no known blob is named by its path there, below blobs/."""

    encrypted: bool
    """Whether contents can be read only with a private key."""
    suffix: str
    """What the names of the copies of catalog and journal end with."""
    readme: str
    """What stands in README.txt."""

    @abstractmethod
    def folder(self, folder: str) -> str:
        """The name there of a folder of blobs."""

    @abstractmethod
    def there(self, folder: str, name: str) -> str:
        """Where a file of a folder of blobs is, below blobs/."""

    @abstractmethod
    def fits(self, size_there: int, size: int) -> bool:
        """Whether an object may have a content of this size, as far as its own size says."""

    @abstractmethod
    def encode(self, content: bytes) -> bytes:
        """A small content as it lies there."""

    @abstractmethod
    def encoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """A content of any size as it lies there."""

    @abstractmethod
    def decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """An object's content. `OSError` if it was changed."""

    @abstractmethod
    def require_readable(self) -> None:
        """`ConfigError` without the private key."""

    @abstractmethod
    def for_worker(self) -> Encoding:
        """The same for a process that only writes."""


class Plain(Encoding):
    """Names and contents as they are."""

    encrypted, suffix, readme = False, "", BUCKET_README

    @override
    def folder(self, folder: str) -> str:
        return folder

    @override
    def there(self, folder: str, name: str) -> str:
        return f"{folder}/{name}"

    @override
    def fits(self, size_there: int, size: int) -> bool:
        return size_there == size

    @override
    def encode(self, content: bytes) -> bytes:
        return content

    @override
    def encoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return chunks

    @override
    def decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return chunks

    @override
    def require_readable(self) -> None:
        pass

    @override
    def for_worker(self) -> Encoding:
        return self


@dataclass(frozen=True)
class Encrypted(Encoding):
    """Contents encrypted to all recipients; a blob's name is a keyed hash (HMAC-SHA-256) of its SHA-256.

    So a machine without a private key knows what is there already, and nobody else can tell whether a certain file is.
    The folders are the same 256 in another order, which the key decides, too: a folder of blobs stays one folder.

    `identity` is asked for the private key when something is read.
    """

    recipients: tuple[str, ...]
    names_key: bytes = field(repr=False)
    identity: Callable[[], str] = field(default=no_identity, repr=False)

    encrypted, suffix, readme = True, ENCRYPTED_SUFFIX, ENCRYPTED_README

    @override
    def folder(self, folder: str) -> str:
        return self._folders[folder]

    @override
    def there(self, folder: str, name: str) -> str:
        return name if "/" in name else f"{self._folders[folder]}/{self._keyed(name)}{ENCRYPTED_SUFFIX}"

    @override
    def fits(self, size_there: int, size: int) -> bool:
        return age.may_be_size(size_there, size)

    @override
    def encode(self, content: bytes) -> bytes:
        return age.encrypt(content, self._to)

    @override
    def encoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return age.encrypted(chunks, self._to)

    @override
    def decoded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        return age.decrypted(chunks, self._with)

    @override
    def require_readable(self) -> None:
        _ = self._with

    @override
    def for_worker(self) -> Encoding:
        return Encrypted(self.recipients, self.names_key)

    @cached_property
    def _to(self) -> list[Any]:
        return age.parsed_recipients(self.recipients)

    @cached_property
    def _with(self) -> list[Any]:
        return age.parsed_identities(self.identity())

    @cached_property
    def _folders(self) -> dict[str, str]:
        return dict(
            zip(BLOB_FOLDERS, sorted(BLOB_FOLDERS, key=lambda name: self._keyed(f"folder {name}")), strict=True)
        )

    def _keyed(self, text: str) -> str:
        return hmac.new(self.names_key, text.encode(), hashlib.sha256).hexdigest()


PLAIN = Plain()
