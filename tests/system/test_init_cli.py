"""`init`, and `sandbox` with what it prints: a configuration in a minute."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tomllib

from migrator.config import read_configuration
from migrator.trackers import TRACKERS
from tests.support.program import ROOT, ended, run, run_process, start
from tests.support.terminal import on_terminal


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
