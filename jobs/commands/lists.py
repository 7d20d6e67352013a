"""Lists in summaries for people: the first files that failed, are damaged, were altered or left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from jobs.terminal import printable

MAX_SHOWN = 10
"""Failures shown for each reason; `--json` has all of them."""


def counted(number: int, one: str, more: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number} {one if number == 1 else more or f'{one}s'}"


def print_whole_failures(out: Console, failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print failures that belong to no file or entity, such as a listing, and return the others."""
    others = []
    for failure in failures:
        if failure["kind"] or failure["entity"] or failure["attachment"]:
            others.append(failure)
        else:
            out.print(Text(printable(f"{failure['name']}: {failure['reason']}"), "red"))
    return others


def print_altered(out: Console, summary: dict[str, Any]) -> None:
    """Files that arrived, but that the target altered."""
    altered = summary.get("altered", [])
    if altered:
        out.print(Text(f"{len(altered)} files have arrived, and the target altered them", "yellow"))
    _first(out, [f"{_file_name(file)}: {alteration(file['how'])}" for file in altered])


def alteration(how: dict[str, Any]) -> str:
    """What was altered, in words."""
    if "name" in how:
        return f"sent as {how['name']['sent']!r}, called {how['name']['found']!r} there"
    if "content" in how:
        return "its text was re-encoded"
    return f"{how['size']['sent']} bytes, listed there as {how['size']['found']}"


def print_left(out: Console, summary: dict[str, Any]) -> None:
    """What a load left behind: mapping rows that match nothing, and files without a row."""
    if rows := summary.get("unmatched_rows", []):
        out.print(Text(f"{len(rows)} rows of the mapping name nothing in the archive", "yellow"))
        lines = [f"{row['kind']} {row['entity']}" + (f" (line {row['line']})" if row["line"] else "") for row in rows]
        _first(out, lines)
    if files := summary.get("unmapped_files", []):
        out.print(Text(f"{len(files)} files belong to entities without a row in the mapping", "yellow"))
        _first(out, [_file_name(file) for file in files])


def _file_name(file: dict[str, Any]) -> str:
    return f"{file['kind']} {file['entity']}".strip() + f" {file['name']}"


def _first(out: Console, lines: list[str]) -> None:
    """Print the first few lines, and how many more there are."""
    for line in lines[:MAX_SHOWN]:
        out.print(Text(" ".join(printable(f"  {line}").split("\n"))))
    if len(lines) > MAX_SHOWN:
        out.print(f"  ... and {len(lines) - MAX_SHOWN} more (--json shows all)")


def print_changed(out: Console, summary: dict[str, Any]) -> None:
    """Files at target entities to which the mapping no longer sends them."""
    by_place: dict[str, int] = {}
    for row in summary.get("changed", []):
        now = ", ".join(f"{to['target_kind']} {to['target_id']}".strip() for to in row["now"]) or "nowhere"
        old = f"{row['target_kind']} {row['target_id']}".strip()
        place = f"{row['kind']} {row['entity']}: went to {old}, belongs to {now}"
        by_place[place] = by_place.get(place, 0) + 1
    if by_place and "moved" not in summary:
        out.print(Text(f"{sum(by_place.values())} files are at entities that the mapping names no more", "yellow"))
        out.print("(load --move-changed deletes there what has arrived at the new ones)")
    for place, count in list(by_place.items())[:MAX_SHOWN]:
        out.print(Text(printable(f"  {place}: {count} files")))
    if len(by_place) > MAX_SHOWN:
        out.print(f"  ... and {len(by_place) - MAX_SHOWN} more (--json shows all)")


def print_failures(out: Console, failures: list[dict[str, Any]], accepted: list[dict[str, Any]] | None = None) -> None:
    """Failures grouped by reason, each reason with its first files; those that are accepted apart, and last."""
    _by_reason(out, failures, "failed", "yellow")
    _by_reason(out, accepted or [], "failed, and accepted", "dim")


def _by_reason(out: Console, failures: list[dict[str, Any]], what_happened: str, style: str) -> None:
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        what = [f"{failure['kind']} {failure['entity']}".strip(), failure["name"] or ""]
        what += [f"(attachment {failure['attachment']})"] if failure["attachment"] else []
        by_reason.setdefault(failure["reason"] or "", []).append(" ".join(filter(None, what)))
    for reason, struck in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        out.print(Text(printable(f"{len(struck)} {what_happened}: {reason}"), style))
        for line in struck[:MAX_SHOWN]:
            out.print(Text(" ".join(printable(f"  {line}").split("\n"))))
        if len(struck) > MAX_SHOWN:
            out.print(f"  ... and {len(struck) - MAX_SHOWN} more (--json shows all)")


def print_problems(out: Console, summary: dict[str, Any]) -> None:
    """Each problem with its files, and what to do next."""
    problems = summary["problems"]
    for problem in problems:
        detail = f" ({problem['detail']})" if "detail" in problem else ""
        out.print(Text(printable(f"  {problem['code']} {problem['problem']}: {problem['path']}{detail}"), "red"))
        for line in _files(problem.get("files", [])):
            out.print(Text(" ".join(printable(f"      {line}").split("\n"))))
    for line in _remedies(problems):
        out.print(Text(line))


def _files(files: list[dict[str, Any]]) -> Iterator[str]:
    for file in files[:MAX_SHOWN]:
        gone = " (gone from the source)" if file["status"] == "gone" else ""
        owner = f"{file['kind']} {file['entity']}".strip()
        yield f"{owner} {file['name']} (attachment {file['attachment']}){gone}"
    if len(files) > MAX_SHOWN:
        yield f"... and {len(files) - MAX_SHOWN} more (--json shows more)"


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
