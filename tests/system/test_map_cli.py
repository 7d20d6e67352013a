"""`migrator map`, stubs and changes of mind through the real program, from Targetprocess into TeamPulse."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from migrator.mapping.file import read_mapping
from migrator.model import EntityRef
from migrator.pipeline.map import NO_ENTITY
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World, WorldEntity
from migrator.testing import sha256
from tests.support.program import config_of, kill, run, start, until

WORLD = World.generate(entities=12, seed=5, attachments=30, median_bytes=500, large_bytes=0)
OWNED = [file for file in WORLD.attachments if WORLD.owner_of(file) is not None]
WITH_FILES = {WORLD.owner_of(file) for file in OWNED}
HEADER = "source_kind,source_id,target_kind,target_id"


@pytest.fixture
async def target():
    """The same entities under the same titles and other ids."""
    twins = (WorldEntity(entity.id + 1000, entity.kind, entity.title.upper()) for entity in WORLD.entities)
    async with TeamPulseSandbox(World(1, tuple(twins))) as sandbox:
        yield sandbox


@pytest.fixture
async def empty():
    async with TeamPulseSandbox(World(1, ())) as sandbox:
        yield sandbox


async def test_map_proposes_rows_by_title_and_a_load_by_them_moves_everything(tmp_path, source, target):
    config = config_of(tmp_path, source, target, twins=False)
    assert (await run("backup", config)).code == 0
    found = await run("--json", "map", config)
    document = found.document
    assert (found.code, document["status"]) == (0, "complete"), found.err
    assert document["rows"] == {"kept": 0, "proposed": 12, "ambiguous": 0, "unmatched": 1, "without_files": 0}
    assert document["sure"] == {"medium": 12}
    [unlinked] = document["unmatched"]
    assert (unlinked["kind"], unlinked["entity"], unlinked["why"]) == ("Unlinked", "", NO_ENTITY)
    with (tmp_path / "mapping.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        of, to = WORLD.entity(int(row["source_id"])), target.state.entity(int(row["target_id"]))
        assert (row["source_title"], row["target_title"]) == (of.title, to.title)
        assert (row["source_url"].startswith(source.url), row["target_url"].startswith(target.url)) == (True, True)
        assert row["why"].startswith("the same title")
    assert [row["why"] for row in document["proposals"]] == [row["why"] for row in rows]
    mapping = read_mapping(tmp_path / "mapping.csv")
    for entity in WORLD.entities:
        twin = EntityRef(target.kind_of(entity.id + 1000), str(entity.id + 1000))
        assert mapping[EntityRef(source.kind_of(entity.id), str(entity.id))] == (twin,)
    loaded = await run("--json", "load", config)
    assert loaded.code == 0
    assert loaded.document["uploads"]["uploaded"] == len(OWNED)


async def test_map_shows_what_it_would_propose_and_writes_nothing(tmp_path, source, target):
    config = config_of(tmp_path, source, target, twins=False)
    await run("backup", config)
    exact, other = WORLD.entities[0], WORLD.entities[1]
    target.state.created[exact.id + 1000] = WorldEntity(exact.id + 1000, exact.kind, exact.title)
    shown = await run("map", config, "--dry-run")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("map --dry-run (run 2): complete")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    proposed = [line for line in lines if line.startswith(("low ", "medium ", "high "))]
    assert len(proposed) == 12
    kind, twin = source.kind_of(other.id), target.kind_of(other.id + 1000)
    assert any(
        line.startswith(f"medium {kind} {other.id} {other.title} {twin} {other.id + 1000} {other.title.upper()} ")
        for line in proposed
    )
    assert not list(tmp_path.glob("mapping*"))
    runs = (await run("--json", "status", tmp_path / "archive")).document["runs"]
    assert "map --dry-run" in {each["command"] for each in runs}
    mapped = await run("--json", "map", config)
    assert mapped.document["rows"]["proposed"] == 12


async def test_map_keeps_the_rows_of_a_person_and_lists_what_it_can_not_tell(tmp_path, source, target):
    target.state.created[5000] = WorldEntity(5000, "bug", WORLD.entities[0].title)  # a second one of this title
    target.state.created[1000 + WORLD.entities[1].id] = WorldEntity(1, "bug", "x")
    config = config_of(tmp_path, source, target, twins=False)
    mine = f"{source.kind_of(WORLD.entities[2].id)};{WORLD.entities[2].id};;4711;by hand\r\n"
    (tmp_path / "mapping.csv").write_bytes(("\ufeff" + HEADER.replace(",", ";") + ";note\r\n" + mine).encode())
    await run("backup", config)
    first = await run("--json", "map", config)
    assert first.code == 0
    content = (tmp_path / "mapping.csv").read_bytes().decode()
    notes = ";note;found_by;sure;why;source_title;target_title;source_url;target_url\r\n"
    assert content.startswith("\ufeff" + HEADER.replace(",", ";") + notes + mine)
    rows = first.document["rows"]
    assert (rows["kept"], rows["proposed"]) == (1, 10)
    listed = [*first.document["ambiguous"], *first.document["unmatched"]]
    assert rows["ambiguous"] + rows["without_files"] == 1
    with (tmp_path / "mapping.open.csv").open(encoding="utf-8-sig", newline="") as file:
        left = list(csv.DictReader(file))
    assert [row["source_id"] for row in left] == [one["entity"] for one in listed]
    again = await run("--json", "map", config)
    assert again.document["rows"]["proposed"] == 0
    assert (tmp_path / "mapping.csv").read_bytes().decode() == content


async def test_map_tells_a_person_and_leaves_nothing_matched_in_a_file_beside(tmp_path, source, empty):
    config = config_of(tmp_path, source, empty, twins=False, mapping={"match": ["custom:OldId", "title"]})
    await run("backup", config)
    found = await run("map", config)
    assert found.code == 0
    assert f"unmatched      {len(WITH_FILES) + 1}" in found.out
    with (tmp_path / "mapping.open.csv").open(encoding="utf-8-sig", newline="") as file:
        listed = {row["source_id"]: row["source_kind"] for row in csv.DictReader(file)}
    assert listed.pop("") == "Unlinked"
    assert {*map(int, listed)} == WITH_FILES
    assert not (tmp_path / "mapping.csv").exists()


async def test_a_rule_that_is_none_is_status_2(tmp_path, source, target):
    config = config_of(tmp_path, source, target, twins=False, mapping={"match": ["titel"]})
    found = await run("--json", "map", config)
    assert found.code == 2
    assert "mapping.match" in found.err
    assert "titel" in found.err


async def test_map_without_an_archive_is_status_2_and_without_a_target_status_4(tmp_path, source, target):
    config = config_of(tmp_path, source, target, twins=False)
    assert (await run("--json", "map", config)).code == 2
    await run("backup", config)
    await target.stop()
    assert (await run("--json", "map", config)).code == 4
    assert not (tmp_path / "mapping.csv").exists()


CREATE = {"mapping": {"create_missing": True}, "target__options": {"create_project": "Sandbox"}}


def assert_everything_is_there_once(folder: Path, target) -> None:
    mapping = read_mapping(folder / "mapping.csv")
    assert {int(of.id) for of in mapping} == WITH_FILES
    assert sorted(int(to.id) for (to,) in mapping.values()) == sorted(target.state.created)
    for of, (to,) in mapping.items():
        assert target.state.entity(int(to.id)).title == WORLD.entity(int(of.id)).title
        there = sorted(file.sha256 for file in target.state.files_of(int(to.id)))
        assert there == sorted(sha256(WORLD.content(file)) for file in WORLD.attachments_of(int(of.id)))


async def test_create_missing_needs_no_mapping_file_and_makes_stubs_with_a_link(tmp_path, source, empty):
    config = config_of(tmp_path, source, empty, twins=False, **CREATE)
    found = await run("--json", "migrate", config)
    assert found.code == 0, found.err
    assert found.document["load"]["stubs"] == {"created": len(WITH_FILES), "found": 0, "failed": 0}
    assert_everything_is_there_once(tmp_path, empty)
    for number, stub in empty.state.created.items():
        assert f'<a href="{source.url}/entity/' in stub.text, number
    assert (await run("--json", "load", config)).document["stubs"]["created"] == 0
    assert_everything_is_there_once(tmp_path, empty)


async def test_a_load_killed_again_and_again_creates_each_stub_once(tmp_path, source, empty):
    config = config_of(tmp_path, source, empty, twins=False, **CREATE)
    await run("backup", config)
    empty.faults.latency = 0.02
    for count in range(1, len(WITH_FILES), 3):
        process = await start("load", config)
        await until(
            lambda count=count, process=process: len(empty.state.created) >= count or process.returncode is not None
        )
        await kill(process)
    empty.faults.latency = 0
    assert (await run("--json", "load", config)).code == 0
    assert_everything_is_there_once(tmp_path, empty)


async def test_creating_without_a_project_is_status_2_and_names_the_projects(tmp_path, source, empty):
    config = config_of(tmp_path, source, empty, twins=False, mapping={"create_missing": True})
    await run("backup", config)
    for options in (["--dry-run"], []):
        found = await run("--json", "load", config, *options)
        assert found.code == 2
        assert "create_project" in found.err
        assert "Sandbox (1)" in found.err
    assert empty.state.created == {}


async def test_a_rehearsal_that_would_create_says_how_much_and_creates_nothing(tmp_path, source, empty):
    config = config_of(tmp_path, source, empty, twins=False, **CREATE)
    await run("backup", config)
    found = await run("--json", "load", config, "--dry-run")
    assert (found.code, found.document["stubs"]) == (0, {"would_create": len(WITH_FILES)})
    assert f"{len(WITH_FILES)} entities would be created first" in found.err
    assert empty.state.created == {}


async def test_a_row_added_is_loaded_and_a_changed_one_is_told_and_moved(tmp_path, source, target):
    config = config_of(tmp_path, source, target, twins=False)
    await run("backup", config)
    await run("map", config)
    path = tmp_path / "mapping.csv"
    number = max(WITH_FILES, key=lambda one: len(WORLD.attachments_of(one)))
    whole, count = path.read_text(), len(WORLD.attachments_of(number))
    line = next(line for line in whole.splitlines() if line.split(",")[1] == str(number))
    path.write_text(whole.replace(line + "\n", ""))
    assert (await run("--json", "load", config)).document["uploads"]["uploaded"] == len(OWNED) - count
    path.write_text(whole)
    assert (await run("--json", "load", config)).document["uploads"]["uploaded"] == count

    new = target.state.create_entity("bug", "better", "").id
    path.write_text(whole.replace(line, f"{','.join(line.split(',')[:2])},Bug,{new}"))
    early = await run("--json", "load", config, "--move-changed", "--dry-run")
    assert (early.document["dry_run"]["would_upload"], early.document["moved"]["planned"]) == (count, count)
    told = await run("load", config)
    assert told.code == 0
    assert f"{count} files are at entities that the mapping no longer names" in told.out
    assert "--move-changed" in told.out
    old = number + 1000
    assert len(target.state.files_of(old)) == len(target.state.files_of(new)) == count
    dry = await run("--json", "load", config, "--move-changed", "--dry-run")
    assert len(target.state.files_of(old)) == count, dry.out
    moved = await run("--json", "load", config, "--move-changed")
    assert (moved.code, moved.document["moved"]["deleted"]) == (0, count), moved
    assert [row["attachment"] for row in moved.document["changed"]] == [
        str(file.id) for file in sorted(WORLD.attachments_of(number), key=lambda file: str(file.id))
    ]
    assert (len(target.state.files_of(old)), len(target.state.files_of(new))) == (0, count)
    again = (await run("--json", "load", config, "--move-changed")).document
    assert "changed" not in again
    assert again["uploads"]["uploaded"] == 0
    assert json.dumps(again)
