"""An archive in a bucket, held for a run: the lock there and here, catalog and journal in step before and after."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from migrator import store
from migrator.errors import ArchiveLockedError, ConfigError, MigratorError, StorageError
from migrator.jobs.place import ArchivePlace, Place
from migrator.jobs.signals import interruptible

SEND_SECONDS, SEND_UPLOADS_SECONDS = 30.0, 5.0
"""How often a run copies its journal into the bucket while it is at work, and how often one of UPLOADS does."""
JOIN_SECONDS = 2.0
"""How long the end of a run waits for a copy under way."""
SENT_AGAIN_AFTER = 20
"""It waits at least so many times as long as the copy took."""
UPLOADS = ("load", "restore")
"""Commands that leave files at a tracker, which their journal knows."""

_log = logging.getLogger("migrator.archive")


@contextmanager
def held_bucket(
    place: ArchivePlace, command: str, *, create: bool = False, ours: bool = True
) -> Iterator[store.Archive]:
    """The locked archive, in step with the bucket; afterwards what is new goes there.

    It must exist unless `create`. Without `ours`, changes that only this machine has give way; see `Mirror.fetch`.
    """
    if not create:
        interruptible(lambda: _require_archive(place))
    bucket = place.bucket()
    with store.disk_errors(str(place.folder)):
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with store.ArchiveLock(place.folder, command) as lock, _held(store.Lease(bucket, command, place.folder)) as lease:
        if not lease.conditional:
            _log.info("%s ignores conditions on writes; the lock was written and read again after a pause", bucket.name)
        _name_those_who_died(lease.died_elsewhere, bucket)
        mirror, archive = interruptible(lambda: _begun(place, bucket, lease, lock, create=create, ours=ours))
        _name_those_who_died(lease.look_again(), bucket)
        if lease.died_here:
            interruptible(mirror.send_journal)
            lease.all_is_known()
        if command in UPLOADS:
            interruptible(lease.begin_sending)
        try:
            with _sending_the_journal(mirror, lease, SEND_UPLOADS_SECONDS if command in UPLOADS else SEND_SECONDS):
                yield archive
        except StorageError:
            raise  # whatever refused, the next run here brings the catalog there
        except BaseException:
            try:
                interruptible(lambda: _send(mirror, lease))
            except MigratorError as error:  # the error being raised says more
                _log.warning("the catalog is not in the bucket yet; the next run here uploads it: %s", error)
            raise
        interruptible(lambda: _send(mirror, lease))


def _name_those_who_died(runs: list[dict[str, str]], bucket: store.Bucket) -> None:
    for died in runs:
        _log.warning(
            "%s: `%s` died on %s (begun %s). What it sent after it last copied its journal here (every %.0f s or so) "
            "is known there alone: a load finds it at the target and does not send it again, unless the target renames "
            "files or lists them late; a rollback from here leaves it",
            *(bucket.name, died["command"], died["host"] or "another machine", died["since"], SEND_UPLOADS_SECONDS),
        )


@contextmanager
def _held(lease: store.Lease) -> Iterator[store.Lease]:
    interruptible(lease.__enter__)
    try:
        yield lease
    finally:
        if lease.stays and not lease.is_lost:
            _log.warning(
                "the bucket may not know all that was sent from here, so the lock stays: a run from here can go ahead, "
                "and one from elsewhere only after %.0f s, and is told",
                lease.seconds,
            )
        lease.__exit__()


@contextmanager
def _sending_the_journal(mirror: store.Mirror, lease: store.Lease, seconds: float) -> Iterator[None]:
    """Copy the journal now and then, so that a machine that is lost in a run of days costs little of it."""
    ending = threading.Event()

    def send() -> None:
        wait = seconds
        while not ending.wait(wait):
            began = time.monotonic()
            try:
                lease.guard()
                mirror.send_journal()
            except MigratorError as error:
                _log.info("the journal could not be copied, and will be tried again: %s", error)
            wait = max(seconds, SENT_AGAIN_AFTER * (time.monotonic() - began))

    sending = threading.Thread(target=send, name="journal", daemon=True)
    sending.start()
    try:
        yield
    finally:
        ending.set()
        sending.join(JOIN_SECONDS)


def _begun(
    place: ArchivePlace, bucket: store.Bucket, lease: store.Lease, lock: store.ArchiveLock, *, create: bool, ours: bool
) -> tuple[store.Mirror, store.Archive]:
    """Bring this machine in step with the bucket, and prepare the archive there."""
    before = store.in_step(place.folder)
    has_others = before is not None and before.recipients != place.known.recipients
    encoding = store.encoding_of(bucket, place.folder, place.encryption, create=create)
    if has_others:
        store.put_key(bucket, place.folder, encoding, again=True)
    mirror = store.Mirror(bucket, place.folder, place.known, encoding)
    mirror.fetch(ours=ours)
    blobs = store.ObjectBlobs(bucket, place.folder, lease.guard, encoding, mirror.send_journal)
    if not store.is_archive(place.folder):
        blobs.require_free()
    store.put_key(bucket, place.folder, encoding)
    if has_others:
        mirror.require_sending()
    archive = store.Archive(place.folder, lock.handles, blobs, place.address, encoding)
    archive.prepare()
    return mirror, archive


def _require_archive(place: ArchivePlace) -> None:
    """`ConfigError` if there is no archive in the bucket, and this machine has none that it lacks.

    `ArchiveLockedError` if a first backup is at work there: its catalog comes later.
    """
    if store.is_archive(place.folder):
        return
    if not place.address.is_missing_folder:
        bucket = place.bucket()
        if store.holds_archive(bucket):
            return
        if holder := store.holder_in(bucket):
            first = "`{command}` (process {pid} on {host}, since {since})".format_map(holder)
            raise ArchiveLockedError(f"{bucket.name} has no catalog yet: {first} is at work on it, or was killed")
        if bucket.version(store.README):
            raise ConfigError(f"{bucket.name} has no catalog yet: its first backup was not finished; run it again")
    raise ConfigError(f"{place.address.url} is not an archive (no catalog in it)")


def _send(mirror: store.Mirror, lease: store.Lease) -> None:
    """Copy what is new into the bucket, unless another run has taken over."""
    lease.guard()
    mirror.send(lease.all_is_known)


def refresh(place: ArchivePlace, *, or_fail: bool = False) -> None:
    """Bring the catalog of this machine in step with the bucket to read it, unless a run is at work on it.

    If the bucket can't be read, what this machine knows has to do, with a warning, unless `or_fail`.
    """
    try:
        interruptible(lambda: _refresh(place))
    except (StorageError, store.IdentityNeededError) as error:
        if or_fail or not store.is_archive(place.folder):
            raise
        _log.warning("showing what this machine knows: %s", str(error).removeprefix("configuration: "))


def _refresh(place: ArchivePlace) -> None:
    _require_archive(place)
    bucket = place.bucket()
    with store.disk_errors(str(place.folder)):
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mirror = store.Mirror(bucket, place.folder, place.known, store.encoding_of(bucket, place.folder, place.encryption))
    if mirror.is_behind():
        with suppress(ArchiveLockedError), store.ArchiveLock(place.folder, "read"):
            mirror.fetch()
            store.Catalog(place.folder).close()  # which brings it up to the journal


def holder_elsewhere(place: Place) -> dict[str, str] | None:
    """Who holds an archive in a bucket; None if nobody does, or if the store can't be asked."""
    with suppress(StorageError):
        return interruptible(lambda: store.holder_in(place.bucket())) if isinstance(place, ArchivePlace) else None
    return None


def archive_to_read(place: Place) -> store.Archive:
    """The archive without its lock, to read blobs."""
    if isinstance(place, ArchivePlace):
        bucket = place.bucket()
        encoding = store.encoding_of(bucket, place.folder, place.encryption)
        return store.Archive(place.folder, store=store.ObjectBlobs(bucket, place.folder, encoding=encoding))
    return store.Archive(place)
