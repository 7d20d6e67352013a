"""The rollback pipeline against the reference tracker: exactly what a load put there goes, everything else stays."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from dataclasses import replace

import pytest

from migrator.errors import (
    ConfigError,
    ConnectError,
    ForbiddenError,
    GoneError,
    OutcomeUnknownError,
    RetriableError,
    TrackerUnreachableError,
)
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import PATIENCE, rows, run_backup, run_load, run_rollback, small_tracker, twin_of

SENT = "SELECT attachment_id FROM uploads WHERE status = 'uploaded'"


@pytest.fixture
async def loaded(tmp_path):
    """A loaded archive, its source, the target with files of others on it, the mapping, and what was there before."""
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    for of, (to,) in mapping.items():
        target.attach(to, "theirs.txt", b"theirs")
        for file in source.of(of)[:1]:
            target.attach(to, file.name, source.content[file.id])
    before = dict(target.content)
    await run_load(target, tmp_path, mapping, provenance=False)
    assert len(target.files) > len(before)
    return tmp_path, source, target, mapping, before


def ours(target, before):
    return [file for id_, file in target.files.items() if id_ not in before]


def assert_deletions(summary, **counts):
    shown = {key: value for key, value in summary["deletions"].items() if value}
    assert shown == {key: value for key, value in counts.items() if value}


async def test_rollback_leaves_the_target_as_it_was(loaded):
    root, _source, target, _mapping, before = loaded
    sent = len(ours(target, before))
    summary = await run_rollback(target, root)
    assert summary["status"] == "complete"
    assert_deletions(summary, planned=sent, deleted=sent)
    assert target.content == before
    counts = dict(rows(root, "SELECT status, count(*) FROM uploads GROUP BY 1"))
    assert counts["rolled_back"] == sent


class Blind(MemoryTarget):
    """A target whose account may no longer see any file; it says that they are not there."""

    async def find_attachments(self, owner):
        return ()

    async def read_back(self, remote, sink):
        raise GoneError("status 404")


@pytest.mark.parametrize("dry_run", [False, True])
async def test_an_account_that_sees_no_files_rolls_nothing_back(loaded, dry_run):
    root, _source, target, _mapping, before = loaded
    sent, recorded = len(ours(target, before)), rows(root, "SELECT * FROM uploads")
    blind = RetryingTarget(Blind(target), PATIENCE)
    blind = DryRunTarget(blind) if dry_run else blind
    summary = await run_rollback(None, root, target=blind, dry_run=dry_run)
    assert summary["status"] == "incomplete"
    assert_deletions(summary, planned=sent, failed=sent)
    assert f"{sent} of {sent} files that were sent are not at the target" in summary["failures"][-1]["reason"]
    assert rows(root, "SELECT * FROM uploads") == recorded
    assert_deletions(await run_rollback(target, root), planned=sent, deleted=sent)
    assert target.content == before


async def test_what_is_gone_from_the_target_is_rolled_back_with_consent(loaded):
    root, _source, target, _mapping, before = loaded
    sent = len(ours(target, before))
    for file in ours(target, before):
        target.remove(file.id)
    assert_deletions(await run_rollback(target, root), planned=sent, failed=sent)
    summary = await run_rollback(target, root, accept_gone=True)
    assert (summary["status"], summary["deletions"]["already_gone"]) == ("complete", sent)
    assert_deletions(await run_rollback(target, root))


async def test_second_rollback_has_nothing_to_do(loaded):
    root, _source, target, _mapping, before = loaded
    await run_rollback(target, root)
    summary = await run_rollback(target, root)
    assert summary["status"] == "complete"
    assert_deletions(summary)
    assert target.content == before


async def test_a_load_after_a_rollback_uploads_again(loaded):
    root, source, target, mapping, before = loaded
    sent = len(ours(target, before))
    await run_rollback(target, root)
    summary = await run_load(target, root, mapping, provenance=False)
    assert summary["status"] == "complete"
    assert summary["uploads"]["uploaded"] == sent
    there = Counter(content for id_, content in target.content.items() if id_ not in before)
    assert there == Counter(source.content[id_] for (id_,) in rows(root, SENT))
    assert (await run_rollback(target, root))["deletions"]["deleted"] == sent


async def test_what_was_rolled_back_and_is_not_mapped_any_more_is_not_planned(loaded):
    root, _source, target, _mapping, before = loaded
    await run_rollback(target, root)
    summary = await run_load(target, root, {})
    assert summary["status"] == "complete"
    assert summary["uploads"]["planned"] == summary["uploads"]["already_there"], "what was found there at first"
    assert target.content == before


async def test_one_load_alone_is_rolled_back_by_its_id(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    first = await run_load(target, tmp_path, dict(list(mapping.items())[:5]))
    kept = dict(target.files)
    second = await run_load(target, tmp_path, mapping)
    assert len(target.files) > len(kept) > 0
    summary = await run_rollback(target, tmp_path, load=second["run"])
    assert summary["deletions"]["deleted"] == second["uploads"]["uploaded"]
    assert target.files == kept
    await run_rollback(target, tmp_path, load=first["run"])
    assert target.files == {}


async def test_a_run_that_is_no_load_is_refused(loaded):
    root, _source, target, _mapping, _before = loaded
    for number in (1, 4711):
        with pytest.raises(ConfigError, match=str(number)):
            await run_rollback(target, root, load=number)


@pytest.mark.parametrize("change", ["name", "content", "size", "owner"])
async def test_a_file_that_was_changed_meanwhile_stays_and_is_listed(loaded, change):
    root, _source, target, mapping, before = loaded
    file = next(one for one in ours(target, before) if one.size)
    content = target.content[file.id]
    if change == "name":
        target.files[file.id] = replace(file, name="renamed.txt")
    elif change == "content":
        target.content[file.id] = bytes(len(content))
    elif change == "size":
        target.files[file.id], target.content[file.id] = replace(file, size=len(content) + 1), content + b"+"
    else:
        other = next(to for (to,) in mapping.values() if to != file.owner)
        target.files[file.id] = replace(file, owner=other)
    sent = len(ours(target, before))
    summary = await run_rollback(target, root)
    assert summary["status"] == "incomplete"
    assert_deletions(summary, planned=sent, deleted=sent - 1, changed=1)
    assert [one.id for one in ours(target, before)] == [file.id]
    [failure] = summary["failures"]
    assert (failure["name"], failure["status"]) == (file.name, "changed")
    [(status,)] = rows(root, f"SELECT status FROM uploads WHERE remote_id = '{file.id}'")
    assert status == "uploaded"


async def test_a_file_that_somebody_deleted_is_counted_and_is_no_failure(loaded):
    root, _source, target, mapping, before = loaded
    file = ours(target, before)[0]
    target.remove(file.id)
    whole_entity = next(to for (to,) in mapping.values() if to != file.owner and target.of(to))
    on_it = [one for one in ours(target, before) if one.owner == whole_entity]
    for one in target.of(whole_entity):
        target.remove(one.id)
        before.pop(one.id, None)
    del target.entities[whole_entity]
    left = len(ours(target, before))
    summary = await run_rollback(target, root)
    assert summary["status"] == "complete"
    assert_deletions(summary, planned=left + 1 + len(on_it), deleted=left, already_gone=1 + len(on_it))
    assert target.content == before


async def test_a_tracker_that_can_not_delete_is_said_and_all_is_listed(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target = MemoryTracker(deletes=False)
    mapping = {ref: (target.add("Issue"),) for ref in source.entities}
    await run_load(target, tmp_path, mapping)
    calls = []

    async def on_call(verb, _):
        calls.append(verb)

    target.on_call = on_call
    sent = len(target.files)
    summary = await run_rollback(target, tmp_path)
    assert summary["status"] == "incomplete"
    assert_deletions(summary, planned=sent, impossible=sent)
    assert len(summary["failures"]) == sent
    assert calls == []
    assert len(target.files) == sent


async def test_a_dry_run_deletes_nothing_and_says_what_it_would(loaded):
    root, _source, target, _mapping, before = loaded
    sent, there = len(ours(target, before)), dict(target.files)
    target.remove(ours(target, before)[0].id)
    there = dict(target.files)
    kept = rows(root, "SELECT * FROM uploads")
    rehearsal = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    summary = await run_rollback(target, root, target=rehearsal, dry_run=True)
    assert summary["dry_run"] == {"would_delete": sent - 1}
    assert_deletions(summary, planned=sent, already_gone=1)
    assert target.files == there
    assert rows(root, "SELECT * FROM uploads") == kept


async def test_a_refused_delete_is_listed_and_goes_with_the_next(loaded):
    root, _source, target, _mapping, before = loaded
    file = ours(target, before)[0]

    async def on_call(verb, key):
        if (verb, key) == ("delete", file.id):
            raise ForbiddenError("DELETE: status 403")

    target.on_call = on_call
    sent = len(ours(target, before))
    summary = await run_rollback(target, root)
    assert summary["status"] == "incomplete"
    assert_deletions(summary, planned=sent, deleted=sent - 1, failed=1)
    assert rows(root, f"SELECT status FROM uploads WHERE remote_id = '{file.id}'") == [("uploaded",)]
    target.on_call = None
    assert_deletions(await run_rollback(target, root), planned=1, deleted=1)
    assert target.content == before


async def test_a_delete_whose_answer_is_lost_is_deleted_all_the_same(loaded):
    root, _source, target, _mapping, before = loaded

    async def on_call(verb, _):
        if verb == "deleted":
            raise RetriableError("DELETE: the connection broke")

    target.on_call = on_call
    sent = len(ours(target, before))
    summary = await run_rollback(target, root)
    assert_deletions(summary, planned=sent, deleted=sent)
    assert target.content == before


async def test_a_target_that_goes_away_ends_it_and_the_next_goes_on(loaded):
    root, _source, target, _mapping, before = loaded
    seen = []

    async def on_call(verb, key):
        seen.append(verb)
        if verb == "delete" and seen.count("delete") > 3:
            raise ConnectError("no connection")

    target.on_call = on_call
    with pytest.raises(TrackerUnreachableError):
        await run_rollback(target, root, target=MemoryTarget(target), deletes=1)
    target.on_call = None
    sent = len(ours(target, before))
    assert_deletions(await run_rollback(target, root), planned=sent, deleted=sent)
    assert target.content == before


async def test_a_stop_ends_it_as_interrupted_and_the_next_goes_on(loaded):
    root, _source, target, _mapping, before = loaded
    stop, sent = asyncio.Event(), len(ours(target, before))

    async def on_call(verb, _):
        if verb == "deleted":
            stop.set()

    target.on_call = on_call
    summary = await run_rollback(target, root, stop=stop)
    assert summary["status"] == "interrupted"
    assert 0 < summary["deletions"]["deleted"] < sent == summary["deletions"]["planned"]
    target.on_call = None
    assert (await run_rollback(target, root))["status"] == "complete"
    assert target.content == before


# --- whose file is it?


async def lost_upload(root, source, target, mapping, *, arrives: bool):
    """A load of one file whose answer is lost, and whose run ends before it could look."""
    name = "big 7.bin"
    of = next(file.owner for file in source.files.values() if file.name == name)

    async def on_call(verb, _):
        if verb == ("uploaded" if arrives else "upload"):
            target.on_call = broken
            raise OutcomeUnknownError("no answer")

    async def broken(verb, _):
        if verb == "find_attachments":
            raise RetriableError("status 500")

    target.on_call = on_call
    only = {of: mapping[of]}
    await run_load(target, root, only, uploads=1)
    target.on_call = None
    return only, mapping[of][0], name


@pytest.fixture
async def backed_up(tmp_path):
    source = MemoryTracker()
    source.attach(source.add("Bug"), "big 7.bin", b"x" * 7)
    await run_backup(source, tmp_path)
    return tmp_path, source, *twin_of(source)


async def test_what_was_sent_and_found_after_a_crash_is_ours(backed_up):
    root, source, target, mapping = backed_up
    only, _to, _ = await lost_upload(root, source, target, mapping, arrives=True)
    summary = await run_load(target, root, only)
    assert summary["uploads"]["already_there"] == 1
    assert_deletions(await run_rollback(target, root), planned=1, deleted=1)
    assert target.files == {}


async def test_what_was_sent_and_not_looked_for_yet_is_found_and_deleted(backed_up):
    root, source, target, mapping = backed_up
    _, to, _ = await lost_upload(root, source, target, mapping, arrives=True)
    theirs = target.attach(to, "other.bin", b"x" * 7)
    assert_deletions(await run_rollback(target, root), planned=1, deleted=1)
    assert list(target.files) == [theirs.id]


async def test_a_sent_file_that_never_arrived_deletes_nothing_and_stays_in_doubt(backed_up):
    root, source, target, mapping = backed_up
    only, _to, _ = await lost_upload(root, source, target, mapping, arrives=False)
    assert_deletions(await run_rollback(target, root), planned=1, already_gone=1)
    assert rows(root, "SELECT status FROM uploads") == [("in_doubt",)]
    assert (await run_load(target, root, only))["status"] == "complete"
    assert len(target.files) == 1


class Unreadable(MemoryTarget):
    """Hands no file out again."""

    async def read_back(self, remote, sink):
        if remote.id in self._tracker.files:
            raise ForbiddenError("GET file: status 403")
        await super().read_back(remote, sink)


async def test_a_similar_file_that_was_there_before_is_never_taken_for_ours(backed_up):
    root, source, target, mapping = backed_up
    [(to,)] = mapping.values()
    theirs = target.attach(to, "big 7.bin", b"theirs!")

    async def on_call(verb, _):
        if verb == "upload":
            raise RuntimeError("the process dies here")

    target.on_call = on_call
    with pytest.raises(RuntimeError, match="dies here"):
        await run_load(target, root, mapping)
    target.on_call = None
    assert rows(root, "SELECT status FROM uploads") == [("in_doubt",)]
    assert (await run_load(target, root, mapping, target=Unreadable(target)))["status"] == "complete"
    assert sorted(target.content.values()) == [b"theirs!", b"x" * 7]
    assert_deletions(await run_rollback(target, root, target=Unreadable(target)), planned=1, deleted=1)
    assert list(target.files) == [theirs.id]
    assert source.files


async def test_without_read_back_lists_tell_what_is_gone_unless_entities_hide(backed_up):
    root, source, target, mapping = backed_up
    second = source.attach(next(iter(source.entities)), "b.txt", b"b")
    await run_backup(source, root)
    await run_load(target, root, mapping)
    [(to,)] = mapping.values()

    class Silent(Unreadable):
        async def read_back(self, remote, sink):
            raise ForbiddenError("GET file: status 403")

    entity = target.entities.pop(to)
    assert_deletions(await run_rollback(target, root, target=Silent(target)), planned=2, failed=2)
    target.entities[to] = entity
    target.remove(next(file.id for file in target.files.values() if file.name == second.name))
    assert_deletions(await run_rollback(target, root, target=Silent(target)), planned=2, deleted=1, already_gone=1)
    assert target.files == {}


async def test_what_was_refused_and_then_put_there_by_hand_is_not_ours(backed_up):
    root, _source, target, mapping = backed_up
    [(to,)] = mapping.values()

    async def on_call(verb, _):
        if verb == "upload":
            raise ForbiddenError("POST: status 403")

    target.on_call = on_call
    assert (await run_load(target, root, mapping))["status"] == "incomplete"
    target.on_call = None
    theirs = target.attach(to, "big 7.bin", b"x" * 7)
    assert (await run_load(target, root, mapping))["uploads"]["already_there"] == 1
    assert_deletions(await run_rollback(target, root))
    assert list(target.files) == [theirs.id]


async def test_content_changed_at_the_source_does_not_hide_what_was_sent(backed_up):
    root, source, target, mapping = backed_up
    await run_load(target, root, mapping)
    [file] = source.files.values()
    source.files[file.id], source.content[file.id] = replace(file, size=3), b"new"
    await run_backup(source, root)
    assert_deletions(await run_rollback(target, root), planned=1, deleted=1)
    assert target.files == {}


async def test_an_archive_of_an_earlier_version_is_rolled_back_too(backed_up):
    root, _source, target, mapping = backed_up
    await run_load(target, root, mapping)
    with sqlite3.connect(root / "catalog.db") as db:
        db.executescript(
            "DELETE FROM _sqlite_migrations WHERE name = '0002_whose_upload';"
            "ALTER TABLE uploads DROP COLUMN sent_run; ALTER TABLE uploads DROP COLUMN seen;"
            "ALTER TABLE uploads DROP COLUMN sent_sha256;"
        )
    Catalog(root).close()
    assert_deletions(await run_rollback(target, root), planned=1, deleted=1)
    assert target.files == {}
