"""A backup of a part (--limit, a filter) says nothing about what it did not look at."""

from __future__ import annotations

import pytest

from migrator.model import NOBODY, Link
from migrator.selection import Selection
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import run_backup, run_load, small_tracker, twin_of
from tests.unit.test_report_verdict import reported

PARTS = [Selection(limit=3), Selection(kinds=frozenset({"Bug"})), Selection(name_globs=("same*",))]


@pytest.mark.parametrize("part", PARTS)
async def test_a_report_after_backups_of_a_part_claims_no_more(tmp_path, part):
    root, source = tmp_path / "archive", small_tracker()
    assert (await run_backup(source, root, identity="source", selection=part))["partial"] is True
    summary, _ = reported(root, tmp_path / "report.html")
    assert summary["verdict"] == "warning"
    assert "All" not in summary["sentence"]
    assert "files seen so far at Old Tracker are in the archive" in summary["sentence"]
    assert summary["sentence"].endswith(
        "only a part was backed up, by --limit or a filter, so the source may have more."
    )
    target, mapping = twin_of(source)
    await run_load(target, root, mapping)
    summary, _ = reported(root, tmp_path / "report.html")
    assert "files seen so far arrived at New Tracker" in summary["sentence"]
    assert "All" not in summary["sentence"]


async def test_a_report_after_a_backup_of_everything_may_say_all(tmp_path):
    root, source = tmp_path / "archive", small_tracker()
    assert "partial" not in await run_backup(source, root, identity="source")
    await run_backup(source, root, identity="source", selection=PARTS[0])
    summary, _ = reported(root, tmp_path / "report.html")
    assert (summary["verdict"], summary["sentence"].startswith("All ")) == ("fine", True)


async def test_a_file_whose_owner_a_part_did_not_show_has_not_moved(tmp_path):
    tracker = MemoryTracker(page_size=1)
    first, second = tracker.add("Bug"), tracker.add("Bug")
    tracker.attach(first, "a.txt", b"a")
    quoted = tracker.attach(NOBODY, "quoted.txt", b"q")
    await run_backup(tracker, tmp_path, selection=Selection(limit=1))
    tracker.links.append(Link(quoted.id, second, None))
    whole = await run_backup(tracker, tmp_path)
    assert whole["changes"] == {"added": 0, "removed": 0, "renamed": 0, "moved": 0, "replaced": 0}
    loose = tracker.attach(NOBODY, "loose.txt", b"l")
    await run_backup(tracker, tmp_path)
    tracker.links.append(Link(loose.id, first, None))
    assert (await run_backup(tracker, tmp_path))["changes"]["moved"] == 1
