"""The copies of catalog and journal in a bucket, and how the folder of a machine gets in step with them.

The journal alone says everything, so it is what counts: a machine that has an older one takes the new one, and makes
its catalog from it. The copy of the catalog is for people and other programs.

Beware: a machine that has changes which the bucket lacks, while another one has gone on from the bucket, has to decide
which of them is right; nothing here does that silently.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex

from sqlite_utils import Database

from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.store import disk
from migrator.store.catalog import copied, opened_to_read, sqlite_errors
from migrator.store.disk import disk_errors
from migrator.store.duplicate import copy_file
from migrator.store.journal import is_replaced, manifest
from migrator.store.layout import (
    CATALOG,
    CATALOG_COPY,
    ENCRYPTED_SUFFIX,
    IN_STEP,
    JOURNAL,
    JOURNAL_COPY,
    NEW_JOURNAL,
    name_for_damaged,
)
from migrator.store.objects.age import UndecryptableError
from migrator.store.objects.bucket import READ_BYTES, Bucket
from migrator.store.objects.encoding import PLAIN, Encoding
from migrator.store.objects.known import InStep, in_step
from migrator.store.repair import SUFFIXES, put_aside, remake
from migrator.store.schema import has_table

_log = logging.getLogger("migrator.archive")


def holds_archive(bucket: Bucket) -> bool:
    """Whether a bucket has what a machine without a catalog can begin with. `StorageError` if there is no bucket."""
    _, objects = bucket.look()
    return not {f"{name}{suffix}" for name in (JOURNAL, CATALOG) for suffix in ("", ENCRYPTED_SUFFIX)}.isdisjoint(
        objects
    )


class Mirror:
    """The copies in a bucket of what the folder `root` has. The caller holds both. `known` is how it is reached.

    Taking a journal that another machine has written needs the private key, if the archive is encrypted.
    """

    def __init__(self, bucket: Bucket, root: Path, known: InStep, encoding: Encoding = PLAIN) -> None:
        self._encoding = encoding
        self._catalog_there, self._journal_there = CATALOG + encoding.suffix, JOURNAL + encoding.suffix
        self._bucket, self._root, self._known = bucket, root, known
        self._path, self._sending = manifest.path_in(root), threading.Lock()

    def is_behind(self) -> bool:
        """Whether `fetch` has something to do."""
        version, kept = self._bucket.version(self._journal_there), in_step(self._root)
        has_catalog = (self._root / CATALOG).exists()
        return not has_catalog or kept is None or kept.taking or kept.e_tag != (version.e_tag if version else "")

    def fetch(self, *, ours: bool = True) -> None:
        """Bring the folder in step with the bucket. `ours`: changes that only this machine has are kept, if possible.

        `ConfigError` if there are such changes, and another machine has gone on without them; without `ours` the
        bucket counts, and they are lost.
        """
        self._require_right_folder()
        if not self.is_behind():
            return
        version, kept = self._bucket.version(self._journal_there), in_step(self._root)
        if version is not None:
            self._fetch_journal(kept, version.e_tag, ours=ours)
            return
        if kept is not None and kept.e_tag:
            _log.warning(
                "%s has no journal any more, although this machine has put one there; `migrator verify` tells whether "
                "files are missing, too",
                self._bucket.name,
            )
        if not (self._root / CATALOG).exists():
            self._fetch_catalog()
        self._keep("", "")

    def require_sending(self) -> None:
        """Both copies are sent by the next `send` although they are there, as the recipients are others now."""
        if (kept := in_step(self._root)) is not None:
            self._keep(kept.e_tag, "", taking=kept.taking)

    def send(self, journal_sent: Callable[[], None] = lambda: None) -> None:
        """Copy journal and catalog into the bucket, if there is anything new. `fetch` was called before.

        `journal_sent` is called in between. `ArchiveDamagedError` if the catalog is damaged; the journal is there then.
        """
        sha256 = self.send_journal()
        journal_sent()
        kept = in_step(self._root)
        if not sha256 or not (self._root / CATALOG).exists():
            return
        if kept is not None and kept.catalog != sha256:
            copy = self._root / CATALOG_COPY
            with sqlite_errors(self._root), disk_errors(CATALOG_COPY):
                copied(self._root / CATALOG, copy)
                self._put(self._catalog_there, copy)
                disk.remove(copy)
            self._keep(kept.e_tag, sha256, catalog=sha256)

    def send_journal(self) -> str:
        """Copy the journal as it is now, if it is new there; also while it is written to. Returns its hash.

        A part of a batch at its end is no harm: readers skip it.
        """
        if not self._path.exists():
            return ""
        copy = self._root / JOURNAL_COPY
        with self._sending, disk_errors(JOURNAL_COPY):
            copy_file(self._path, copy)
            sha256, kept = _hash(copy), in_step(self._root)
            if kept is None or kept.sha256 != sha256:
                self._put(self._journal_there, copy, kept)
                version = self._bucket.version(self._journal_there)
                self._keep(version.e_tag if version else "", sha256, catalog=kept.catalog if kept else "")
            disk.remove(copy)
            return sha256

    def _require_right_folder(self) -> None:
        kept = in_step(self._root)
        if kept is None and (self._root / CATALOG).exists():
            raise ConfigError(f"{self._root} is an archive of its own: name another folder in [storage] local")
        if kept is not None and (kept.url, kept.endpoint) != (self._known.url, self._known.endpoint):
            raise ConfigError(f"{self._root} has the catalog of {kept.url}: name another folder in [storage] local")

    def _fetch_journal(self, kept: InStep | None, e_tag: str, *, ours: bool) -> None:
        fresh = self._root / NEW_JOURNAL
        if self._encoding.encrypted and kept and kept.sent and not kept.taking and self._is_there(kept.sent):
            self._keep(e_tag, "")
            return
        with disk_errors(NEW_JOURNAL):
            self._write(self._journal_there, fresh)
            sha256 = _hash(fresh)
            if kept and kept.taking:
                self._take(fresh)
            elif self._path.exists() and _begins_with(self._path, fresh):
                disk.remove(fresh)  # the bucket lacks at most what a run that was killed here has not sent
            elif self._has_no_runs():
                self._take(fresh)
            elif self._path.exists() and _begins_with(fresh, self._path) and (self._root / CATALOG).exists():
                self._go_on_to(fresh)
            else:
                if self._path.exists() and not (kept and kept.sha256 == _hash(self._path)):
                    self._put_aside(ours=ours)
                self._take(fresh)
        if not (self._root / CATALOG).exists():
            remake(self._root)
        self._keep(e_tag, sha256)

    def _has_no_runs(self) -> bool:
        """Whether nothing here would be missed: a first run was killed before it began, or none was here."""
        if (self._root / CATALOG).exists() and self._catalog_has(
            lambda db: has_table(db, "runs") and db.execute("SELECT 1 FROM runs LIMIT 1").fetchone()
        ):
            return False
        return not manifest.latest_run(self._path)

    def _go_on_to(self, fresh: Path) -> None:
        """Replace the journal by one that begins with it; the catalog is brought up to it when it is opened.

        Not where the catalog does not know where in it it is. Nor in the middle of a crawl: which rows that saw is only
        in this catalog, and another machine has gone on with a crawl of its own.
        """

        def stands_apart(db: Database) -> object:
            replaced = has_table(db, "settings") and is_replaced(db, self._path)
            return replaced or (
                has_table(db, "checkpoints") and db.execute("SELECT 1 FROM checkpoints LIMIT 1").fetchone()
            )

        if self._catalog_has(stands_apart):
            self._take(fresh)
            return
        disk.sync_files(self._root, [fresh])
        disk.rename(fresh, self._path)

    def _catalog_has(self, ask: Callable[[Database], object]) -> bool:
        """What the catalog of this machine answers; False if it is damaged, which is said where it is opened."""
        with (
            suppress(ArchiveDamagedError),
            sqlite_errors(self._root),
            closing(opened_to_read(self._root / CATALOG)) as db,
        ):
            return bool(ask(db))
        return False

    def _put_aside(self, *, ours: bool) -> None:
        """Keep catalog and journal of this machine under other names, or refuse."""
        if ours:
            disk.remove(self._root / NEW_JOURNAL)
            raise ConfigError(
                f"{self._root} has changes that {self._bucket.name} lacks, where another machine has gone on without "
                "them; `migrator rebuild ARCHIVE` takes what is there, and keeps the catalog of this machine beside it"
            )
        put_aside(self._root)
        disk.rename(self._path, name_for_damaged(self._path))

    def _take(self, fresh: Path) -> None:
        """Replace journal and catalog by those of the bucket; `taking` until the catalog is made."""
        self._keep("", "", taking=True)
        for suffix in SUFFIXES:
            disk.remove(self._root / f"{CATALOG}{suffix}")
        disk.sync_files(self._root, [fresh])
        disk.rename(fresh, self._path)
        disk.sync_folders([self._root], self._root)

    def _fetch_catalog(self) -> None:
        """Where the journal in the bucket is lost, the copy of the catalog is what is left."""
        if self._bucket.size(self._catalog_there) is not None:
            with disk_errors(CATALOG):
                copy = self._root / CATALOG_COPY
                self._write(self._catalog_there, copy)
                disk.rename(copy, self._root / CATALOG)

    def _write(self, name: str, path: Path) -> None:
        try:
            self._write_chunks(path, self._encoding.decoded(self._bucket.chunks(name)))
        except UndecryptableError as error:
            raise ArchiveDamagedError(f"{self._bucket.name}: {name}: {error}") from error

    def _write_chunks(self, path: Path, chunks: Iterator[bytes]) -> None:
        handle = disk.create(path)
        try:
            for chunk in chunks:
                disk.write_all(handle, chunk)
        finally:
            disk.close(handle)

    def _put(self, name: str, path: Path, kept: InStep | None = None) -> None:
        """Copy a file into the bucket; `kept`: it is the journal, and what is sent is recorded before."""
        if not self._encoding.encrypted:
            self._bucket.put_file(name, path)
            return
        copy = path.with_name(path.name + self._encoding.suffix)
        with path.open("rb") as file:
            self._write_chunks(copy, self._encoding.encoded(iter(lambda: file.read(READ_BYTES), b"")))
        if kept is not None:
            self._keep(kept.e_tag, kept.sha256, catalog=kept.catalog, sent=_hash(copy))
        self._bucket.put_file(name, copy)
        disk.remove(copy)

    def _is_there(self, sent: str) -> bool:
        """Whether the journal there is this one, which came from here."""
        if not self._path.exists() or not (self._root / CATALOG).exists():
            return False
        sha256 = hashlib.sha256()
        for chunk in self._bucket.chunks(self._journal_there):
            sha256.update(chunk)
        return sha256.hexdigest() == sent

    def _keep(
        self, e_tag: str, sha256: str, *, catalog: str = "", taking: bool = False, sent: str | None = None
    ) -> None:
        last = in_step(self._root)
        kept = {"e_tag": e_tag, "sha256": sha256, "catalog": catalog, "taking": taking}
        kept["sent"] = sent if sent is not None else last.sent if last else ""
        kept["id"] = last.id if last and last.id and not taking else token_hex(8)
        known = {**asdict(self._known), **kept}
        with disk_errors(IN_STEP):
            fresh = self._root / f"{IN_STEP}.new"
            disk.write_file(fresh, json.dumps(known).encode())
            disk.sync_files(self._root, [fresh])
            disk.rename(fresh, self._root / IN_STEP)
            disk.sync_folders([self._root], self._root)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begins_with(path: Path, beginning: Path) -> bool:
    """Whether the content of one file begins with all of the other's."""
    with path.open("rb") as file, beginning.open("rb") as other:
        while expected := other.read(READ_BYTES):
            if file.read(len(expected)) != expected:
                return False
    return True
