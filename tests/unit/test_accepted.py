"""Accepted failures: listed, not counted, and over as soon as they are something else than what was accepted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace

import pytest

from migrator.errors import ConfigError, NotExposedError, RejectedError, RetriableError
from migrator.model import EntityRef
from migrator.pipeline.accept import Choice, accept, accepted_failures, withdraw
from migrator.pipeline.condition import condition
from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.report.writers import report
from migrator.pipeline.snapshots import snapshots
from migrator.selection import Selection
from migrator.store import audit
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.catalog.accepted import reason_kind
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import rows, run_backup, small_tracker

INLINE = NotExposedError("image pasted into a description: the REST API can't download it")


def failing(struck: dict[tuple[str, str], Exception]) -> Callable[[str, str], Awaitable[None]]:
    async def on_call(verb: str, about: str) -> None:
        if error := struck.get((verb, about)):
            raise error

    return on_call


async def failed_archive(root) -> tuple[MemoryTracker, dict[tuple[str, str], Exception], str, EntityRef]:
    """An archive whose backup lacks one file and the list of one entity; what fails can be changed."""
    tracker = small_tracker()
    image = next(file.id for file in tracker.files.values() if file.name == "big 7.bin")
    story = next(ref for ref in tracker.entities if ref.kind == "Story")
    struck: dict[tuple[str, str], Exception] = {
        ("download", image): INLINE,
        ("attachments_of", str(story)): RejectedError("GET stories/7: status 403"),
    }
    tracker.on_call = failing(struck)
    assert (await run_backup(tracker, root))["status"] == "incomplete"
    return tracker, struck, image, story


def accepting(root, what=accept, **choice):
    with closing(Catalog(root)) as catalog:
        return what(catalog, Choice(**choice)).as_json()


def listed(root):
    with closing(Catalog(root, read_only=True)) as catalog:
        return accepted_failures(catalog).as_json()


def looked_at(root):
    with closing(Catalog(root, read_only=True)) as catalog:
        return condition(catalog, root).as_json()


def ids(failures) -> list[tuple[str, str | None]]:
    return sorted((failure["entity"], failure["attachment"] or "") for failure in failures)


async def test_a_run_whose_only_failures_are_accepted_makes_a_snapshot(tmp_path):
    tracker, _, image, story = await failed_archive(tmp_path)
    assert looked_at(tmp_path)["status"] == "incomplete"
    done = accepting(tmp_path, everything=True)
    assert (done["changed"], done["failures"], len(done["accepted"])) == (2, [], 2)
    found = looked_at(tmp_path)
    assert (found["status"], found["failures"], ids(found["accepted"])) == ("complete", [], ids(done["accepted"]))
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert {failure["attachment"] for failure in summary["accepted"]} == {image, None}
    assert {failure["entity"] for failure in summary["accepted"]} >= {story.id}
    assert all(failure["accepted_at"] for failure in summary["accepted"])
    counts = summary["attachments"]
    assert (counts["failed"], counts["accepted"]) == (0, 1)
    assert counts["listed"] == sum(counts[key] for key in ("stored", "unchanged", "skipped", "failed", "accepted"))
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        assert [row.run for row in snapshots(catalog).snapshots] == [summary["run"]]
    assert audit(tmp_path) == []


async def test_what_nobody_accepted_still_counts(tmp_path):
    tracker, _, image, story = await failed_archive(tmp_path)
    accepting(tmp_path, attachments=(image,))
    summary = await run_backup(tracker, tmp_path)
    assert summary["status"] == "incomplete"
    assert ids(summary["failures"]) == [(story.id, "")]
    assert [failure["attachment"] for failure in summary["accepted"]] == [image]
    assert rows(tmp_path, "SELECT * FROM snapshots") == []


async def test_an_entity_stands_for_its_list_and_its_files(tmp_path):
    tracker, struck, image, story = await failed_archive(tmp_path)
    owner = tracker.files[image].owner
    beside = next(file.id for file in tracker.of(owner) if file.id != image)
    struck["download", beside] = INLINE
    await run_backup(tracker, tmp_path / "second")
    done = accepting(tmp_path / "second", entities=(EntityRef("", owner.id), story))
    assert done["changed"] == 3
    assert done["failures"] == []


async def test_an_acceptance_ends_when_the_file_is_stored(tmp_path):
    tracker, struck, image, _ = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    error = struck.pop(("download", image))
    await run_backup(tracker, tmp_path)
    assert rows(tmp_path, "SELECT attachment_id FROM accepted_failures WHERE attachment_id != ''") == []
    tracker.files[image] = replace(tracker.files[image], created_at="2026-01-01T00:00:00Z")
    struck["download", image] = error
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], [failure["attachment"] for failure in summary["failures"]]) == ("incomplete", [image])


async def test_an_acceptance_ends_when_the_entity_can_be_listed(tmp_path):
    tracker, struck, _, story = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    error = struck.pop(("attachments_of", str(story)))
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    struck["attachments_of", str(story)] = error
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"


async def test_an_acceptance_ends_when_the_reason_becomes_another(tmp_path):
    tracker, struck, image, story = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    struck["attachments_of", str(story)] = RejectedError("GET stories/8: status 403")
    assert (await run_backup(tracker, tmp_path))["status"] == "complete", "the same in other numbers"
    struck["attachments_of", str(story)] = RejectedError("GET stories/8: status 405")
    struck["download", image] = RetriableError("GET a: status 500")
    summary = await run_backup(tracker, tmp_path)
    assert (summary["status"], len(summary["failures"]), "accepted" in summary) == ("incomplete", 2, False)
    struck["download", image] = INLINE
    struck["attachments_of", str(story)] = RejectedError("GET stories/8: status 403")
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete", "it has ended for good"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("GET a/7: status 404, not found", "GET a/8: status 404, not found", True),
        ("GET a/7: status 404, not found", "GET a/7: status 500, not found", False),
        ("too short: 10 bytes came, 20 were listed", "too short: 11 bytes came, 25 were listed", True),
        ("the body broke off", "timed out waiting for data", False),
        ("no (see https://a.example/x)", "no (see https://b.example/y)", True),
        ("the tracker refused (status 401)", "the tracker refused (status 403)", False),
        ("error 3f2a-77 in the storage", "error 90bc-12 in the storage", True),
    ],
)
def test_a_reason_is_of_the_same_kind_but_for_numbers_and_paths(one, other, same):
    assert (reason_kind(one) == reason_kind(other)) == same


async def test_a_selection_that_leaves_a_file_out_ends_nothing(tmp_path):
    tracker, _, image, _ = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    await run_backup(tracker, tmp_path, selection=Selection(name_globs=("same*",)))
    assert rows(tmp_path, f"SELECT status FROM attachments WHERE attachment_id = '{image}'") == [("failed",)]
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"


async def test_an_acceptance_can_be_taken_back(tmp_path):
    tracker, _, image, _ = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    done = accepting(tmp_path, withdraw, attachments=(image,))
    assert (done["changed"], [failure["attachment"] for failure in done["failures"]]) == (1, [image])
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"
    assert accepting(tmp_path, withdraw, everything=True)["changed"] == 1
    assert len(listed(tmp_path)["failures"]) == 2
    assert listed(tmp_path)["accepted"] == []


async def test_what_has_no_failure_is_named_and_nothing_is_changed(tmp_path):
    _, _, image, _ = await failed_archive(tmp_path)
    sound = rows(tmp_path, "SELECT attachment_id FROM attachments WHERE status = 'stored' LIMIT 1")[0][0]
    with pytest.raises(ConfigError, match=f"nothing fails for attachment {sound}, entity Bug 999"):
        accepting(tmp_path, attachments=(image, sound), entities=(EntityRef("Bug", "999"),))
    with pytest.raises(ConfigError, match=f"nothing fails for attachment {image}"):
        accepting(tmp_path, withdraw, attachments=(image,))
    assert rows(tmp_path, "SELECT * FROM accepted_failures") == []
    accepting(tmp_path, attachments=(image,))
    assert accepting(tmp_path, attachments=(image,))["changed"] == 0


async def test_a_listing_that_can_not_be_read_is_not_accepted(tmp_path):
    tracker, struck, _, _ = await failed_archive(tmp_path)
    struck["read", "loose"] = RejectedError("not this list")
    await run_backup(tracker, tmp_path)
    done = accepting(tmp_path, everything=True)
    assert [failure["name"] for failure in done["failures"]] == ["listing of loose"]
    assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"


async def test_a_recheck_that_always_fails_can_be_accepted(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    image = next(iter(tracker.files))
    tracker.on_call = failing({("download", image): INLINE})
    assert (await run_backup(tracker, tmp_path, recheck=1.0))["status"] == "incomplete"
    accepting(tmp_path, attachments=(image,))
    summary = await run_backup(tracker, tmp_path, recheck=1.0)
    assert (summary["status"], len(summary["accepted"])) == ("complete", 1)
    assert "accepted" not in summary["attachments"], "it is stored, and was not listed as failed"
    tracker.on_call = None
    assert "accepted" not in await run_backup(tracker, tmp_path)
    assert rows(tmp_path, "SELECT * FROM accepted_failures") == []


async def test_a_rebuilt_catalog_knows_what_was_accepted(tmp_path):
    root = tmp_path / "archive"
    _, _, image, _ = await failed_archive(root)
    accepting(root, everything=True)
    accepting(root, withdraw, attachments=(image,))
    assert audit(root) == []
    copy = shutil.copytree(root, tmp_path / "copy")
    for path in copy.glob("catalog.db*"):
        path.unlink()
    rebuild(Archive(copy))
    assert listed(copy)["accepted"] == listed(root)["accepted"] != []


async def test_the_report_shows_accepted_failures_apart(tmp_path):
    tracker, _, image, story = await failed_archive(tmp_path)
    accepting(tmp_path, everything=True)
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        report(catalog, lambda _: lambda *_: "", tmp_path / "report.json")
        report(catalog, lambda _: lambda *_: "", tmp_path / "report.html")
    document = json.loads((tmp_path / "report.json").read_text())
    assert [text for text in document["reasons"] if "could not be" in text] == []
    [reason] = [text for text in document["reasons"] if text.startswith("accepted as missing: ")]
    assert str(INLINE) in reason
    [entity] = [entity for entity in document["details"] if entity["entity"] == story.id]
    assert entity["accepted"]
    page = (tmp_path / "report.html").read_text()
    assert "Accepted: files could not be listed: " in page
    assert 'class="bad"' not in page
    accepting(tmp_path, withdraw, everything=True)
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        report(catalog, lambda _: lambda *_: "", tmp_path / "report.html")
    assert 'class="bad"' in (tmp_path / "report.html").read_text()
    assert tracker.files[image].name in page
