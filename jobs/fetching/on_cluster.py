"""A fetch worker inside a Dask worker: a task that lasts as long as its run needs it, and calls that bring messages.

The task gives the fetch worker its name on the dashboard, and a thread's worth of its machine. Messages don't travel as
tasks: a file is recorded within a second of its arrival, while the result of a task is seen only at its end.

Nothing is kept: no file is written, and the session came in a message, so no scheduler remembers it. Whoever hears
nothing of the run for LEASE_SECONDS ends, as the network between them may be gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from typing_extensions import override

import migrator
from migrator.jobs.fetching.messages import Conversation, Message, Start
from migrator.jobs.fetching.worker import LogOverChannel, Worker

LEASE_SECONDS = 30.0
"""Without a word from the run for so long, a worker ends; and the run gives up a worker that doesn't answer."""
GATHER_SECONDS = 0.01
"""How long a message may wait for others that travel with it."""


class Mailbox(Conversation):
    """The worker's end of the conversation. The run delivers and collects."""

    def __init__(self) -> None:
        self._delivered: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._outgoing: list[bytes] = []
        self._has_outgoing = asyncio.Event()
        self._lease: asyncio.TimerHandle | None = None
        self.heard()

    @override
    def send(self, message: Message) -> None:
        self._outgoing.append(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        self._has_outgoing.set()

    @override
    async def receive(self) -> Message | None:
        body = await self._delivered.get()
        return None if body is None else pickle.loads(body)  # noqa: S301 - our own run

    def heard(self) -> None:
        """The run has called: its lease begins anew."""
        self.release()
        self._lease = asyncio.get_running_loop().call_later(LEASE_SECONDS, self.end)

    def release(self) -> None:
        """Forget the lease."""
        if self._lease is not None:
            self._lease.cancel()

    def deliver(self, bodies: Sequence[bytes]) -> None:
        """Messages of the run."""
        for body in bodies:
            self._delivered.put_nowait(body)

    async def collect(self, seconds: float) -> list[bytes]:
        """The messages for the run; waits for the first one, but not longer than this."""
        try:
            async with asyncio.timeout(seconds):
                await self._has_outgoing.wait()
        except TimeoutError:
            return []
        await asyncio.sleep(GATHER_SECONDS)
        self._has_outgoing.clear()
        bodies, self._outgoing = self._outgoing, []
        return bodies

    def end(self) -> None:
        """The run is gone."""
        self._delivered.put_nowait(None)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Dask logs each call of a function, and ours are many."""
    is_call = record.levelno == logging.INFO and str(record.msg).startswith("Run out-of-band function")
    return not (is_call and record.args and str(record.args[0]) in {"deliver", "collect", "end"})  # type: ignore[index]


logging.getLogger("distributed.worker").addFilter(_is_worth_a_line)

_mailboxes: dict[str, Mailbox] = {}
_current: ContextVar[Mailbox | None] = ContextVar("mailbox", default=None)


async def fetch_files(name: str) -> None:
    """The task: fetch for the run that knows this name, until it is gone."""
    mailbox = _mailboxes[name] = Mailbox()
    try:
        start = await mailbox.receive()
        if isinstance(start, Start):
            with _logged_to(mailbox, start.log_level):
                await _serve(mailbox, start)
    finally:
        mailbox.release()
        del _mailboxes[name]


async def _serve(mailbox: Mailbox, start: Start) -> None:
    worker = Worker(mailbox, start, mailbox.end)
    try:
        await worker.serve()
    finally:
        await worker.close()


@contextmanager
def _logged_to(mailbox: Mailbox, level: int) -> Iterator[None]:
    """Hand what this task logs to its run. Others may log in the same process."""
    log, handler = logging.getLogger("migrator"), LogOverChannel(mailbox)
    handler.addFilter(lambda _: _current.get() is mailbox)
    token = _current.set(mailbox)
    log.setLevel(level)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        _current.reset(token)


async def deliver(name: str, bodies: Sequence[bytes]) -> bool:
    """Deliver messages; False if there is no such worker here, or not yet."""
    if (mailbox := _mailboxes.get(name)) is None:
        return False
    mailbox.heard()
    mailbox.deliver(bodies)
    return True


async def collect(name: str, seconds: float) -> list[bytes] | None:
    """The messages of a worker, waiting for the first one; None if it has ended."""
    if (mailbox := _mailboxes.get(name)) is None:
        return None
    mailbox.heard()
    return await mailbox.collect(seconds)


async def end(name: str) -> None:
    """End a worker."""
    if (mailbox := _mailboxes.get(name)) is not None:
        mailbox.end()


@cache
def build() -> str:
    """Version and hash of the code. Messages are pickled, so both ends must have the same."""
    code, jobs = hashlib.sha256(), Path(__file__).absolute().parents[1]
    for root in (Path(migrator.__file__).absolute().parent, jobs):  # in a checkout `migrator/jobs` is a link
        for path in sorted(root.rglob("*.py")):
            if root == jobs or not path.is_relative_to(jobs):
                code.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{migrator.__version__} (code {code.hexdigest()[:8]})"
