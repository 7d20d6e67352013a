"""Summaries as text and tables for people."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.commands.lists import (
    MAX_SHOWN,
    counted,
    print_altered,
    print_changed,
    print_failures,
    print_left,
    print_problems,
    print_whole_failures,
)
from jobs.terminal import printable
from migrator.pipeline.summary import Summary
from migrator.units import human_size

DEFAULT_WIDTH = 140
"""Columns, if there is no terminal to ask."""

_COLOURS = {"complete": "green", "incomplete": "yellow", "interrupted": "yellow"}
_VERDICTS = {"fine": "green", "warning": "yellow", "bad": "red"}


def summary_text(result: Summary) -> str:
    """The summary of any command, coloured where stdout is a terminal."""
    summary = result.as_json()
    terminal, written = sys.stdout.isatty(), io.StringIO()
    width = None if terminal else DEFAULT_WIDTH
    out = Console(file=written, force_terminal=terminal, highlight=False, soft_wrap=True, width=width)
    _PRINTERS.get(summary["command"], _run)(out, summary)
    return written.getvalue()


def _headline(out: Console, summary: dict[str, Any], title: str = "") -> None:
    status = summary["status"]
    number = f" (run {summary['run']})" if summary.get("run") else ""
    took = f" in {summary['seconds']:.1f} s" if summary.get("seconds") is not None else ""
    out.print(
        Text(f"{title or summary['command']}{number}: "),
        Text(status, _COLOURS.get(status, "red")),
        took,
        sep="",
        end="\n",
    )


def _run(out: Console, summary: dict[str, Any]) -> None:
    """backup, load and rollback."""
    _headline(out, summary)
    failures = print_whole_failures(out, summary.get("failures", []))
    table = Table(box=None, show_header=False, pad_edge=False)
    if "entities" in summary:
        table.add_row("entities", str(summary["entities"]))
    for key, value in (summary.get("attachments") or summary.get("uploads") or summary.get("deletions") or {}).items():
        table.add_row(key.replace("_", " "), str(value))
    for key, value in summary.get("dry_run", {}).items():
        shown = human_size(value) if key.endswith("bytes") else str(value)
        table.add_row(f"dry run: {key.replace('_', ' ')}", shown)
    for group in ("content", "stubs", "moved"):
        for key, value in summary.get(group, {}).items():
            table.add_row(f"{group}: {key.replace('_', ' ')}", str(value))
    if "bytes" in summary:
        table.add_row("bytes", human_size(summary["bytes"]))
    out.print(table)
    _changes(out, summary)
    print_altered(out, summary)
    print_changed(out, summary)
    print_left(out, summary)
    print_failures(out, failures, summary.get("accepted"))


def _changes(out: Console, summary: dict[str, Any]) -> None:
    if changes := summary.get("changes"):
        out.print(f"against the archive as it was: {', '.join(f'{count} {what}' for what, count in changes.items())}")
    if rechecked := summary.get("rechecked"):
        counts = f"{rechecked['replaced']} had other content, {rechecked['failed']} failed"
        out.print(f"fetched again and compared: {counted(rechecked['files'], 'file')}, {counts}")


def _map(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    out.print(f"{summary['entities']} entities in the archive, {summary['targets']} at the target")
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in summary["rows"].items():
        table.add_row(key.replace("_", " "), str(value))
    for group in ("found_by", "sure"):
        for key, value in summary[group].items():
            table.add_row(Text(printable(f"{group.replace('_', ' ')}: {key}")), str(value))
    out.print(table)
    for group in ("ambiguous", "unmatched"):
        for entity in summary[group][:MAX_SHOWN]:
            line = f"  {group}: {entity['kind']} {entity['entity']} {entity['title']!r}: {entity['why']}"
            out.print(Text(printable(" ".join(line.split("\n")))))
        if len(summary[group]) > MAX_SHOWN:
            out.print(f"  ... and {len(summary[group]) - MAX_SHOWN} more {group}")
    out.print(Text(f"rows are in {summary['mapping']}, what is left in {summary['open']}"))


def _migrate(out: Console, summary: dict[str, Any]) -> None:
    for part in ("backup", "load"):
        if summary.get(part):
            _run(out, summary[part])
    _headline(out, summary)


def _verify(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    of = "" if summary.get("round_complete", True) else f" of {summary['of']}, the next such verify goes on from there"
    looked_at = f"{counted(summary['blobs'], 'blob')}{of}, {human_size(summary['bytes'])}"
    out.print(f"{looked_at}, {counted(len(summary['problems']), 'problem')}")
    print_problems(out, summary)


def _snapshots(out: Console, summary: dict[str, Any]) -> None:
    rows = summary["snapshots"]
    if not rows:
        out.print("no snapshot yet; a complete backup makes one")
        return
    table = Table(box=None, pad_edge=False)
    columns = ("run", "at", "entities", "attachments", "bytes", "added", "removed", "renamed", "moved", "replaced")
    for column in columns:
        table.add_column(column, justify="left" if column == "at" else "right", no_wrap=True)
    for row in rows:
        at = datetime.fromisoformat(row["at"]).astimezone().isoformat(" ", "minutes")
        shown = {**row, "at": at, "bytes": human_size(row["bytes"])}
        table.add_row(*(str(shown[column]) for column in columns))
    out.print(table)


def _prune(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary, "prune, dry run" if "dry_run" in summary else "")
    snapshots, blobs = summary["snapshots"], summary["blobs"]
    removed = f": {', '.join(map(str, snapshots['removed']))}" if snapshots["removed"] else ""
    out.print(f"snapshots: {len(snapshots['kept'])} kept, {len(snapshots['removed'])} removed{removed}")
    out.print(f"blobs: {blobs['kept']} kept, {blobs['removed']} removed, {human_size(summary['bytes'])} freed")


def _diff(out: Console, summary: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {change}" for change, count in summary["counts"].items())
    out.print(f"from snapshot {summary['older']} to {summary['newer']}: {counts}")
    for row in summary["changes"]:
        owner = f"{row['kind']} {row['entity']}".strip()
        was = f" (was {row['was']})" if "was" in row else ""
        out.print(Text(" ".join(printable(f"  {row['change']:8} {owner} {row['name']}{was}").split("\n"))))


def _rebuild(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    what = (("entity", "entities"), ("attachment", "attachments"), ("blob", "blobs"), ("upload", "uploads"))
    out.print(f"made from the {summary['made_from']}: " + ", ".join(counted(summary[n[1]], *n) for n in what))
    print_problems(out, summary)


def _export(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    kept = f"{counted(summary['files'], 'file')}, {human_size(summary['bytes'])} in {summary['destination']}"
    out.print(Text(printable(f"{kept}, {counted(len(summary['problems']), 'damaged or missing blob')}")))
    print_failures(out, summary["failures"])


def _proof(out: Console, summary: dict[str, Any]) -> None:
    for path in (summary["out"], summary["redirects"]):
        if path:
            out.print(Text(printable(f"written: {path}")))
    what = f"{counted(summary['entities'], 'entity', 'entities')}, {counted(summary['attachments'], 'attachment')}"
    out.print(f"{what}, {summary['differing']} differ")


def _mark(check: dict[str, Any]) -> Text:
    if not check["ok"]:
        return Text("FAIL", "red")
    return Text("warn", "yellow") if check.get("warning") else Text("ok  ", "green")


def _check(out: Console, summary: dict[str, Any]) -> None:
    for side in ("source", "target"):
        if checked := summary.get(side):
            out.print(f"{side}: {checked['tracker']}")
            for check in checked["checks"]:
                mark = _mark(check)
                out.print("  ", mark, " ", Text(printable(f"{check['check']}: {check['detail']}")), sep="")
    _headline(out, summary)


def _status(out: Console, summary: dict[str, Any]) -> None:
    holds = summary["totals"]
    if health := summary.get("health"):
        out.print(Text(health["answer"], _VERDICTS[health["verdict"]]))
    if summary["problems"]:
        out.print(Text(f"damaged: {counted(len(summary['problems']), 'problem')}", "red"))
        print_problems(out, summary)
    what = f"{counted(holds['blobs']['count'], 'blob')}, {human_size(holds['blobs']['bytes'])}"
    entities = counted(holds["entities"], "entity", "entities")
    out.print(Text(printable(f"archive of {summary['source'] or 'nothing yet'}: {what}, {entities}")))
    if who := summary["at_work"]:
        by = f"`{who['command']}` is at work (process {who['pid']} on {who['host']}, since {who['since']})"
        out.print(Text(printable(by)))
    for what in ("attachments", "uploads"):
        counts = ", ".join(f"{count} {status}" for status, count in holds[what].items())
        out.print(f"{what}: {counts or 'none'}")
    if altered := holds.get("altered"):
        out.print(f"{altered} uploads were altered by the target; the report says how")
    if holds["crawl_under_way"]:
        out.print("a crawl is under way: the next backup goes on with it")
    table = Table("run", "command", "status", "started", "ended", box=None, pad_edge=False)
    for run in summary["runs"]:
        shown = "killed" if run.get("killed") else run["status"]
        table.add_row(str(run["run"]), run["command"], shown, run["started_at"], run["ended_at"] or "")
    out.print(table)
    print_failures(out, summary["failures"], summary.get("accepted"))


def _accept(out: Console, summary: dict[str, Any]) -> None:
    if summary["changed"]:
        out.print(f"{counted(summary['changed'], 'failure')} changed")
    out.print(f"failures: {len(summary['failures'])} that count, {len(summary['accepted'])} accepted")
    print_failures(out, print_whole_failures(out, summary["failures"]), summary["accepted"])


def _demo(out: Console, summary: dict[str, Any]) -> None:
    table = Table("step", "what happened", box=None, pad_edge=False)
    for step in summary["steps"]:
        table.add_row(Text(step["step"], "green" if step["ok"] else "red"), Text(step["what"]))
    out.print(table)
    _headline(out, summary)
    if summary["kept"]:
        out.print(Text(f"kept in {summary['kept']}; try: migrator status {summary['kept']}/archive"))


_PRINTERS: dict[str, Callable[[Console, dict[str, Any]], None]] = {
    "map": _map,
    "migrate": _migrate,
    "verify": _verify,
    "rebuild": _rebuild,
    "export": _export,
    "report": _proof,
    "check": _check,
    "status": _status,
    "snapshots": _snapshots,
    "diff": _diff,
    "prune": _prune,
    "accept": _accept,
    "demo": _demo,
}
