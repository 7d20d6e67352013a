"""`init`, and `sandbox` with what it prints: a configuration in a minute."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from migrator.config import read_configuration
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.world.model import World
from migrator.trackers import TRACKERS
from tests.support.program import ROOT, configure, ended, run, run_process, start
from tests.support.terminal import on_terminal

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)


async def test_init_writes_a_configuration_and_says_what_to_set_and_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = await run("init", "targetprocess", "teampulse")
    assert finished.code == 0, finished.err
    name = "targetprocess-to-teampulse.toml"
    assert read_configuration(tmp_path / name).settings.source.tracker == "targetprocess"
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert f"written: {name}" in finished.out
    assert "  export TP_PASSWORD=...\n  export TEAMPULSE_PASSWORD=...\n" in finished.out
    assert finished.err == f"next: put in addresses and accounts, then run: migrator check {name}\n"
    variables = {"TP_PASSWORD": "x", "TEAMPULSE_PASSWORD": "y"}
    check = await run_process("check", name, cwd=tmp_path, env=variables, within=90)
    assert check.code != 2, "with these variables it is complete"


async def test_init_writes_what_starts_a_night_with_the_paths_of_this_machine(tmp_path):
    folder = tmp_path / "100% of it's $HOME"
    folder.mkdir()
    async with SquashSandbox(WORLD) as source:
        config = configure(folder, source)
        [given] = tomllib.loads(config.read_text())["source"]["auth"].values()
        token = (folder / given["file"]).read_text()
        config.write_text(re.sub(r"token = .*", 'token = { env = "SQUASH_TOKEN" }', config.read_text()))
        finished = await run("--json", "init", "--nightly", config)
        assert finished.code == 0, finished.err
        names = [f"migrator-nightly.{ending}" for ending in ("service", "timer", "crontab", "secrets")]
        assert finished.document["files"] == [str(folder / name) for name in names]
        assert finished.document["variables"] == ["SQUASH_TOKEN"]
        assert all((folder / name).stat().st_mode & 0o777 == 0o600 for name in names)
        secrets = folder / names[-1]
        assert secrets.read_text() == "SQUASH_TOKEN=''\n"
        secrets.write_text(f"SQUASH_TOKEN='{token}'\n")
        service = dict(line.split("=", 1) for line in (folder / names[0]).read_text().splitlines() if "=" in line)
        started = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(service["ExecStart"])]
        assert started[-5:] == ["-q", "--log-format", "json", "nightly", str(config)]
        assert Path(started[0]).is_file()
        assert service["EnvironmentFile"] == "-" + str(secrets).replace("%", "%%")
        [job] = [line for line in (folder / names[2]).read_text().splitlines() if line and not line.startswith("#")]
        assert not re.search(r"(?<!\\)%", job), "cron would take it for a line break"
        command = job.split(maxsplit=5)[5].replace("\\%", "%")
        process = await asyncio.create_subprocess_shell(
            command, cwd="/", stdout=-1, stderr=-1, env={"PATH": "/bin:/usr/bin"}
        )
        night = await ended(process)
    assert (night.code, night.out) == (0, ""), night.err
    assert (folder / "archive" / "catalog.db").is_file()
    refused = await run("init", "--nightly", config)
    assert (refused.code, "already, and is left as it is; nothing was written" in refused.err) == (2, True)
    assert secrets.read_text().startswith("SQUASH_TOKEN='")
    assert (await run("init", "redmine", "--nightly", config)).code == 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
async def test_systemd_takes_the_units_that_init_writes(tmp_path):
    folder = tmp_path / "a $folder, 100% odd"
    folder.mkdir()
    config = folder / "night.toml"
    config.write_text('archive = "archive"\n[source]\ntracker = "memory"\nurl = "http://127.0.0.1:9"\n')
    finished = await run("init", "--nightly", config)
    assert (finished.code, "set there" in finished.out) == (0, False)
    assert f"next: migrator nightly '{config}'; " in finished.err
    units = [str(folder / f"migrator-nightly.{ending}") for ending in ("service", "timer")]
    words = [shutil.which("systemd-analyze") or "", "verify", *units]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=60)
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if "migrator-nightly" in line]
    assert (checked.returncode, said) == (0, [])


async def test_init_never_overwrites_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "redmine-backup.toml").write_text("mine")
    finished = await run("--json", "init", "redmine")
    assert finished.code == 2
    assert "exists already" in finished.document["error"]["message"]
    assert (tmp_path / "redmine-backup.toml").read_text() == "mine"
    other = await run("--json", "init", "redmine", "--out", "other.toml")
    assert other.document == {
        "command": "init",
        "status": "complete",
        "config": "other.toml",
        "variables": ["REDMINE_API_KEY"],
    }
    assert (await run("init", "redmine", "--out", "none/other.toml")).code == 2


async def test_init_without_a_tracker_names_those_that_are_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ((), ("jira",), ("redmine", "redmin")):
        finished = await run("init", *words)
        assert finished.code == 2
        assert "redmine" in finished.err
        if len(words) < 2:
            assert all(tracker in finished.err for tracker in TRACKERS)
    assert list(tmp_path.iterdir()) == []


async def test_init_asks_on_a_terminal_for_what_is_not_given(tmp_path):
    code, shown = await on_terminal("init", answers="squash\nnone\n", cwd=tmp_path)
    assert (code, [path.name for path in tmp_path.iterdir()]) == (0, ["squash-backup.toml"]), shown
    code, shown = await on_terminal("init", answers="squash\nredmine\n", cwd=tmp_path)
    assert (code, (tmp_path / "squash-to-redmine.toml").is_file()) == (0, True), shown


async def test_the_reference_is_printed_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = await run("init", "--reference")
    assert finished.out == (ROOT / "sample_configs" / "REFERENCE.md").read_text()
    assert (await run("--json", "init", "--reference")).document["reference"] == finished.out
    assert list(tmp_path.iterdir()) == []


async def served(folder, *words: object) -> tuple[asyncio.subprocess.Process, str]:
    """A sandbox, and what it printed before it serves."""
    with (folder / "printed").open("wb") as file:
        process = await start("sandbox", *words, "--entities", 12, stdout=file)
    while b"serving" not in (line := await asyncio.wait_for(process.stderr.readline(), 30)):
        if not line:
            raise AssertionError((await ended(process)).err)
    return process, (folder / "printed").read_text()


async def stop(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert (await ended(process, within=20)).code in {0, 130}


async def test_what_a_sandbox_prints_is_a_configuration_with_its_secrets(tmp_path):
    process, printed = await served(tmp_path, "squash")
    try:
        (tmp_path / "pasted.toml").write_text(printed)
        finished = await run("check", tmp_path / "pasted.toml")
    finally:
        await stop(process)
    assert list(tomllib.loads(printed)) == ["source"]
    assert finished.code == 0, finished


async def test_two_sandboxes_write_one_configuration_of_a_migration(tmp_path):
    config = tmp_path / "try.toml"
    source, printed = await served(tmp_path, "targetprocess", "--write", config)
    try:
        target, _ = await served(tmp_path, "teampulse", "--empty", "--write", config)
        try:
            finished = await run("check", config)
            again = await run("sandbox", "squash", "--write", config)
        finally:
            await stop(target)
    finally:
        await stop(source)
    assert printed == f"written: {config}\n"
    assert finished.code == 0, finished
    settings = read_configuration(config).settings
    assert (settings.source.tracker, settings.target.tracker) == ("targetprocess", "teampulse")
    assert (again.code, "has a [source] already" in again.err) == (2, True)


def test_init_works_where_only_the_package_is(tmp_path):
    """As from a wheel: nothing but the package on the path, and no folder of samples."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copytree(ROOT / "migrator", site / "migrator", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "migrator", "init", "issuetrak", "squash"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, (tmp_path / "issuetrak-to-squash.toml").is_file()) == (0, True), done
