"""The program in the process of the tests says what it says as a process, and leaves the process as it was."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE

import pytest

from migrator.sandbox.world.model import World
from tests.support.program import ROOT, config_of, run, run_process, until

WORLD = World.generate(entities=4, seed=3, attachments=6, median_bytes=200, large_bytes=2000)


@pytest.mark.parametrize(
    "words",
    [["--version"], ["--help"], ["bakcup"], ["--json", "status", "/nowhere"], ["-q", "-v", "status", "/nowhere"], []],
)
async def test_it_says_the_same_in_this_process_and_in_one_of_its_own(words):
    assert await run(*words) == await run_process(*words)


async def test_a_command_that_talks_to_a_tracker_says_the_same_too(tmp_path, source):
    config = config_of(tmp_path, source)
    assert await run("check", config) == await run_process("check", config)
    assert await run("-v", "--json", "check", config) == await run_process("-v", "--json", "check", config)


def state() -> tuple:
    log = logging.getLogger()
    umask = os.umask(0o077)
    os.umask(umask)
    return (
        (log.handlers[:], log.level, logging.getLogger("migrator").level),
        (sys.stdin, sys.stdout, sys.stderr),
        (dict(os.environ), umask, gc.get_threshold(), resource.getrlimit(resource.RLIMIT_NOFILE)),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
    )


async def test_it_leaves_the_process_as_it_was(tmp_path, source):
    config, before = config_of(tmp_path, source), state()
    for words in ["-v", "backup", config], ["status", tmp_path / "nothing"], ["--help"]:
        await run(*words)
        assert state() == before


NOT_FOR_A_BACKUP = {"aiohttp", "defusedxml", "jinja2", "obstore", "tenacity"} | {
    f"migrator.{name}"
    for name in (
        *("mapping", "sandbox", "store.objects.mirror", "wire.xml_reader"),
        *("pipeline.export", "pipeline.snapshots", "pipeline.verify", "pipeline.summary.load"),
    )
}


async def test_a_backup_imports_only_what_it_needs(tmp_path, source):
    """The others would take time at each start, and no backup without surprises needs them."""
    code = "import atexit, sys, migrator.jobs.cli as c; atexit.register(lambda: print(*sys.modules)); c.main()"
    words = ("-q", "backup", config_of(tmp_path, source))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *words, cwd=ROOT, stdout=PIPE)
    imported = {*(await process.communicate())[0].decode().split()}
    assert process.returncode == 0
    assert "migrator.pipeline.backup" in imported
    assert imported & NOT_FOR_A_BACKUP == set()


async def test_runs_at_once_do_not_mix_what_they_say(tmp_path, source):
    config = config_of(tmp_path, source)
    found = await asyncio.gather(*(run("--json", "check", config) for _ in range(3)), run("--json", "nonsense"))
    assert [finished.code for finished in found] == [0, 0, 0, 2]
    assert [finished.document["status"] for finished in found] == [*["complete"] * 3, "failed"]


async def test_what_the_tests_themselves_log_is_not_the_programs(tmp_path, source, caplog):
    source.faults.latency = 0.2
    config = config_of(tmp_path, source)
    running = asyncio.ensure_future(run("-q", "check", config))
    await until(lambda: source.requests.total())
    logging.getLogger("aiohttp.server").error("the sandbox's own")
    assert "the sandbox's own" not in (await running).err
