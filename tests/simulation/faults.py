"""Crash points, where the program touches the world, and what is injected there: a fault, a delay, a kill, a power cut.

Each crash point calls `FaultInjector.at` before its work and, where something took effect, after it. The injector
counts them, kills the run at one that the plan names, and lets any other fail by chance.

Beware: a crash point that is reached after the kill belongs to a dead process, so it does nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import aiohttp
from sqlite_utils import Database

from migrator import errors
from migrator.model import Attachment
from migrator.pipeline import store_sink
from migrator.ports import BodyFacts, Sink
from migrator.store import disk, layout
from migrator.store.catalog.database import CatalogDatabase
from migrator.store.journal import keeper
from migrator.store.journal.replay import _statements
from migrator.trackers.memory import CHUNK_BYTES, MemoryTracker
from migrator.wire.h1.pool import ConnectionPool
from tests.simulation.disk import ForgetfulDisk
from tests.simulation.loop import Killed, ViolationError

SMALL = 4096
"""Bytes that a download may have in memory in a simulation. It is little, so that large files cost nothing."""

CALLS = ("create", "write_all", "write_at", "sync_files", "rename", "sync_folders", "remove")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of one run: the crash points of a kill and a stop (0: none), and the chance of others at each point.

    With `kill_on`, the kill is at the n-th crash point with this word, so that rare ones are reached, too. `away`: the
    storage behind the source is missing, so each download answers 404. `short`: the listing of the source that always
    ends before its total. From crash point `ends_at` on, the tracker no longer answers, or, with `refuses`, refuses the
    credentials.
    """

    kill_at: int = 0
    kill_on: str = ""
    stop_at: int = 0
    power_cut: bool = False
    network: float = 0.0
    disk: float = 0.0
    away: bool = False
    short: str = ""
    ends_at: int = 0
    refuses: bool = False

    @property
    def faulty(self) -> bool:
        """Whether any fault is planned."""
        return self != NO_FAULTS


NO_FAULTS = FaultPlan()


class FaultInjector:
    """Injects the faults of one run. `trace` lists its crash points in the order in which they were reached."""

    def __init__(self, rng: random.Random, plan: FaultPlan, files: ForgetfulDisk) -> None:
        self.rng, self.plan = rng, plan
        self.disk = files
        self.trace: list[str] = []
        self._counted = 0
        self.dead = False
        self.stop = asyncio.Event()

    def at(self, crash_point: str) -> None:
        """The run is at a crash point; it may be its last."""
        if self.dead:
            return
        self.trace.append(crash_point)
        if len(self.trace) == self.plan.stop_at:
            self.stop.set()
        if self.plan.kill_on in crash_point:
            self._counted += 1
        if self._counted == self.plan.kill_at and self.plan.kill_on in crash_point:
            self.dead = True
            raise Killed(crash_point)

    def expect_safe(self, catalog: CatalogDatabase) -> None:
        """`ViolationError` if the catalog is about to call a blob stored whose bytes or name are not safe on disk."""
        unsafe = {path.name for path in self.disk.contents} | {to.name for _, to, _ in self.disk.names}
        if unsafe and catalog.db.conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'attachments'").fetchone():
            said = catalog.db.conn.execute("SELECT sha256 FROM attachments WHERE status = 'stored'").fetchall()
            lost = unsafe & {sha256 for (sha256,) in said}
            if lost:
                raise ViolationError(
                    f"the catalog says that these are stored, and they are not safe on disk yet: {lost}"
                )

    def strikes(self, chance: float) -> bool:
        """Whether a fault of this chance happens now."""
        return not self.dead and chance > 0 and self.rng.random() < chance


@contextmanager
def simulated(injector: FaultInjector) -> Iterator[None]:
    """Put the crash points of this injector into the program while the context lasts."""
    numbers = iter(range(10**9))
    _statements.cache_clear()  # a process that begins knows none
    with (
        _disk(injector),
        patch.object(layout, "token_hex", lambda _: f"{next(numbers):016x}"),
        patch.object(CatalogDatabase, "transaction", _transactions(injector, CatalogDatabase.transaction)),
        patch.object(Database, "execute", _reads(injector, Database.execute)),
        patch.object(store_sink, "MAX_IN_MEMORY_BYTES", SMALL),
        patch.object(keeper, "MIN_GROWTH_BYTES", 0),
        patch.object(aiohttp.ClientSession, "_request", _requests(injector, aiohttp.ClientSession._request)),
        patch.object(ConnectionPool, "get", _downloads(injector, ConnectionPool.get)),
    ):
        yield


@contextmanager
def _disk(injector: FaultInjector) -> Iterator[None]:
    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(patch.object(disk, name, _call(injector, name, getattr(injector.disk, name))))
        yield


def _call(injector: FaultInjector, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any) -> Any:
        if injector.dead:
            return os.open(os.devnull, os.O_WRONLY) if name == "create" else None
        injector.at(f"before {name}")
        if name != "remove" and injector.strikes(injector.plan.disk):
            if name == "write_all":
                call(args[0], args[1][: len(args[1]) // 2])
            if name == "write_at":
                call(args[0], args[1], args[2][: len(args[2]) // 2])
            number = injector.rng.choice([errno.ENOSPC, errno.EIO, errno.EMFILE])
            raise OSError(number, os.strerror(number))
        result = call(*args)
        if name not in {"create", "remove"}:
            injector.at(f"after {name}")
        return result

    return wrapped


def _transactions(
    injector: FaultInjector, writing: Callable[[CatalogDatabase], Any]
) -> Callable[[CatalogDatabase], Any]:
    @contextmanager
    def transaction(self: CatalogDatabase) -> Iterator[None]:
        if injector.dead:
            raise Killed("a dead process writes no rows")
        injector.at("begin")
        with writing(self):
            yield
            injector.expect_safe(self)
            injector.at("commit")
            if injector.strikes(injector.plan.disk):
                raise sqlite3.OperationalError("database or disk is full")
        if self._journal.position is not None and injector.rng.random() < 0.1:
            injector.disk.remember(self)
        injector.at("committed")

    return transaction


def _reads(injector: FaultInjector, execute: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(self: Database, sql: str, *args: Any) -> Any:
        if injector.strikes(injector.plan.disk / 4):
            raise sqlite3.OperationalError("disk I/O error")
        return execute(self, sql, *args)

    return wrapped


def _requests(injector: FaultInjector, request: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapped(self: aiohttp.ClientSession, method: str, url: Any, **how: Any) -> Any:
        injector.at(f"request {method} {url.path}")
        response = await request(self, method, url, **how)
        try:
            injector.at(f"answer {method} {url.path}")
        except Killed:
            response.close()
            raise
        return response

    return wrapped


def _downloads(injector: FaultInjector, get: Callable[..., Any]) -> Callable[..., Any]:
    async def wrapped(self: ConnectionPool, target: str, headers: Any, **how: Any) -> Any:
        path = target.partition("?")[0]
        injector.at(f"request GET {path}")
        answer = await get(self, target, headers, **how)
        try:
            injector.at(f"answer GET {path}")
        except Killed:
            await answer.__aexit__()
            raise
        return answer

    return wrapped


OF_SOURCES = {"read", "attachments_of", "download", "still_lists"}


class FaultyTracker(MemoryTracker):
    """A tracker behind a network. `injector` is that of the present run."""

    injector = FaultInjector(random.Random(0), NO_FAULTS, ForgetfulDisk())

    async def called(self, verb: str, key: str) -> None:
        """Before each verb, and after those that change something."""
        injector = self.injector
        injector.at(f"{verb} {key}")
        if injector.plan is NO_FAULTS:
            return
        if injector.strikes(0.3):
            await asyncio.sleep(injector.rng.random() * 3)
        if not injector.dead and 0 < injector.plan.ends_at <= len(injector.trace):
            raise (errors.AuthError if injector.plan.refuses else errors.ConnectError)("from now on")
        if not injector.dead and injector.plan.away and verb == "download":
            raise errors.GoneError("status 404: the storage is away")
        if not injector.dead and verb == "read" and injector.plan.short == key:
            raise errors.ShortListingError("the listing ended before its total")
        if injector.strikes(injector.plan.network):
            raise self._fault(verb)
        if injector.dead:
            raise Killed(verb)

    def _fault(self, verb: str) -> errors.MigratorError:
        rng = self.injector.rng
        if verb in {"uploaded", "created"}:
            return errors.OutcomeUnknownError("the answer was lost", finished=rng.random() < 0.3)
        if verb == "deleted":
            return errors.RetriableError("the answer was lost")
        if verb in {"upload", "create_entity"} and rng.random() < 0.5:
            return errors.OutcomeUnknownError("it never got there", finished=rng.random() < 0.3)
        kinds: list[Callable[[str], errors.MigratorError]] = [
            errors.RetriableError,
            lambda text: errors.ThrottledError(text, retry_after=rng.random() * 20),
            errors.UnexpectedBodyError,
            errors.RejectedError,
            errors.ForbiddenError,
        ]
        if verb in OF_SOURCES:
            kinds += [errors.GoneError, errors.LoginPageError, errors.ShortListingError]
        if rng.random() < 0.1:
            kinds = [errors.ConnectError, errors.AuthError]
        return rng.choice(kinds)("a fault of the network")

    async def send(self, attachment: Attachment, sink: Sink) -> None:
        """Send the file. By chance, send a part with an error, or, like the worst servers, another body without one."""
        injector, content = self.injector, self.content.get(attachment.id)
        if content is None or not injector.strikes(injector.plan.network):
            await super().send(attachment, sink)
            return
        told = None if self.capabilities.reports_size else len(content)
        await sink.start(BodyFacts(attachment.media_type, told, named=injector.rng.random() < 0.5))
        cut = content[: injector.rng.randrange(len(content) + 1)]
        for at in range(0, len(cut), CHUNK_BYTES):
            await sink.write(cut[at : at + CHUNK_BYTES])
        way = injector.rng.choice(["breaks off", "ends early", "page"])
        page = b"<!DOCTYPE html><html><title>Log in</title></html>" if way == "page" else b""
        if page:
            await sink.write(page)
        if way == "breaks off" or len(cut + page) == len(content):  # as long as the file: nobody could tell them apart
            raise errors.UnexpectedBodyError("the body broke off")
