"""The history in a report: how the archive grew and how its backups went, as charts, as a table and as data."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from migrator.errors import RejectedError
from migrator.jobs.commands.report import write_report
from migrator.pipeline.report.history import MAX_POINTS, history_of
from migrator.store.catalog import Catalog
from tests.support.parts import rows, run_backup, small_tracker
from tests.unit.test_report import Page

FIRST_NIGHT = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def three_backups(root):
    """The second adds and renames a file and loses another, the third fails with one."""
    tracker = small_tracker()
    await run_backup(tracker, root)
    bug = next(ref for ref in tracker.entities if ref.kind == "Bug")
    tracker.attach(bug, "new.txt", b"new file")
    lost, renamed, *_ = (file for file in tracker.files.values() if file.name.startswith("big"))
    tracker.remove(lost.id)
    tracker.files[renamed.id] = replace(renamed, name="other.bin")
    await run_backup(tracker, root)
    late = tracker.attach(bug, "late.txt", b"late file")

    async def on_call(verb, about):
        if verb == "download" and about == late.id:
            raise RejectedError("not tonight")

    tracker.on_call = on_call
    await run_backup(tracker, root)


def nights(root, number):
    """An archive with this many backups, one a night."""
    root.mkdir()
    with closing(Catalog(root)) as catalog:
        for night in range(number):
            began = FIRST_NIGHT + timedelta(days=night)
            run = catalog.runs.begin("backup")
            changes = {"added": 2, "removed": 1, "renamed": 1, "moved": 1, "replaced": 1}
            catalog.runs.end(run, "complete", {"changes": changes, "failures": [{}] * (night % 7)})
            times = [began.isoformat(), (began + timedelta(seconds=30 + night % 2 * 20)).isoformat()]
            catalog.db.execute("UPDATE runs SET started_at = ?, ended_at = ? WHERE run_id = ?", [*times, run])
            row = [run, times[1], 5, 100 + night, 1000 + night]
            catalog.db.execute(
                "INSERT INTO snapshots (run_id, at, entities, attachments, bytes) VALUES (?,?,?,?,?)", row
            )


async def test_the_document_has_every_backup_with_its_numbers(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.json"
    await three_backups(root)
    write_report(root, out)
    history = json.loads(out.read_text())["history"]
    assert [each["run"] for each in history] == [1, 2, 3]
    assert [each["status"] for each in history] == ["complete", "complete", "incomplete"]
    held = rows(root, "SELECT attachments, bytes FROM snapshots ORDER BY run_id")
    assert [(each["attachments"], each["bytes"]) for each in history] == [*held, (None, None)]
    numbers = [(each["added"], each["changed"], each["removed"], each["failures"]) for each in history[1:]]
    assert numbers == [(1, 1, 1, 0), (1, 0, 0, 1)]
    assert all(each["seconds"] >= 0 for each in history)


async def test_the_page_has_charts_with_descriptions_and_a_table(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.html"
    await three_backups(root)
    write_report(root, out)
    text = out.read_text()
    page = Page(text)
    ids = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    labelled = [
        attributes["aria-labelledby"].split() for _, attributes in page.elements if "aria-labelledby" in attributes
    ]
    assert [title for title, _ in labelled] == [
        f"{chart}-title" for chart in ("files", "bytes", "changes", "failures", "duration")
    ]
    assert {name for pair in labelled for name in pair} <= ids
    assert text.count("<script") == 1
    assert "3 backups, one column for each backup." in text
    table = text.partition("The same as a table")[2].partition("</table>")[0]
    assert table.count("<tr>") == 4
    assert table.count("<td>yes</td>") == 1
    assert text.count(": not complete, so no snapshot</title>") == 2, "files and bytes of the third"
    assert "(any more)" not in text


async def test_a_backup_whose_snapshot_was_pruned_is_not_called_incomplete(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.html"
    await three_backups(root)
    with closing(Catalog(root)) as catalog:
        catalog.pruning.forget({2})
    write_report(root, out)
    text = out.read_text()
    assert text.count(": no snapshot (any more)</title>") == 2
    assert text.count(": not complete, so no snapshot</title>") == 2
    assert text.partition("The same as a table")[2].count("<td>yes</td>") == 1
    assert "or its snapshot was\npruned.</p>" in text


async def test_with_one_backup_there_is_a_sentence_and_no_chart(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.html"
    await run_backup(small_tracker(), root)
    write_report(root, out)
    text = out.read_text()
    assert "The archive has had one backup so far; from the second one on" in text
    assert "aria-labelledby" not in text


def test_many_backups_are_put_together_by_week_month_or_year(tmp_path):
    expected = {90: ("", 90), 91: ("week", 14), 690: ("month", 23), 3000: ("year", 9)}
    for number, (period, points) in expected.items():
        nights(tmp_path / str(number), number)
        with closing(Catalog(tmp_path / str(number), read_only=True)) as catalog:
            history = history_of(catalog)
        assert (history.period, len(history.points)) == (period, points)
        assert len(history.points) <= MAX_POINTS
        assert sum(point.backups for point in history.points) == number
        assert history.points[-1].attachments == 100 + number - 1
        assert sum(point.changed for point in history.points) == 3 * number


def test_a_week_shows_sums_average_and_highest_and_says_so(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.html"
    nights(root, 120)
    write_report(root, out)
    with closing(Catalog(root, read_only=True)) as catalog:
        week = history_of(catalog).points[1]
    assert (week.label, week.backups, week.added, week.removed, week.failures) == ("2026 week 2", 7, 14, 7, 6)
    assert 38 < week.seconds < 42
    text = out.read_text()
    assert "120 backups, one column for each week. A column shows the last snapshot, the average duration" in text
    assert len(re.findall("<g><title>", text)) == 5 * 18


async def test_the_report_of_a_snapshot_ends_with_it(tmp_path):
    root, out = tmp_path / "archive", tmp_path / "report.json"
    await three_backups(root)
    write_report(root, out, at="1")
    assert [each["run"] for each in json.loads(out.read_text())["history"]] == [1]
