"""Runs the command line, in this process or in one of its own, and writes configurations for embedded trackers.

`run` is half a second faster than a process. Tests that need signals, a kill, a terminal, another folder or other
limits use a process: `start`, or `run_process`.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import logging
import os
import resource
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from migrator.jobs.cli import main
from migrator.sandbox.server import Sandbox
from tests.support.summary_schema import check_document

ROOT = Path(__file__).parents[2]
SURROUNDINGS = {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
"""Environment of each run."""


@dataclass(frozen=True)
class Finished:
    """How one call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; fails if there is anything else."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        assert self.out.count("\n") == 1, "one line, one document"
        check_document(document)
        return document


async def start(*arguments: object, env: dict[str, str] | None = None, **how: Any) -> asyncio.subprocess.Process:
    """Start `python -m migrator ...` as a process."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "migrator",
        *map(str, arguments),
        env={**os.environ, **SURROUNDINGS, **(env or {})},
        **{**dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.PIPE), "stdin": asyncio.subprocess.DEVNULL, **how},
    )


async def ended(process: asyncio.subprocess.Process, within: float = 60) -> Finished:
    """Wait until the process ends; kill it if that takes too long."""
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        raise
    return Finished(
        process.returncode or 0, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace")
    )


async def run_process(*arguments: object, within: float = 60, **how: Any) -> Finished:
    """Run the program to its end, as a process."""
    return await ended(await start(*arguments, **how), within)


async def run(*arguments: object, within: float = 60) -> Finished:
    """Run the program to its end in a thread of this process, while this loop goes on serving."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Finished] = loop.create_future()

    def work() -> None:
        finished = _run_here([str(argument) for argument in arguments])
        with suppress(RuntimeError):  # the test has given up, and its loop is closed
            loop.call_soon_threadsafe(lambda: result.done() or result.set_result(finished))

    threading.Thread(target=work, name="migrator", daemon=True).start()
    return await asyncio.wait_for(result, within)


def _run_here(arguments: list[str]) -> Finished:
    with _ONE_AT_A_TIME, _process_state_kept(), Path(os.devnull).open(encoding="utf-8") as nothing:
        out, err = _Stream(), _Stream()
        with patch.multiple(sys, stdin=nothing, stdout=out, stderr=err), patch.dict(os.environ, SURROUNDINGS):
            try:
                main(arguments)
            except SystemExit as end:
                return Finished(int(end.code or 0), out.text(), err.text())
        raise AssertionError("main() ends with a status")


_ONE_AT_A_TIME = threading.Lock()
"""Held by the run that uses the standard streams, the umask and the log, which belong to the whole process."""


class _Stream(io.TextIOWrapper):
    """A standard stream of a run. It ignores what the main thread writes: the test itself, or the log of a sandbox."""

    def __init__(self) -> None:
        self._written = _Written()
        super().__init__(self._written, encoding="utf-8", write_through=True)

    def text(self) -> str:
        """What was written."""
        return self._written.getvalue().decode()


class _Written(io.BytesIO):
    def write(self, data: Any) -> int:
        return len(data) if threading.current_thread() is threading.main_thread() else super().write(data)


@contextmanager
def _process_state_kept() -> Iterator[None]:
    """Restore what a program changes in its process: log, open files, garbage collection, thread switches, umask."""
    log, ours = logging.getLogger(), logging.getLogger("migrator")
    handlers, levels = log.handlers[:], (log.level, ours.level)
    files, collecting, umask = resource.getrlimit(resource.RLIMIT_NOFILE), gc.get_threshold(), os.umask(0o022)
    os.umask(umask)
    switching = sys.getswitchinterval()
    log.handlers[:] = []  # the program would close them
    try:
        yield
    finally:
        for handler in log.handlers:
            handler.close()
        log.handlers[:] = handlers
        log.setLevel(levels[0])
        ours.setLevel(levels[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
        gc.set_threshold(*collecting)
        sys.setswitchinterval(switching)
        os.umask(umask)


async def kill(process: asyncio.subprocess.Process) -> bool:
    """Send SIGKILL; True if the process was alive and died of it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await ended(process)
    return process.returncode == -signal.SIGKILL


async def until(condition: Any, within: float = 30, every: float = 0.005) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(every)


def configure(
    folder: Path,
    source: Sandbox,
    target: Sandbox | None = None,
    *,
    auth: dict[str, str] | None = None,
    target_auth: dict[str, str] | None = None,
    twins: bool = True,
    **sections: dict[str, Any],
) -> Path:
    """Write `migration.toml` for sandboxes, with the secrets in files; and a mapping to the same entities, if `twins`.

    A keyword is a section (`source__options` is `[source.options]`), or more keys of `source`, `target` or `limits`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ['archive = "archive"', *_tracker(folder, "source", source, auth)]
    if target is not None:
        lines += _tracker(folder, "target", target, target_auth)
        if twins:
            _map_twins(folder / "mapping.csv", source, target)
    limits = {"backoff": "0.02 s", "backoff_max": "0.1 s", "retries": 3}
    for name, keys in {"limits": {}, **sections}.items():
        section = name.replace("__", ".")
        values = {**limits, **keys} if name == "limits" else keys
        if name in {"source", "target"}:  # these sections are there already
            start = lines.index(f"[{name}]") + 1
            lines[start:start] = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        else:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path = folder / "migration.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


SKIP_IMAGES = {"inline_images": "skip"}
"""Options of a source: images inside texts don't count as files."""


def config_of(folder: Path, source: Sandbox, target: Sandbox | None = None, **sections: Any) -> Path:
    """A configuration as by `configure`, with `SKIP_IMAGES` unless `source__options` is given."""
    return configure(folder, source, target, **{"source__options": SKIP_IMAGES, **sections})


def catalog(root: Path, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the catalog, also while a run writes to it."""
    with closing(sqlite3.connect(f"file:{root / 'catalog.db'}?mode=ro", uri=True)) as db:
        return db.execute(statement).fetchall()


def _tracker(folder: Path, section: str, sandbox: Sandbox, auth: dict[str, str] | None) -> list[str]:
    lines = [f"[{section}]", f'tracker = "{sandbox.tracker}"', f'url = "{sandbox.url}"', f"[{section}.auth]"]
    for key, value in (auth or sandbox.credentials).items():
        if key == "username":
            lines.append(f"{key} = {json.dumps(value)}")
        else:
            (folder / f"{section}-{key}").write_text(value, encoding="utf-8")
            lines.append(f'{key} = {{ file = "{section}-{key}" }}')
    return lines


def _map_twins(path: Path, source: Sandbox, target: Sandbox) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["source_kind", "source_id", "target_kind", "target_id"])
        rows.writerows(
            [source.kind_of(entity.id), entity.id, target.kind_of(entity.id), entity.id]
            for entity in source.world.entities
        )


async def process_and_peak(process: asyncio.subprocess.Process) -> tuple[int, int]:
    """Exit status and peak resident memory in bytes, that of its fetch workers included, read from /proc.

    The kernel's own figure for a child (`ru_maxrss`) includes the memory that its parent had when it was forked.
    """
    peaks: dict[str, int] = {}
    ended = asyncio.ensure_future(process.wait())
    while not ended.done():
        await asyncio.wait({ended}, timeout=0.05)
        with suppress(OSError, ValueError, IndexError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in (str(process.pid), *children):
                status = Path(f"/proc/{pid}/status").read_text()
                peaks[pid] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    assert peaks, "it was never seen running"
    return await ended, sum(peaks.values())
