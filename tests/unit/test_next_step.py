"""What a command says to run next is of use: not again what can't be mended so, and no rehearsal of a rehearsal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.jobs.next_step import next_step
from migrator.model import EntityRef, RunStatus
from migrator.pipeline.summary import (
    AcceptSummary,
    BackupSummary,
    DeletionCounts,
    DryRunCounts,
    Failure,
    LoadSummary,
    RestoreCounts,
    RestoreSummary,
    RollbackSummary,
    UploadCounts,
)

CONFIG = "to be.toml"
FILES = {"listed": 2, "stored": 1, "unchanged": 0, "skipped": 0, "gone": 0, "failed": 1}
BACKUP = BackupSummary(status=RunStatus.INCOMPLETE, entities=1, attachments=FILES, changes={}, bytes=1, warnings=())
OF_FILE = Failure(EntityRef("Bug", "1"), "7", "a.png", "status 500")
OF_LISTING = Failure(EntityRef("", ""), None, "listing of Bugs", "status 500")


def rollback(planned: int, impossible: int) -> RollbackSummary:
    counts = DeletionCounts(planned, 0, 0, 0, impossible, planned - impossible)
    return RollbackSummary(status=RunStatus.INCOMPLETE, deletions=counts)


def restore(planned: int, status: RunStatus = RunStatus.COMPLETE) -> RestoreSummary:
    uploads = RestoreCounts(planned=planned, uploaded=0, already_there=0, skipped=0, failed=0)
    return RestoreSummary(status=status, uploads=uploads, dry_run=DryRunCounts(planned, 0, 0, 0, 0), bytes=0)


def accepted(changed: int, standing: int) -> AcceptSummary:
    return AcceptSummary(
        status=RunStatus.COMPLETE, changed=changed, failures=(OF_FILE,) * standing, accepted=(OF_FILE,)
    )


def rehearsed(to_send: int, stubs: int = 0) -> LoadSummary:
    """A dry run of a load that would send this many files, and create this many entities."""
    uploads = UploadCounts(planned=2, uploaded=2 - to_send, already_there=0, unmapped=0, skipped=0, failed=0)
    plan = DryRunCounts(to_send, 0, 0, 0, 0)
    return LoadSummary(status=RunStatus.COMPLETE, uploads=uploads, dry_run=plan, stubs={"would_create": stubs}, bytes=0)


def rehearsal(failed: int) -> LoadSummary:
    """A dry run of a load whose archive lacks a file."""
    uploads = UploadCounts(planned=2, uploaded=0, already_there=0, unmapped=0, skipped=0, failed=failed)
    return LoadSummary(
        status=RunStatus.INCOMPLETE,
        uploads=uploads,
        dry_run=DryRunCounts(2 - failed, 0, 0, 0, 0),
        not_in_archive=(OF_FILE,),
        failures=(OF_FILE,) * failed,
        bytes=0,
    )


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (replace(BACKUP, failures=(OF_FILE,)), "to accept what can't be fixed: migrator accept 'to be.toml' --list"),
        (replace(BACKUP, failures=(OF_LISTING, OF_FILE)), "migrator accept 'to be.toml' --list"),
        (replace(BACKUP, failures=(OF_LISTING,)), None),
        (rollback(3, 3), None),
        (rollback(3, 2), "run the same command again; it tries again what failed"),
        (restore(0), None),
        (restore(2), "the same command without --dry-run"),
        (rehearsed(0), None),
        (rehearsed(1), "the same command without --dry-run"),
        (rehearsed(0, stubs=1), "the same command without --dry-run"),
        (accepted(2, 0), "migrator backup 'to be.toml'"),
        (accepted(1, 1), None),
        (accepted(0, 0), None),
        (replace(rehearsal(1), dry_run=None, failures=(OF_LISTING,)), None),
        (rehearsal(0), "migrator backup 'to be.toml', then the same command again"),
        (rehearsal(1), "correct what would fail, then run this again"),
        (restore(2, RunStatus.INCOMPLETE), "correct what would fail, then run this again"),
    ],
)
def test_the_next_step_is_of_use(summary, expected):
    said = next_step(summary, CONFIG)
    assert said == "" if expected is None else expected in said
