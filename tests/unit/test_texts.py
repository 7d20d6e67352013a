"""Summaries as a person reads them: numbers, plurals, local times, and what became of a run."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from migrator.jobs.snapshots_text import print_snapshots
from migrator.jobs.status_text import print_status
from migrator.jobs.text import summary_text
from migrator.model import EntityRef, RunStatus
from migrator.pipeline.summary import (
    BackupSummary,
    DeletionCounts,
    DemoStep,
    DemoSummary,
    Failure,
    LoadSummary,
    RollbackSummary,
    RunRow,
    SnapshotRow,
    SnapshotsSummary,
    StatusSummary,
    UploadCounts,
)
from migrator.pipeline.summary.status import ArchiveTotals, BlobTotals
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from tests.support.program import config_of, run

STARTED = "2026-11-28T01:00:11+00:00"


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)


def backup(**changes) -> BackupSummary:
    files = {"listed": 12_345, "stored": 1, "unchanged": 12_000, "skipped": 0, "gone": 0, "failed": 344}
    values = {"entities": 5000, "attachments": files, "changes": {"added": 1234}, "bytes": 5_000_000, "warnings": ()}
    return BackupSummary(**values | changes)


def status(runs=(), at_work=None) -> StatusSummary:
    totals = ArchiveTotals(
        entities=1,
        attachments={"stored": 1200},
        blobs=BlobTotals(1, 10),
        uploads={"uploaded": 1100, "in_doubt": 4, "already_there": 1},
        crawl_under_way=False,
    )
    return StatusSummary(
        archive="a", source="x http://x", at_work=at_work, problems=(), totals=totals, runs=tuple(runs), failures=()
    )


def failed_run(run: int, reason: str) -> RunRow:
    return RunRow(run, "backup", "failed", STARTED, STARTED, {"error": {"code": 4, "message": reason}})


def test_numbers_have_thousands_separators():
    text = summary_text(backup())
    for wanted in (r"entities +5,000\b", r"listed +12,345\n", r"unchanged +12,000\n", "1,234 added"):
        assert re.search(wanted, text), wanted


def test_one_is_never_called_many():
    failure = Failure(EntityRef("Bug", "1"), "7", "a.txt", "why")
    load = LoadSummary(uploads=UploadCounts(1, 0, 0, 1, 0, 1), bytes=1, failures=(failure,))
    for text in (summary_text(load), summary_text(status())):
        assert not re.search(r"\b1 (files|entities|blobs|rows|uploads|problems|failures)\b", text), text
    assert "archive of x http://x: 1 blob, 10 B, 1 entity\n" in summary_text(status())


def test_a_stopped_run_says_what_is_kept_and_how_it_goes_on():
    stopped = summary_text(backup(status=RunStatus.INTERRUPTED))
    assert stopped.endswith("12,001 of 12,345 files are kept; run the same command again\n")
    load = LoadSummary(status=RunStatus.INTERRUPTED, uploads=UploadCounts(1, 1, 0, 0, 0, 0), bytes=1)
    assert summary_text(load).endswith("\n1 of 1 file is at the target; run the same command again\n")
    assert "same command" not in summary_text(backup())


def test_uploads_in_flight_are_under_way_while_a_run_is_at_work():
    assert "uploads: 1,100 uploaded, 4 unconfirmed, 1 already present\n" in summary_text(status())
    holder = {"command": "load", "pid": "1", "host": "here", "since": STARTED}
    assert "4 under way, 1 already present\n" in summary_text(status(at_work=holder))


def test_what_a_tracker_cannot_delete_is_not_called_failed():
    kept = Failure(EntityRef("Ticket", "1"), "7", "a.png", "this tracker's API can't delete files")
    counts = DeletionCounts(planned=1, deleted=0, already_gone=0, changed=0, impossible=1, failed=0)
    text = summary_text(RollbackSummary(status=RunStatus.INCOMPLETE, deletions=counts, failures=(kept,)))
    assert "1 not deleted: this tracker's API can't delete files\n" in text
    assert not re.search(r"failed: ", text)


def test_a_step_of_the_demo_that_failed_says_so_without_colours_too():
    steps = (DemoStep("backup", "3 files", ok=True), DemoStep("load", "2 of 3 files", ok=False))
    load = LoadSummary(status=RunStatus.INCOMPLETE, uploads=UploadCounts(3, 2, 0, 0, 0, 1), bytes=0)
    text = summary_text(DemoSummary(status=RunStatus.INCOMPLETE, kept=None, steps=steps, backup=backup(), load=load))
    assert [line.split(maxsplit=1)[1].strip() for line in text.splitlines()[1:3]] == ["3 files", "FAIL: 2 of 3 files"]


def test_why_runs_failed_stands_below_them_each_reason_once():
    runs = (failed_run(9, "no connection"), failed_run(8, "disk full"), failed_run(7, "no connection"))
    text = summary_text(status(runs))
    assert "runs 9, 7 failed: no connection\nrun 8 failed: disk full\n" in text


def test_times_are_local_and_have_their_zone():
    text = summary_text(status([failed_run(1, "x")]))
    assert STARTED not in text
    assert re.search(r"\b2026-11-2[789] \d\d:\d\d [A-Z+-]\w*", text)


async def test_a_limit_says_how_many_entities_it_took(tmp_path):
    async with TargetprocessSandbox(World.generate(entities=20, seed=3, attachments=60, large_bytes=0)) as source:
        finished = await run("backup", config_of(tmp_path, source), "--limit", "5")
    assert re.search(r"^--limit: 5 entities taken of [\d,]+ listed$", finished.out, re.MULTILINE)


async def test_help_of_a_command_names_the_options_of_all():
    finished = await run("backup", "-h")
    assert "--json, -q, -v" in finished.out


@pytest.mark.parametrize(("columns", "expected"), [(72, "table"), (71, "lines")])
def test_runs_are_a_table_where_it_fits_and_lines_elsewhere(columns, expected):
    out = io.StringIO()
    print_status(Console(file=out, width=columns, highlight=False, soft_wrap=True), status([failed_run(12, "why")]))
    assert ("run  command  status" in out.getvalue()) == (expected == "table")
    assert ("\nrun 12: backup failed, 2026-" in out.getvalue()) == (expected == "lines")
    assert "…" not in out.getvalue()


def test_snapshots_fit_a_narrow_terminal():
    row = SnapshotRow(12, STARTED, 120, 1, 5_000_000, added=1200, removed=0, renamed=0, moved=0, replaced=3)
    wide, narrow = io.StringIO(), io.StringIO()
    for out, columns in ((wide, 104), (narrow, 80)):
        console = Console(file=out, width=columns, highlight=False, soft_wrap=True)
        print_snapshots(console, SnapshotsSummary(snapshots=(row,)))
    assert "…" not in wide.getvalue()
    assert narrow.getvalue().splitlines()[0].endswith(": 120 entities, 1 attachment, 5.0 MB")
    assert narrow.getvalue().splitlines()[1] == "  1,200 added, 3 replaced"
