"""Being stopped, in any phase and by whatever means: soon, with status 130, and with all that was finished kept."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import signal
import time
from contextlib import suppress

from migrator.sandbox.world.model import World
from tests.support.program import catalog, config_of, ended, run, start, until

WORLD = World.generate(entities=20, seed=3, attachments=60, median_bytes=2000, large_bytes=400_000)
SOON = 7
"""Seconds: less than the grace of 8 that work in flight gets."""


def assert_stopped(finished, *, document: bool = True) -> None:
    assert finished.code == 130, finished
    assert "Traceback" not in finished.err
    if document:
        assert finished.document["status"] == "interrupted"


# While the program waits for something


async def test_a_stop_waits_for_no_backoff_and_keeps_what_is_finished(tmp_path, source):
    config, root = (
        config_of(tmp_path, source, limits={"backoff": "600 s", "backoff_max": "600 s"}),
        tmp_path / "archive",
    )
    bad = {file.id for file in WORLD.attachments[::10]}
    source.faults.broken |= bad
    process = await start("--json", "backup", config)
    await until(lambda: len(set(source.downloads) - bad) == 60 - len(bad))
    process.send_signal(signal.SIGTERM)
    finished = await ended(process, within=SOON)
    assert_stopped(finished)
    assert finished.document["attachments"]["stored"] == 60 - len(bad)
    assert catalog(root, "SELECT status, count(*) FROM runs GROUP BY 1") == [("interrupted", 1)]
    source.faults.broken.clear()
    again = await run("--json", "backup", config)
    assert (again.code, again.document["attachments"]["stored"]) == (0, len(bad))


async def test_a_stop_does_not_wait_for_the_backoff_of_a_read_back(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "migrate", config)).code == 0
    config.write_text(config.read_text().replace('"0.02 s"', '"600 s"').replace('"0.1 s"', '"600 s"'))
    there = [(int(id_), to) for id_, to in catalog(tmp_path / "archive", "SELECT remote_id, target_id FROM uploads")]
    target.faults.broken |= {id_ for id_, to in there if to == there[0][1]}
    good = {id_ for id_, _ in there} - target.faults.broken
    target.downloads.clear()
    process = await start("--json", "load", config, "--verify", "content")
    await until(lambda: set(target.downloads) >= good)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process, within=SOON)
    assert_stopped(finished)
    assert finished.document["content"]["checked"] > 0


def _at_work(folder) -> bool:
    return bool((folder / "archive" / "lock").read_text())


async def test_a_signal_while_the_other_side_is_silent_ends_every_command(tmp_path, source, target):
    """In the login of each, and before: a configuration that comes from a pipe that says nothing."""
    config = config_of(tmp_path / "first", source, target)
    assert (await run("-q", "backup", config)).code == 0
    commands = ("check", "map", "load", "rollback", "migrate")
    for command in commands:
        shutil.copytree(tmp_path / "first", tmp_path / command)
    os.mkfifo(tmp_path / "silent.toml")
    source.faults.latency = target.faults.latency = 60.0
    before = source.requests.total() + target.requests.total()
    processes = [await start("--json", command, tmp_path / command / config.name) for command in commands]
    processes.append(await start("--json", "backup", tmp_path / "silent.toml"))
    await until(lambda: source.requests.total() + target.requests.total() >= before + len(commands))
    for process, number in zip(processes, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] * 2, strict=True):
        process.send_signal(number)
    for process in processes:
        assert_stopped(await ended(process, within=SOON))
    for command in commands:
        assert (tmp_path / command / "archive" / "lock").read_text() == ""
        assert catalog(tmp_path / command / "archive", "SELECT 1 FROM runs WHERE status = 'running'") == []


async def test_a_verify_ends_soon_however_large_a_file_is(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    with (root / "blobs" / "00" / ("0" * 64)).open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is written, but it takes long to hash
    process = await start("--json", "verify", root)
    await until(lambda: _at_work(tmp_path))
    await until(lambda: catalog(root, "SELECT count(*) FROM runs WHERE status = 'running'") == [(1,)])
    process.send_signal(signal.SIGINT)
    assert_stopped(await ended(process, within=SOON))


# Whatever it is that stops it


async def test_a_signal_to_the_group_stops_a_run_and_a_second_ends_it_at_once(tmp_path, source):
    config = config_of(tmp_path, source, limits={"downloads": 4})
    source.faults.stalled, source.faults.stall_seconds = 0.3, 60.0
    process = await start("--json", "backup", config, start_new_session=True)
    await until(lambda: source.faults.injected.total() >= 4)
    os.killpg(process.pid, signal.SIGINT)
    assert b"stopping" in await asyncio.wait_for(process.stderr.readuntil(b"quit now"), 5)
    os.killpg(process.pid, signal.SIGTERM)
    began = time.monotonic()
    finished = await ended(process, within=SOON)
    assert (finished.code, finished.out) == (130, "")
    assert time.monotonic() - began < SOON
    source.faults.stalled = 0.0
    again = await run("--json", "backup", config)
    assert (again.code, again.document["attachments"]["listed"]) == (0, 60)
    assert (await run("-q", "verify", tmp_path / "archive")).code == 0


async def test_a_closed_terminal_stops_a_run_cleanly_and_nohup_lets_it_go_on(tmp_path, source):
    source.faults.latency = 0.05
    config = config_of(tmp_path / "a", source, limits={"downloads": 2})
    process = await _bereft_of_its_terminal(config, source, _own_terminal)
    assert await asyncio.wait_for(process.wait(), 10) == 130
    assert catalog(tmp_path / "a" / "archive", "SELECT status FROM runs") == [("interrupted",)]

    source.downloads.clear()
    kept = await start("--json", "backup", config_of(tmp_path / "b", source), preexec_fn=_nohup)
    await until(lambda: source.downloads.total() >= 4)
    kept.send_signal(signal.SIGHUP)
    assert (await ended(kept)).code == 0


async def test_a_run_whose_terminal_goes_without_a_hangup_goes_on_without_it(tmp_path, source):
    """As a job that was disowned by its shell."""
    source.faults.latency = 0.05
    config = config_of(tmp_path, source, limits={"downloads": 2})
    process = await _bereft_of_its_terminal(config, source, _nohup, stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert catalog(tmp_path / "archive", "SELECT status FROM runs") == [("complete",)]


async def _bereft_of_its_terminal(config, source, before, **streams):
    """A backup whose terminal goes in the middle of it."""
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **streams}
    process = await asyncio.create_subprocess_exec(
        *_program("backup", config), preexec_fn=before, env=_env(), **streams
    )
    os.close(theirs)
    reader = asyncio.get_running_loop().run_in_executor(None, _read_some, ours)
    await until(lambda: source.downloads.total() >= 4)
    await reader
    os.close(ours)
    return process


def _program(*words):
    import sys

    return (sys.executable, "-m", "migrator", *map(str, words))


def _env():
    from tests.support.program import ROOT

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _read_some(terminal: int) -> None:
    with suppress(OSError):
        os.read(terminal, 4096)


# Nobody listens


async def test_a_closed_pipe_is_no_error_and_a_full_disk_behind_stdout_is_one(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    for words in ["backup", config], ["--json", "status", root], ["status", root]:
        reading, writing = os.pipe()
        os.close(reading)
        process = await start("-q", *words, stdout=writing)
        os.close(writing)
        finished = await ended(process)
        assert (finished.code, finished.err) == (0, ""), words
    for words in ["--json", "status", root], ["status", root]:
        with open("/dev/full", "w") as full:  # noqa: PTH123 - a device that answers at once
            finished = await ended(await start("-q", *words, stdout=full))
        assert finished.code == 7
        assert finished.err.count("\n") == 1
        assert "standard output: No space left" in finished.err


async def test_a_run_goes_on_when_nobody_reads_its_progress(tmp_path, source):
    reading, writing = os.pipe()
    os.close(reading)
    process = await start("--json", "-v", "backup", config_of(tmp_path, source), stderr=writing)
    os.close(writing)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, b'"complete"' in out) == (0, True)
