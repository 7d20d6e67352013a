"""Rechecks: what changed at the source and kept its size and date, and what a failing recheck leaves alone."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing

import pytest

from migrator.errors import AuthError, ConnectError, GoneError, LoginPageError, RejectedError, TrackerUnreachableError
from migrator.model import Attachment
from migrator.pipeline.condition import condition
from migrator.pipeline.rebuild import rebuild
from migrator.ports import BodyFacts
from migrator.selection import Selection
from migrator.store import audit
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import expected, only_in_full, rows, run_backup, small_tracker, stored


def alter(tracker: MemoryTracker, name: str) -> str:
    """Give a file other content of equal size and date; its id."""
    file = next(file for file in tracker.files.values() if file.name == name)
    tracker.content[file.id] = bytes(255 - byte for byte in tracker.content[file.id])
    return file.id


def strike(tracker: MemoryTracker, *struck: str, error: Exception | None = None) -> None:
    """From now on the downloads of these files fail."""

    async def on_call(verb: str, about: str) -> None:
        if verb == "download" and about in struck:
            raise error or RejectedError("not tonight")

    tracker.on_call = on_call


def files_of(tracker: MemoryTracker) -> int:
    return len(tracker.files)


async def test_a_full_backup_finds_other_content_of_equal_size_and_date(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    before = stored(tmp_path)
    small, large = alter(tracker, "big 7.bin"), alter(tracker, "big 5.bin")
    plain = await run_backup(tracker, tmp_path)
    assert (plain["changes"]["replaced"], "rechecked" in plain) == (0, False)
    assert stored(tmp_path) == before
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert done["status"] == "complete"
    assert done["rechecked"] == {"files": files_of(tracker), "replaced": 2, "failed": 0}
    assert done["changes"]["replaced"] == 2
    assert done["attachments"]["stored"] == 2
    assert done["attachments"]["unchanged"] == files_of(tracker) - 2
    assert stored(tmp_path) == expected(tracker)
    for id_ in (small, large):
        query = f"SELECT sha256, from_run, to_run FROM history WHERE attachment_id = '{id_}' ORDER BY from_run"
        states = rows(tmp_path, query)
        assert states == [(before[id_][1], 1, 2), (stored(tmp_path)[id_][1], 3, None)]
        assert (tmp_path / "blobs" / before[id_][1][:2] / before[id_][1]).is_file()
    assert audit(tmp_path) == []


async def test_equal_files_are_hashed_and_written_nowhere(tmp_path):
    tracker = small_tracker(200, page_size=50)
    await run_backup(tracker, tmp_path)
    blobs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blobs/*/*")}
    outcomes = rows(tmp_path, "SELECT attachment_id, sha256, status, stored_run, changed_run FROM attachments")
    journal = (tmp_path / "manifest.jsonl").stat().st_size
    tracker.downloads.clear()
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert done["rechecked"] == {"files": files_of(tracker), "replaced": 0, "failed": 0}
    assert set(tracker.downloads.values()) == {1}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("blobs/*/*")} == blobs
    assert rows(tmp_path, "SELECT attachment_id, sha256, status, stored_run, changed_run FROM attachments") == outcomes
    assert (tmp_path / "manifest.jsonl").stat().st_size - journal < 6000


@pytest.mark.parametrize("share", [pytest.param(0.01, marks=only_in_full), 0.07, 0.25, 1 / 3])
async def test_a_rotating_sample_covers_every_file_once_in_a_round(tmp_path, share):
    tracker = small_tracker(40)
    await run_backup(tracker, tmp_path)
    tracker.downloads.clear()
    for night in range(round(1 / share)):
        before = tracker.downloads.total()
        done = await run_backup(tracker, tmp_path, recheck=share)
        assert done["rechecked"]["files"] == tracker.downloads.total() - before, night
        assert 0 < done["rechecked"]["files"] <= files_of(tracker) * share + 1
    assert tracker.downloads.keys() == tracker.files.keys()
    assert max(tracker.downloads.values()) <= 2


async def test_what_this_crawl_has_just_fetched_is_not_fetched_twice(tmp_path):
    tracker = small_tracker()
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert done["rechecked"] == {"files": 0, "replaced": 0, "failed": 0}
    assert set(tracker.downloads.values()) == {1}


async def test_without_a_recheck_nothing_is_asked_and_no_position_kept(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    tracker.downloads.clear()
    await run_backup(tracker, tmp_path)
    assert not tracker.downloads
    assert rows(tmp_path, "SELECT key FROM settings WHERE key LIKE 'recheck%'") == []


async def test_a_failed_recheck_fails_the_run_and_leaves_what_is_stored(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    before = rows(tmp_path, "SELECT attachment_id, sha256, status, error, stored_run, changed_run FROM attachments")
    struck = alter(tracker, "big 7.bin")
    strike(tracker, struck)
    failed = await run_backup(tracker, tmp_path, recheck=1.0)
    assert (failed["status"], failed["rechecked"]["failed"]) == ("incomplete", 1)
    [failure] = failed["failures"]
    assert (failure["attachment"], failure["name"]) == (struck, "big 7.bin")
    assert failure["reason"] == "it is stored, and could not be fetched again: not tonight"
    query = "SELECT attachment_id, sha256, status, error, stored_run, changed_run FROM attachments"
    assert rows(tmp_path, query) == before
    assert rows(tmp_path, "SELECT run_id FROM snapshots") == [(1,)]
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        assert [each.reason for each in condition(catalog, tmp_path).failures] == [failure["reason"]]
    again = await run_backup(tracker, tmp_path)
    assert (again["status"], again["rechecked"]) == ("incomplete", {"files": 1, "replaced": 0, "failed": 1})
    tracker.on_call = None
    done = await run_backup(tracker, tmp_path)
    assert (done["status"], done["rechecked"]) == ("complete", {"files": 1, "replaced": 1, "failed": 0})
    assert stored(tmp_path) == expected(tracker)
    assert "rechecked" not in await run_backup(tracker, tmp_path)


async def test_however_many_failed_each_is_tried_once_by_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr("migrator.pipeline.backup.recheck.FILES_PER_BATCH", 4)
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    struck = [*tracker.files][:11]
    strike(tracker, *struck)
    assert len((await run_backup(tracker, tmp_path, recheck=1.0))["failures"]) == len(struck)
    assert len((await run_backup(tracker, tmp_path, recheck=1.0))["failures"]) == len(struck)
    tracker.on_call = None
    tracker.downloads.clear()
    done = await run_backup(tracker, tmp_path, recheck=0.01)
    assert (done["status"], done["rechecked"]["failed"]) == ("complete", 0)
    assert len(struck) <= done["rechecked"]["files"] <= len(struck) + 1
    assert max(tracker.downloads.values()) == 1


async def test_a_file_that_failed_and_changed_since_fails_no_longer(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    struck = next(file.id for file in tracker.files.values() if file.name == "big 7.bin")
    strike(tracker, struck)
    await run_backup(tracker, tmp_path, recheck=1.0)
    tracker.on_call = None
    file = tracker.files[struck]
    tracker.content[struck] = b"longer than it was"
    tracker.files[struck] = Attachment(file.id, file.owner, file.name, 18, raw=file.raw)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert rows(tmp_path, "SELECT * FROM failed_rechecks") == []
    assert stored(tmp_path) == expected(tracker)


async def test_a_recheck_that_is_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("migrator.pipeline.backup.recheck.FILES_PER_BATCH", 8)
    tracker, stop = small_tracker(30), asyncio.Event()
    await run_backup(tracker, tmp_path)
    changed = [alter(tracker, f"big {number}.bin") for number in (3, 14, 29)]
    tracker.downloads.clear()

    async def on_call(verb: str, about: str) -> None:
        if verb == "download" and tracker.downloads.total() > files_of(tracker) // 2:
            stop.set()

    tracker.on_call = on_call
    assert (await run_backup(tracker, tmp_path, recheck=1.0, stop=stop))["status"] == "interrupted"
    assert tracker.downloads.total() < files_of(tracker)
    tracker.on_call = None
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert done["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert tracker.downloads.keys() == tracker.files.keys()
    assert tracker.downloads.total() <= files_of(tracker) + len(changed) + 2 * 8


async def test_a_file_that_is_gone_since_it_was_listed_is_gone(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    lost = next(file.id for file in tracker.files.values() if file.name == "big 7.bin")

    async def on_call(verb: str, about: str) -> None:
        if (verb, about) == ("download", lost):
            tracker.files.pop(lost, None)
            raise GoneError("status 404")

    tracker.on_call = on_call
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert (done["status"], done["attachments"]["gone"], done["changes"]["removed"]) == ("complete", 1, 1)


async def test_a_404_of_a_file_that_is_listed_is_a_failure(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    lost = next(iter(tracker.files))
    strike(tracker, lost, error=GoneError("status 404"))
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert (done["status"], done["attachments"]["gone"], len(done["failures"])) == ("incomplete", 0, 1)
    assert stored(tmp_path) == expected(tracker)


@pytest.mark.parametrize(
    ("error", "raised"),
    [(LoginPageError("a login page"), AuthError), (ConnectError("nobody there"), TrackerUnreachableError)],
)
async def test_a_tracker_that_gives_nothing_ends_the_run_not_the_archive(tmp_path, error, raised):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    strike(tracker, *tracker.files, error=error)
    with pytest.raises(raised, match=str(error)):
        await run_backup(tracker, tmp_path, recheck=1.0)
    assert stored(tmp_path) == expected(tracker)


async def test_an_empty_answer_without_a_listed_size_is_not_believed(tmp_path):
    tracker = small_tracker()
    tracker.capabilities = MemoryTracker(reports_size=False).capabilities
    for id_, file in tracker.files.items():
        tracker.files[id_] = Attachment(id_, file.owner, file.name, None, raw=file.raw)
    await run_backup(tracker, tmp_path)
    before, send = stored(tmp_path), tracker.send

    async def empty(attachment, sink) -> None:
        tracker.downloads[attachment.id] += 1
        await sink.start(BodyFacts("", 0, named=True))

    tracker.send = empty
    done = await run_backup(tracker, tmp_path, recheck=1.0)
    assert done["status"] == "incomplete"
    assert "empty, and no size is listed to compare it with" in done["failures"][0]["reason"]
    assert stored(tmp_path) == before
    tracker.send = send


async def test_a_selection_rechecks_its_files_and_leaves_the_round_alone(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    await run_backup(tracker, tmp_path, recheck=0.25)
    place = rows(tmp_path, "SELECT value FROM settings WHERE key = 'recheck'")
    chosen, other = alter(tracker, "big 7.bin"), alter(tracker, "big 8.bin")
    before = stored(tmp_path)
    done = await run_backup(tracker, tmp_path, recheck=1.0, selection=Selection(name_globs=("big 7.bin",)))
    assert done["rechecked"] == {"files": 1, "replaced": 1, "failed": 0}
    assert stored(tmp_path)[chosen] == expected(tracker)[chosen]
    assert stored(tmp_path)[other] == before[other]
    assert rows(tmp_path, "SELECT value FROM settings WHERE key = 'recheck'") == place


async def test_a_rebuilt_catalog_knows_the_round_and_the_failures(tmp_path):
    tracker, root = small_tracker(), tmp_path / "archive"
    await run_backup(tracker, root)
    strike(tracker, next(iter(tracker.files)))
    await run_backup(tracker, root, recheck=0.5)
    await run_backup(tracker, root, recheck=0.5)
    queries = ("SELECT * FROM failed_rechecks", "SELECT value FROM settings WHERE key = 'recheck'")
    copy = shutil.copytree(root, tmp_path / "copy")
    for path in copy.glob("catalog.db*"):
        path.unlink()
    rebuild(Archive(copy))
    for query in queries:
        assert rows(copy, query) == rows(root, query) != []
