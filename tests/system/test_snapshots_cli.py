"""Snapshots by the command line: list, compare, read an earlier state, forget."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from tests.support.program import Finished, configure, run
from tests.support.terminal import on_terminal

WORLD = World.generate(entities=15, seed=5, attachments=30, median_bytes=500, large_bytes=2000)
FILES = sum(WORLD.owner_of(file) is not None for file in WORLD.attachments)


@pytest.fixture
async def source():
    async with SquashSandbox(WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def target():
    async with TeamPulseSandbox(WORLD.without_attachments()) as sandbox:
        yield sandbox


async def lived(folder: Path, source) -> tuple[Path, str]:
    """Two nights; in between one file was deleted. The configuration, and the name of that file."""
    config = configure(folder, source)
    assert (await run("backup", config)).code == 0
    deleted = next(file for file in source.state.attachments() if file.entity_id is not None)
    source.state.delete(deleted.id)
    assert (await run("backup", config)).code == 0
    return config, deleted.name


def exported(finished: Finished, folder: Path) -> int:
    assert finished.code == 0, finished.err
    return len([path for path in folder.rglob("*") if path.is_file() and path.name != "index.csv"])


async def test_the_archive_lists_its_snapshots_and_what_changed(tmp_path, source):
    config, name = await lived(tmp_path, source)
    first, second = (await run("--json", "snapshots", config)).document["snapshots"]
    assert (first["run"], first["attachments"], first["added"]) == (1, FILES, FILES)
    assert (second["run"], second["attachments"], second["removed"], second["added"]) == (2, FILES - 1, 1, 0)
    compared = (await run("--json", "diff", config)).document
    assert (compared["older"], compared["newer"], compared["counts"]["removed"]) == (1, 2, 1)
    assert [(row["change"], row["name"]) for row in compared["changes"]] == [("removed", name)]
    assert f" {FILES - 1} " in (await run("snapshots", config)).out
    assert "removed" in (await run("diff", config, "1", "2")).out


async def test_an_earlier_state_is_exported_reported_and_counted(tmp_path, source):
    config, name = await lived(tmp_path, source)
    now, then = tmp_path / "now", tmp_path / "then"
    assert exported(await run("export", config, now, "--format", "tree"), now) == FILES - 1
    assert exported(await run("export", config, then, "--format", "tree", "--at", "1"), then) == FILES
    assert (await run("report", config, "--out", tmp_path / "r.json", "--at", "1")).code == 0
    assert name in json.dumps(json.loads((tmp_path / "r.json").read_text()), ensure_ascii=False)
    status = (await run("--json", "status", config, "--at", "1")).document
    assert status["totals"]["attachments"] == {"stored": FILES}
    status = (await run("--json", "status", config, "--at", "2999-01-01")).document
    assert status["totals"]["attachments"] == {"stored": FILES - 1}


async def test_an_earlier_state_is_loaded(tmp_path, source, target):
    await lived(tmp_path, source)
    config = configure(tmp_path, source, target)
    now = (await run("--json", "load", config, "--dry-run")).document["uploads"]
    then = (await run("--json", "load", config, "--dry-run", "--at", "1")).document["uploads"]
    assert then["planned"] + then["unmapped"] == now["planned"] + now["unmapped"] + 1
    done = (await run("--json", "load", config, "--at", "1")).document
    assert done["uploads"]["uploaded"] == then["planned"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--at", "7"), "run 7 is not a snapshot of this archive; snapshots are 1, 2"),
        (("status", "--at", "2001-01-01"), "no snapshot as old as 2001-01-01"),
        (("status", "--at", "yesterday"), "neither the number of a run nor a date"),
        (("diff", "2", "1"), "name the older one first"),
    ],
)
async def test_a_snapshot_that_is_not_there_is_named(tmp_path, source, words, said):
    config, _ = await lived(tmp_path, source)
    command, *rest = words
    finished = await run(command, config, *rest)
    assert finished.code == 2
    assert said in finished.err


async def test_status_says_what_only_older_snapshots_need(tmp_path, source):
    config, _ = await lived(tmp_path, source)
    most = (await run("--json", "prune", config, "--keep-last", "1", "--dry-run")).document
    kept = {"blobs": most["blobs"]["removed"], "bytes": most["bytes"]}
    assert kept["blobs"] == 1
    assert (await run("--json", "status", config)).document["for_older_snapshots"] == kept
    line = "kept only for older snapshots: 1 blob, "
    assert f"`migrator prune {tmp_path / 'archive'} --help` says how" in (await run("status", tmp_path / "archive")).out
    plain = config.read_text()
    for keep, freed, words in ((2, 0, "nothing"), (1, kept["bytes"], "1 blob, ")):
        config.write_text(f"{plain}\n[retention]\nkeep_last = {keep}\n")
        told = (await run("--json", "status", config)).document["for_older_snapshots"]
        assert told == kept | {"freed_blobs": int(freed > 0), "freed_bytes": freed}
        shown = (await run("status", config)).out
        assert f"; by [retention], `migrator prune {config}` would free {words}" in shown
        assert line in shown
    assert "for_older_snapshots" not in (await run("--json", "status", config, "--at", "1")).document
    assert (await run("prune", config)).code == 0
    assert "for_older_snapshots" not in (await run("--json", "status", config)).document


async def test_status_check_is_3_unless_the_backup_is_fine(tmp_path, source):
    config, _ = await lived(tmp_path, source)
    assert (await run("status", "--check", config)).code == 0
    config.write_text(config.read_text().replace("token = ", "token = 'wrong' # "))
    assert (await run("backup", config)).code == 4
    plain, checked = await run("--json", "status", config), await run("--json", "status", config, "--check")
    assert (plain.code, plain.document["status"], plain.document["health"]["verdict"]) == (0, "complete", "warning")
    assert (checked.code, checked.document["status"]) == (3, "incomplete")
    assert checked.document["health"]["verdict"] == "warning"
    assert (await run("status", config, "--check", "--at", "1")).code == 2


async def test_a_prune_asks_on_a_terminal_with_what_would_go(tmp_path, source):
    config, _ = await lived(tmp_path, source)
    blobs = len([*(tmp_path / "archive" / "blobs").glob("*/*")])
    code, shown = await on_terminal("prune", config, "--keep-last", "1", answers="n\n")
    assert re.search(r"Forget 1 snapshot and delete 1 blob \([\d.]+ (B|kB|bytes)\) for good\? \[y/N\]", shown)
    assert (code, "nothing was deleted" in shown) == (130, True)
    assert len((await run("--json", "snapshots", config)).document["snapshots"]) == 2
    code, shown = await on_terminal("prune", config, "--keep-last", "1", answers="y\n")
    assert (code, "1 removed: 1" in shown) == (0, True)
    assert len([*(tmp_path / "archive" / "blobs").glob("*/*")]) == blobs - 1
    code, shown = await on_terminal("prune", config, "--keep-last", "1")
    assert (code, "[y/N]" in shown) == (0, False), "nothing goes, so nothing is asked"
    assert (await run("backup", config)).code == 0
    code, shown = await on_terminal("prune", config, "--keep-last", "1", answers="n\n")
    assert (code, "Forget 1 snapshot for good? [y/N]" in shown) == (130, True)


async def test_a_prune_with_yes_asks_nothing(tmp_path, source):
    config, _ = await lived(tmp_path, source)
    code, shown = await on_terminal("prune", config, "--keep-last", "1", "--yes")
    assert (code, "[y/N]" in shown) == (0, False)
    assert len((await run("--json", "snapshots", config)).document["snapshots"]) == 1


async def test_snapshots_are_forgotten_by_options_or_configuration(tmp_path, source):
    config, _ = await lived(tmp_path, source)
    blobs = len([*(tmp_path / "archive" / "blobs").glob("*/*")])
    kept = await run("--json", "prune", config)
    assert (kept.document["snapshots"], kept.document["bytes"]) == ({"kept": [1, 2], "removed": []}, 0)
    assert "no rule" in kept.err
    rehearsed = (await run("--json", "prune", config, "--keep-last", "1", "--dry-run")).document
    assert len([*(tmp_path / "archive" / "blobs").glob("*/*")]) == blobs
    config.write_text(config.read_text() + "\n[retention]\nkeep_last = 1\n")
    done = (await run("--json", "prune", config)).document
    assert done["blobs"] == rehearsed["blobs"]
    assert done["bytes"] == rehearsed["bytes"] > 0
    assert len([*(tmp_path / "archive" / "blobs").glob("*/*")]) == done["blobs"]["kept"] == blobs - 1
    assert (await run("verify", config)).code == 0
    assert "1 kept" in (await run("prune", config)).out
