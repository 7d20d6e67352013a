"""The night of one configuration on a worker of a Dask cluster: a task that does it in a process of its own.

The task carries the text of the configuration, and no secret: the process has the environment of the worker, and takes
them from there. It ends as after Ctrl-C once its standard input is closed, so it never outlives its worker, and the
archive is free for the one that does the night again.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from migrator.config import Configuration, read_configuration
from migrator.jobs.fetching import build
from migrator.jobs.nightly.nights import NightEnd, run_night
from migrator.jobs.output import Output
from migrator.jobs.runtime import run_job
from migrator.jobs.signals import interrupt_on_signals
from migrator.pipeline.summary import ReportSummary

STOPPED = 130
MAX_ORDER_BYTES = 10_000_000
STOP_SECONDS = 16.0
"""How long the process of a night that is not wanted any more may take to end."""
_CODE = "from migrator.jobs.nightly.elsewhere import main; main()"


@dataclass(frozen=True, slots=True)
class Order:
    """A night to be done: its configuration, by name and text, and the program that it is for."""

    name: str
    text: str
    verbose: bool
    build: str


@dataclass(frozen=True, slots=True)
class Done:
    """A night that was done: how it ended, what it said, and the files that it wrote beside its configuration."""

    end: NightEnd | None
    said: str
    code: int = 0
    files: tuple[tuple[str, bytes], ...] = ()


_at_work: dict[str, asyncio.subprocess.Process] = {}
_unwanted: set[str] = set()


async def night(name: str, order: bytes) -> bytes:
    """The task. `order` is an `Order` as JSON; the result is a pickled `Done`, or text: why this worker is no use."""
    wanted = Order(**json.loads(order))
    if wanted.build != build():
        return f"it has {build()}, and not {wanted.build}".encode()
    if name in _unwanted:
        return pickle.dumps(Done(None, "", STOPPED))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CODE, stdin=pipe, stdout=pipe, stderr=pipe, limit=MAX_ORDER_BYTES
    )
    _at_work[name] = process
    try:
        return await _result_of(process, order)
    finally:
        del _at_work[name]
        await _ended(process)


async def end(names: list[str]) -> None:
    """End these nights, if they are at work in this worker, and begin none of them."""
    _unwanted.update(names)
    for process in [_at_work[name] for name in names if name in _at_work]:
        with suppress(ProcessLookupError):
            process.terminate()


async def _result_of(process: asyncio.subprocess.Process, order: bytes) -> bytes:
    assert process.stdin and process.stdout and process.stderr  # noqa: PT018, S101 - for mypy
    process.stdin.write(order + b"\n")
    body, said, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.stdin.drain())
    code = await process.wait()
    end, files = pickle.loads(body) if code == 0 else (None, ())  # noqa: S301 - our own process
    return pickle.dumps(Done(end, said.decode(errors="replace"), code, files), pickle.HIGHEST_PROTOCOL)


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()


def main() -> None:
    """The process: read an order, do the night, write its end and its files."""
    os.umask(0o077)
    interrupt_on_signals()
    order = Order(**json.loads(sys.stdin.buffer.readline()))
    threading.Thread(target=_stop_with_the_worker, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="migrator-") as folder:
        path = Path(folder, Path(order.name).name)
        path.write_text(order.text, encoding="utf-8")
        output = Output()
        output.configure(as_json=True, quiet=True, verbose=order.verbose)
        try:
            ended = run_job(lambda stop: run_night(path, output, stop, Path(order.name)))
        except KeyboardInterrupt:
            sys.exit(STOPPED)
        configuration = read_configuration(path)  # as the run before has read it
        result = (_told_of(ended, configuration), _files_of(configuration))
    sys.stdout.buffer.write(pickle.dumps(result, pickle.HIGHEST_PROTOCOL))


def _stop_with_the_worker() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def brought_home(configuration: Configuration) -> list[str]:
    """The files that a night writes beside its configuration: those that are named without a folder of the worker."""
    nightly = configuration.settings.nightly
    return [name for name in (nightly.report, nightly.metrics) if name and not Path(name).is_absolute()]


def _files_of(configuration: Configuration) -> tuple[tuple[str, bytes], ...]:
    paths = {name: configuration.resolve(name) for name in brought_home(configuration)}
    return tuple((name, path.read_bytes()) for name, path in paths.items() if path.is_file())


def _told_of(ended: NightEnd, configuration: Configuration) -> NightEnd:
    """The end of a night with the name that its report has at home."""
    report = ended.result.report
    if not isinstance(report, ReportSummary):
        return ended
    named = replace(report, out=configuration.settings.nightly.report)
    return replace(ended, result=replace(ended.result, report=named))
