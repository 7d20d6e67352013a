"""The line with which a command ends, for a person: what to run next.

`verify` and `rebuild` say in their results what to do about damage.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.errors import ConfigError
from migrator.model import RunStatus
from migrator.pipeline import summary as summaries
from migrator.pipeline.summary import Failure, Summary

if TYPE_CHECKING:
    from migrator.config import Configuration


RUN_AGAIN = {"backup", "load", "migrate", "restore", "rollback"}
"""Commands that try again what failed."""


def next_step(summary: Summary, given: str | None) -> str:
    """What to run after a command that ended like this; empty if there is nothing to say.

    `given` is the configuration or archive that it was called with.
    """
    if given is None:
        return _after_start(summary)
    if summary.command == "status":
        return ""  # asked first, because each of the classes below is imported when its name is used
    place = shlex.quote(given)
    if summary.status is RunStatus.INTERRUPTED:
        return ""  # the summary itself says to run it again
    if getattr(summary, "dry_run", None):
        return _after_rehearsal(summary, place)
    if summary.status is not RunStatus.COMPLETE:
        return _after_trouble(summary, place)
    return _after_success(summary, place, given)


def _after_start(summary: Summary) -> str:
    match summary:
        case summaries.DemoSummary():
            return "for your own tracker: migrator init"
        case summaries.InitSummary():
            return _after_init(summary)
    return ""


def _after_init(summary: summaries.InitSummary) -> str:
    config = shlex.quote(summary.config or "")
    if summary.files:
        return f"migrator nightly {config}; the first lines of the files say how to have it each night"
    return f"put in addresses and accounts, then run: migrator check {config}" if summary.config else ""


def _after_rehearsal(summary: Summary, place: str) -> str:
    if summary.status is not RunStatus.COMPLETE:
        if isinstance(summary, summaries.LoadSummary) and summary.not_in_archive and not summary.failures:
            return _after_lacking(place)
        return "correct what would fail, then run this again; without --dry-run the rest is done"
    return "" if _nothing_to_do(summary) else "the same command without --dry-run"


def _nothing_to_do(rehearsal: Summary) -> bool:
    match rehearsal:
        case summaries.LoadSummary(dry_run=plan, stubs=stubs, moved=moved, changed=changed) if plan is not None:
            return not (plan.would_upload or any((stubs or {}).values()) or moved or changed)
        case summaries.RestoreSummary():
            return not rehearsal.uploads.planned
    return False


def _after_lacking(place: str) -> str:
    return f"migrator backup {place}, then the same command again; or migrator accept {place} --list"


def _after_trouble(summary: Summary, place: str) -> str:
    match summary:
        case summaries.BackupSummary(failures=failures) if failures:
            if not any(map(_is_of_entity, failures)):
                return ""  # a listing, or a filter that matches nothing: its reason says what to do
            return f"run the same command again; to accept what can't be fixed: migrator accept {place} --list"
        case summaries.LoadSummary() | summaries.RollbackSummary() if not all(map(_is_of_entity, summary.failures)):
            return ""  # files that are not believed to be gone: its reason says what to do
        case summaries.RollbackSummary() if summary.deletions.impossible == summary.deletions.planned:
            return ""
        case summaries.LoadSummary() if summary.not_in_archive:
            return _after_lacking(place)
        case summaries.MigrateSummary() if summary.declined and summary.map:
            proposal = shlex.quote(summary.map.mapping or "")
            return f"correct {proposal}, save it as the mapping, then run: migrator migrate {place}"
        case summaries.CheckSummary():
            return f"correct what is marked FAIL, then run: migrator check {place}"
    return "run the same command again; it tries again what failed" if summary.command in RUN_AGAIN else ""


def _is_of_entity(failure: Failure) -> bool:
    return bool(failure.owner.kind)


def _after_success(summary: Summary, place: str, given: str) -> str:
    match summary:
        case summaries.BackupSummary():
            return _after_backup(place, _configuration(Path(given)))
        case summaries.CheckSummary():
            return f"migrator backup {place}"
        case summaries.AcceptSummary() if summary.changed and not summary.failures:
            return f"migrator backup {place}; what is accepted no longer makes it incomplete"
        case summaries.MapSummary():
            return f"look through {shlex.quote(summary.mapping or '')}, then run: migrator load {place} --dry-run"
        case summaries.LoadSummary() | summaries.MigrateSummary():
            return f"migrator report {place} --out report.html"
        case summaries.RebuildSummary():
            return f"migrator verify {place}"
        case summaries.FindSummary() if held := [file for file in summary.files if file.sha256]:
            at = f" --at {shlex.quote(summary.at)}" if summary.at else ""
            return f"migrator get {place} {held[0].words}{at} -o ."
    return ""


def _after_backup(place: str, configuration: Configuration | None) -> str:
    if configuration is None or configuration.settings.target is None:
        return f"migrator status {place}"
    if configuration.mapping_file.exists() or configuration.settings.mapping.create_missing:
        return f"migrator load {place} --dry-run"
    return f"migrator map {place}"


def _configuration(given: Path) -> Configuration | None:
    from migrator.config import read_configuration

    with suppress(ConfigError):
        return read_configuration(given)
    return None
