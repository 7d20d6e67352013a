"""Restore by the command line, on each embedded tracker and on a stand-in for Redmine."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from tests.support.program import configure, run
from tests.trackers.fake_redmine import KEY, FakeRedmine

WORLD = World.generate(entities=15, seed=8, attachments=40, median_bytes=500, large_bytes=2000)
OPTIONS = {"targetprocess": {"inline_images": "skip"}, "issuetrak": {"created_by": "APIUser"}}
LOST = 5
PLAIN = re.compile(r"(?!CON)[\w -]{1,60}\.[a-z]{3}", re.ASCII)


@pytest.fixture(params=sorted(SANDBOXES))
async def source(request):
    async with SANDBOXES[request.param](WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def issuetrak():
    async with SANDBOXES["issuetrak"](WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def redmine():
    async with FakeRedmine().running() as fake:
        yield fake


def there(source: Sandbox) -> dict[int, Counter[tuple[str, str]]]:
    """The files of each entity, by name and content."""
    return {
        entity.id: Counter((file.name, file.sha256) for file in source.state.files_of(entity.id))
        for entity in source.world.entities
    }


def delete_some(source: Sandbox) -> None:
    """Of those whose names are legal everywhere; others would come back under the nearest legal one."""
    owned = [file for file in source.state.attachments() if file.entity_id and PLAIN.fullmatch(file.name)]
    assert len(owned) > LOST
    for file in owned[:: len(owned) // LOST][:LOST]:
        source.state.delete(file.id)


async def lived(folder: Path, source: Sandbox, **sections: dict[str, object]) -> Path:
    """Two nights; in between some files were deleted."""
    config = configure(folder, source, **sections)
    assert (await run("backup", config)).code == 0
    delete_some(source)
    assert (await run("backup", config)).code == 0
    return config


async def test_lost_files_are_put_back_once_whatever_the_tracker(tmp_path, source):
    before = there(source)
    config = await lived(tmp_path, source, source__options=OPTIONS.get(source.tracker, {}))
    lost = there(source)
    rehearsed = (await run("--json", "restore", config, "--dry-run")).document
    assert (rehearsed["dry_run"]["would_upload"], there(source)) == (LOST, lost)
    assert len(rehearsed["rehearsal"]) == LOST
    shown = (await run("restore", config, "--dry-run")).out
    assert all(f"\n  {row['kind']} {row['entity']} {row['name']}\n" in shown for row in rehearsed["rehearsal"][:10])
    finished = await run("--json", "restore", config)
    done = finished.document
    assert (finished.code, done["command"], done["status"], done["failures"]) == (0, "restore", "complete", [])
    counts = {"planned": LOST, "uploaded": LOST, "already_there": 0, "skipped": 0, "failed": 0}
    assert done["uploads"] == counts
    assert there(source) == before
    assert (await run("--json", "restore", config)).document["uploads"]["uploaded"] == 0
    assert (await run("backup", config)).code == 0
    assert not any((await run("--json", "diff", config, "1")).document["counts"].values())
    again = await run("restore", config)
    assert (again.code, "found nothing gone" in again.err) == (0, True)
    restored = list(source.state.uploads)
    source.state.delete(restored[0])
    assert (await run("backup", config)).code == 0
    assert (await run("--json", "restore", config)).document["uploads"]["uploaded"] == 1
    assert there(source) == before
    assert "restored: " in (await run("status", config)).out


async def test_a_snapshot_and_an_entity_are_chosen(tmp_path, issuetrak):
    before = there(issuetrak)
    config = await lived(tmp_path, issuetrak, source__options=OPTIONS["issuetrak"])
    latest = await run("--json", "restore", config, "--at", "2")
    assert (latest.code, latest.document["uploads"]["planned"]) == (0, 0)
    lost = {owner: files - there(issuetrak)[owner] for owner, files in before.items()}
    owner, files = next((owner, files) for owner, files in lost.items() if files)
    one = (await run("--json", "restore", config, "--at", "1", "--entity", f"Issue:{owner}")).document["uploads"]
    assert (one["planned"], one["uploaded"], one["skipped"]) == (LOST, files.total(), LOST - files.total())
    assert there(issuetrak)[owner] == before[owner]


async def test_what_the_tracker_needs_to_know_is_named(tmp_path, issuetrak):
    """Options may stand in [source], or in a [target] that is the same tracker."""
    config = await lived(tmp_path, issuetrak, source__options={"keep_author": False})
    refused = await run("--json", "restore", config)
    assert (refused.code, refused.document["uploads"]["failed"]) == (3, LOST)
    assert "options.created_by is not set" in refused.document["failures"][0]["reason"]
    options = {"created_by": "APIUser"}
    config = configure(tmp_path, issuetrak, issuetrak, twins=False, target__options=options)
    assert (await run("--json", "restore", config)).document["uploads"]["uploaded"] == LOST


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "9"), "run 9 is not a snapshot of this archive; snapshots are 1, 2"),
        (("--entity", "Bug:7"), "--entity: this tracker has no kind 'Bug'"),
    ],
)
async def test_a_wrong_choice_is_named_and_nothing_is_done(tmp_path, issuetrak, words, said):
    config = await lived(tmp_path, issuetrak)
    finished = await run("restore", config, *words)
    assert (finished.code, said in finished.err) == (2, True), finished.err
    assert not issuetrak.state.uploads


async def test_an_archive_without_a_snapshot_says_why_nothing_is_lost(tmp_path, issuetrak):
    config = configure(tmp_path, issuetrak)
    assert (await run("backup", config, "--limit", "2")).code == 0
    finished = await run("restore", config)
    assert (finished.code, "has no snapshot yet; a complete backup makes one" in finished.err) == (0, True)


async def test_the_archive_of_another_source_is_no_source_to_restore(tmp_path, issuetrak):
    config = await lived(tmp_path, issuetrak)
    async with SANDBOXES["issuetrak"](WORLD) as other:
        config = configure(tmp_path, other)
        finished = await run("restore", config)
        assert (finished.code, "this archive holds issuetrak" in finished.err) == (2, True), finished.err
        assert not other.state.uploads


def configure_redmine(folder: Path, fake: FakeRedmine) -> Path:
    (folder / "key").write_text(KEY)
    path = folder / "migration.toml"
    path.write_text(f'[source]\ntracker = "redmine"\nurl = {json.dumps(fake.url)}\nauth.api_key = {{ file = "key" }}\n')
    return path


async def test_a_redmine_takes_the_files_of_issues_back(tmp_path, redmine):
    kept, deleted = redmine.issue("kept"), redmine.issue("deleted")
    for issue in (kept, deleted):
        redmine.file(issue, "a.txt", b"a", "the first")
    redmine.spaces[0].wiki.append("Start")
    wiki = redmine.put("wiki", "secret/Start", "w.txt", b"w")
    config = configure_redmine(tmp_path, redmine)
    assert (await run("backup", config)).code == 0
    redmine.files = {}
    del redmine.issues[deleted]
    assert (await run("backup", config)).code == 0
    finished = await run("--json", "restore", config)
    done = finished.document
    assert (finished.code, done["status"], done["uploads"]["uploaded"]) == (3, "incomplete", 1)
    reasons = {failure["kind"]: failure["reason"] for failure in done["failures"]}
    assert "the entity itself is gone" in reasons["Issue"]
    assert "to issues only" in reasons["WikiPage"]
    [file] = redmine.of(kept)
    assert (file.filename, file.content) == ("a.txt", b"a")
    assert file.description.startswith("the first")
    assert wiki.id not in redmine.files
    assert (await run("backup", config)).code == 0
    again = (await run("--json", "restore", config)).document["uploads"]
    assert again == {"planned": 2, "uploaded": 0, "already_there": 0, "skipped": 0, "failed": 2}
    assert redmine.of(kept) == [file]
