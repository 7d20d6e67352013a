"""What a person picks: the filter alone, then in a backup and in a load against the reference tracker."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import pytest

from migrator.errors import ForbiddenError, RejectedError, TrackerUnreachableError
from migrator.jobs.options import date, entity, size
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.model import NOBODY, Attachment, EntityRef
from migrator.pipeline.backup import crawl
from migrator.selection import EVERYTHING, Selection, Selector
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import PATIENCE, expected, rows, run_backup, run_load, small_tracker, stored, twin_of
from tests.support.program import ROOT

BUG = EntityRef("Bug", "7")
FILE = Attachment("1", BUG, "Shot.PNG", 1000, created_at="2024-02-03T04:05:06+01:00")


def only(**fields) -> Selection:
    return Selection(**fields)


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (EVERYTHING, True),
        (only(kinds=frozenset({"Bug", "Story"})), True),
        (only(kinds=frozenset({"Story"})), False),
        (only(entities=frozenset({EntityRef("Bug", "7")})), True),
        (only(entities=frozenset({EntityRef("", "7")})), True),
        (only(entities=frozenset({EntityRef("Story", "7"), EntityRef("", "8")})), False),
        (only(name_globs=("*.txt", "shot.*")), True),
        (only(name_globs=("*.txt",)), False),
        (only(min_size=1000, max_size=1000), True),
        (only(min_size=1001), False),
        (only(max_size=999), False),
        (only(since=datetime.fromisoformat("2024-02-03T03:05:06")), True),
        (only(since=datetime.fromisoformat("2024-02-03T03:05:07")), False),
        (only(kinds=frozenset({"Bug"}), max_size=1), False),
    ],
)
def test_a_file_is_wanted_if_every_field_agrees(selection, wanted):
    assert selection.wants(FILE) is wanted
    assert selection.partial is (selection is not EVERYTHING)


def test_what_a_tracker_does_not_tell_passes():
    picky = only(min_size=5, max_size=6, since=datetime.fromisoformat("2024-01-01"))
    assert picky.wants(replace(FILE, size=None, created_at=""))
    assert picky.wants(replace(FILE, size=None, created_at="yesterday"))


def test_a_choice_takes_so_many_entities_and_all_of_each():
    choice = Selector(only(limit=2, name_globs=("*.png",)))
    owners = [EntityRef("Bug", str(number)) for number in range(4)]
    files = [replace(FILE, id=str(n), owner=owners[n % 4]) for n in range(8)]
    assert not choice.select(replace(FILE, name="a.txt")), "an entity without a wanted file takes no room"
    assert not choice.select(replace(FILE, owner=NOBODY)), "nobody is no entity"
    assert [file.id for file in files if choice.select(file)] == ["0", "1", "4", "5"]
    assert choice.exhausted
    assert [choice.may_select(owner) for owner in owners] == [True, True, False, False]


def test_options_are_understood_or_named():
    assert [size(text) for text in ("10 MB", "1.5 kB", "2 KiB", "7")] == [10_000_000, 1500, 2048, 7]
    assert entity("Bug:7") == BUG
    assert entity("7") == EntityRef("", "7")
    assert date("2024-01-31").day == 31
    for read, text in ((size, "big"), (size, "1 MB/s"), (size, "-1"), (date, "soon"), (entity, "Bug:")):
        with pytest.raises(Exception, match=text.replace("/", ".")):
            read(text)


def test_the_key_of_a_selection_is_the_same_in_every_process():
    code = (
        "from migrator.selection import *; from migrator.model import EntityRef as E; "
        "print(Selection(frozenset('abcdefgh'), frozenset(E('Bug', n) for n in 'abcdefgh'), limit=3).key)"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(keys) == 1
    assert only(limit=3).key != only(limit=4).key != EVERYTHING.key


# --- backup


def of_kind(tracker: MemoryTracker, kind: str) -> set[str]:
    return {file.id for file in tracker.files.values() if file.owner.kind == kind}


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        (only(kinds=frozenset({"Bug"})), lambda file: file.owner.kind == "Bug"),
        (only(entities=frozenset({EntityRef("", "6")})), lambda file: file.owner.id == "6"),
        (only(name_globs=("big*",)), lambda file: file.name.startswith("big")),
        (only(min_size=2, max_size=9), lambda file: 2 <= file.size <= 9),
    ],
)
async def test_a_backup_takes_what_is_picked_and_a_later_one_the_rest(tmp_path, selection, fits):
    tracker = small_tracker()
    picked = {file.id for file in tracker.files.values() if fits(file)}
    assert 0 < len(picked) < len(tracker.files)
    summary = await run_backup(tracker, tmp_path, selection=selection)
    assert summary["status"] == "complete"
    assert set(stored(tmp_path)) == picked == set(tracker.downloads)
    assert summary["attachments"]["stored"] == len(picked)
    assert summary["attachments"]["listed"] == len(picked) + summary["attachments"]["skipped"]
    again = await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)
    assert max(tracker.downloads.values()) == 1
    assert (again["status"], again["attachments"]["unchanged"]) == ("complete", len(picked))


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_limited_backup_takes_so_many_entities_whole(tmp_path, limit):
    tracker = small_tracker()
    summary = await run_backup(tracker, tmp_path, selection=only(limit=limit))
    assert summary["status"] == "complete"
    owners = {tracker.files[id_].owner for id_ in stored(tmp_path)}
    assert len(owners) == limit
    assert set(stored(tmp_path)) == {file.id for owner in owners for file in tracker.of(owner)}
    before = stored(tmp_path)
    await run_backup(tracker, tmp_path, selection=only(limit=limit))
    assert stored(tmp_path) == before, "the same again takes the same"
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)


async def test_a_limit_beyond_all_entities_takes_everything_that_is_owned(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, selection=only(limit=1000))
    assert len(stored(tmp_path)) == len(tracker.files) - 1


@pytest.mark.parametrize("selection", [only(limit=1), only(kinds=frozenset({"Bug"})), only(name_globs=("no such",))])
async def test_a_picking_backup_calls_nothing_gone_and_forgets_nothing(tmp_path, selection):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    before = stored(tmp_path)
    removed = next(iter(of_kind(tracker, "Bug")))
    tracker.remove(removed)
    summary = await run_backup(tracker, tmp_path, selection=selection)
    assert summary["attachments"]["gone"] == 0
    assert stored(tmp_path) == before
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert set(before) - set(stored(tmp_path)) == {removed}


async def test_a_change_outside_of_a_filtered_backup_is_fetched_by_a_full_one(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    file = next(file for file in tracker.files.values() if file.owner.kind == "Story")
    tracker.files[file.id], tracker.content[file.id] = replace(file, size=3), b"new"
    await run_backup(tracker, tmp_path, selection=only(name_globs=("no such",)))
    assert file.id in stored(tmp_path), "what was stored stays"
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)


async def test_a_filtered_backup_does_not_hide_what_failed_outside_of_it(tmp_path):
    tracker = small_tracker()
    file = next(file for file in tracker.files.values() if not file.name.startswith("same"))

    async def on_call(verb, key):
        if (verb, key) == ("download", file.id):
            raise RejectedError("status 500")

    tracker.on_call = on_call
    assert (await run_backup(tracker, tmp_path))["attachments"]["failed"] == 1
    before = rows(tmp_path, "SELECT * FROM attachments WHERE status = 'failed'")
    summary = await run_backup(tracker, tmp_path, selection=only(name_globs=("same*",)))
    assert (summary["status"], summary["attachments"]["failed"]) == ("complete", 0), "it says nothing of others"
    assert rows(tmp_path, "SELECT * FROM attachments WHERE status = 'failed'") == before
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)


@pytest.fixture(autouse=True)
def _few_pages_ahead(monkeypatch):
    """So that a crawl which breaks off has a place to go on from: only so many pages may be without a checkpoint."""
    monkeypatch.setattr(crawl, "PAGES_WITHOUT_CHECKPOINT", crawl.PAGES_IN_FLIGHT)


def breaking_off(tracker: MemoryTracker, verb: str, after: int):
    """The tracker goes away at the n-th call of a verb; gives the calls."""
    calls = []

    async def on_call(called, key):
        calls.append((called, key))
        if sum(one == verb for one, _ in calls) > after:
            raise TrackerUnreachableError("gone away")

    tracker.on_call = on_call
    return calls


async def test_a_picking_backup_leaves_the_place_of_a_broken_off_whole_one_alone(tmp_path):
    tracker = small_tracker(40)
    fresh = breaking_off(tracker, "no verb", 0)
    await run_backup(tracker, tmp_path / "undisturbed")
    all_reads = sum(verb == "read" for verb, _ in fresh)
    breaking_off(tracker, "read", 8)
    with pytest.raises(TrackerUnreachableError):
        await run_backup(tracker, tmp_path)
    place = rows(tmp_path, "SELECT * FROM checkpoints WHERE NOT partial")
    assert len(place) > 1
    tracker.on_call = None
    had = set(stored(tmp_path))
    await run_backup(tracker, tmp_path, selection=only(name_globs=("no such",)))
    assert rows(tmp_path, "SELECT * FROM checkpoints") == place
    calls = breaking_off(tracker, "no verb", 0)
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "complete"
    assert sum(verb == "read" for verb, _ in calls) <= all_reads - 3, "it went on from its place"
    assert stored(tmp_path) == expected(tracker), "what the picking one skipped is wanted again"
    assert had < set(stored(tmp_path))


@pytest.mark.parametrize("selection", [only(limit=9), only(name_globs=("same*",))])
async def test_a_picking_backup_that_was_broken_off_goes_on_from_its_place(tmp_path, selection):
    undisturbed = small_tracker(60)
    await run_backup(undisturbed, tmp_path / "whole", selection=selection)
    tracker = small_tracker(60)
    breaking_off(tracker, "download", 8)
    with pytest.raises(TrackerUnreachableError):
        await run_backup(tracker, tmp_path, selection=selection)
    had = set(stored(tmp_path))
    tracker.on_call = None
    tracker.downloads.clear()
    assert (await run_backup(tracker, tmp_path, selection=selection))["status"] == "complete"
    assert not had & set(tracker.downloads)
    found = stored(tmp_path)
    if selection.limit:
        assert len({tracker.files[id_].owner for id_ in found}) == selection.limit
    else:
        assert found == stored(tmp_path / "whole")
    assert rows(tmp_path, "SELECT * FROM checkpoints") == []


async def test_a_filtered_backup_calls_no_entity_empty_that_it_could_not_ask(tmp_path):
    tracker = small_tracker(60)
    await run_backup(tracker, tmp_path)
    story = next(file.owner for file in tracker.files.values() if file.owner.kind == "Story")
    stop = asyncio.Event()

    async def on_call(verb, key):
        if (verb, key) == ("attachments_of", str(story)):
            raise ForbiddenError("status 403")
        if (verb, key) == ("read", "loose"):
            stop.set()
            await asyncio.sleep(5)

    tracker.on_call = on_call
    assert (await run_backup(tracker, tmp_path, stop=stop))["status"] == "interrupted"
    tracker.on_call = None
    await run_backup(tracker, tmp_path, selection=only(kinds=frozenset({"Bug"})))
    calls = breaking_off(tracker, "no verb", 0)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert ("attachments_of", str(story)) in calls, "its failure was kept, so it is asked again"
    assert stored(tmp_path) == expected(tracker)


# --- load


@pytest.fixture
async def backed_up(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    return tmp_path, source, *twin_of(source)


async def test_a_load_sends_what_is_picked_and_a_later_one_the_rest(backed_up):
    root, source, target, mapping = backed_up
    planned = len(source.files) - 1
    picked = sum(file.owner.kind == "Bug" and file.name == "same.txt" for file in source.files.values())
    selection = only(kinds=frozenset({"Bug"}), name_globs=("same*",))
    summary = await run_load(target, root, mapping, selection=selection)
    assert summary["status"] == "complete"
    assert summary["uploads"] == {
        "planned": planned, "uploaded": picked, "already_there": 0, "unmapped": 1,
        "skipped": planned - picked, "failed": 0,
    }  # fmt: skip
    assert {file.name for file in target.files.values()} == {"same.txt"}
    summary = await run_load(target, root, mapping)
    assert (summary["uploads"]["already_there"], summary["uploads"]["skipped"]) == (picked, 0)
    assert len(target.files) == planned


async def test_a_limited_load_takes_whole_entities_and_the_same_ones_again(backed_up):
    root, source, target, mapping = backed_up
    for _ in range(2):
        summary = await run_load(target, root, mapping, selection=only(limit=3))
        assert summary["status"] == "complete"
        back = {to: of for of, (to,) in mapping.items()}
        owners = {back[file.owner] for file in target.files.values()}
        assert len(owners) == 3
        assert len(target.files) == sum(len(source.of(owner)) for owner in owners)


async def test_a_failure_of_what_is_not_picked_does_not_make_a_load_incomplete(backed_up):
    root, source, target, mapping = backed_up
    of = next(file.owner for file in source.files.values() if file.name == "big 7.bin")
    wrong = {**mapping, of: (EntityRef("Issue", "9999"),)}
    assert (await run_load(target, root, wrong))["status"] == "incomplete"
    others = frozenset(ref for ref in mapping if ref != of)
    summary = await run_load(target, root, wrong, selection=only(entities=others))
    assert summary["status"] == "complete"
    assert summary["uploads"]["failed"] == 0
    assert summary["uploads"]["skipped"] == len(source.of(of))


async def test_a_rehearsal_says_of_every_upload_what_would_become_of_it(backed_up):
    root, source, _, _ = backed_up
    target = MemoryTracker(max_attachment_bytes=100_000, max_name_bytes=9)
    mapping = {ref: (target.add("Issue"),) for ref in source.entities}
    there = next(file for file in source.files.values() if file.name == "big 7.bin")
    target.attach(mapping[there.owner][0], there.name, source.content[there.id])
    lost = next(file for file in source.files.values() if file.name == "big 2.bin").owner
    hidden = next(file for file in source.files.values() if file.name == "big 4.bin").owner
    mapping[lost] = (EntityRef("Issue", "9999"),)

    async def on_call(verb, key):
        if (verb, key) == ("find_attachments", str(mapping[hidden][0])):
            raise ForbiddenError("GET: status 403")

    target.on_call = on_call
    rehearsal = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    summary = await run_load(target, root, mapping, target=rehearsal, dry_run=True)
    entries = {entry["attachment"]: entry for entry in summary["rehearsal"]}
    assert set(entries) == {file.id for file in source.files.values() if file.owner != NOBODY}
    keys = ["kind", "entity", "attachment", "name", "target_kind", "target_id", "what", "name_at_target", "reason"]
    assert all(list(entry) == keys for entry in entries.values())
    by_name = {entry["name"]: entry for entry in entries.values()}
    assert (by_name["big 7.bin"]["what"], by_name["big 7.bin"]["reason"]) == ("already_there", None)
    assert (by_name["big 5.bin"]["what"], "too large" in by_name["big 5.bin"]["reason"]) == ("refused", True)
    assert (by_name["big 10.bin"]["what"], by_name["big 10.bin"]["name_at_target"]) == ("upload", "big 1.bin")
    assert "no entity" in by_name["big 2.bin"]["reason"]
    assert "403" in by_name["big 4.bin"]["reason"]
    counts = summary["dry_run"]
    assert counts["would_fail"] == 1 + len(source.of(lost)) + len(source.of(hidden)) == len(summary["failures"])
    assert counts["already_there"] == 1
    assert counts["would_upload"] == len(entries) - counts["would_fail"] - 1
    assert counts["would_rename"] == 2
    assert target.uploads == 0
    real = await run_load(target, root, mapping)
    assert real["uploads"]["uploaded"] == counts["would_upload"], "the load does what the rehearsal said"
    assert real["bytes"] == counts["would_send_bytes"]
    failed = {failure["attachment"] for failure in real["failures"]}
    assert failed == {id_ for id_, entry in entries.items() if entry["what"] == "refused"}
