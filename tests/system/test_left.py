"""What a load leaves behind is named; what fits nothing at all is said before anything is done."""

from __future__ import annotations

import os
import pty
import re

import pytest

from migrator.errors import ConfigError
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.mapping.file import read_rows
from migrator.model import EntityRef
from migrator.pipeline.load import left_out
from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.world.model import World
from migrator.selection import Selection
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import PATIENCE, rows, run_backup, run_load, small_tracker, twin_of
from tests.support.program import config_of, ended, run, start

WORLD = World.generate(entities=6, seed=3, attachments=12, median_bytes=200, large_bytes=0)
OWNED = sum(WORLD.owner_of(file) is not None for file in WORLD.attachments)


@pytest.fixture
async def backed_up(tmp_path, source, target):
    """A configuration whose source is backed up, and its mapping file."""
    config = config_of(tmp_path, source, target)
    assert (await run("-q", "backup", config)).code == 0
    return config, tmp_path / "mapping.csv"


def edited(file, change) -> list[str]:
    """The lines of a mapping file, changed from the first row on."""
    head, *lines = file.read_text().splitlines()
    lines = [change(number, line) for number, line in enumerate(lines, 2)]
    file.write_text("\n".join([head, *filter(None, lines)]) + "\n")
    return lines


# --- rows that name nothing


async def test_a_mapping_whose_rows_name_nothing_is_status_2_and_does_nothing(backed_up, target):
    config, file = backed_up
    edited(file, lambda _, line: re.sub("^[^,]*", lambda kind: kind[0].lower(), line))
    for command in ("load", "migrate"):
        finished = await run("--json", command, config)
        assert (finished.code, finished.document["error"]["code"]) == (2, 2), finished
        assert "no row of the mapping names anything in the archive (mapping.csv line 2:" in finished.err
        assert "did you mean" in finished.err
    assert len(target.state.uploads) == 0
    assert rows(config.parent / "archive", "SELECT count(*) FROM runs WHERE command = 'load'") == [(0,)]


async def test_rows_that_name_nothing_and_files_without_a_row_are_named(backed_up):
    config, file = backed_up
    owner = max(entity.id for entity in WORLD.entities if WORLD.attachments_of(entity.id))
    edited(file, lambda _, line: line.replace(f",{owner},", f",9{owner},", 1))
    finished = await run("--json", "-q", "load", config)
    assert finished.code == 0, finished
    [row] = finished.document["unmatched_rows"]
    assert (row["entity"], row["line"] >= 2) == (f"9{owner}", True)
    files = finished.document["unmapped_files"]
    assert len(files) == finished.document["uploads"]["unmapped"]
    mine = {one["name"] for one in files if one["entity"] == str(owner)}
    assert mine == {file.name for file in WORLD.attachments if WORLD.owner_of(file) == owner}
    assert "warning: 1 row of mapping.csv names nothing" in finished.err, "quiet keeps warnings"
    assert "belong to entities without a row" in finished.err
    people = await run("load", config)
    assert f"9{owner} (line {row['line']})" in people.out
    assert files[0]["name"] in people.out
    strict = await run("--json", "load", config, "--strict")
    assert (strict.code, strict.document["status"], strict.document["failures"]) == (3, "incomplete", [])


async def test_a_load_that_leaves_nothing_is_complete_though_it_is_strict(tmp_path):
    source = MemoryTracker()
    source.attach(source.add("Bug"), "a.txt", b"a")
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    summary = await run_load(target, tmp_path, mapping, strict=True)
    assert (summary["status"], summary.keys() & {"unmapped_files", "unmatched_rows"}) == ("complete", set())


async def test_whoever_runs_it_is_told_of_all_and_the_catalog_of_some(tmp_path, monkeypatch):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    monkeypatch.setattr(left_out, "MAX_RECORDED", 3)
    one = next(ref for ref in mapping if source.of(ref))
    astray = {EntityRef("Bug", f"99{n}"): (EntityRef("Issue", "1"),) for n in range(5)}
    summary = await run_load(target, tmp_path, {one: mapping[one], **astray})
    assert len(summary["unmapped_files"]) == summary["uploads"]["unmapped"] == len(source.files) - len(source.of(one))
    assert len(summary["unmatched_rows"]) == 5
    [(kept,)] = rows(tmp_path, "SELECT json_array_length(summary, '$.unmapped_files') FROM runs WHERE command = 'load'")
    assert kept == 3


# --- kinds and filters


async def test_a_kind_unknown_to_the_target_is_status_2_with_line_and_nearest(tmp_path):
    file = tmp_path / "mapping.csv"
    file.write_text("source_kind,source_id,target_kind,target_id\nBug,1,Story,1\nBug,2,story,2\n")
    known = read_rows(file)
    known.require_target_kinds(())
    known.require_target_kinds(("story", "Story", "Bug"))
    with pytest.raises(ConfigError, match=r"mapping.csv line 3: the target has no kind 'story'; did you mean 'Story'"):
        known.require_target_kinds(("Story", "Bug"))


async def test_a_misspelled_kind_is_an_error_and_one_without_entities_a_warning(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    for kind, possible in (("bug", ()), ("Bugg", ("Bug", "Story"))):
        chosen = Selection(kinds=frozenset({kind}))
        with pytest.raises(ConfigError, match="did you mean 'Bug'"):
            await run_load(target, tmp_path, mapping, selection=chosen, source_kinds=possible)
    chosen = Selection(kinds=frozenset({"Task"}))
    summary = await run_load(target, tmp_path, mapping, selection=chosen, source_kinds=("Bug", "Story", "Task"))
    assert (summary["status"], target.uploads) == ("complete", 0)
    assert "no file in the archive matches the filters" in summary["warnings"][0]


# --- what a rehearsal promises


async def test_a_rehearsal_names_what_the_target_is_known_to_refuse(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target = MemoryTracker(max_attachment_bytes=1000)
    mapping = {ref: (target.add("Issue"),) for ref in source.entities}
    rehearsal = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    told = await run_load(target, tmp_path, mapping, target=rehearsal, dry_run=True)
    done = await run_load(target, tmp_path, mapping)
    named = [[(one["attachment"], one["reason"]) for one in summary["failures"]] for summary in (told, done)]
    assert named[0] == named[1] != []
    assert told["dry_run"]["would_fail"] == done["uploads"]["failed"]


async def test_a_rehearsal_knows_the_authors_that_an_issuetrak_does_not(tmp_path, source):
    async with IssuetrakSandbox(WORLD.without_attachments()) as issuetrak:
        config = config_of(tmp_path, source, issuetrak)
        checked = await run("--json", "check", config)
        odd = [one for one in checked.document["target"]["checks"] if one["check"] == "oddity"]
        assert [(one["ok"], one["warning"]) for one in odd if "created_by" in one["detail"]] == [(True, True)]
        assert (await run("-q", "backup", config)).code == 0
        told = (await run("--json", "load", config, "--dry-run")).document
        assert len(issuetrak.state.uploads) == 0
        done = (await run("--json", "load", config)).document
    refused = [sorted((one["attachment"], one["reason"]) for one in one["failures"]) for one in (told, done)]
    assert refused[0] == refused[1] != []
    assert all("no active user" in reason for _, reason in refused[0])


# --- asking before deleting


async def on_terminal(*words: object, answer: bytes) -> tuple[int, str, str]:
    """Run it with a terminal for stdin and stderr; exit status, stdout, and what the terminal showed."""
    mine, theirs = pty.openpty()
    try:
        os.write(mine, answer)
        process = await start(*words, stdin=theirs, stderr=theirs, env={"TERM": "dumb"})
        finished = await ended(process)
        os.write(theirs, b"(end)")
        shown = ""
        while not shown.endswith("(end)"):
            shown += os.read(mine, 65536).decode(errors="replace")
    finally:
        os.close(mine)
        os.close(theirs)
    return finished.code, finished.out, shown


def there(target) -> int:
    """How many files the target holds."""
    return sum(len(target.state.files_of(entity.id)) for entity in WORLD.entities)


async def test_a_rollback_asks_on_a_terminal_with_the_number_and_the_address(backed_up, target):
    config, _ = backed_up
    assert (await run("-q", "load", config)).code == 0
    code, out, shown = await on_terminal("--json", "-q", "rollback", config, answer=b"n\n")
    assert f"Delete {OWNED} files from {target.url}? [y/N]" in shown
    assert (code, out) == (130, '{"command": "rollback", "status": "interrupted"}\n')
    assert "nothing was deleted" in shown
    assert there(target) == OWNED
    code, _, shown = await on_terminal("-q", "rollback", config, answer=b"y\n")
    assert (code, there(target)) == (0, 0), shown


@pytest.mark.parametrize("words", [["--yes"], ["--dry-run"]])
async def test_a_rollback_that_needs_no_answer_asks_nothing(backed_up, words):
    config, _ = backed_up
    assert (await run("-q", "load", config)).code == 0
    code, _, shown = await on_terminal("-q", "rollback", config, *words, answer=b"")
    assert (code, "[y/N]" in shown) == (0, False)


async def test_a_rollback_without_a_terminal_goes_on_without_asking(backed_up, target):
    config, _ = backed_up
    assert (await run("-q", "load", config)).code == 0
    assert (await run("--json", "rollback", config)).code == 0
    assert there(target) == 0


async def test_moving_what_changed_asks_on_a_terminal_too(backed_up, target):
    config, file = backed_up
    assert (await run("-q", "load", config)).code == 0
    owner, spare = sorted((e.id for e in WORLD.entities), key=lambda id_: -len(target.state.files_of(id_)))[:2]
    before = len(target.state.files_of(owner))
    edited(file, lambda _, line: line.replace(f",{target.kind_of(owner)},{owner}", f",{target.kind_of(spare)},{spare}"))
    code, _, shown = await on_terminal("-q", "load", config, "--move-changed", answer=b"n\n")
    assert f"Delete {before} files at former entities of {target.url}? [y/N]" in shown
    assert (code, there(target)) == (0, OWNED + before)
    code, _, shown = await on_terminal("-q", "load", config, "--move-changed", "--yes", answer=b"")
    assert (code, there(target), "[y/N]" in shown) == (0, OWNED, False)
