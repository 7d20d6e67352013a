"""The lock of an archive in a bucket: the object `lock`, which says who is at work and is written again and again.

It is made by a write that fails if there is one already. Whoever holds it renews it; when it has not been renewed for
LEASE_SECONDS, another machine may take it over. How old it is, the store's own clock says, so those of the machines
don't matter. A run that finds that it has been taken over, or could not renew it in time, writes nothing more.

A run that leaves files at a tracker says so in the lock until the bucket's journal knows of them. If it dies, those who
take the lock after it carry that on, until one of them has told its user and ended.

Beware: some stores ignore conditions on writes. There the lock is written, and read again after a pause: of two who
write at once, the one who finds the other's stops. That is safe unless a request takes longer than the pause.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Self

from migrator.errors import ArchiveLockedError, StorageError
from migrator.store.clock import now
from migrator.store.layout import JOURNAL, LOCK, LOCK_PROBE
from migrator.store.lock import boot_id, parsed
from migrator.store.objects.bucket import Bucket, NoConditionError, Version
from migrator.store.objects.known import in_step

LEASE_SECONDS = 180.0
RENEWALS = 6
"""How often it is renewed in that time."""
TRUSTED_SHARE = 0.6
"""For this share of the time the holder relies on its last renewal."""
RELEASE_SECONDS = 5.0
"""How long its release may take; a run that ends waits no longer for a store that hangs."""
PAUSE_SECONDS = 3.0
"""Before the lock is read again, where the store ignores conditions."""

_SHOWN = ("command", "pid", "host", "since")
"""What people are told of a holder."""

_log = logging.getLogger("migrator.lock")


class Lease:
    """A context manager that holds the archive in a bucket. `ArchiveLockedError` if another run holds it.

    `folder` is where this machine keeps the catalog, and is locked by the caller: a holder that has ended there, on
    this machine, need not be waited for. `conditional` says whether the store heeds conditions. `seconds`: how old the
    lock may get before others may take it. `is_lost`: another run has it.

    `died_here` and `died_elsewhere` are runs that left files at a tracker and died before the bucket knew of them all:
    those whose catalog is in `folder`, and the others.
    """

    def __init__(self, bucket: Bucket, command: str, folder: Path) -> None:
        self._bucket, self.seconds, self._pause = bucket, LEASE_SECONDS, PAUSE_SECONDS
        self._folder, self._unsent = folder, False
        self._entry: dict[str, Any] = {
            "command": command,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": now(),
            "boot": boot_id(),
            "folder": str(folder.absolute()),
            "catalog": "",
            "token": token_hex(8),
        }
        self._e_tag, self._renewed_at = "", 0.0
        self.died_here: list[dict[str, str]] = []
        self.died_elsewhere: list[dict[str, str]] = []
        self.conditional, self.is_lost = True, False
        self._ending, self._writing = threading.Event(), threading.Lock()
        self._renewing = threading.Thread(target=self._renew_until_end, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._acquire()
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        releasing = threading.Thread(target=self._release, name="release", daemon=True)
        releasing.start()
        releasing.join(RELEASE_SECONDS)

    def _release(self) -> None:
        """Delete the lock if it is ours, unless it stays. One that can't be released runs out."""
        self._renewing.join()
        if self.stays:
            return
        with suppress(StorageError):
            found = self._bucket.read(LOCK)
            if found and self._is_ours(found[0]):
                self._bucket.remove([LOCK])

    @property
    def stays(self) -> bool:
        """Whether it is not released, because the bucket does not know all that runs here have left at a tracker."""
        return self._unsent or bool(self.died_here)

    def begin_sending(self) -> None:
        """From now on this run leaves files at a tracker. On return the lock says so."""
        known = in_step(self._folder)
        self._unsent, self._entry["catalog"] = True, known.id if known else ""
        try:
            self._renew()
        except StorageError:
            self._unsent = False  # nothing is sent then
            raise
        self.guard()

    def all_is_known(self) -> None:
        """What runs here have left at a tracker is in the bucket's journal, and nothing more comes."""
        if self.stays:
            self._unsent, self.died_here = False, []
            with suppress(StorageError):
                self._renew()

    def look_again(self) -> list[dict[str, str]]:
        """Runs that died here whose catalog has been replaced since: from now on they have died elsewhere."""
        before = self.died_here
        self._divide([*before, *self.died_elsewhere])
        return [each for each in before if each not in self.died_here]

    def guard(self) -> None:
        """`ArchiveLockedError` if the lock is not certainly held any more; call it before anything is written."""
        if not self.is_lost and _seconds_awake() - self._renewed_at > TRUSTED_SHARE * self.seconds:
            self._renew()
        if self.is_lost:
            raise ArchiveLockedError(f"{self._bucket.name} was taken over by another run, because this one had stalled")

    def _acquire(self) -> None:
        found = self._bucket.read(LOCK)
        if found and not self._may_take(*found):
            self._refuse(found[0])
        self._divide(_died(parsed(found[0])) if found else [])
        at = _seconds_awake()
        body = self._body()
        e_tag = self._replaced_if(found[1].e_tag, body) if found else self._bucket.create(LOCK, body)
        if not self.conditional:
            e_tag = self._bucket.put(LOCK, body)
        if e_tag is None or not self._heeds_conditions():
            self._require_ours()
        else:
            self._e_tag = e_tag
        self._renewed_at = at

    def _divide(self, died: list[dict[str, str]]) -> None:
        """Those who died by where their catalogs are; the last one of each catalog is enough."""
        known = in_step(self._folder)
        own = known.id if known and (self._folder / JOURNAL).exists() else None
        last: dict[str, dict[str, str]] = {}
        for each in died:
            last.setdefault(each["catalog"], each)
        here = [last.pop(own)] if own in last else []
        self.died_here, self.died_elsewhere = here, [*last.values()]

    def _heeds_conditions(self) -> bool:
        """Whether the store refuses to create what is there; if not, the lock was written once more."""
        if not self.conditional or self._bucket.create(LOCK, self._body()) is not None:
            self.conditional = False
            time.sleep(self._pause)
        return self.conditional

    def _require_ours(self) -> None:
        """Look whose lock is there: ours, though the answer was lost, or that of another run, which was faster."""
        found = self._bucket.read(LOCK)
        if found is None or not self._is_ours(found[0]):
            self._refuse(found[0] if found else b"")
        else:
            self._e_tag = found[1].e_tag

    def _may_take(self, text: bytes, version: Version) -> bool:
        """Whether the holder is one that has ended on this machine, or has not renewed the lock in time."""
        if self._was_here(parsed(text)):
            return True  # the caller holds the folder's own lock
        self._bucket.put(LOCK_PROBE, b"what time is it here?\n")
        probe = self._bucket.version(LOCK_PROBE)
        self._bucket.remove([LOCK_PROBE])
        return probe is not None and (probe.at - version.at).total_seconds() > self.seconds

    def _was_here(self, holder: dict[str, Any]) -> bool:
        return all(holder.get(key) == self._entry[key] for key in ("host", "boot", "folder"))

    def _refuse(self, text: bytes) -> None:
        holder, name = parsed(text), "another run"
        if holder:
            name = "`{command}` (process {pid} on {host}, since {since})".format_map(holder)
        raise ArchiveLockedError(
            f"{self._bucket.name} is held by {name}; if that has died, the archive is free {self.seconds:.0f} s after "
            "its last sign of life"
        )

    def _renew_until_end(self) -> None:
        while not self.is_lost and not self._ending.wait(self.seconds / RENEWALS):
            try:
                self._renew()
            except StorageError as error:
                _log.info("the lock could not be renewed, and will be tried again: %s", error)

    def _renew(self) -> None:
        with self._writing:
            at, body = _seconds_awake(), self._body()
            e_tag = self._replaced_if(self._e_tag, body)
            if e_tag is None:
                found = self._bucket.read(LOCK)
                if found is not None and self._is_ours(found[0]):
                    e_tag = found[1].e_tag
                    if found[0] != body:
                        e_tag = self._replaced_if(e_tag, body) if self.conditional else self._bucket.put(LOCK, body)
            if e_tag is None:
                self.is_lost = True
            else:
                self._e_tag, self._renewed_at = e_tag, at

    def _replaced_if(self, e_tag: str, body: bytes) -> str | None:
        """Write the lock if the one that is there has this tag; None otherwise, or if the store knows no conditions."""
        if self.conditional:
            try:
                return self._bucket.replace(LOCK, body, e_tag)
            except NoConditionError:
                self.conditional = False
        return None

    def _body(self) -> bytes:
        died = [*self.died_here, *self.died_elsewhere]
        return json.dumps({**self._entry, "unsent": self._unsent, "died": died, "renewed": now()}).encode()

    def _is_ours(self, text: bytes) -> bool:
        return bool(parsed(text).get("token") == self._entry["token"])


def _died(holder: dict[str, Any]) -> list[dict[str, str]]:
    """Whom the next run has to know of when this one has died: itself, if it had begun to send, and those before it."""
    earlier = holder.get("died")
    told = [holder] if holder.get("unsent") is True else []
    told += [each for each in (earlier if isinstance(earlier, list) else []) if isinstance(each, dict)]
    return [{name: str(each.get(name, "")) for name in (*_SHOWN, "catalog")} for each in told]


def holder_in(bucket: Bucket) -> dict[str, str] | None:
    """Who holds the archive in a bucket: command, pid, host, since. None if nobody does, or not any more."""
    found = bucket.read(LOCK)
    if found is None or (datetime.now(UTC) - found[1].at).total_seconds() > 2 * LEASE_SECONDS:
        return None
    holder: dict[str, Any] = parsed(found[0])
    return {name: str(holder[name]) for name in _SHOWN} if holder else None


def _seconds_awake() -> float:
    """A clock that also runs while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
