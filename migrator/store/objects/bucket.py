"""A bucket, or a folder in one, through obstore: its calls, with our errors.

Every call is repeated after a passing fault: by obstore itself, and where that doesn't know whether a write arrived, by
us, because what we write under a name is always the same, or is checked.

Beware: obstore's messages contain addresses, whose query may be a signature, and more lines for its developers. Only
the first line without the query is shown.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from migrator.errors import ConfigError, StorageError
from migrator.store.objects.address import BucketAddress
from migrator.store.objects.credentials import profile_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

READ_BYTES = 1024 * 1024
PART_BYTES, PARTS_AT_ONCE = 8 * 1024 * 1024, 2
"""A large object is sent in parts; of one object so many at once."""
MAX_PARTS = 9_000
"""Of one object, with some to spare: S3 takes 10,000."""
MAX_COPY_BYTES = 5 * 10**9
"""S3 copies no larger object in one request; such a one is read and written again."""
ATTEMPTS = 4
"""For a call that obstore doesn't repeat by itself."""
WAIT_SECONDS = 0.5
"""Before the second attempt; it doubles."""
REMEDIES = (
    ("169.254.169.254", "no keys were found: in [storage], the environment, a profile, or the role of this machine"),
    ("Account must be specified", "name it by access_key in [storage], or in AZURE_STORAGE_ACCOUNT_NAME"),
    ("builder error", "an http:// address is only used with allow_http in [storage], or with AWS_ALLOW_HTTP=true"),
)
"""What obstore's messages contain, and what to do then."""
MAX_RETRIES, RETRY_SECONDS, READ_SECONDS = 8, 90, 60
"""Of obstore: for one request, over all its attempts, and without a byte."""
WITHOUT_OBSTORE = "an archive in an object store needs obstore: pip install 'tracker-migrator[s3]'"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Version:
    """What was read or written: its tag, which changes with the content, and when the store got it."""

    e_tag: str
    at: datetime


class NoConditionError(Exception):
    """The store can't write under a condition."""


class Bucket:
    """A bucket; `name` is its address. Every method blocks, and raises `StorageError` if the store can't be used."""

    def __init__(self, name: str, store: ObjectStore) -> None:
        self.name, self._store = name.rstrip("/"), store

    @classmethod
    def at(cls, address: BucketAddress) -> Bucket:
        """The bucket at an address; no request is made. `ConfigError` if the settings make no sense."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import LocalStore, from_url
        except ImportError:
            raise ConfigError(WITHOUT_OBSTORE) from None
        if address.url.startswith("file://"):
            return cls(address.url, LocalStore(Path(address.url.removeprefix("file://")), mkdir=True))
        how: dict[str, Any] = {
            **profile_of(address.url, address.options),
            **address.options,
            "client_options": {
                "allow_http": address.allow_http or os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"},
                "timeout": "24h",  # of a whole request, large objects included; `read_timeout` is the one that counts
                "read_timeout": f"{READ_SECONDS}s",
                "connect_timeout": "10s",
            },
            "retry_config": {"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
        }
        try:
            return cls(address.url, from_url(address.url, **how))
        except (BaseError, ValueError) as error:
            raise ConfigError(f"{address.url}: {_first_line(error)}") from None

    def read(self, path: str) -> tuple[bytes, Version] | None:
        """A small object; None if there is none."""
        with suppress(FileNotFoundError), self._errors():
            got = self._repeated(lambda: self._store.get(path))
            return bytes(got.bytes()), Version(got.meta["e_tag"] or "", got.meta["last_modified"])
        return None

    def version(self, path: str) -> Version | None:
        """The version of an object; None if there is none."""
        with suppress(FileNotFoundError), self._errors():
            meta = self._store.head(path)
            return Version(meta["e_tag"] or "", meta["last_modified"])
        return None

    def size(self, path: str) -> int | None:
        """The size of an object; None if there is none."""
        with suppress(FileNotFoundError), self._errors():
            return int(self._store.head(path)["size"])
        return None

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of an object. `FileNotFoundError` if there is none.

        If the connection is cut, the object is read again from its start, as not every store knows ranges, and what
        was there before is skipped.
        """
        from obstore.exceptions import BaseError

        given, attempt = 0, 0
        with self._errors():
            while True:
                try:
                    skip = given
                    for chunk in self._store.get(path).stream(min_chunk_size=READ_BYTES):
                        fresh = bytes(chunk)[skip:]
                        skip = max(0, skip - len(chunk))
                        if fresh:
                            given, attempt = given + len(fresh), 0
                            yield fresh
                except FileNotFoundError:
                    raise
                except (BaseError, OSError):
                    if (attempt := attempt + 1) == ATTEMPTS:
                        raise
                    time.sleep(WAIT_SECONDS * 2**attempt)
                else:
                    return

    def put(self, path: str, body: bytes) -> str:
        """Write a small object, whatever is there; returns its tag."""
        with self._errors():
            return self._repeated(lambda: self._store.put(path, body, use_multipart=False))["e_tag"] or ""

    def create(self, path: str, body: bytes) -> str | None:
        """Write a small object if there is none; None if there is one, be it our own whose answer was lost.

        Beware: some stores ignore the condition, and write.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._errors():
                put = self._repeated(lambda: self._store.put(path, body, mode="create", use_multipart=False))
                return put["e_tag"] or ""
        except AlreadyExistsError:
            return None

    def replace(self, path: str, body: bytes, e_tag: str) -> str | None:
        """Write a small object if the one that is there has this tag, and return the new tag; else None.

        `NoConditionError` if the store has no such condition. Beware: some stores ignore it, and write.
        """
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        try:
            with self._errors():
                put = self._repeated(lambda: self._store.put(path, body, mode={"e_tag": e_tag}, use_multipart=False))
                return put["e_tag"] or ""
        except (PreconditionError, AlreadyExistsError):
            return None
        except (NotSupportedError, NotImplementedError):  # the latter by obstore's folder on a disk
            raise NoConditionError from None

    def put_stream(self, path: str, chunks: Iterator[bytes], size: int = 0) -> None:
        """Write a large object in parts. If the iterator raises, the parts are given up, and its error is raised.

        `size`: about how much it will be, if that is known; S3 takes 10,000 parts of an object.

        Where the answer to its completion is lost, obstore repeats that, and the store doesn't know the parts any more:
        then the object itself says whether it is complete.
        """
        sent = 0

        def counted() -> Iterator[bytes]:
            nonlocal sent
            for chunk in chunks:
                sent += len(chunk)
                yield chunk

        with self._errors():
            try:
                part = max(PART_BYTES, size // MAX_PARTS)
                self._store.put(path, counted(), use_multipart=True, chunk_size=part, max_concurrency=PARTS_AT_ONCE)
            except FileNotFoundError as error:
                if "NoSuchUpload" not in str(error):
                    raise
                if self.size(path) != sent:
                    raise StorageError(f"{self.name}: {path} was sent, but is not there as it should be") from error

    def put_file(self, path: str, file: Path) -> None:
        """Write an object with the content of a file."""
        with file.open("rb") as body:
            if file.stat().st_size <= PART_BYTES:
                self.put(path, body.read())
            else:
                self.put_stream(path, iter(lambda: body.read(READ_BYTES), b""), file.stat().st_size)

    def move(self, path: str, to: str, size: int) -> None:
        """Give an object another name. May be repeated after a kill."""
        if size > MAX_COPY_BYTES:
            self.put_stream(to, self.chunks(path), size)
        else:
            with self._errors():
                self._repeated(lambda: self._store.copy(path, to, overwrite=True))
        self.remove([path])

    def objects(self, folder: str = "") -> Iterator[tuple[str, int]]:
        """Path and size of every object in a folder, in no order."""
        with self._errors():
            for page in self._store.list(f"{folder}/" if folder else None):
                for meta in page:
                    yield meta["path"], meta["size"]

    def look(self, folder: str = "") -> tuple[list[str], list[str]]:
        """The folders and the objects right in a folder, by their names."""
        with self._errors():
            found = self._repeated(lambda: self._store.list_with_delimiter(f"{folder}/" if folder else None))
        paths = [*found["common_prefixes"]], [meta["path"] for meta in found["objects"]]
        folders, objects = ([path.rstrip("/").rpartition("/")[2] for path in each] for each in paths)
        return folders, objects

    def remove(self, paths: Sequence[str]) -> None:
        """Delete objects; those that are not there don't matter."""
        with suppress(FileNotFoundError), self._errors():
            if paths:
                self._repeated(lambda: self._store.delete([*paths]))

    def _repeated(self, call: Callable[[], T]) -> T:
        """Call again after a fault of which obstore doesn't know whether the request arrived."""
        from obstore.exceptions import GenericError

        began = time.monotonic()
        for attempt in range(1, ATTEMPTS):
            try:
                return call()
            except GenericError:
                if time.monotonic() - began > RETRY_SECONDS / 2:
                    raise  # obstore has tried for long
                time.sleep(WAIT_SECONDS * 2 ** (attempt - 1))
        return call()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn a store's refusal into `StorageError`; what a caller decides by passes."""
        from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError

        try:
            yield
        except (AlreadyExistsError, PreconditionError, NotSupportedError):
            raise
        except (BaseError, OSError) as error:
            if "NoSuchBucket" in str(error):
                raise StorageError(f"{self.name}: there is no such bucket; create it, or correct its name") from error
            if isinstance(error, FileNotFoundError):
                raise
            remedy = "nothing is lost, run the same command again once it can be used"
            raise StorageError(f"{self.name} can't be used: {_first_line(error)}; {remedy}") from error


def _first_line(error: BaseException) -> str:
    """The first line of a message, with the store's own code of the error."""
    text = str(error).strip()
    line = re.sub(r"\?\S*", "", re.sub(r"<\?xml.*", "", text.partition("\n")[0])).strip().rstrip(":")
    details = [code[1]] if (code := re.search(r"<Code>(\w+)</Code>", text)) else []
    details += [remedy for sign, remedy in REMEDIES if sign in text]
    return f"{line} ({'; '.join(details)})" if details else line
