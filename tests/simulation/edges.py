"""Where the program touches the world, and what a seed lets happen there: a fault, a delay, a kill, a power cut.

The one idea: every edge asks `FaultInjector.at` before (and, where something took effect, after) it does its work.
Fate counts the edges of a run and kills at one of them, chosen beforehand; at any other it may fail, by chance.
The one trap: an edge that is reached after the kill belongs to a process that is no more, so it does nothing.
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
from migrator.pipeline.backup import recorder
from migrator.ports import BodyFacts, Sink
from migrator.store import disk, layout
from migrator.store.catalog.database import CatalogDatabase
from migrator.store.journal import keeper
from migrator.trackers.memory import CHUNK_BYTES, MemoryTracker
from migrator.wire.h1.pool import ConnectionPool
from tests.simulation.disk import ForgetfulDisk
from tests.simulation.loop import Killed


class ViolationError(AssertionError):
    """Something that must hold at any time did not."""


SMALL = 4096
"""Where a file is large in a simulation; so there are large ones, and they cost nothing."""


CALLS = ("create", "write_all", "write_at", "sync_files", "rename", "sync_folders", "remove")


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How bad it gets: the edge of the kill (0: none) or of a stop, and the chance of a fault at each edge.

    With `kill_on` the kill is at the n-th of the edges with this word, which so are reached though they are rare.
    `away`: the storage behind the source is, so each download answers 404. `short`: this listing of the source ends
    before its total, however often it is read. From the edge `ends_at` on nobody answers any more, or, where
    `refuses`, whoever answers takes these credentials no longer.
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


CALM = FaultPlan()


class FaultInjector:
    """What happens in one run. `trace` lists the edges in the order they were reached."""

    def __init__(self, rng: random.Random, weather: FaultPlan, files: ForgetfulDisk) -> None:
        self.rng, self.weather = rng, weather
        self.disk = files
        self.trace: list[str] = []
        self._counted = 0
        self.dead = False
        self.stop = asyncio.Event()

    def at(self, edge: str) -> None:
        """The run is at an edge; it may be its last."""
        if self.dead:
            return
        self.trace.append(edge)
        if len(self.trace) == self.weather.stop_at:
            self.stop.set()
        if self.weather.kill_on in edge:
            self._counted += 1
        if self._counted == self.weather.kill_at and self.weather.kill_on in edge:
            self.dead = True
            raise Killed(edge)

    def expect_safe(self, catalog: CatalogDatabase) -> None:
        """What the catalog is about to say is stored must be safe on the disk: its bytes, and its name."""
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
def simulated(fate: FaultInjector) -> Iterator[None]:
    """The program's edges to disk and database are those of this fate while the context lasts."""
    numbers = iter(range(10**9))
    with (
        _disk(fate),
        patch.object(layout, "token_hex", lambda _: f"{next(numbers):016x}"),
        patch.object(CatalogDatabase, "transaction", _transactions(fate, CatalogDatabase.transaction)),
        patch.object(Database, "execute", _reads(fate, Database.execute)),
        patch.object(recorder, "SMALL", SMALL),
        patch.object(keeper, "MIN_GROWTH_BYTES", 0),
        patch.object(aiohttp.ClientSession, "_request", _requests(fate, aiohttp.ClientSession._request)),
        patch.object(ConnectionPool, "get", _downloads(fate, ConnectionPool.get)),
    ):
        yield


@contextmanager
def _disk(fate: FaultInjector) -> Iterator[None]:
    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(patch.object(disk, name, _call(fate, name, getattr(fate.disk, name))))
        yield


def _call(fate: FaultInjector, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def edge(*args: Any) -> Any:
        if fate.dead:
            return os.open(os.devnull, os.O_WRONLY) if name == "create" else None
        fate.at(f"before {name}")
        if name != "remove" and fate.strikes(fate.weather.disk):
            if name == "write_all":
                call(args[0], args[1][: len(args[1]) // 2])
            if name == "write_at":
                call(args[0], args[1], args[2][: len(args[2]) // 2])
            number = fate.rng.choice([errno.ENOSPC, errno.EIO, errno.EMFILE])
            raise OSError(number, os.strerror(number))
        result = call(*args)
        if name not in {"create", "remove"}:
            fate.at(f"after {name}")
        return result

    return edge


def _transactions(fate: FaultInjector, writing: Callable[[CatalogDatabase], Any]) -> Callable[[CatalogDatabase], Any]:
    @contextmanager
    def transaction(self: CatalogDatabase) -> Iterator[None]:
        if fate.dead:
            raise Killed("a dead process writes no rows")
        fate.at("begin")
        with writing(self):
            yield
            fate.expect_safe(self)
            fate.at("commit")
            if fate.strikes(fate.weather.disk):
                raise sqlite3.OperationalError("database or disk is full")
        if self._journal.position is not None and fate.rng.random() < 0.1:
            fate.disk.remember(self)
        fate.at("committed")

    return transaction


def _reads(fate: FaultInjector, execute: Callable[..., Any]) -> Callable[..., Any]:
    def edge(self: Database, sql: str, *args: Any) -> Any:
        if fate.strikes(fate.weather.disk / 4):
            raise sqlite3.OperationalError("disk I/O error")
        return execute(self, sql, *args)

    return edge


def _requests(fate: FaultInjector, request: Callable[..., Any]) -> Callable[..., Any]:
    async def edge(self: aiohttp.ClientSession, method: str, url: Any, **how: Any) -> Any:
        fate.at(f"request {method} {url.path}")
        response = await request(self, method, url, **how)
        try:
            fate.at(f"answer {method} {url.path}")
        except Killed:
            response.close()
            raise
        return response

    return edge


def _downloads(fate: FaultInjector, get: Callable[..., Any]) -> Callable[..., Any]:
    async def edge(self: ConnectionPool, target: str, headers: Any) -> Any:
        path = target.partition("?")[0]
        fate.at(f"request GET {path}")
        answer = await get(self, target, headers)
        try:
            fate.at(f"answer GET {path}")
        except Killed:
            await answer.__aexit__()
            raise
        return answer

    return edge


OF_SOURCES = {"read", "attachments_of", "download", "still_lists"}


class Weathered(MemoryTracker):
    """A tracker behind a network; `fate` is that of the run that is under way."""

    fate = FaultInjector(random.Random(0), CALM, ForgetfulDisk())

    async def called(self, verb: str, key: str) -> None:
        """Before each verb, and after those that change something."""
        fate = self.fate
        fate.at(f"{verb} {key}")
        if fate.weather is CALM:
            return
        if fate.strikes(0.3):
            await asyncio.sleep(fate.rng.random() * 3)
        if not fate.dead and 0 < fate.weather.ends_at <= len(fate.trace):
            raise (errors.AuthError if fate.weather.refuses else errors.ConnectError)("from now on")
        if not fate.dead and fate.weather.away and verb == "download":
            raise errors.GoneError("status 404: the storage is away")
        if not fate.dead and verb == "read" and fate.weather.short == key:
            raise errors.ShortListingError("the listing ended before its total")
        if fate.strikes(fate.weather.network):
            raise self._fault(verb)
        if fate.dead:
            raise Killed(verb)

    def _fault(self, verb: str) -> errors.MigratorError:
        rng = self.fate.rng
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
        """As it is; or cut with an error; or, with the worst of servers, another body without any error."""
        fate, content = self.fate, self.content.get(attachment.id)
        if content is None or not fate.strikes(fate.weather.network):
            await super().send(attachment, sink)
            return
        told = None if self.capabilities.reports_size else len(content)
        await sink.start(BodyFacts(attachment.media_type, told, named=fate.rng.random() < 0.5))
        cut = content[: fate.rng.randrange(len(content) + 1)]
        for at in range(0, len(cut), CHUNK_BYTES):
            await sink.write(cut[at : at + CHUNK_BYTES])
        way = fate.rng.choice(["breaks off", "ends early", "page"])
        page = b"<!DOCTYPE html><html><title>Log in</title></html>" if way == "page" else b""
        if page:
            await sink.write(page)
        if way == "breaks off" or len(cut + page) == len(content):  # as long as the file: nobody could tell them apart
            raise errors.UnexpectedBodyError("the body broke off")
