"""A load says what the archive lacks of the source, and is not complete then."""

from __future__ import annotations

import asyncio

import pytest

from migrator.errors import ForbiddenError, RejectedError
from migrator.jobs.lists import lacking_text
from migrator.model import EntityRef
from migrator.pipeline.accept import Choice, accept
from migrator.pipeline.summary import Failure
from migrator.selection import Selection
from migrator.store.catalog import Catalog
from migrator.trackers.memory import LISTED
from tests.support.parts import run_backup, run_load, small_tracker, twin_of


@pytest.fixture
def world(tmp_path):
    """A folder, a source, a target that is empty, and the mapping."""
    source = small_tracker()
    return tmp_path, source, *twin_of(source)


def refusing(call, error=ForbiddenError("GET: status 403")):  # noqa: B008 - it is only raised
    """For `on_call`: raises for this call."""

    async def on_call(*made):
        if made == call:
            raise error

    return on_call


def file_called(tracker, name):
    """The one file of this name."""
    return next(file for file in tracker.files.values() if file.name == name)


async def test_files_that_the_backup_failed_to_fetch_are_named_by_the_load(world):
    root, source, target, mapping = world
    lost = file_called(source, "big 7.bin")
    source.on_call = refusing(("download", lost.id))
    assert (await run_backup(source, root))["status"] == "incomplete"
    summary = await run_load(target, root, mapping)
    assert (summary["status"], summary["failures"]) == ("incomplete", [])
    assert [(row["name"], row["attachment"]) for row in summary["not_in_archive"]] == [("big 7.bin", lost.id)]
    assert "403" in summary["not_in_archive"][0]["reason"]
    source.on_call = None
    await run_backup(source, root)
    whole = await run_load(target, root, mapping)
    assert (whole["status"], whole["uploads"]["uploaded"], "not_in_archive" in whole) == ("complete", 1, False)


async def test_entities_and_listings_that_could_not_be_read_are_named(world):
    root, source, target, mapping = world
    owner = next(ref for ref in mapping if ref.kind == "Story" and source.of(ref))
    source.on_call = refusing(("attachments_of", str(owner)), RejectedError("status 500"))
    await run_backup(source, root)
    summary = await run_load(target, root, mapping)
    assert [(row["kind"], row["entity"]) for row in summary["not_in_archive"]] == [("Story", owner.id)]
    source.on_call = refusing(("read", LISTED), RejectedError("status 500"))
    await run_backup(source, root)
    summary = await run_load(target, root, mapping)
    assert (summary["status"], summary["not_in_archive"][0]["name"]) == ("incomplete", f"listing of {LISTED}")


async def test_a_backup_that_was_stopped_leaves_no_complete_load(world):
    root, source, target, mapping = world
    stop = asyncio.Event()

    async def stop_at_first_download(verb, _):
        if verb == "download":
            stop.set()

    source.on_call = stop_at_first_download
    assert (await run_backup(source, root, stop=stop))["status"] == "interrupted"
    summary = await run_load(target, root, mapping)
    assert (summary["status"], summary["not_in_archive"][0]["name"]) == ("incomplete", "backup")
    assert any(row["reason"] == "listed, and not fetched yet" for row in summary["not_in_archive"])
    source.on_call = None
    await run_backup(source, root)
    assert (await run_load(target, root, mapping))["status"] == "complete"


async def test_what_nobody_maps_selects_or_misses_is_not_lacking(world):
    root, source, target, mapping = world
    lost = file_called(source, "big 7.bin")
    source.on_call = refusing(("download", lost.id))
    await run_backup(source, root)
    unmapped = {of: to for of, to in mapping.items() if of != lost.owner}
    assert (await run_load(target, root, unmapped))["status"] == "complete"
    others = Selection(name_globs=("same*",))
    assert (await run_load(target, root, mapping, selection=others))["status"] == "complete"
    catalog = Catalog(root)
    try:
        accept(catalog, Choice(everything=True))
    finally:
        catalog.close()
    assert (await run_load(target, root, mapping))["status"] == "complete"


async def test_what_is_only_no_longer_listed_is_in_the_archive(world):
    root, source, target, mapping = world
    await run_backup(source, root)
    for file in list(source.files)[:15]:
        source.remove(file)
    assert (await run_backup(source, root))["status"] == "incomplete"
    assert (await run_load(target, root, mapping))["status"] == "complete"


def test_what_the_archive_lacks_is_said_in_one_line():
    file = Failure(EntityRef("Bug", "1"), "9", "a.txt", "why")
    entity = Failure(EntityRef("Bug", "2"), None, "", "why")
    general = [Failure(EntityRef("", ""), None, name, "why") for name in ("backup", "listing of bugs")]
    assert lacking_text([*general, file, file, entity]) == (
        "2 files, the files of 1 entity, the rest of the backup, the rest of the listing of bugs"
    )
