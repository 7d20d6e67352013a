"""What each command reports when it ends: the JSON of `--json`, the catalog's record of a run, the terminal's text.

A field is a key of the JSON, under the same name and in this order. `OPTIONAL` fields that are None are left out.

Beware: scripts rely on these names. Each module is imported on first use, because making all these dataclasses takes
more than half of the time of `migrator --help`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.first_use import imported_on_first_use

if TYPE_CHECKING:
    from migrator.pipeline.summary.backup import BackupSummary, NotAsked
    from migrator.pipeline.summary.base import (
        HIDDEN,
        LISTING_OF,
        OPTIONAL,
        Failure,
        ItemsSummary,
        RunSummary,
        Summary,
        as_json,
        worst_of,
    )
    from migrator.pipeline.summary.check import Check, CheckedSide, CheckSummary
    from migrator.pipeline.summary.combined import DemoStep, DemoSummary, MigrateSummary
    from migrator.pipeline.summary.export import ExportSummary, ReportSummary
    from migrator.pipeline.summary.find import FindSummary, FoundFile, GetSummary
    from migrator.pipeline.summary.load import (
        AlteredUpload,
        ChangedRow,
        ContentCounts,
        DeletionCounts,
        DryRunCounts,
        DryRunRow,
        LoadSummary,
        RestoreCounts,
        RestoreSummary,
        RollbackSummary,
        TargetRef,
        UnmappedFile,
        UnmatchedRow,
        UploadCounts,
    )
    from migrator.pipeline.summary.map import MapCounts, MapSummary, OpenEntity, ProposedRow
    from migrator.pipeline.summary.nightly import NightlySummary, NightResult, Notified, StepError
    from migrator.pipeline.summary.snapshots import DiffSummary, FileChange, SnapshotRow, SnapshotsSummary
    from migrator.pipeline.summary.start import CompletionSummary, InitSummary
    from migrator.pipeline.summary.status import (
        AcceptSummary,
        ArchiveTotals,
        BlobTotals,
        ForOlderSnapshots,
        Health,
        RunRow,
        StatusSummary,
    )
    from migrator.pipeline.summary.upkeep import (
        BlobFile,
        CopySummary,
        Problem,
        PruneSummary,
        RebuildSummary,
        VerifySummary,
    )
    from migrator.pipeline.summary.words import in_words

__all__ = [
    "HIDDEN",
    "LISTING_OF",
    "OPTIONAL",
    "AcceptSummary",
    "AlteredUpload",
    "ArchiveTotals",
    "BackupSummary",
    "BlobFile",
    "BlobTotals",
    "ChangedRow",
    "Check",
    "CheckSummary",
    "CheckedSide",
    "CompletionSummary",
    "ContentCounts",
    "CopySummary",
    "DeletionCounts",
    "DemoStep",
    "DemoSummary",
    "DiffSummary",
    "DryRunCounts",
    "DryRunRow",
    "ExportSummary",
    "Failure",
    "FileChange",
    "FindSummary",
    "ForOlderSnapshots",
    "FoundFile",
    "GetSummary",
    "Health",
    "InitSummary",
    "ItemsSummary",
    "LoadSummary",
    "MapCounts",
    "MapSummary",
    "MigrateSummary",
    "NightResult",
    "NightlySummary",
    "NotAsked",
    "Notified",
    "OpenEntity",
    "Problem",
    "ProposedRow",
    "PruneSummary",
    "RebuildSummary",
    "ReportSummary",
    "RestoreCounts",
    "RestoreSummary",
    "RollbackSummary",
    "RunRow",
    "RunSummary",
    "SnapshotRow",
    "SnapshotsSummary",
    "StatusSummary",
    "StepError",
    "Summary",
    "TargetRef",
    "UnmappedFile",
    "UnmatchedRow",
    "UploadCounts",
    "VerifySummary",
    "as_json",
    "in_words",
    "worst_of",
]

_NAMES = {
    "backup": "BackupSummary NotAsked",
    "base": "HIDDEN LISTING_OF OPTIONAL Failure ItemsSummary RunSummary Summary as_json worst_of",
    "check": "Check CheckedSide CheckSummary",
    "combined": "DemoStep DemoSummary MigrateSummary",
    "export": "ExportSummary ReportSummary",
    "find": "FindSummary FoundFile GetSummary",
    "load": "AlteredUpload ChangedRow ContentCounts DeletionCounts DryRunCounts DryRunRow LoadSummary RestoreCounts "
    "RestoreSummary RollbackSummary TargetRef UnmappedFile UnmatchedRow UploadCounts",
    "map": "MapCounts MapSummary OpenEntity ProposedRow",
    "nightly": "NightlySummary NightResult Notified StepError",
    "snapshots": "DiffSummary FileChange SnapshotRow SnapshotsSummary",
    "start": "CompletionSummary InitSummary",
    "status": "AcceptSummary ArchiveTotals BlobTotals ForOlderSnapshots Health RunRow StatusSummary",
    "upkeep": "BlobFile CopySummary Problem PruneSummary RebuildSummary VerifySummary",
    "words": "in_words",
}

__getattr__ = imported_on_first_use(
    __name__, {name: module for module, names in _NAMES.items() for name in names.split()}
)
