"""What a person sees while a run waits, and when it breaks off, on a terminal and without one."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import signal
import sys
import time

import pytest

from migrator.jobs.output import Output
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.fetch_workers import FILES, configured, world_of
from tests.support.program import config_of, ended, run, start, until
from tests.support.screen import on_terminal

WORLD = World.generate(entities=20, seed=3, attachments=60, median_bytes=2000, large_bytes=0)
AGAIN = "; run the same command again"


@pytest.fixture
def impatient(monkeypatch):
    """Lines and silences come sooner, so that a test need not wait for them. The log is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr("migrator.jobs.progress.lines.PAUSES_SECONDS", ((3600.0, 0.2),))
    monkeypatch.setattr("migrator.jobs.progress.tally.SILENCE_SECONDS", 0.4)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("impatient")
async def test_a_tracker_that_goes_away_is_said_to_be_silent_and_how_it_ends(tmp_path, source):
    limits = {"downloads": 2, "retries": 4, "backoff": "0.5 s", "backoff_max": "0.5 s"}
    config, port = config_of(tmp_path, source, limits=limits), int(source.url.rpartition(":")[2])
    source.faults.latency = 0.02
    backup = asyncio.create_task(run("backup", config))
    await until(lambda: source.downloads.total() >= 20)
    await source.stop()
    finished = await backup
    assert finished.code == 4
    assert "backup: the tracker has not answered for " in finished.err
    assert re.search(r", try [2345] of 5; \d\d files are kept$", finished.err, re.MULTILINE)
    *_, error, last = finished.err.splitlines()
    reason = error.partition(": ")[2]
    kept = int(last.removesuffix(f" of 60 files are kept{AGAIN}"))
    assert kept >= 18
    status = await run("status", tmp_path / "archive")
    assert reason in status.out
    await source.start(port)
    again = await run("--json", "backup", config)
    assert again.document["attachments"]["unchanged"] == kept


@pytest.mark.usefixtures("impatient")
async def test_what_fetch_workers_wait_for_is_said_by_their_run(tmp_path):
    limits = {"retries": 6, "backoff": "0.5 s", "backoff_max": "0.5 s"}
    async with TargetprocessSandbox(world_of(FILES)) as source:
        config = configured(tmp_path, source, 1, **limits)
        backup = asyncio.create_task(run("backup", config))
        await until(lambda: source.downloads.total() >= FILES * 3 // 4)
    finished = await backup
    assert finished.code == 4
    assert re.search(r"the tracker has not answered for .*, try \d of 7; ", finished.err)


async def test_ctrl_c_leaves_one_bar_and_says_how_it_goes_on(tmp_path, source):
    config = config_of(tmp_path, source, limits={"downloads": 1})
    source.faults.latency = 0.05
    terminal = await on_terminal(["backup", config], 80)
    await terminal.shows(lambda text: "files so far" in text)
    terminal.type(b"\x03")
    await terminal.shows(lambda text: "stopping" in text)
    assert await terminal.ended() == 130
    lines = terminal.text.splitlines()
    assert b"^C" in b"".join(piece for _, piece in terminal.written)
    assert not [line for line in lines if "━" in line], "the bar is gone"
    assert re.fullmatch(rf"\d+ of \d+ files (is|are) kept{AGAIN}", lines[-1])
    assert len([line for line in lines if line.startswith("backup: ")]) == 1
    assert not terminal.screen.cursor.hidden


async def test_a_second_ctrl_c_gives_the_cursor_back(tmp_path, source):
    source.faults.stalled, source.faults.stall_seconds = 1.0, 60.0
    terminal = await on_terminal(["backup", config_of(tmp_path, source)], 80)
    await terminal.shows(lambda _: source.faults.injected.total() >= 4)
    assert terminal.screen.cursor.hidden
    terminal.type(b"\x03")
    await terminal.shows(lambda text: "stopping" in text)
    terminal.type(b"\x03")
    assert await terminal.ended() == 130
    assert not terminal.screen.cursor.hidden


async def test_a_stop_without_a_terminal_says_how_it_goes_on(tmp_path, source):
    config = config_of(tmp_path, source, limits={"downloads": 1})
    source.faults.latency = 0.05
    process = await start("backup", config)
    await until(lambda: source.downloads.total() >= 5)
    process.send_signal(signal.SIGINT)
    finished = await ended(process)
    assert finished.code == 130
    assert re.fullmatch(rf"\d+ of \d+ files (is|are) kept{AGAIN}", finished.out.splitlines()[-1])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("term", "lines"), [("dumb", True), ("xterm", False)])
def test_a_terminal_that_can_redraw_nothing_gets_lines(monkeypatch, term, lines):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", term)
    expected = "backup: nothing yet\n" if lines else "\x1b["
    with Output().progress("backup"):
        until = time.monotonic() + 30
        while expected not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    assert ("backup: nothing yet\n" in terminal.getvalue()) == lines
    assert ("\x1b[" in terminal.getvalue()) != lines
