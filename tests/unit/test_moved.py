"""A change of mind: rows that were added, changed or deleted after a load."""

from __future__ import annotations

import pytest

from migrator.errors import TrackerUnreachableError
from migrator.layers.retry import RetryingTarget
from migrator.pipeline.load.remapped import deletable
from migrator.pipeline.rollback import RollbackSettings, rollback
from migrator.pipeline.summary import ChangedRow
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import PATIENCE, files_on, rows, run_backup, run_load, small_tracker, twin_of


@pytest.fixture
async def loaded(tmp_path):
    """An archive, its source, a target that holds everything, the mapping, and an entity whose row is to change."""
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    await run_load(target, tmp_path, mapping)
    of = max(mapping, key=lambda ref: len(source.of(ref)))
    return tmp_path, source, target, mapping, of


async def moved(root, target: MemoryTracker, summary, **changes):
    """What `--move-changed` does after a load."""
    archive = Archive(root)
    archive.prepare()
    catalog = Catalog(root)
    try:
        tracker = RetryingTarget(MemoryTarget(target), PATIENCE)
        settings = RollbackSettings(
            "memory", only=deletable(ChangedRow(**row) for row in summary.get("changed", [])), **changes
        )
        return (await rollback(tracker, catalog, settings)).as_json()
    finally:
        catalog.close()


async def test_a_row_added_later_is_loaded_by_the_next_load(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    later = max(mapping, key=lambda ref: len(source.of(ref)))
    row = mapping.pop(later)
    first = await run_load(target, tmp_path, mapping)
    assert first["uploads"]["unmapped"] == len(source.of(later)) + 1
    mapping[later] = row
    summary = await run_load(target, tmp_path, mapping)
    assert summary["uploads"]["uploaded"] == len(source.of(later)) == len(target.of(row[0]))
    assert "changed" not in summary


async def test_a_changed_row_is_told_with_earlier_uploads_and_deletes_nothing(loaded):
    root, source, target, mapping, of = loaded
    [old], new = mapping[of], target.add("Issue")
    mapping[of] = (new,)
    summary = await run_load(target, root, mapping)
    assert summary["status"] == "complete"
    files = source.of(of)
    assert files_on(target, new) == files_on(target, old)
    assert sorted(row["attachment"] for row in summary["changed"]) == sorted(file.id for file in files)
    for row in summary["changed"]:
        assert (row["kind"], row["entity"]) == (of.kind, of.id)
        assert (row["target_kind"], row["target_id"]) == (old.kind, old.id)
        assert row["now"] == [{"target_kind": new.kind, "target_id": new.id}]
        assert row["remote_id"] in {file.id for file in target.of(old)}
        assert row["stays"] is None
    assert summary["uploads"]["planned"] == len(source.files) - 1, "what is at the old entity is not planned any more"


async def test_what_was_moved_is_deleted_at_the_old_entity_and_told_no_more(loaded):
    root, source, target, mapping, of = loaded
    [old], new = mapping[of], target.add("Issue")
    strange = target.attach(old, "somebody else's.txt", b"stays")
    before = files_on(target, old)
    mapping[of] = (new,)
    done = await moved(root, target, await run_load(target, root, mapping))
    assert done["status"] == "complete"
    assert done["deletions"]["deleted"] == len(source.of(of))
    assert target.of(old) == (strange,)
    assert sum(files_on(target, new).values()) == len(source.of(of)) == sum(before.values()) - 1
    again = await run_load(target, root, mapping)
    assert "changed" not in again
    assert again["uploads"]["uploaded"] == 0


async def test_minds_may_change_back(loaded):
    root, source, target, mapping, of = loaded
    [old], new = mapping[of], target.add("Issue")
    for to in (new, old, new, old):
        mapping[of] = (to,)
        await moved(root, target, await run_load(target, root, mapping))
        assert len(target.of(to)) == len(source.of(of))
    assert target.of(new) == ()


async def test_a_row_that_is_gone_deletes_nothing(loaded):
    root, source, target, mapping, of = loaded
    [old] = mapping.pop(of)
    summary = await run_load(target, root, mapping)
    assert all("gone" in row["stays"] for row in summary["changed"])
    assert len(summary["changed"]) == len(source.of(of))
    done = await moved(root, target, summary)
    assert done["deletions"]["planned"] == 0
    assert len(target.of(old)) == len(source.of(of))


async def test_nothing_is_deleted_that_has_not_arrived_at_the_new_entity(loaded):
    root, source, target, mapping, of = loaded
    [old], new = mapping[of], target.add("Issue")
    mapping[of] = (new,)
    del target.entities[new]  # every upload fails
    summary = await run_load(target, root, mapping)
    assert summary["status"] == "incomplete"
    assert all("not arrived" in row["stays"] for row in summary["changed"])
    await moved(root, target, summary)
    assert len(target.of(old)) == len(source.of(of))


async def test_what_was_there_before_the_load_is_not_deleted(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    of = max(mapping, key=lambda ref: len(source.of(ref)))
    [old], new = mapping[of], target.add("Issue")
    for file in source.of(of):
        target.attach(old, file.name, source.content[file.id])
    await run_load(target, tmp_path, mapping)
    count = len(target.of(old))
    mapping[of] = (new,)
    summary = await run_load(target, tmp_path, mapping)
    assert all("before" in row["stays"] for row in summary["changed"])
    await moved(tmp_path, target, summary)
    assert len(target.of(old)) == count == len(target.of(new))


async def test_what_was_changed_at_the_old_entity_stays_and_is_named(loaded):
    root, _, target, mapping, of = loaded
    [old], new = mapping[of], target.add("Issue")
    edited = next(file for file in target.of(old) if file.size)
    target.content[edited.id] = b"~" * edited.size
    mapping[of] = (new,)
    done = await moved(root, target, await run_load(target, root, mapping))
    assert (done["status"], done["deletions"]["changed"]) == ("incomplete", 1)
    assert target.of(old) == (edited,)


# --- uploads in doubt whose row is gone


async def in_doubt(root, *, arrives: bool):
    """A load whose first upload was lost on the way, and where to; the row of its entity is then changed."""
    source = small_tracker()
    await run_backup(source, root)
    target, mapping = twin_of(source)
    of = max(mapping, key=lambda ref: len(source.of(ref)))
    [old], new = mapping[of], target.add("Issue")

    async def cut(verb, key):
        """From the moment that an upload to the old entity is on its way, or there, nothing gets through any more."""
        at_old = key == str(old) if verb == "upload" else verb == "uploaded" and target.files[key].owner == old
        if cuts or (verb == ("uploaded" if arrives else "upload") and at_old):
            cuts.append(verb)
            raise TrackerUnreachableError("the line is cut")

    cuts: list[str] = []
    target.on_call = cut
    with pytest.raises(TrackerUnreachableError):
        await run_load(target, root, mapping, uploads=1)
    target.on_call = None
    doubtful = rows(root, "SELECT target_id FROM uploads WHERE status = 'in_doubt'")
    assert (old.id,) in doubtful  # and perhaps one on its way to another entity when the line was cut
    return source, target, mapping, of, old, new


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("row", ["changed", "gone"])
async def test_an_upload_in_doubt_without_its_row_is_looked_up_and_not_sent(tmp_path, arrives, row):
    source, target, mapping, of, old, new = await in_doubt(tmp_path, arrives=arrives)
    if row == "changed":
        mapping[of] = (new,)
    else:
        del mapping[of]
    summary = await run_load(target, tmp_path, mapping)
    assert len(target.of(old)) == arrives, "nothing was sent there again"
    assert summary["status"] == "complete"
    assert len(summary.get("changed", [])) == arrives
    assert rows(tmp_path, "SELECT 1 FROM uploads WHERE status = 'in_doubt'") == []
    assert len(target.of(new)) == (len(source.of(of)) if row == "changed" else 0)
    await moved(tmp_path, target, summary)
    assert len(target.of(old)) == (arrives and row == "gone")


async def test_an_upload_in_doubt_whose_entity_and_row_are_gone_is_settled(tmp_path):
    source, target, mapping, of, old, new = await in_doubt(tmp_path, arrives=False)
    mapping[of] = (new,)
    del target.entities[old]
    summary = await run_load(target, tmp_path, mapping)
    assert summary["status"] == "complete"
    assert len(target.of(new)) == len(source.of(of))
