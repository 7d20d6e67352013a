"""The command line as a new user meets it: the real program, as a process, against trackers served by this one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import StorageError
from migrator.jobs.cli import COMMANDS
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store.disk import disk_errors
from migrator.units import human_size
from tests.support.parts import overwrite
from tests.support.program import ROOT, catalog, config_of, ended, kill, run, run_process, start, until

WORLD = World.generate(entities=20, seed=3, attachments=60, median_bytes=2000, large_bytes=400_000)
OWNED = sum(WORLD.owner_of(file) is not None for file in WORLD.attachments)
ATTACHMENTS = {"listed", "stored", "unchanged", "skipped", "gone", "failed"}
UPLOADS = {"planned", "uploaded", "already_there", "unmapped", "skipped", "failed"}
BACKUP = {"command", "run", "status", "entities", "attachments", "changes", "bytes", "seconds", "warnings", "failures"}
DELETIONS = {"planned", "deleted", "already_gone", "changed", "impossible", "failed"}
LOAD = {"command", "run", "status", "uploads", "bytes", "seconds", "failures"}
FAILURE = {"kind", "entity", "attachment", "name", "reason"}


def assert_one_clear_line(err: str) -> None:
    """One line for people, and no traceback."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err
    assert len(lines[0]) < 300


def assert_failed(finished, code: int, *words: str) -> None:
    """The document of a command that came to nothing, and one line on stderr that says the same."""
    assert finished.code == code, finished
    document = finished.document
    assert (document["status"], document["error"]["code"]) == ("failed", code)
    assert_one_clear_line(finished.err)
    assert document["error"]["message"] in finished.err
    for word in words:
        assert word in finished.err


# Help and usage


async def test_help_names_every_command_and_each_has_help_with_its_options():
    whole = await run("--help")
    assert whole.code == 0
    for command in COMMANDS:
        assert f"  {command} " in whole.out
    found = await asyncio.gather(*(run(command, "-h") for command in COMMANDS))
    for command, finished in zip(COMMANDS, found, strict=True):
        assert finished.code == 0, (command, finished.err)
        assert f"Usage: migrator {command}" in finished.out
        assert finished.err == ""


async def test_wrong_usage_is_status_2_and_says_what_is_known(tmp_path):
    cases = {
        ("bakcup", "x.toml"): "backup",
        ("backup",): "CONFIG",
        ("backup", "--fast", "x.toml"): "--fast",
        ("-q", "-v", "backup", "x.toml"): "can't be used together",
        ("sandbox", "jira"): "targetprocess",
    }
    found = await asyncio.gather(*(run("--json", *words) for words in cases))
    for words, finished in zip(cases, found, strict=True):
        assert finished.code == 2, words
        assert finished.document["error"]["code"] == 2
        assert cases[words] in finished.err
        assert "Traceback" not in finished.err
    assert list(tmp_path.iterdir()) == []


async def test_without_any_argument_it_says_how_to_use_it():
    finished = await run()
    assert finished.code == 2 or finished.code == 0
    assert "Usage: migrator" in finished.out + finished.err


async def test_a_folder_that_is_no_archive_is_status_2(tmp_path):
    for command in "status", "verify":
        assert_failed(await run("--json", command, tmp_path / "nothing"), 2, "archive")
        assert_failed(await run("--json", command, tmp_path), 2, "archive")
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


async def test_a_missing_or_wrong_configuration_is_status_2_and_does_nothing(tmp_path, source):
    assert_failed(await run("--json", "backup", tmp_path / "no.toml"), 2, "no.toml")
    config = config_of(tmp_path, source, limits={"downlods": 3})
    assert_failed(await run("--json", "backup", config), 2, "limits.downlods", "limits.downloads")
    assert not (tmp_path / "archive").exists()
    assert source.requests.total() == 0


async def test_a_missing_secret_is_status_2_before_anything_is_asked(tmp_path, source):
    config = config_of(tmp_path, source)
    (tmp_path / "source-password").unlink()
    assert_failed(await run("--json", "backup", config), 2, "source.auth.password", "source-password")
    assert source.requests.total() == 0


async def test_a_missing_mapping_is_status_2_before_the_backup(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    (tmp_path / "mapping.csv").unlink()
    assert_failed(await run("--json", "migrate", config), 2, "mapping.csv")
    assert source.requests.total() + target.requests.total() == 0
    assert not (tmp_path / "archive").exists()


# Trackers that can't be had


@pytest.mark.parametrize("command", ["check", "backup", "load", "migrate"])
async def test_a_wrong_password_is_status_4_and_one_clear_line(tmp_path, source, target, command):
    config = config_of(tmp_path, source, target)
    if command == "load":
        assert (await run("-q", "backup", config)).code == 0
    for side in "source", "target":
        (tmp_path / f"{side}-password").write_text("s3cr3t-but-wrong")
    finished = await run("--json", command, config)
    assert "s3cr3t" not in finished.out + finished.err
    if command == "check":  # which says of both sides what is wrong
        first, second, end = finished.err.split("\n")
        assert (second.startswith("target (TeamPulse, "), end) == (True, "")
        finished = replace(finished, err=f"{first}\n")
    assert_failed(finished, 4, "refused")


async def test_a_host_that_does_not_answer_is_status_4_and_one_clear_line(tmp_path, source):
    config = config_of(tmp_path, source)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        config.write_text(config.read_text().replace(source.url, url))
        assert_failed(await run("--json", "backup", config), 4, url.removeprefix("http://"), "no connection")
    config.write_text(config.read_text().replace(url, "https://tracker.invalid"))
    assert_failed(await run("--json", "backup", config), 4, "tracker.invalid")


async def test_a_tracker_that_goes_away_is_status_4_and_the_next_run_goes_on(tmp_path, source):
    source.faults.latency = 0.02
    config = config_of(tmp_path, source, limits={"downloads": 1, "retries": 1})
    process = await start("--json", "backup", config)
    await until(lambda: source.downloads.total() >= 20)
    port = source._port
    await source.stop()
    finished = await ended(process)
    assert (finished.code, finished.document["error"]["code"]) == (4, 4)
    assert "Traceback" not in finished.err
    [(status,)] = catalog(tmp_path / "archive", "SELECT status FROM runs")
    assert status == "failed"
    kept = {
        int(id_) for (id_,) in catalog(tmp_path / "archive", "SELECT attachment_id FROM attachments WHERE sha256 != ''")
    }
    assert len(kept) >= 15
    before = source.downloads.copy()
    await source.start(port)
    again = await run("--json", "backup", config)
    assert (again.code, again.document["attachments"]["listed"]) == (0, 60)
    assert all(source.downloads[id_] == before[id_] for id_ in kept)


# The documents


async def test_stdout_has_documents_with_the_contract_s_keys_and_nothing_else(tmp_path, source, target):
    config, root = config_of(tmp_path, source, target), tmp_path / "archive"
    check = await run("--json", "check", config)
    assert (check.code, check.document["status"]) == (0, "complete")
    for side in "source", "target":
        assert check.document[side].keys() >= {"tracker", "checks"}
        for one in check.document[side]["checks"]:
            assert one.keys() - {"warning"} == {"check", "ok", "detail"}
    assert not root.exists(), "check writes nothing"

    backup = await run("--json", "backup", config)
    assert backup.code == 0
    assert backup.document.keys() == BACKUP
    assert backup.document["attachments"].keys() == ATTACHMENTS
    assert backup.document["attachments"]["stored"] == backup.document["attachments"]["listed"] == 60
    assert backup.document["entities"] == 20
    assert backup.document["bytes"] == sum(file.size for file in WORLD.attachments)

    rehearsal = await run("--json", "load", config, "--dry-run")
    assert rehearsal.code == 0
    assert rehearsal.document["uploads"]["planned"] == OWNED
    assert len(target.state.uploads) == 0

    load = await run("--json", "load", config)
    assert load.code == 0
    assert load.document.keys() == LOAD | {"unmapped_files"}
    assert load.document["uploads"].keys() == UPLOADS
    assert load.document["uploads"]["uploaded"] == OWNED == len(target.state.uploads)
    assert load.document["uploads"]["unmapped"] == 60 - OWNED == len(load.document["unmapped_files"])

    verify = await run("--json", "verify", root)
    assert verify.code == 0
    assert verify.document.keys() >= {"command", "status", "blobs", "bytes", "problems"}
    assert verify.document["problems"] == []

    migrate = await run("--json", "migrate", config)
    assert migrate.code == 0
    assert migrate.document.keys() >= {"command", "status", "backup", "load"}
    assert migrate.document["backup"].keys() == BACKUP
    assert migrate.document["load"].keys() == LOAD | {"unmapped_files"}

    status = await run("--json", "status", root)
    assert (status.code, status.document["command"]) == (0, "status")
    recorded = {run_id: json.loads(text) for run_id, text in catalog(root, "SELECT run_id, summary FROM runs")}
    assert recorded[backup.document["run"]] == backup.document, "the catalog keeps the same document"
    assert recorded[load.document["run"]] == load.document
    for finished in check, backup, load, verify, migrate, status:
        assert "\x1b" not in finished.out + finished.err
        assert "━" not in finished.err
        assert "\r" not in finished.err


async def test_options_for_every_command_may_stand_behind_it(tmp_path):
    finished = await run("status", tmp_path, "--json", "-q")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert finished.document["command"] == "status"


async def test_quiet_says_only_warnings_on_stderr_and_people_get_a_table(tmp_path, source, target):
    config, root = config_of(tmp_path, source, target), tmp_path / "archive"
    for words in ["check", config], ["backup", config], ["load", config], ["verify", root], ["status", root]:
        finished = await run("-q", *words)
        told = "warning: 2 files belong to entities without a row in mapping.csv\n" if words[0] == "load" else ""
        assert (finished.code, finished.err) == (0, told), words
        assert "complete" in finished.out
        assert "\x1b" not in finished.out
    assert "60 stored" in finished.out


async def test_migrate_moves_everything_in_one_go(tmp_path, source, target):
    finished = await run("--json", "migrate", config_of(tmp_path, source, target))
    assert (finished.code, finished.document["status"]) == (0, "complete"), finished.err
    for entity in WORLD.entities:
        ours = sorted(file.sha256 for file in source.state.files_of(entity.id))
        assert sorted(file.sha256 for file in target.state.files_of(entity.id)) == ours


async def test_the_sandbox_command_serves_what_it_says_until_it_is_stopped(tmp_path):
    process = await start("--json", "sandbox", "targetprocess", "--entities", 12, "--seed", 5)
    facts = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    config = tmp_path / "migration.toml"
    auth = "\n".join(f"{key} = {json.dumps(value)}" for key, value in facts["auth"].items())
    config.write_text(f'[source]\ntracker = "targetprocess"\nurl = "{facts["url"]}"\n[source.auth]\n{auth}\n')
    check = await run("check", config)
    assert check.code == 0, check
    assert "plain text" in check.err, "a password in the file brings a warning"
    assert facts["auth"]["password"] not in check.err + check.out
    process.send_signal(signal.SIGTERM)
    stopped = await ended(process, within=15)
    assert stopped.code in {0, 130}
    assert "Traceback" not in stopped.err


# Items that fail


async def test_a_broken_file_is_status_3_with_its_reason_and_healed_by_the_next(tmp_path, source):
    config, root = config_of(tmp_path, source, limits={"retries": 1}), tmp_path / "archive"
    broken = WORLD.attachments[7]
    source.faults.broken.add(broken.id)
    finished = await run("--json", "backup", config)
    assert (finished.code, finished.document["status"]) == (3, "incomplete")
    [failure] = finished.document["failures"]
    assert failure.keys() >= FAILURE
    assert (failure["attachment"], failure["name"]) == (str(broken.id), broken.name)
    assert "500" in failure["reason"]
    assert finished.document["attachments"]["stored"] == 59

    status = await run("status", root)
    assert status.code == 3
    assert "59 stored" in status.out
    assert "1 failed" in status.out
    assert "status 500" in status.out
    assert f"attachment {broken.id}" in status.out

    source.faults.broken.clear()
    before = source.downloads.total()
    healed = await run("--json", "backup", config)
    assert (healed.code, healed.document["status"], healed.document["failures"]) == (0, "complete", [])
    assert healed.document["attachments"]["stored"] == 1
    assert healed.document["attachments"]["unchanged"] == 59
    assert source.downloads.total() == before + 1
    assert "failed" not in (await run("-q", "status", root)).out.partition("run ")[0]


@pytest.mark.parametrize("command", ["backup", "migrate"])
async def test_paranoid_notices_a_cut_file_where_nobody_tells_its_length(tmp_path, target, command):
    world = World.generate(entities=5, seed=3, attachments=12, median_bytes=300, large_bytes=0)
    owned = [file for file in world.attachments if world.owner_of(file) is not None]
    contents = {hashlib.sha256(world.content(file)).hexdigest() for file in owned}
    async with TeamPulseSandbox(world) as source:
        source.quirks.null_sizes = {file.id for file in world.attachments}
        source.faults.cut = 0.2
        for options, whole in (([], False), (["--paranoid"], True)):
            config = config_of(tmp_path / str(whole), source, target, source__options={})
            finished = await run("--json", command, config, *options)
            assert finished.code == 0, finished
            stored = catalog(config.parent / "archive", "SELECT sha256 FROM attachments WHERE status = 'stored'")
            assert len(stored) == len(owned)
            assert ({digest for (digest,) in stored} == contents) == whole, source.faults.injected


async def test_a_listed_file_that_answers_404_failed_and_comes_first_if_all_do(tmp_path, source):
    config = config_of(tmp_path, source)
    source.faults.gone.update(file.id for file in WORLD.attachments)
    night = await run("--json", "backup", config)
    assert (night.code, night.document["attachments"]["failed"], night.document["attachments"]["gone"]) == (3, 60, 0)
    assert any("none of the files could be fetched" in warning for warning in night.document["warnings"])
    assert "warning: none of the files could be fetched" in night.err
    source.faults.gone.clear()
    morning = await run("--json", "backup", config)
    assert (morning.code, morning.document["attachments"]["stored"], morning.document["warnings"]) == (0, 60, [])


async def test_files_no_longer_listed_are_an_alarm_until_a_person_accepts_it(tmp_path, source):
    config = config_of(tmp_path, source)
    assert (await run("backup", config)).code == 0
    source.state.world, source.state.changes = WORLD.without_attachments(), source.state.changes + 1
    alarm = await run("--json", "backup", config)
    assert (alarm.code, alarm.document["status"], alarm.document["attachments"]["gone"]) == (3, "incomplete", 0)
    assert "60 of 60 files are no longer listed" in alarm.document["failures"][0]["reason"]
    assert (await run("backup", config)).out.splitlines()[1].startswith("files no longer listed: 60 of 60")
    accepted = await run("--json", "backup", config, "--accept-gone")
    assert (accepted.code, accepted.document["attachments"]["gone"]) == (0, 60)
    assert accepted.document["changes"] == {"added": 0, "removed": 60, "renamed": 0, "moved": 0, "replaced": 0}
    plain = config.read_text()
    for share in ("none", "120%", "20", ""):
        config.write_text(plain.replace("[source]\n", f'[source]\nmax_gone = "{share}"\n'))
        wrong = await run("backup", config)
        assert (wrong.code, "source.max_gone: not a share" in wrong.err) == (2, True), wrong


async def test_a_refused_upload_is_status_3_and_is_sent_by_the_next_run(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    target.faults.max_upload_bytes = 300_000
    finished = await run("--json", "migrate", config)
    assert (finished.code, finished.document["status"]) == (3, "incomplete")
    assert finished.document["backup"]["status"] == "complete"
    [failure] = finished.document["load"]["failures"]
    assert (failure["name"], failure.keys() >= FAILURE) == ("database.bin", True)
    target.faults.max_upload_bytes = None
    assert (await run("--json", "load", config)).document["uploads"]["uploaded"] == 1
    assert len(target.state.uploads) == OWNED


# The archive


async def test_the_archive_can_be_read_without_the_program(tmp_path, source):
    root = tmp_path / "archive"
    assert (await run("-q", "backup", config_of(tmp_path, source))).code == 0
    recipe = re.search(r"(find blobs .*)\n", (root / "README.txt").read_text())[1]
    checked = subprocess.run(["sh", "-c", recipe], cwd=root, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    truth = {(str(file.id), file.name, source.state.sha256_of(file)) for file in WORLD.attachments}
    assert set(catalog(root, "SELECT attachment_id, name, sha256 FROM attachments")) == truth
    query = re.search(r'sqlite3 catalog.db "(.*)"\n', (root / "README.txt").read_text())[1]
    files = catalog(root, query)
    assert len(files) == len(truth)
    for kind, id_, title, _name, path in files:
        assert hashlib.sha256((root / path).read_bytes()).hexdigest() == Path(path).name
        assert kind == "Unlinked" or catalog(root, "SELECT kind, entity_id, title FROM entities").count(
            (kind, id_, title)
        )
    for table, columns in {
        "entities": "kind, entity_id, title, url, raw, first_run, last_run",
        "attachments": "attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, "
        "created_by, sha256, status, error, raw, first_run, last_run",
        "blobs": "sha256, size",
        "runs": "run_id, command, status, started_at, ended_at, summary",
        "uploads": "target, attachment_id, target_kind, target_id, remote_id, name, status, attempts, error, run_id",
        "files": "kind, entity_id, title, name, size, created_at, created_by, description, status, error, path, url",
    }.items():
        catalog(root, f"SELECT {columns} FROM {table}")
    assert root.stat().st_mode & 0o777 == 0o700
    assert [path for path in root.rglob("*") if path.is_file() and path.stat().st_mode & 0o077] == []
    assert list((root / "incoming").iterdir()) == []


async def test_a_damaged_archive_is_status_5_and_the_next_backup_heals_it(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    damaged, missing, *_ = sorted((root / "blobs").glob("*/*"))
    overwrite(damaged, damaged.read_bytes()[:-1] + b"?" if damaged.stat().st_size else b"?")
    missing.unlink()
    stranger = root / "blobs" / "ab" / "stranger.txt"
    stranger.write_text("who am I?")
    finished = await run("--json", "verify", root)
    assert (finished.code, finished.document["status"]) == (5, "damaged")
    found = {(problem["code"], problem["problem"], problem["path"]) for problem in finished.document["problems"]}
    assert found == {
        ("E01", "damaged", str(damaged.relative_to(root))),
        ("E02", "missing", str(missing.relative_to(root))),
        ("E03", "unknown", "blobs/ab/stranger.txt"),
    }
    people = await run("-q", "verify", root)
    assert people.code == 5
    for code, problem, path in found:
        assert f"{code} {problem}: {path}" in people.out
    stranger.unlink()
    assert (await run("-q", "backup", config)).code == 0
    assert (await run("-q", "verify", root)).code == 0


async def test_a_catalog_that_is_no_database_is_status_5(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    for leftover in root.glob("catalog.db-*"):
        leftover.unlink()
    (root / "catalog.db").write_bytes(b"this is no database, it is only text" * 200)
    for words in ["backup", config], ["export", root, tmp_path / "x", "--format", "tree"], ["status", root]:
        finished = await run("-q", "--json", *words)
        assert_failed(finished, 5, "catalog.db", "`migrator rebuild ")
    verified = await run("-q", "--json", "verify", root)
    assert verified.code == 5
    assert [found["code"] for found in verified.document["problems"]] == ["E11"]


async def test_a_catalog_that_is_empty_is_status_5_and_stays(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    for path in root.glob("catalog.db*"):
        path.unlink()
    (root / "catalog.db").touch()
    dest = tmp_path / "x"
    commands = [
        ["backup", config],
        ["export", root, dest, "--format", "tree"],
        ["copy", root, dest],
        ["find", root, "a"],
    ]
    for words in [*commands, ["status", root], ["prune", root, "--keep-last", "1"], ["report", root, "--out", dest]]:
        assert_failed(await run("-q", "--json", *words), 5, "catalog.db", "is empty", "`migrator rebuild ")
        assert not dest.exists()
    assert (root / "catalog.db").stat().st_size == 0
    assert (await run("-q", "rebuild", root)).code == 0
    assert (await run("-q", "verify", root)).code == 0


async def test_a_path_that_cannot_be_is_status_2(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    [(which,)] = catalog(root, "SELECT attachment_id FROM attachments WHERE status = 'stored' LIMIT 1")
    long, below = tmp_path / ("x" * 256), config / "x"
    of_archive = [["verify", long], ["find", long, "a"], ["prune", long, "--keep-last", "1"], ["load", long]]
    others = [["copy", root, long], ["get", root, which, "-o", long], ["export", root, long, "--format", "zip"]]
    for words in [*of_archive, ["status", long], *others]:
        refused = await run("-q", "--json", *words)
        assert (refused.code, "File name too long" in refused.document["error"]["message"]) == (2, True), words
    assert_failed(await run("-q", "--json", "export", root, below, "--format", "tree"), 2, "Not a directory")


async def test_a_catalog_that_is_damaged_inside_is_status_5_too(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    size = (root / "catalog.db").stat().st_size
    with (root / "catalog.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    for words in ["backup", config], ["status", root]:
        assert_failed(await run("-q", "--json", *words), 5, "catalog.db is damaged", "`migrator rebuild ")
    verified = await run("-q", "--json", "verify", root)
    assert verified.code == 5
    assert [found["code"] for found in verified.document["problems"]] == ["E11"]
    assert "`migrator rebuild " in (await run("-q", "verify", root)).out


async def test_an_archive_whose_first_run_was_killed_at_once_is_no_archive_yet(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    root.mkdir()
    (root / "catalog.db").touch()
    assert_failed(await run("--json", "status", root), 2, "not an archive yet")
    assert (await run("-q", "backup", config)).code == 0


async def test_a_name_that_the_terminal_can_not_show_or_would_obey_ends_no_run(tmp_path, source):
    name = "\U0001f600 \x1b[2J漢.txt"
    changed = replace(WORLD.attachments[7], name=name)
    world = replace(WORLD, attachments=(*WORLD.attachments[:7], changed, *WORLD.attachments[8:]))
    async with TargetprocessSandbox(world) as sandbox:
        sandbox.faults.broken.add(changed.id)
        config = config_of(tmp_path, sandbox, limits={"retries": 0})
        for encoding in "latin-1", "ascii", "utf-8":
            finished = await run_process("--json", "backup", config, env={"PYTHONIOENCODING": encoding})
            assert finished.code == 3, finished
            assert finished.document["failures"][0]["name"] == name
            people = await run_process("status", tmp_path / "archive", env={"PYTHONIOENCODING": encoding})
            assert people.code == 3, people
            assert "\x1b" not in people.out
            assert ".txt" in people.out


async def test_an_archive_of_another_source_is_refused_with_status_2(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    async with TargetprocessSandbox(WORLD) as other:
        config.write_text(config.read_text().replace(source.url, other.url))
        for command in "backup", "load", "map", "restore":
            assert_failed(await run("-q", "--json", command, config), 2, source.url, other.url)
    assert len(list(target.state.attachments())) == 0


async def test_an_entity_that_the_archive_lacks_is_no_entity_to_load(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    for which, words in ("Bog:1", "did you mean 'Bug'"), ("Bug:99999999", "no Bug 99999999"), ("99999999", "99999999"):
        assert_failed(await run("-q", "--json", "load", config, "--entity", which), 2, words)
    [(kind, id_)] = catalog(tmp_path / "archive", "SELECT kind, entity_id FROM attachments WHERE kind = 'Bug' LIMIT 1")
    for which in f"{kind}:{id_}", id_:
        assert (await run("-q", "load", config, "--entity", which)).code == 0


async def test_a_second_run_is_status_6_and_names_the_first_while_status_works(tmp_path, source, target):
    config, root = config_of(tmp_path, source, target), tmp_path / "archive"
    process = await start("-q", "backup", config)
    await until(lambda: source.downloads.total() >= 4)
    source.faults.latency = 1.0
    for words in ["backup", config], ["load", config], ["verify", root]:
        finished = await run("-q", "--json", *words)
        assert_failed(finished, 6, "`backup`", f"process {process.pid}")
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d [A-Z+-]", finished.err)
    status = await run("--json", "status", root)
    assert process.returncode is None
    assert [one["status"] for one in status.document["runs"]] == ["running"]
    source.faults.latency = 0.0
    assert (await ended(process)).code == 0


async def test_the_lock_of_a_killed_run_is_taken_over(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    source.faults.latency = 0.05
    process = await start("-q", "backup", config)
    await until(lambda: source.downloads.total() >= 5)
    assert await kill(process)
    assert "backup" in (root / "lock").read_text()
    source.faults.latency = 0.0
    assert (await run("-q", "backup", config)).code == 0
    assert catalog(root, "SELECT status FROM runs ORDER BY run_id") == [("interrupted",), ("complete",)]


# Disks that refuse


def small_files_only() -> None:
    """No file of this process may grow beyond 200 kB: what a full disk looks like to it."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


async def test_a_disk_that_refuses_is_status_7_and_the_same_command_goes_on(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    finished = await run_process("-q", "--json", "backup", config, preexec_fn=small_files_only)
    assert_failed(finished, 7, "nothing is lost")
    again = await run("--json", "backup", config)
    assert (again.code, again.document["attachments"]["listed"]) == (0, 60)
    assert (await run("-q", "verify", root)).code == 0


async def test_a_place_where_nothing_can_be_written_is_status_7(tmp_path, source):
    config = config_of(tmp_path, source)
    config.write_text(config.read_text().replace('archive = "archive"', 'archive = "/proc/archive"'))
    assert_failed(await run("-q", "--json", "backup", config), 7, "/proc/archive")
    (tmp_path / "a file").write_text("in the way")
    config.write_text(config.read_text().replace("/proc/archive", "a file"))
    finished = await run("-q", "--json", "backup", config)
    assert finished.code in {2, 7}
    assert_one_clear_line(finished.err)


def test_whatever_a_disk_refuses_with_is_status_7():
    for number in 28, 5, 30, 122, 27:
        with pytest.raises(StorageError) as error, disk_errors("x"):
            raise OSError(number, "no")
        assert error.value.exit_code == 7


# Being stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_backup_is_status_130_and_the_next_goes_on_from_there(tmp_path, source, number):
    config, root = config_of(tmp_path, source, limits={"downloads": 4}), tmp_path / "archive"
    source.faults.latency = 0.03
    process = await start("--json", "backup", config)
    await until(lambda: source.downloads.total() >= 20)
    process.send_signal(number)
    finished = await ended(process, within=15)
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    assert "Traceback" not in finished.err
    assert catalog(root, "SELECT status FROM runs") == [("interrupted",)]
    kept = {int(id_) for (id_,) in catalog(root, "SELECT attachment_id FROM attachments WHERE status = 'stored'")}
    assert set(source.downloads) == kept, "all that was begun is finished and kept"
    source.faults.latency = 0.0
    before = source.downloads.copy()
    again = await run("--json", "backup", config)
    assert (again.code, again.document["attachments"]["listed"]) == (0, 60)
    assert all(source.downloads[id_] == before[id_] for id_ in kept)
    assert source.downloads.total() == 60


async def test_a_stopped_load_is_status_130_and_the_next_sends_only_the_rest(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    target.faults.upload_delay_after_accept = 0.05
    process = await start("--json", "load", config)
    await until(lambda: len(target.state.uploads) >= 10)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process, within=15)
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    sent = len(target.state.uploads)
    assert finished.document["uploads"]["uploaded"] == sent < OWNED
    again = await run("--json", "load", config)
    assert (again.code, len(target.state.uploads)) == (0, OWNED)
    assert again.document["uploads"]["uploaded"] == OWNED - sent


# Picking, and rehearsing


async def test_a_demo_migration_of_a_few_entities_then_the_rest(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    few = await run("--json", "backup", config, "--limit", "3")
    assert (few.code, few.document["status"]) == (0, "complete")
    assert few.document["attachments"]["stored"] > 0 < few.document["attachments"]["skipped"]
    owners = catalog(tmp_path / "archive", "SELECT DISTINCT kind, entity_id FROM attachments WHERE status = 'stored'")
    assert len(owners) == 3
    some = await run("--json", "load", config, "--limit", "2")
    assert (some.code, some.document["status"]) == (0, "complete")
    assert len({file.entity_id for file in target.state.attachments()}) == 2
    assert some.document["uploads"]["skipped"] == some.document["uploads"]["planned"] - len(target.state.uploads) > 0
    whole = await run("--json", "migrate", config)
    assert (whole.code, len(target.state.uploads)) == (0, OWNED)
    assert whole.document["backup"]["attachments"]["unchanged"] == few.document["attachments"]["stored"]


async def test_filters_pick_files_and_are_told_when_they_are_wrong(tmp_path, source, target):
    config, root = config_of(tmp_path, source, target), tmp_path / "archive"
    finished = await run("--json", "backup", config, "--max-size", "3 kB", "--name-glob", "*.p*", "--name-glob", "*.t*")
    assert finished.code == 0
    names = catalog(root, "SELECT name, size FROM attachments WHERE status = 'stored'")
    assert 0 < len(names) == finished.document["attachments"]["stored"] < 60
    assert all(size <= 3000 and re.search(r"\.[pt]", name, re.IGNORECASE) for name, size in names)
    for words in ["--max-size", "huge"], ["--since", "soon"], ["--limit", "0"], ["--entity", "Bug:"]:
        wrong = await run("--json", "load", config, *words)
        assert (wrong.code, wrong.document["error"]["code"]) == (2, 2)
        assert words[0] in wrong.err


async def test_a_rehearsal_lists_every_upload_and_sums_up_on_the_terminal(tmp_path, source, target):
    config = config_of(tmp_path, source, target, target__options={"max_bytes": 100_000})
    assert (await run("-q", "backup", config)).code == 0
    finished = await run("--json", "load", config, "--dry-run")
    large = sum(file.size > 100_000 for file in WORLD.attachments if WORLD.owner_of(file) is not None)
    assert (finished.code, large > 0) == (3, True)
    entries = finished.document["rehearsal"]
    assert len(entries) == OWNED == finished.document["uploads"]["planned"]
    refused = [entry for entry in entries if entry["what"] == "refused"]
    assert len(refused) == large == finished.document["dry_run"]["would_fail"]
    assert all("too large" in entry["reason"] for entry in refused)
    assert len(target.state.uploads) == 0
    people = await run("-q", "load", config, "--dry-run")
    size = human_size(sum(file.size for file in WORLD.attachments if WORLD.owner_of(file) and file.size <= 100_000))
    assert people.out.splitlines()[1] == f"would upload {OWNED - large} files ({size})"
    assert f"{large} would fail: " in people.out
    assert "/s" not in people.out, "nothing is sent, so there is no speed"


async def test_a_rehearsal_names_what_it_would_rename_and_speaks_of_no_load(tmp_path, source, target):
    file = min((file for file in WORLD.attachments if WORLD.owner_of(file) is not None), key=lambda file: file.size)
    config = config_of(tmp_path, source, target, target__options={"max_bytes": 100_000})
    assert (await run("-q", "backup", config)).code == 0
    with closing(sqlite3.connect(tmp_path / "archive" / "catalog.db")) as db, db:
        db.execute("UPDATE attachments SET name = ? WHERE attachment_id = ?", ["x" * 300 + ".txt", str(file.id)])
    shown = (await run("load", config, "--dry-run")).out
    assert re.search(r"^would rename \d files$", shown, re.MULTILINE)
    assert re.search(r"x{300}\.txt: as x{200,}\.txt", shown)
    assert (await run("-q", "load", config)).code == 3
    shown = (await run("load", config, "--dry-run")).out
    assert shown.startswith("load --dry-run (run 4): incomplete")
    assert "would upload 0 files (0 B)" in shown
    assert "recorded as there by earlier loads" in shown
    assert not re.search("^(planned|uploaded|failed|bytes) ", shown, re.MULTILINE)


async def test_a_rehearsal_is_no_load_in_status_and_can_not_be_rolled_back(tmp_path, source, target):
    config, root = config_of(tmp_path, source, target), tmp_path / "archive"
    assert (await run("-q", "backup", config)).code == 0
    for words in (["load"], ["restore"], ["rollback"]):
        assert (await run("-q", *words, config, "--dry-run")).code == 0
    assert (await run("-q", "load", config)).code == 0
    names = [each["command"] for each in (await run("--json", "status", root)).document["runs"]]
    assert names == ["load", "rollback --dry-run", "restore --dry-run", "load --dry-run", "backup"]
    assert "load --dry-run" in (await run("status", root)).out
    refused = await run("-q", "--json", "rollback", config, "--run", "2")
    assert_failed(refused, 2, "dry run")
    with closing(sqlite3.connect(root / "catalog.db")) as db, db:  # as earlier versions recorded it
        db.execute("UPDATE runs SET command = 'load' WHERE run_id = 2")
    assert_failed(await run("-q", "--json", "rollback", config, "--run", "2"), 2, "dry run")
    assert len(target.state.uploads) == OWNED
    assert (await run("--json", "rollback", config, "--run", "5")).document["deletions"]["deleted"] == OWNED


# Rollback


async def test_rollback_deletes_what_a_load_put_there_and_says_so(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "migrate", config)).code == 0
    assert sum(len(target.state.files_of(entity.id)) for entity in WORLD.entities) == OWNED
    rehearsal = await run("--json", "rollback", config, "--dry-run")
    assert (rehearsal.code, rehearsal.document["dry_run"]) == (0, {"would_delete": OWNED})
    assert rehearsal.document["deletions"]["deleted"] == len(target.state.deleted) == 0
    finished = await run("--json", "rollback", config)
    assert (finished.code, finished.document["status"]) == (0, "complete")
    assert finished.document["deletions"].keys() == DELETIONS
    assert finished.document["deletions"]["deleted"] == OWNED == len(target.state.deleted)
    assert sum(len(target.state.files_of(entity.id)) for entity in WORLD.entities) == 0
    again = await run("rollback", config)
    assert again.code == 0
    assert "planned" in again.out


async def test_a_file_that_was_changed_at_the_target_makes_a_rollback_status_3(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "migrate", config)).code == 0
    number = next(iter(target.state.uploads))
    target.state.uploads[number] = replace(target.state.uploads[number], name="renamed by somebody.txt")
    finished = await run("--json", "rollback", config)
    assert (finished.code, finished.document["status"]) == (3, "incomplete")
    assert (finished.document["deletions"]["changed"], len(target.state.deleted)) == (1, OWNED - 1)
    assert number not in target.state.deleted
    assert "renamed by somebody.txt" in finished.document["failures"][0]["reason"]


async def test_rollback_of_a_run_that_is_no_load_is_status_2(tmp_path, source, target):
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    assert_failed(await run("-q", "--json", "rollback", config, "--run", "1"), 2, "not a load")


async def test_a_killed_or_stopped_rollback_is_finished_by_the_next(tmp_path, source, target):
    config = config_of(tmp_path, source, target, limits={"uploads": 1})
    assert (await run("-q", "migrate", config)).code == 0
    target.faults.latency = 0.01
    process = await start("--json", "rollback", config)
    await until(lambda: len(target.state.deleted) >= 5)
    assert await kill(process)
    process = await start("--json", "rollback", config)
    await until(lambda: len(target.state.deleted) >= 10)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process, within=15)
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    assert len(target.state.deleted) < OWNED
    finished = await run("--json", "rollback", config)
    assert (finished.code, len(target.state.deleted)) == (0, OWNED)
    assert finished.document["deletions"]["already_gone"] == 0
    target.faults.latency = 0.0
    assert (await run("--json", "load", config)).document["uploads"]["uploaded"] == OWNED


async def test_a_run_that_hangs_ends_within_15_seconds_of_the_signal(tmp_path, source):
    config = config_of(tmp_path, source, limits={"downloads": 4})
    process = await start("--json", "backup", config)
    source.faults.stalled, source.faults.stall_seconds = 1.0, 60.0
    await until(lambda: source.downloads.total() >= 3)
    process.send_signal(signal.SIGTERM)
    finished = await ended(process, within=15)
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    assert finished.err.count("\n") <= 6
    assert "Traceback" not in finished.err


async def test_a_signal_during_the_login_is_status_130_too(tmp_path, source):
    source.faults.latency = 20.0
    process = await start("--json", "backup", config_of(tmp_path, source))
    await until(lambda: source.requests.total() >= 1)
    process.send_signal(signal.SIGINT)
    finished = await ended(process, within=5)
    assert (finished.code, finished.document["status"]) == (130, "interrupted")
    assert "Traceback" not in finished.err
    assert not (tmp_path / "archive" / "catalog.db").exists()


# Secrets


def assert_secret_nowhere(secrets: set[str], said: list[str], root: Path) -> None:
    """In nothing that was said, and in no file of the archive that is not a blob."""
    from urllib.parse import quote, quote_plus

    spelled = {
        form for secret in secrets for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
    }
    files = [path for path in root.rglob("*") if path.is_file() and path.parent.parent != root / "blobs"]
    assert {"catalog.db", "README.txt"} <= {path.name for path in files}
    for form in spelled:
        assert not any(form in text for text in said), form
        for path in files:
            assert form.encode() not in path.read_bytes(), (form, path.name)


@pytest.mark.parametrize("way", ["password", "access_token"])
async def test_no_secret_is_said_or_kept_whatever_happens(tmp_path, source, target, way):
    secret = source.password if way == "password" else source.access_token
    auth = {way: secret} if way != "password" else source.credentials
    config = config_of(tmp_path, source, target, auth=auth, limits={"retries": 2})
    if way == "access_token":  # tokens may not fetch files
        (tmp_path / "cookie").write_text(source.cookie)
        config.write_text(config.read_text() + '[source.download_auth]\ncookie = { file = "cookie" }\n')
    root = tmp_path / "archive"
    source.faults.broken.add(WORLD.attachments[3].id)
    source.faults.forbidden.add(WORLD.attachments[4].id)
    source.faults.error_500 = source.faults.dropped = source.faults.redirected = source.faults.truncated = 0.05
    target.faults.lose_upload_answers = 1
    said = []
    further = (["check", config], ["migrate", config], ["load", config], ["status", root], ["verify", root])
    for words in (["backup", config], *(further if way == "password" else ())):
        finished = await run("-v", *words)
        assert finished.code in {0, 3}, (words, finished)
        said += [finished.out, finished.err]
    assert any("again in" in text for text in said), "something was retried, and told"
    config.write_text(config.read_text().replace(source.url, source.url + "/elsewhere"))
    finished = await run("--json", "-v", "backup", config)
    assert finished.code == 4, finished
    said += [finished.out, finished.err]
    wrap = {*target.login.tokens, target.login.refresh_token} if way == "password" else set()
    assert all(wrap)
    assert_secret_nowhere({secret, source.cookie, target.password} | wrap, said, root)


async def test_a_bug_is_status_1_with_a_traceback_that_holds_no_secret(tmp_path, source):
    config = config_of(tmp_path, source, auth={"access_token": source.access_token})
    breaks = tmp_path / "breaks"
    breaks.mkdir()
    (breaks / "sitecustomize.py").write_text(
        "import migrator.trackers.targetprocess.source as module\n"
        "def attachment(*facts):\n"
        "    raise ZeroDivisionError('a bug')\n"
        "module.attachment = attachment\n"
    )
    finished = await run_process("-v", "backup", config, env={"PYTHONPATH": f"{breaks}:{ROOT}"})
    assert finished.code == 1
    assert "ZeroDivisionError: a bug" in finished.err
    assert finished.out == ""
    assert_secret_nowhere({source.access_token}, [finished.err], tmp_path / "archive")
    assert catalog(tmp_path / "archive", "SELECT status FROM runs") == [("failed",)]


def test_the_console_script_is_the_same_program():
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"migrator": "migrator.jobs.cli:main"}
    code = "import sys; sys.argv = ['migrator', '--version']; from migrator.jobs.cli import main; main()"
    ours = [sys.executable, "-c", code], [sys.executable, "-m", "migrator", "--version"]
    said = {subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout for line in ours}
    assert len(said) == 1


def test_nothing_but_migrator_is_installed():
    """The folder `jobs` is installed as `migrator.jobs`: a package of that name may be somebody else's."""
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["packages"] == ["migrator"]
