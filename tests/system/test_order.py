"""The order in which a person works: what each command says comes next, and what comes before it."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from migrator.config import read_configuration
from migrator.mapping import read_mapping
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.program import config_of, run
from tests.support.terminal import on_terminal

WORLD = World.generate(entities=6, seed=3, attachments=8, median_bytes=200, large_bytes=0)


@pytest.fixture
def fresh(tmp_path, source, target):
    """A configuration of a migration without a mapping."""
    config = config_of(tmp_path, source, target)
    (tmp_path / "mapping.csv").unlink()
    return config


def arrived(target) -> int:
    return sum(len(target.state.files_of(entity.id)) for entity in WORLD.entities)


OWNED = sum(len(WORLD.attachments_of(entity.id)) for entity in WORLD.entities)


def next_in(err: str) -> str:
    [line] = [line for line in err.splitlines() if line.startswith("next: ")]
    assert err.splitlines()[-1] == line, "it is the last line"
    return line.removeprefix("next: ")


async def test_each_command_says_what_to_run_next_from_check_to_report(fresh):
    folder = fresh.parent
    check = await run("check", fresh)
    assert (check.code, "FAIL" in check.out) == (0, False)
    assert "mapping.csv is not written yet" in check.out
    assert next_in(check.err) == f"migrator backup {fresh}"
    assert next_in((await run("backup", fresh)).err) == f"migrator map {fresh}"
    mapped = next_in((await run("map", fresh)).err)
    assert mapped == f"look through {folder / 'mapping.csv'}, then run: migrator load {fresh} --dry-run"
    assert next_in((await run("backup", fresh)).err) == f"migrator load {fresh} --dry-run"
    assert next_in((await run("load", fresh, "--dry-run")).err) == "the same command without --dry-run"
    assert next_in((await run("load", fresh)).err) == f"migrator report {fresh} --out report.html"
    assert (await run("report", fresh, "--out", folder / "report.html")).code == 0
    assert next_in((await run("rollback", fresh, "--dry-run")).err) == "the same command without --dry-run"


async def test_what_is_next_is_not_said_where_no_person_reads(fresh):
    for words in (("-q",), ("--json",), ("--log-format", "json")):
        assert "next" not in (await run(*words, "check", fresh)).err
        assert "next: " not in (await run(*words, "backup", fresh)).err


async def test_after_failures_the_same_command_is_what_is_next(tmp_path, source):
    config = config_of(tmp_path, source, limits={"retries": 0})
    source.faults.broken.add(WORLD.attachments[2].id)
    finished = await run("backup", config)
    assert finished.code == 3
    assert (
        next_in(finished.err)
        == f"run the same command again; to accept what can't be fixed: migrator accept {config} --list"
    )


# Before a backup


@pytest.mark.parametrize("command", ["map", "load", "rollback", "restore", "status", "verify", "snapshots"])
async def test_before_a_backup_commands_say_to_run_one(tmp_path, source, target, command):
    config = config_of(tmp_path, source, target)
    finished = await run("--json", command, config)
    assert finished.code == 2
    message = finished.document["error"]["message"]
    assert message.startswith("nothing is backed up yet: ")
    assert message.endswith(f"run: migrator backup {config}")
    assert not (tmp_path / "archive").exists()


# migrate without a mapping


async def test_migrate_without_a_mapping_does_nothing_unless_it_may_propose(fresh, source, target):
    finished = await run("--json", "migrate", fresh)
    assert finished.code == 2
    message = finished.document["error"]["message"]
    assert message.startswith("there is no mapping.csv yet: --map proposes it after the backup")
    assert source.requests.total() + target.requests.total() == 0


async def test_migrate_with_map_proposes_the_mapping_and_loads(fresh, target):
    finished = await run("--json", "migrate", fresh, "--map")
    assert finished.code == 0, finished
    assert finished.document["map"]["rows"]["proposed"] == len(read_mapping(fresh.parent / "mapping.csv"))
    assert finished.document["load"]["uploads"]["uploaded"] == arrived(target) == OWNED
    again = await run("--json", "migrate", fresh)
    assert "map" not in again.document, "there is a mapping now"


async def test_migrate_asks_on_a_terminal_before_it_uses_a_mapping(fresh, target):
    mapping, proposed = fresh.parent / "mapping.csv", fresh.parent / "mapping.proposed.csv"
    question = f"Load into {target.url} by this mapping? [y/N]"
    for _ in range(2):  # as long as nobody has accepted it
        code, shown = await on_terminal("migrate", fresh, answers="n\n", env={"TERM": "dumb"})
        assert (code, arrived(target), mapping.exists()) == (3, 0, False), shown
        before, after = shown.split(question)
        assert "found by: title" in before
        assert "found by: title" not in after, "the table is shown once, and before the question"
        assert "nothing was loaded; the mapping that you did not accept is in" in after
        assert f"save it as the mapping, then run: migrator migrate {fresh}" in after
        assert read_mapping(proposed), "it is kept"
    code, shown = await on_terminal("migrate", fresh, answers="y\n", env={"TERM": "dumb"})
    assert (code, arrived(target), proposed.exists()) == (0, OWNED, False), shown
    assert read_mapping(mapping)
    code, shown = await on_terminal("migrate", fresh, answers="", env={"TERM": "dumb"})
    assert (code, question in shown) == (0, False), shown


async def test_a_proposal_that_was_edited_and_saved_is_used_without_asking(fresh, target):
    await on_terminal("migrate", fresh, answers="n\n", env={"TERM": "dumb"})
    lines = (fresh.parent / "mapping.proposed.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    proposed = fresh.parent / "mapping.proposed.csv"
    proposed.write_text("".join(lines[:-1]), encoding="utf-8")
    code, shown = await on_terminal("migrate", fresh, answers="y\n", env={"TERM": "dumb"})
    assert (code, arrived(target)) == (2, 0), shown
    assert "save it as the mapping to load by it, or delete it" in shown
    proposed.rename(fresh.parent / "mapping.csv")
    finished = await run("--json", "migrate", fresh)
    assert finished.document["load"]["uploads"]["uploaded"] == arrived(target) > 0
    assert "map" not in finished.document


# A configuration for an archive, and the other way round


async def test_a_command_that_wants_a_configuration_takes_its_archive(tmp_path, source):
    config = config_of(tmp_path, source)
    assert (await run("-q", "backup", config)).code == 0
    (tmp_path / "other.toml").write_text(config.read_text().replace('archive = "archive"', 'archive = "other"'))
    (tmp_path / "broken.toml").write_text("[source")
    finished = await run("--json", "backup", tmp_path / "archive")
    assert (finished.code, finished.document["attachments"]["stored"]) == (0, 0), finished
    assert f"is the archive of {read_configuration(config).folder / config.name}; using that" in finished.err
    assert (await run("--json", "status", config)).document == (
        await run("--json", "status", tmp_path / "archive")
    ).document


async def test_an_archive_of_no_configuration_or_of_several_is_refused(tmp_path, source):
    config = config_of(tmp_path, source)
    assert (await run("-q", "backup", config)).code == 0
    (tmp_path / "twin.toml").write_text(config.read_text())
    several = await run("--json", "backup", tmp_path / "archive")
    assert (several.code, "migration.toml, twin.toml" in several.err) == (2, True)
    config.rename(tmp_path / "migration.txt")
    (tmp_path / "twin.toml").unlink()
    none = await run("--json", "backup", tmp_path / "archive")
    assert (none.code, "none beside it names it" in none.err) == (2, True)
    assert (await run("--json", "backup", tmp_path)).code == 2


# A tracker that restarts at night


async def test_a_backup_waits_for_a_tracker_that_restarts_and_check_does_not(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sandbox = TargetprocessSandbox(WORLD)
    await sandbox.start(port)
    config = config_of(tmp_path, sandbox, limits={"retries": 100, "backoff": "0.05 s", "backoff_max": "0.4 s"})
    await sandbox.stop()
    assert (await run("check", config, within=15)).code == 4, "somebody waits for it; all retries would take 20 s"
    backup = asyncio.ensure_future(run("--json", "backup", config))
    await asyncio.sleep(1)
    again = TargetprocessSandbox(WORLD)
    await again.start(port)
    finished = await backup
    await again.stop()
    assert finished.code == 0, finished


async def test_a_limit_says_how_many_entities_it_took(tmp_path, source):
    config = config_of(tmp_path, source)
    limited = await run("backup", config, "--limit", "2")
    assert re.search(r"^--limit: 2 entities taken of \d+ listed$", limited.out, re.MULTILINE)
    assert "--limit" not in (await run("backup", config)).out


async def test_a_flag_verifies_content_and_so_does_the_former_spelling(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    for words in ("--verify-content",), ("--verify", "content"):
        document = (await run("--json", "load", config, *words)).document
        assert document["content"]["same"] == OWNED
    assert "--verify-content" in (await run("load", "-h")).out
    for words in ("--verify", "names", config), ("--verify", config):
        refused = await run("load", *words)
        assert (refused.code, refused.err.split("\n")[0][:27]) == (2, "error: use --verify-content")


async def test_help_of_a_command_names_the_options_of_every_command():
    shown = (await run("status", "-h")).out
    assert all(option in shown for option in ("--json", "-q", "-v", "--log-format"))
