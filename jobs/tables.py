"""Summaries as tables for people."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.bars import human_bytes
from jobs.output import printable

SHOWN = 10
"""So many failures of one reason are shown; `--json` has all of them."""

WIDTH = 140
"""Columns where there is no terminal to ask."""

_COLOURS = {"complete": "green", "incomplete": "yellow", "interrupted": "yellow"}


def counted(number: int, one: str, more: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def summary_text(summary: dict[str, Any]) -> str:
    """The summary of any command, coloured where stdout is a terminal."""
    terminal, written = sys.stdout.isatty(), io.StringIO()
    width = None if terminal else WIDTH
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
    failures = _without_those_of_the_whole(out, summary.get("failures", []))
    table = Table(box=None, show_header=False, pad_edge=False)
    if "entities" in summary:
        table.add_row("entities", str(summary["entities"]))
    for key, value in (summary.get("attachments") or summary.get("uploads") or summary.get("deletions") or {}).items():
        table.add_row(key.replace("_", " "), str(value))
    for key, value in summary.get("dry_run", {}).items():
        shown = human_bytes(value) if key.endswith("bytes") else str(value)
        table.add_row(f"dry run: {key.replace('_', ' ')}", shown)
    for group in ("content", "stubs", "moved"):
        for key, value in summary.get(group, {}).items():
            table.add_row(f"{group}: {key.replace('_', ' ')}", str(value))
    if "bytes" in summary:
        table.add_row("bytes", human_bytes(summary["bytes"]))
    out.print(table)
    if changes := summary.get("changes"):
        out.print(f"against the archive as it was: {', '.join(f'{count} {what}' for what, count in changes.items())}")
    _changed(out, summary)
    print_failures(out, failures)


def _without_those_of_the_whole(out: Console, failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What failed as a whole, such as a listing, is said first of all; gives the other failures."""
    others = []
    for failure in failures:
        if failure["kind"] or failure["entity"] or failure["attachment"]:
            others.append(failure)
        else:
            out.print(Text(printable(f"{failure['name']}: {failure['reason']}"), "red"))
    return others


def _changed(out: Console, summary: dict[str, Any]) -> None:
    """What a load found at entities that the mapping names no more."""
    by_place: dict[str, int] = {}
    for row in summary.get("changed", []):
        now = ", ".join(f"{to['target_kind']} {to['target_id']}".strip() for to in row["now"]) or "nowhere"
        old = f"{row['target_kind']} {row['target_id']}".strip()
        place = f"{row['kind']} {row['entity']}: went to {old}, belongs to {now}"
        by_place[place] = by_place.get(place, 0) + 1
    if by_place and "moved" not in summary:
        out.print(Text(f"{sum(by_place.values())} files are at entities that the mapping names no more", "yellow"))
        out.print("(load --move-changed deletes there what has arrived at the new ones)")
    for place, count in list(by_place.items())[:SHOWN]:
        out.print(Text(printable(f"  {place}: {count} files")))
    if len(by_place) > SHOWN:
        out.print(f"  ... and {len(by_place) - SHOWN} more (--json shows all)")


def print_failures(out: Console, failures: list[dict[str, Any]]) -> None:
    """What failed, by reason: each reason once, with the first files that it struck."""
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        what = [f"{failure['kind']} {failure['entity']}".strip(), failure["name"] or ""]
        what += [f"(attachment {failure['attachment']})"] if failure["attachment"] else []
        by_reason.setdefault(failure["reason"] or "", []).append(" ".join(filter(None, what)))
    for reason, struck in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        out.print(Text(printable(f"{len(struck)} failed: {reason}"), "yellow"))
        for line in struck[:SHOWN]:
            out.print(Text(" ".join(printable(f"  {line}").split("\n"))))
        if len(struck) > SHOWN:
            out.print(f"  ... and {len(struck) - SHOWN} more (--json shows all)")


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
        for one in summary[group][:SHOWN]:
            line = f"  {group}: {one['kind']} {one['entity']} {one['title']!r}: {one['why']}"
            out.print(Text(printable(" ".join(line.split("\n")))))
        if len(summary[group]) > SHOWN:
            out.print(f"  ... and {len(summary[group]) - SHOWN} more {group}")
    out.print(Text(f"rows are in {summary['mapping']}, what is left in {summary['open']}"))


def _migrate(out: Console, summary: dict[str, Any]) -> None:
    for part in ("backup", "load"):
        if summary.get(part):
            _run(out, summary[part])
    _headline(out, summary)


def _verify(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    of = "" if summary.get("round_complete", True) else f" of {summary['of']}, the next such verify goes on from there"
    looked_at = f"{counted(summary['blobs'], 'blob')}{of}, {human_bytes(summary['bytes'])}"
    out.print(f"{looked_at}, {counted(len(summary['problems']), 'problem')}")
    _problems(out, summary)


def _rebuild(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    what = (("entity", "entities"), ("attachment", "attachments"), ("blob", "blobs"), ("upload", "uploads"))
    out.print(f"made from the {summary['made_from']}: " + ", ".join(counted(summary[n[1]], *n) for n in what))
    _problems(out, summary)


def _problems(out: Console, summary: dict[str, Any]) -> None:
    """Each with the files that it is about, and what to do next."""
    problems = summary["problems"]
    for problem in problems:
        detail = f" ({problem['detail']})" if "detail" in problem else ""
        out.print(Text(printable(f"  {problem['code']} {problem['problem']}: {problem['path']}{detail}"), "red"))
        for line in _files(problem.get("files", [])):
            out.print(Text(" ".join(printable(f"      {line}").split("\n"))))
    for line in _remedies(problems):
        out.print(Text(line))


def _files(files: list[dict[str, Any]]) -> Iterator[str]:
    for file in files[:SHOWN]:
        gone = " (gone from the source)" if file["status"] == "gone" else ""
        owner = f"{file['kind']} {file['entity']}".strip()
        yield f"{owner} {file['name']} (attachment {file['attachment']}){gone}"
    if len(files) > SHOWN:
        yield f"... and {len(files) - SHOWN} more (--json shows more)"


def _remedies(problems: list[dict[str, Any]]) -> Iterator[str]:
    """What to do next, by kind of damage."""
    codes = {problem["code"] for problem in problems}
    files = [file for problem in problems for file in problem.get("files", [])]
    if any(file["status"] != "gone" for file in files):
        yield "next: `migrator backup CONFIG` fetches these files again, where the source still has them"
    if any("files" in problem and not any(f["status"] != "gone" for f in problem["files"]) for problem in problems):
        yield "next: what the source no longer has can only come from a copy of this archive: put its blob in place"
    if "E03" in codes:
        yield "next: what the archive doesn't know is somebody else's: look at it, and take it away"
    if any(code.startswith("E1") for code in codes):
        yield "next: `migrator rebuild` makes the catalog anew from what the archive holds"
    if any(code.startswith("E2") for code in codes):
        yield "next: a backup, load or rebuild writes the manifest anew"


def _export(out: Console, summary: dict[str, Any]) -> None:
    _headline(out, summary)
    kept = f"{counted(summary['files'], 'file')}, {human_bytes(summary['bytes'])} in {summary['destination']}"
    out.print(Text(printable(f"{kept}, {counted(len(summary['problems']), 'damaged or missing blob')}")))
    print_failures(out, summary["failures"])


def _proof(out: Console, summary: dict[str, Any]) -> None:
    for path in (summary["out"], summary["redirects"]):
        if path:
            out.print(Text(printable(f"written: {path}")))
    what = f"{counted(summary['entities'], 'entity', 'entities')}, {counted(summary['attachments'], 'attachment')}"
    out.print(f"{what}, {summary['differing']} differ")


def _check(out: Console, summary: dict[str, Any]) -> None:
    for side in ("source", "target"):
        if found := summary.get(side):
            out.print(f"{side}: {found['tracker']}")
            for check in found["checks"]:
                mark = Text("ok  " if check["ok"] else "FAIL", "green" if check["ok"] else "red")
                out.print("  ", mark, " ", Text(f"{check['check']}: {check['detail']}"), sep="")
    _headline(out, summary)


def _status(out: Console, summary: dict[str, Any]) -> None:
    holds = summary["totals"]
    if summary["problems"]:
        out.print(Text(f"damaged: {counted(len(summary['problems']), 'problem')}", "red"))
        _problems(out, summary)
    what = f"{counted(holds['blobs']['count'], 'blob')}, {human_bytes(holds['blobs']['bytes'])}"
    entities = counted(holds["entities"], "entity", "entities")
    out.print(Text(printable(f"archive of {summary['source'] or 'nothing yet'}: {what}, {entities}")))
    if who := summary["at_work"]:
        by = f"`{who['command']}` is at work (process {who['pid']} on {who['host']}, since {who['since']})"
        out.print(Text(printable(by)))
    for what in ("attachments", "uploads"):
        counts = ", ".join(f"{count} {status}" for status, count in holds[what].items())
        out.print(f"{what}: {counts or 'none'}")
    if holds["crawl_under_way"]:
        out.print("a crawl is under way: the next backup goes on with it")
    table = Table("run", "command", "status", "started", "ended", box=None, pad_edge=False)
    for run in summary["runs"]:
        shown = "killed" if run.get("killed") else run["status"]
        table.add_row(str(run["run"]), run["command"], shown, run["started_at"], run["ended_at"] or "")
    out.print(table)
    print_failures(out, summary["failures"])


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
    "demo": _demo,
}
