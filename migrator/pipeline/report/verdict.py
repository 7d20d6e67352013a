"""The verdict of a report: one sentence on whether everything arrived, and what did not, with its colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrator.model import Status
from migrator.pipeline.report.differences import Category
from migrator.pipeline.report.reasons import short_reason
from migrator.pipeline.report.totals import TargetTotals, Totals

FINE, WARNING, BAD = "fine", "warning", "bad"
MAX_CLAUSES = 3
"""Reasons in the sentence; the others follow below it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`level` is fine, warning (something is missing, and nothing failed) or bad; `sentence` is for a reader."""

    level: str
    sentence: str


def verdict_of(totals: Totals, names: Mapping[str, str]) -> Verdict:
    """The verdict; `names` has the name of each system by its identity."""
    if not totals.backups and not totals.attachments:
        return Verdict(WARNING, "Nothing has been backed up yet.")
    targets = {name: each for name, each in totals.targets.items() if each.is_in_use}
    clauses = [_arrived(totals, each, names[target]) for target, each in targets.items()]
    clauses = clauses or [_archived(totals, names.get(totals.source, totals.source))]
    several = len(targets) > 1
    missing = totals.groups_of(Category.MISSING)
    clauses += [
        _clause(members.count, group.text, names[group.target] if group.target and several else "")
        for group, members in missing[:MAX_CLAUSES]
    ]
    if len(missing) > MAX_CLAUSES:
        clauses.append(f"{sum(members.count for _, members in missing[MAX_CLAUSES:]):,} more for other reasons")
    if accepted := sum(
        members.count for group, members in totals.groups.items() if group.text.startswith("accepted as missing")
    ):
        clauses.append(f"{accepted:,} more {_are(accepted)} accepted as missing")
    if unlisted := sum(failure for _, failure in totals.unlisted):
        clauses.append(f"the files of {_counted(unlisted, 'entity', 'entities')} could not be listed")
    clauses += [f"{name} ({short_reason(reason)})" for name, reason in totals.unread[:MAX_CLAUSES]]
    if totals.broke_off:
        clauses.append(f"{totals.broke_off}, so the source may have more")
    return Verdict(_level(totals), "; ".join(clauses) + ".")


def _level(totals: Totals) -> str:
    unlisted = any(failure for _, failure in totals.unlisted)
    if unlisted or totals.unread or any(group.failure for group in totals.groups):
        return BAD
    missing = totals.by_category[Category.MISSING]
    return WARNING if missing or totals.broke_off else FINE


def _archived(totals: Totals, source: str) -> str:
    stored = totals.statuses[Status.STORED]
    return (
        f"{_share(stored, totals)} {'at' if totals.broke_off else 'of'} {source} {_are(totals.present)} in the archive"
    )


def _arrived(totals: Totals, target: TargetTotals, name: str) -> str:
    arrived = f"{_share(target.arrived, totals)} arrived at {name}"
    if target.equal and target.equal == target.arrived:
        return f"{arrived} and {_are(target.arrived)} equal"
    if target.equal:
        return f"{arrived}, {target.equal:,} of them read back and equal"
    return arrived


def _share(number: int, totals: Totals) -> str:
    """`598 of 600 files`, `All 600 files`; if the source may have more, `600 of 600 files seen so far`."""
    total = totals.present
    if totals.broke_off and total:
        return f"{number:,} of {_counted(total, 'file')} seen so far"
    if number == total > 1:
        return f"All {total:,} files"
    return f"{number:,} of {_counted(total, 'file')}" if total else "None of 0 files"


def _clause(count: int, text: str, target: str) -> str:
    at = f" at {target}" if target else ""
    what, colon, reason = text.partition(": ")
    return f"{count:,} {what}{at}" + (f" ({reason})" if colon else "")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
