"""The backup pipeline against the reference tracker, with real disk and SQLite."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from dataclasses import replace

import pytest

from migrator.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ForbiddenError,
    GoneError,
    LoginPageError,
    RejectedError,
    RetriableError,
    TrackerUnreachableError,
)
from migrator.pipeline.backup import BackupSettings, backup
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemorySource
from tests.support.parts import expected, rows, run_backup, run_verify, small_tracker, stored


def failing(tracker, verb, key, error, times=10**9):
    """The next calls of this verb about this key fail; gives the list of failures, to see that they happened."""
    struck = []

    async def on_call(called, about):
        if (called, about) == (verb, key) and len(struck) < times:
            struck.append(error)
            raise error

    tracker.on_call = on_call
    return struck


def a_bug(tracker):
    return next(ref for ref in tracker.entities if ref.kind == "Bug")


async def test_a_content_that_is_there_is_not_written_again(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    files = {path: path.stat().st_ino for path in tmp_path.glob("blobs/*/*")}
    known = next(content for content in tracker.content.values() if content)
    tracker.attach(a_bug(tracker), "the same again.txt", known)
    assert (await run_backup(tracker, tmp_path))["attachments"]["stored"] == 1
    assert stored(tmp_path) == expected(tracker)
    assert {path: path.stat().st_ino for path in tmp_path.glob("blobs/*/*")} == files


async def test_a_blob_that_a_killed_run_named_but_not_recorded_is_written_again(tmp_path):
    tracker = small_tracker()
    Archive(tmp_path).prepare()
    content = next(content for content in tracker.content.values() if content)
    name = hashlib.sha256(content).hexdigest()
    (tmp_path / "blobs" / name[:2] / name).write_bytes(bytes(len(content)))
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)


async def test_a_failed_file_that_is_listed_changed_is_fetched_in_the_same_run(tmp_path):
    class Changing(MemorySource):
        """Lists a file again, with another content, once its download has failed."""

        async def read(self, stream, cursor):
            page = await super().read(stream, cursor)
            if stream != "loose" or tracker.on_call is None:
                return page
            while not rows(tmp_path, "SELECT 1 FROM attachments WHERE status = 'failed'"):
                await asyncio.sleep(0.01)
            tracker.on_call = None
            tracker.content[changed.id] = b"another content"
            tracker.files[changed.id] = replace(changed, size=15)
            return replace(page, attachments=(*page.attachments, tracker.files[changed.id]))

    tracker = small_tracker()
    changed = tracker.of(a_bug(tracker))[0]
    struck = failing(tracker, "download", changed.id, RejectedError("not now"))
    summary = await run_backup(None, tmp_path, source=Changing(tracker))
    assert len(struck) == 1
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert rows(tmp_path, "SELECT status, count(*) FROM attachments GROUP BY 1") == [("stored", len(tracker.files))]
    assert stored(tmp_path) == expected(tracker)


async def test_backup_stores_every_file_whole_and_says_so(tmp_path):
    tracker = small_tracker()
    summary = await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)
    assert summary["status"] == "complete"
    assert summary["entities"] == len(tracker.entities)
    count = len(tracker.files)
    assert summary["attachments"] == {
        "listed": count, "stored": count, "unchanged": 0, "skipped": 0, "gone": 0, "failed": 0,
    }  # fmt: skip
    assert summary["bytes"] == sum(map(len, tracker.content.values()))
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_file_that_two_listings_tell_of_is_fetched_once(tmp_path):
    class Twice(MemorySource):
        """Tells of every file on both ways of finding it."""

        async def read(self, stream, cursor):
            page = await super().read(stream, cursor)
            return replace(page, ask=page.entities)

    tracker = small_tracker(entities=60)
    archive = Archive(tmp_path)
    archive.prepare()
    catalog = Catalog(tmp_path)
    await backup(Twice(tracker), archive, catalog, BackupSettings("memory", downloads=4))
    catalog.close()
    assert set(tracker.downloads.values()) == {1}
    assert stored(tmp_path) == expected(tracker)


async def test_second_backup_of_an_unchanged_tracker_downloads_nothing(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    tracker.downloads.clear()
    summary = await run_backup(tracker, tmp_path)
    assert not tracker.downloads
    assert summary["attachments"]["unchanged"] == len(tracker.files) == summary["attachments"]["listed"]
    assert summary["status"] == "complete"


async def test_new_and_changed_files_are_fetched_by_the_next_backup(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    tracker.downloads.clear()
    new = tracker.attach(a_bug(tracker), "new.txt", b"new")
    changed = next(file for file in tracker.files.values() if file.name == "big 4.bin")
    tracker.content[changed.id] = b"changed content"
    tracker.files[changed.id] = replace(changed, size=15)
    await run_backup(tracker, tmp_path)
    assert set(tracker.downloads) == {new.id, changed.id}
    assert stored(tmp_path) == expected(tracker)


async def test_what_is_no_longer_listed_is_gone_and_its_blob_stays(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    removed = next(file for file in tracker.files.values() if file.name == "big 7.bin")
    tracker.remove(removed.id)
    await run_backup(tracker, tmp_path)
    [(status, sha256)] = rows(tmp_path, f"SELECT status, sha256 FROM attachments WHERE attachment_id = '{removed.id}'")
    assert status == "gone"
    assert (tmp_path / "blobs" / sha256[:2] / sha256).exists()


async def test_a_file_that_fails_is_named_and_tried_again_by_the_next_run(tmp_path):
    tracker = small_tracker()
    bad = next(file for file in tracker.files.values() if file.name == "same.txt")
    struck = failing(tracker, "download", bad.id, RetriableError("GET it: status 500"))
    summary = await run_backup(tracker, tmp_path)
    assert len(struck) == 4, "the first try and three retries"
    assert summary["status"] == "incomplete"
    assert summary["failures"] == [{
        "kind": bad.owner.kind, "entity": bad.owner.id, "attachment": bad.id, "name": "same.txt",
        "reason": "GET it: status 500",
    }]  # fmt: skip
    assert stored(tmp_path) == {id_: row for id_, row in expected(tracker).items() if id_ != bad.id}
    tracker.on_call = None
    tracker.downloads.clear()
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert set(tracker.downloads) == {bad.id}


async def test_a_gone_file_that_is_listed_anew_is_fetched_in_the_same_run(tmp_path):
    tracker = small_tracker(60)
    lost = next(file for file in tracker.files.values() if file.owner.kind == "Story" and file.name == "same.txt")
    struck = []

    async def on_call(verb, key):
        if (verb, key) == ("download", lost.id) and not struck:
            struck.append(key)
            # It comes back with other bytes, on an entity that stands at the end of the list from now on.
            tracker.content[lost.id] = b"other bytes than before"
            tracker.files[lost.id] = replace(lost, size=len(tracker.content[lost.id]))
            tracker.entities[lost.owner] = tracker.entities.pop(lost.owner)
            tracker._numbers[lost.owner] = tracker._number()
            raise GoneError("GET it: status 404")

    tracker.on_call = on_call
    summary = await run_backup(tracker, tmp_path)
    assert struck
    assert (summary["status"], summary["attachments"].get("pending")) == ("complete", None)
    assert stored(tmp_path) == expected(tracker)


async def test_an_entity_that_cannot_be_asked_fails_and_its_files_are_not_gone(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    struck = failing(tracker, "attachments_of", "Story 1", ForbiddenError("GET Story 1: status 403"))
    summary = await run_backup(tracker, tmp_path)
    assert struck
    assert summary["status"] == "incomplete"
    assert [(f["kind"], f["entity"], f["attachment"]) for f in summary["failures"]] == [("Story", "1", None)]
    assert not rows(tmp_path, "SELECT 1 FROM attachments WHERE status = 'gone'")
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"


async def test_forbidden_entities_that_are_expected_do_not_count_as_failed(tmp_path):
    tracker = small_tracker()
    failing(tracker, "attachments_of", "Story 1", ForbiddenError("GET Story 1: status 403"))
    summary = await run_backup(tracker, tmp_path, allow_forbidden=True)
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert rows(tmp_path, "SELECT note FROM entities WHERE note IS NOT NULL") == [("GET Story 1: status 403",)]


async def test_refused_credentials_stop_the_run_and_keep_what_was_finished(tmp_path):
    tracker = small_tracker(entities=40)
    count = 0

    async def on_call(verb, _):
        nonlocal count
        count += verb == "download"
        if count > 30 and verb in {"download", "check"}:
            raise AuthError("no longer welcome")

    tracker.on_call = on_call
    with pytest.raises(AuthError):
        await run_backup(tracker, tmp_path)
    assert rows(tmp_path, "SELECT status FROM runs") == [("failed",)]
    assert len(stored(tmp_path)) >= 30 - 4
    tracker.on_call = None
    tracker.downloads.clear()
    kept = len(stored(tmp_path))
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert tracker.downloads.total() == len(tracker.files) - kept


async def test_a_tracker_that_refuses_connections_ends_the_run_not_every_file(tmp_path):
    tracker = small_tracker()
    struck = failing(tracker, "download", next(iter(tracker.files)), ConnectError("no connection"))
    with pytest.raises(TrackerUnreachableError):
        await run_backup(tracker, tmp_path)
    assert len(struck) == 4


async def test_login_pages_for_every_file_end_the_run_with_a_word_on_credentials(tmp_path):
    tracker = small_tracker()

    async def on_call(verb, _):
        if verb == "download":
            raise LoginPageError("a login page")

    tracker.on_call = on_call
    with pytest.raises(AuthError, match="login page"):
        await run_backup(tracker, tmp_path)


async def test_an_entity_only_known_by_its_failed_listing_is_recorded(tmp_path):
    tracker = small_tracker()

    class Asking(MemorySource):
        async def read(self, stream, cursor):
            return replace(await super().read(stream, cursor), entities=())

        async def attachments_of(self, entity):
            raise ForbiddenError(f"{entity.ref} is none of your business")

    summary = await run_backup(tracker, tmp_path, source=Asking(tracker))
    assert summary["status"] == "incomplete"
    asked = {ref.id for ref in tracker.entities if ref.kind == "Story"}
    assert {failure["entity"] for failure in summary["failures"]} == asked
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert stored(tmp_path) == expected(tracker)


async def test_only_wanted_kinds_are_fetched_and_the_rest_is_counted_as_skipped(tmp_path):
    tracker = small_tracker()
    summary = await run_backup(tracker, tmp_path, kinds=("Bug",))
    bugs = {id_ for id_, file in tracker.files.items() if file.owner.kind in {"Bug", "Unlinked"}}
    assert set(stored(tmp_path)) == bugs
    assert summary["status"] == "complete"
    summary = await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)
    assert summary["attachments"]["unchanged"] == len(bugs)


async def test_narrowing_the_kinds_calls_nothing_gone(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    await run_backup(tracker, tmp_path, kinds=("Bug",))
    assert not rows(tmp_path, "SELECT 1 FROM attachments WHERE status = 'gone'")


async def test_a_stop_ends_the_run_as_interrupted_and_the_next_one_resumes(tmp_path):
    tracker = small_tracker(entities=60)
    stop = asyncio.Event()

    async def on_call(verb, _):
        if verb == "download" and tracker.downloads.total() >= 20:
            stop.set()

    tracker.on_call = on_call
    summary = await run_backup(tracker, tmp_path, stop=stop)
    assert summary["status"] == "interrupted"
    assert rows(tmp_path, "SELECT status FROM runs") == [("interrupted",)]
    kept = set(stored(tmp_path))
    assert len(kept) == tracker.downloads.total() < len(tracker.files), "what was finished is recorded"
    tracker.on_call = None
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "complete"
    assert set(tracker.downloads.values()) == {1}, "nothing is fetched twice"
    assert summary["attachments"]["unchanged"] == len(kept)
    assert summary["attachments"]["listed"] == len(tracker.files)
    assert stored(tmp_path) == expected(tracker)


async def test_what_verify_finds_damaged_or_missing_is_fetched_again(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    by_name = dict(stored(tmp_path).values())
    damaged, missing, short = by_name["big 5.bin"], by_name["big 7.bin"], by_name["big 8.bin"]
    path = tmp_path / "blobs" / damaged[:2] / damaged
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (tmp_path / "blobs" / missing[:2] / missing).unlink()
    (tmp_path / "blobs" / short[:2] / short).chmod(0o600)
    (tmp_path / "blobs" / short[:2] / short).write_bytes(b"?")
    found = await run_verify(tmp_path)
    assert found["status"] == "damaged"
    assert {(p["code"], p["sha256"]) for p in found["problems"]} == {("E01", damaged), ("E02", missing), ("E04", short)}
    tracker.downloads.clear()
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)
    assert 3 <= tracker.downloads.total() <= 6
    assert (await run_verify(tmp_path))["status"] == "complete"


async def test_a_missing_blob_is_fetched_again_without_a_verify(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    sha256 = next(iter(stored(tmp_path).values()))[1]
    (tmp_path / "blobs" / sha256[:2] / sha256).unlink()
    await run_backup(tracker, tmp_path)
    assert stored(tmp_path) == expected(tracker)


async def test_verify_finds_a_file_that_the_catalog_does_not_know(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    (tmp_path / "blobs" / "ab" / "stray").write_text("?")
    (tmp_path / "notes.txt").write_text("?")
    found = await run_verify(tmp_path)
    assert [(p["code"], p["problem"], p["path"]) for p in found["problems"]] == [
        ("E03", "unknown", "blobs/ab/stray"), ("E03", "unknown", "notes.txt"),
    ]  # fmt: skip


async def test_links_give_an_owner_to_files_that_name_none(tmp_path):
    from migrator.model import Link

    tracker = small_tracker()
    loose = next(file for file in tracker.files.values() if file.name == "loose.txt")
    bug = a_bug(tracker)
    tracker.links.append(Link(loose.id, bug, "c7"))
    for _ in range(2):
        await run_backup(tracker, tmp_path)
    # The memory tracker tells of links before it tells of the file: the second crawl has both.
    assert rows(
        tmp_path, f"SELECT kind, entity_id, comment_id FROM attachments WHERE attachment_id = '{loose.id}'"
    ) == [("Bug", bug.id, "c7")]


async def test_archive_and_catalog_are_private_and_follow_the_contract(tmp_path):
    root = tmp_path / "archive"
    await run_backup(small_tracker(), root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in root.rglob("*"):
        mode = 0o700 if path.is_dir() else 0o400 if "blobs" in path.parts else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
    columns = {
        "entities": "kind entity_id title url raw first_run last_run",
        "attachments": "attachment_id kind entity_id comment_id name size media_type description created_at created_by "
        "sha256 status error raw first_run last_run",
        "blobs": "sha256 size",
        "runs": "run_id command status started_at ended_at summary",
        "uploads": "target attachment_id target_kind target_id remote_id name status attempts error run_id",
    }
    for table, wanted in columns.items():
        present = {row[1] for row in rows(root, f"PRAGMA table_info({table})")}
        assert set(wanted.split()) <= present
    [(summary,)] = rows(root, "SELECT summary FROM runs")
    assert json.loads(summary)["command"] == "backup"


async def test_an_archive_is_of_one_source(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    with pytest.raises(ConfigError, match="use another `archive`"):
        await run_backup(small_tracker(), tmp_path, identity="memory 2")


async def test_a_run_found_running_is_set_to_interrupted_by_the_next(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    import sqlite3

    with sqlite3.connect(tmp_path / "catalog.db") as db:
        db.execute("UPDATE runs SET status = 'running'")
    await run_backup(tracker, tmp_path)
    assert rows(tmp_path, "SELECT status FROM runs ORDER BY run_id") == [("interrupted",), ("complete",)]


async def test_an_entity_that_could_not_be_asked_is_asked_by_the_resuming_run(tmp_path):
    tracker = small_tracker()
    refused = next(ref for ref in tracker.entities if ref.kind == "Story")

    async def weather(verb, key):
        if (verb, key) == ("attachments_of", str(refused)):
            raise RejectedError("GET attachments: status 400")
        if (verb, key) in {("read", "loose"), ("check", "")}:
            raise AuthError("the run ends here")

    tracker.on_call = weather
    with pytest.raises(AuthError):
        await run_backup(tracker, tmp_path)
    tracker.on_call = None
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
