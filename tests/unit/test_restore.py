"""Restore: what the source lost is on its own entity again, exactly once, whatever happened in between."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import ConfigError, OutcomeUnknownError, RejectedError
from migrator.model import EntityRef
from migrator.pipeline.prune import Retention
from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.report.data import entity_reports
from migrator.selection import Selection
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import (
    expected,
    files_on,
    rows,
    run_backup,
    run_load,
    run_restore,
    run_rollback,
)
from tests.unit.test_prune import run_prune

NOTHING = {"planned": 0, "uploaded": 0, "already_there": 0, "skipped": 0, "failed": 0}


def counted(**numbers: int) -> dict[str, int]:
    return {**NOTHING, **numbers}


async def back_up(tracker: MemoryTracker, root: Path) -> dict[str, object]:
    summary = await run_backup(tracker, root, max_gone=None)
    assert summary["status"] == "complete"
    return summary


def tracker_with(*files: tuple[str, bytes]) -> tuple[MemoryTracker, EntityRef]:
    tracker = MemoryTracker()
    owner = tracker.add("Bug", title="a bug")
    for name, content in files:
        tracker.attach(owner, name, content, description=f"of {name}")
    return tracker, owner


def named(tracker: MemoryTracker, name: str) -> str:
    """The id of the one file of this name."""
    [id_] = [id_ for id_, file in tracker.files.items() if file.name == name]
    return id_


def names_on(tracker: MemoryTracker, owner: EntityRef) -> Counter[str]:
    return Counter(file.name for file in tracker.of(owner))


async def lost(root: Path) -> tuple[MemoryTracker, EntityRef]:
    """Of two files one was deleted, and a backup knows."""
    tracker, owner = tracker_with(("a.txt", b"a"), ("b.txt", b"b"))
    await back_up(tracker, root)
    tracker.remove(named(tracker, "b.txt"))
    await back_up(tracker, root)
    return tracker, owner


async def test_a_lost_file_is_put_back_once(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"a"), ("b.txt", b"b"))
    before = files_on(tracker, owner)
    await back_up(tracker, tmp_path)
    tracker.remove(named(tracker, "b.txt"))
    await back_up(tracker, tmp_path)
    done = await run_restore(tracker, tmp_path)
    assert (done["command"], done["status"], done["uploads"]) == (
        "restore",
        "complete",
        counted(planned=1, uploaded=1),
    )
    assert done["failures"] == []
    assert files_on(tracker, owner) == before
    again = await run_restore(tracker, tmp_path)
    assert again["uploads"] == counted(planned=1, already_there=1)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert files_on(tracker, owner) == before


async def test_what_is_deleted_again_is_put_back_again(tmp_path):
    tracker, owner = await lost(tmp_path)
    for _ in range(4):
        assert (await run_restore(tracker, tmp_path))["uploads"]["uploaded"] == 1
        await back_up(tracker, tmp_path)
        assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}
        tracker.remove(named(tracker, "b.txt"))
        await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


async def test_what_is_deleted_again_before_any_backup_is_put_back_again(tmp_path):
    tracker, owner = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    tracker.remove(named(tracker, "b.txt"))
    assert (await run_restore(tracker, tmp_path))["uploads"]["uploaded"] == 0, "no backup has seen that"
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"]["uploaded"] == 1
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


async def test_a_restored_file_that_was_renamed_and_lost_keeps_its_new_name(tmp_path):
    tracker, owner = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    id_ = named(tracker, "b.txt")
    tracker.files[id_] = replace(tracker.files[id_], name="c.txt")
    await back_up(tracker, tmp_path)
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"a.txt": 1, "c.txt": 1}


async def test_an_earlier_state_is_put_back_by_its_snapshot(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"old"))
    first = (await back_up(tracker, tmp_path))["run"]
    id_ = named(tracker, "a.txt")
    tracker.content[id_] = b"newer"
    tracker.files[id_] = replace(tracker.files[id_], name="b.txt", size=5, created_at="2020-01-01T00:00:00Z")
    await back_up(tracker, tmp_path)
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    done = await run_restore(tracker, tmp_path, snapshot=first)
    assert done["uploads"] == counted(planned=1, uploaded=1)
    assert files_on(tracker, owner) == {("a.txt", b"old", "of a.txt"): 1}
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING, "it is there, though in an older state"


async def test_a_file_lost_twice_is_put_back_once_by_its_first_snapshot(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"a"))
    first = (await back_up(tracker, tmp_path))["run"]
    for _ in range(2):
        tracker.remove(named(tracker, "a.txt"))
        await back_up(tracker, tmp_path)
        assert (await run_restore(tracker, tmp_path, snapshot=first))["uploads"] == counted(planned=1, uploaded=1)
        assert (await run_restore(tracker, tmp_path))["uploads"]["uploaded"] == 0
        await back_up(tracker, tmp_path)
        assert (await run_restore(tracker, tmp_path, snapshot=first))["uploads"] == NOTHING
        assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert names_on(tracker, owner) == {"a.txt": 1}


async def test_files_that_were_renamed_or_replaced_are_not_touched(tmp_path):
    tracker, _owner = tracker_with(("a.txt", b"a"), ("b.txt", b"b"))
    await back_up(tracker, tmp_path)
    one, other = named(tracker, "a.txt"), named(tracker, "b.txt")
    tracker.files[one] = replace(tracker.files[one], name="c.txt")
    tracker.content[other] = b"other"
    tracker.files[other] = replace(tracker.files[other], size=5)
    await back_up(tracker, tmp_path)
    before = expected(tracker)
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert (await run_restore(tracker, tmp_path, snapshot=1))["uploads"] == NOTHING
    assert expected(tracker) == before


async def test_of_equal_files_as_many_are_there_afterwards_as_were_before(tmp_path):
    tracker, owner = tracker_with(*[("same.txt", b"same")] * 3)
    await back_up(tracker, tmp_path)
    for id_ in list(tracker.files)[:2]:
        tracker.remove(id_)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=2, uploaded=2)
    assert names_on(tracker, owner) == {"same.txt": 3}
    await back_up(tracker, tmp_path)
    tracker.remove(next(iter(tracker.files)))
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"same.txt": 3}


async def test_the_lost_one_of_two_equal_files_is_not_taken_for_the_restored_one(tmp_path):
    tracker, owner = tracker_with(*[("same.txt", b"same")] * 2)
    await back_up(tracker, tmp_path)
    one, other = tracker.files
    tracker.remove(other)
    await back_up(tracker, tmp_path)
    await run_restore(tracker, tmp_path)
    tracker.remove(one)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"same.txt": 2}


async def test_files_that_followed_each_other_are_put_back_as_one(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"a"))
    first = (await back_up(tracker, tmp_path))["run"]
    for _ in range(2):
        tracker.remove(named(tracker, "a.txt"))
        await back_up(tracker, tmp_path)
        tracker.attach(owner, "a.txt", b"a")
        await back_up(tracker, tmp_path)
    tracker.remove(named(tracker, "a.txt"))
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path, snapshot=first))["uploads"] == counted(planned=1, uploaded=1)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, already_there=1)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert names_on(tracker, owner) == {"a.txt": 1}


async def test_a_file_that_was_restored_elsewhere_stays_there(tmp_path):
    """It was moved before it was lost: its snapshots have it on two entities."""
    tracker, owner = tracker_with(("a.txt", b"a"))
    other = tracker.add("Bug")
    first = (await back_up(tracker, tmp_path))["run"]
    id_ = named(tracker, "a.txt")
    tracker.files[id_] = replace(tracker.files[id_], owner=other)
    await back_up(tracker, tmp_path)
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert (await run_restore(tracker, tmp_path, snapshot=first))["uploads"] == counted(planned=1, already_there=1)
    assert (names_on(tracker, owner), names_on(tracker, other)) == ({}, {"a.txt": 1})


async def killed_once(tracker: MemoryTracker, root: Path, verb: str, **changes: object) -> None:
    """A restore that ends, as by a kill, when the tracker is asked for this."""

    class KilledError(BaseException):
        pass

    async def on_call(called: str, _: str) -> None:
        if called == verb:
            raise KilledError

    tracker.on_call = on_call
    with pytest.raises(KilledError):
        await run_restore(tracker, root, **changes)
    tracker.on_call = None


async def test_what_is_in_doubt_is_settled_as_it_was_sent(tmp_path):
    """Also if another state of the file is wanted by then."""
    tracker, owner = tracker_with(("a.txt", b"old"))
    first = (await back_up(tracker, tmp_path))["run"]
    id_ = named(tracker, "a.txt")
    tracker.content[id_], tracker.files[id_] = b"newer", replace(tracker.files[id_], size=5)
    await back_up(tracker, tmp_path)
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    await killed_once(tracker, tmp_path, "uploaded", snapshot=first)
    assert rows(tmp_path, "SELECT status FROM uploads") == [("in_doubt",)]
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, already_there=1)
    assert files_on(tracker, owner) == {("a.txt", b"old", "of a.txt"): 1}


async def test_what_is_in_doubt_and_back_by_itself_is_settled(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"a"))
    await back_up(tracker, tmp_path)
    id_ = named(tracker, "a.txt")
    file = tracker.files[id_]
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    await killed_once(tracker, tmp_path, "upload")
    tracker.files[id_], tracker.content[id_] = file, b"a"
    await back_up(tracker, tmp_path)
    assert rows(tmp_path, "SELECT status FROM uploads") == [("in_doubt",)]
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, already_there=1)
    assert names_on(tracker, owner) == {"a.txt": 1}
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING


@pytest.mark.parametrize("lags", [0, 1, 3])
async def test_an_answer_that_is_lost_and_a_list_that_lags_double_nothing(tmp_path, lags):
    """The other file of the entity is equal to the lost one, and has nothing to do with it."""
    tracker, owner = tracker_with(*[("same.txt", b"same")] * 2)
    await back_up(tracker, tmp_path)
    tracker.remove(next(iter(tracker.files)))
    await back_up(tracker, tmp_path)
    tracker.lags, losses = lags, [True]

    async def on_call(verb: str, _: str) -> None:
        if verb == "uploaded" and losses:
            losses.clear()
            raise OutcomeUnknownError("no answer came", at_work=True)

    tracker.on_call = on_call
    for _ in range(3):
        await run_restore(tracker, tmp_path, second=1.0)
    assert tracker.uploads == 1
    tracker.lags = 0
    assert (await run_restore(tracker, tmp_path, second=1.0))["uploads"] == counted(planned=1, already_there=1)
    assert names_on(tracker, owner) == {"same.txt": 2}


@pytest.mark.parametrize("verb", ["find_attachments", "upload", "uploaded"])
async def test_prune_keeps_what_an_unfinished_restore_needs(tmp_path, verb):
    tracker, owner = await lost(tmp_path)
    await killed_once(tracker, tmp_path, verb)
    await run_prune(tmp_path, Retention(last=1))
    assert (await run_restore(tracker, tmp_path))["status"] == "complete"
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


async def test_prune_deletes_what_was_restored_and_is_lost_again(tmp_path):
    tracker, _ = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    await back_up(tracker, tmp_path)
    tracker.remove(named(tracker, "b.txt"))
    await back_up(tracker, tmp_path)
    assert (await run_prune(tmp_path, Retention(last=1)))["blobs"] == {"kept": 1, "removed": 1}
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING


async def lost_and_put_back_elsewhere(folder: Path, *names: str) -> tuple[MemoryTracker, EntityRef, Path]:
    """Beside `a_b`, files of these names were lost; another machine put them back. The archive that doesn't know that.

    All that were lost have the same content.
    """
    tracker, owner = tracker_with(("a_b", b"first"), *((name, b"lost") for name in names))
    here, other = folder / "here", folder / "other"
    await back_up(tracker, here)
    for id_ in [id_ for id_, file in tracker.files.items() if file.name in names]:
        tracker.remove(id_)
    await back_up(tracker, here)
    shutil.copytree(here, other)
    assert (await run_restore(tracker, other))["uploads"] == counted(planned=len(names), uploaded=len(names))
    return tracker, owner, here


@pytest.mark.parametrize("names", [("a/b",), ("a/b", "a/b"), ("a/b", "a:b")])
async def test_what_was_put_back_elsewhere_under_a_number_is_not_lost(tmp_path, monkeypatch, names):
    monkeypatch.setattr(MemoryTarget, "legal_name", lambda _, name: re.sub("[/:]", "_", name))
    tracker, owner, here = await lost_and_put_back_elsewhere(tmp_path, *names)
    there = names_on(tracker, owner)
    assert there == dict.fromkeys(("a_b", "a_b (2)", "a_b (3)")[: len(names) + 1], 1)
    await back_up(tracker, here)
    assert (await run_restore(tracker, here))["uploads"] == NOTHING
    assert names_on(tracker, owner) == there


async def test_a_number_is_known_also_when_what_made_it_necessary_is_gone(tmp_path):
    tracker, owner, here = await lost_and_put_back_elsewhere(tmp_path, "a/b")
    tracker.remove(named(tracker, "a_b"))
    await back_up(tracker, here)
    done = await run_restore(tracker, here)
    assert done["uploads"] == counted(planned=1, uploaded=1), "only the one that was deleted last"
    assert names_on(tracker, owner) == {"a_b": 1, "a_b (2)": 1}


@pytest.mark.parametrize("seen", [True, False])
async def test_a_file_that_somebody_put_back_is_not_put_back_again(tmp_path, seen):
    tracker, owner = await lost(tmp_path)
    by_hand = tracker.attach(owner, "b.txt", b"b")
    if seen:
        await back_up(tracker, tmp_path)
    done = await run_restore(tracker, tmp_path)
    assert done["uploads"] == (NOTHING if seen else counted(planned=1, already_there=1))
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}
    await back_up(tracker, tmp_path)
    tracker.remove(by_hand.id)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


async def test_a_file_that_is_back_under_its_own_id_is_already_there(tmp_path):
    tracker, owner = tracker_with(("a.txt", b"a"))
    await back_up(tracker, tmp_path)
    file, content = tracker.files.copy(), tracker.content.copy()
    id_ = named(tracker, "a.txt")
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    tracker.files[id_], tracker.content[id_] = replace(file[id_], name="back.txt"), content[id_]
    for _ in range(2):
        assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, already_there=1)
    assert names_on(tracker, owner) == {"back.txt": 1}
    tracker.remove(id_)
    await back_up(tracker, tmp_path)
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=1, uploaded=1)
    assert names_on(tracker, owner) == {"a.txt": 1}


async def test_files_without_their_entity_are_failures_that_say_so(tmp_path):
    tracker, owner = await lost(tmp_path)
    other = tracker.add("Bug")
    tracker.attach(other, "c.txt", b"c")
    loose = tracker.attach(EntityRef("Unlinked", ""), "loose.txt", b"loose")
    await back_up(tracker, tmp_path)
    for id_ in (named(tracker, "c.txt"), loose.id):
        tracker.remove(id_)
    del tracker.entities[other]
    await back_up(tracker, tmp_path)
    done = await run_restore(tracker, tmp_path)
    assert (done["status"], done["uploads"]) == ("incomplete", counted(planned=3, uploaded=1, failed=2))
    reasons = {failure["name"]: failure["reason"] for failure in done["failures"]}
    assert "entity itself is gone" in reasons["c.txt"]
    assert "nothing owned this file" in reasons["loose.txt"]
    assert rows(tmp_path, "SELECT status FROM uploads") == [("uploaded",)], "a later status has nothing to complain of"
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


async def test_only_the_chosen_entities_are_restored(tmp_path):
    tracker, owner = await lost(tmp_path)
    other = tracker.add("Bug")
    tracker.attach(other, "c.txt", b"c")
    await back_up(tracker, tmp_path)
    tracker.remove(named(tracker, "c.txt"))
    await back_up(tracker, tmp_path)
    chosen = Selection(entities=frozenset({EntityRef("", other.id)}))
    done = await run_restore(tracker, tmp_path, selection=chosen)
    assert done["uploads"] == counted(planned=2, uploaded=1, skipped=1)
    assert (names_on(tracker, owner), names_on(tracker, other)) == ({"a.txt": 1}, {"c.txt": 1})
    assert (await run_restore(tracker, tmp_path))["uploads"] == counted(planned=2, uploaded=1, already_there=1)


async def test_a_dry_run_sends_and_plans_nothing(tmp_path):
    tracker, owner = await lost(tmp_path)
    done = await run_restore(tracker, tmp_path, dry_run=True)
    assert done["dry_run"]["would_upload"] == 1
    assert names_on(tracker, owner) == {"a.txt": 1}
    assert rows(tmp_path, "SELECT * FROM uploads") == []


async def test_the_archive_of_another_source_is_refused(tmp_path):
    tracker, _ = await lost(tmp_path)
    with pytest.raises(ConfigError, match="this archive holds memory, not another"):
        await run_restore(tracker, tmp_path, identity="another")
    assert rows(tmp_path, "SELECT 1 FROM runs WHERE command = 'restore'") == []


async def test_what_no_snapshot_holds_any_more_is_not_restored(tmp_path):
    tracker, owner = await lost(tmp_path)
    await run_prune(tmp_path, Retention(last=1))
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert names_on(tracker, owner) == {"a.txt": 1}


async def test_a_diff_across_loss_and_restore_shows_no_change(tmp_path):
    tracker, _ = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    changes = (await back_up(tracker, tmp_path))["changes"]
    assert (changes["added"], changes["removed"]) == (1, 0)
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        before, during, after = [snapshot.run for snapshot in catalog.snapshots.all()]
        assert catalog.snapshots.changes(before, after) == []
        assert [change.change for change in catalog.snapshots.changes(before, during)] == ["removed"]
        assert [change.change for change in catalog.snapshots.changes(during, after)] == ["added"]


async def test_a_diff_across_two_losses_and_restores_shows_no_change(tmp_path):
    tracker, owner = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    await back_up(tracker, tmp_path)
    tracker.remove(named(tracker, "b.txt"))
    await back_up(tracker, tmp_path)
    await run_restore(tracker, tmp_path)
    await back_up(tracker, tmp_path)
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        first, *_, last = [snapshot.run for snapshot in catalog.snapshots.all()]
        assert catalog.snapshots.changes(first, last) == []


async def test_a_second_restore_tells_the_first_author_once(tmp_path):
    tracker, owner = tracker_with()
    tracker.attach(owner, "a.txt", b"a", description="mine", created_by="Ann")
    await back_up(tracker, tmp_path)
    for _ in range(2):
        tracker.remove(named(tracker, "a.txt"))
        await back_up(tracker, tmp_path)
        await run_restore(tracker, tmp_path)
        id_ = named(tracker, "a.txt")
        tracker.files[id_] = replace(tracker.files[id_], created_by="the account")
        await back_up(tracker, tmp_path)
    assert tracker.files[id_].description == "mine\n[first attached by Ann]"


async def test_loads_rollbacks_and_reports_leave_restored_files_alone(tmp_path):
    """Also where the target of the load is the source itself."""
    tracker, owner = await lost(tmp_path)
    other = tracker.add("Bug")
    await run_restore(tracker, tmp_path)
    loaded = await run_load(tracker, tmp_path, {owner: (other,)})
    assert (loaded["uploads"]["uploaded"], "changed" in loaded) == (1, False)
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        files = [file for entity in entity_reports(catalog, lambda _: lambda *_: "") for file in entity.files]
        assert {upload.target for file in files for upload in file.uploads} == {"memory"}
        assert catalog.summaries.totals()["restored"] == {"uploaded": 1}
        assert catalog.summaries.totals()["uploads"] == {"uploaded": 1}
    assert (await run_rollback(tracker, tmp_path))["deletions"]["deleted"] == 1
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}
    [(restored,)] = rows(tmp_path, "SELECT run_id FROM runs WHERE command = 'restore'")
    with pytest.raises(ConfigError, match="is not a load"):
        await run_rollback(tracker, tmp_path, load=restored)


async def test_a_rebuilt_catalog_knows_what_was_restored(tmp_path):
    tracker, owner = await lost(tmp_path)
    await run_restore(tracker, tmp_path)
    await back_up(tracker, tmp_path)
    for path in tmp_path.glob("catalog.db*"):
        path.unlink()
    assert rebuild(Archive(tmp_path)).as_json()["status"] == "complete"
    assert (await run_restore(tracker, tmp_path))["uploads"] == NOTHING
    assert names_on(tracker, owner) == {"a.txt": 1, "b.txt": 1}


@pytest.mark.parametrize("answer", ["lost", "accepted", "refused"])
async def test_what_a_restore_says_speaks_of_the_source(tmp_path, answer):
    """The machinery is that of a load, whose words would be wrong here."""
    tracker, _ = await lost(tmp_path)
    tracker.lags = 0 if answer == "refused" else 50

    async def on_call(verb: str, _: str) -> None:
        if verb == "uploaded" and answer != "refused":
            raise OutcomeUnknownError("no answer came", at_work=answer == "lost", accepted=answer == "accepted")
        if verb == "upload" and answer == "refused":
            raise RejectedError("POST upload: status 413")

    tracker.on_call = on_call
    said = []
    for _ in range(3):
        summary = await run_restore(tracker, tmp_path)
        said += [failure["reason"] for failure in summary["failures"]]
    assert said
    assert not [reason for reason in said if "target" in reason or "next load" in reason]
    if answer != "refused":
        assert any("at the source" in reason for reason in said)
