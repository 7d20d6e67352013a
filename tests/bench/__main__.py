"""`tests/bench/run`: see there, and the docstring of the package."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measure import FREED, Rival, cost_of, in_turns, machine, median, publish, table
from tests.bench.peers import rivals
from tests.bench.served import Served, served
from tests.bench.stores import bucket, dask
from tests.bench.uploads import upload

MIGRATOR = [sys.executable, "-m", "migrator", "--json", "-q"]
CONFIG = """
archive = "archive"
[source]
tracker = "targetprocess"
url = "{url}"
auth = {{ username = "ann", password = "secret" }}
options = {{ cross_check = "off" }}
"""
DOWNLOADS = {
    "small": "10,000 files of 2-20 KB",
    "tls": "10,000 files of 2-20 KB over TLS",
    "mixed": "2,000 files, log-normal, median 80 KB",
    "large": "8 files of 128 MiB",
    "far": "2,000 files of 2-20 KB, each answer 50 ms away; ideal with 16 connections: 320 files/s",
    "far-long": "20,000 files of 2-20 KB, each answer 50 ms away; ideal with 16 connections: 320 files/s",
}
NOT_FAR = {"far": ("requests",), "far-long": ("requests", "aria2c", "rclone", "aiofiles")}
"""Programs that would take minutes for each round of a set."""
CURVE = (1_000, 10_000, 100_000, 1_000_000)


def main() -> None:
    """One subcommand, or all."""
    words = argparse.ArgumentParser(prog="tests/bench/run")
    words.add_argument("what", choices=[*BENCHMARKS, "all"])
    words.add_argument("--scale", type=float, default=1.0, help="a share of the files, for a quick try")
    words.add_argument("--pairs", type=int, default=5, help="rounds, in which each program runs once")
    words.add_argument("--only", default="", help="only programs with this word in their name")
    words.add_argument("--dry", action="store_true", help="print the figures, don't write results.md")
    words.add_argument("--work", type=Path, help="where to work; else the system's place for temporary files")
    words.add_argument("--cores", type=int, help="so many cores for all of it, the server included; else all")
    options = words.parse_args()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    chosen = list(BENCHMARKS) if options.what == "all" else [options.what]
    for what in chosen:
        if what != chosen[0]:
            time.sleep(FREED)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.work) as folder:
            work, where = Path(folder), machine(Path(folder))
            lines = BENCHMARKS[what](what, options, work)
            scale = "" if options.scale == 1 else f", scale {options.scale:g}"
            publish(_title(what, options, where), [f"{where}{scale}.", "", *lines], dry=options.dry)


def _title(what: str, options: argparse.Namespace, where: str) -> str:
    """The name of a section of results.md: what was measured, and on what if that isn't a disk and all cores."""
    cores = f", {options.cores} core{'s' if options.cores > 1 else ''}" if options.cores else ""
    return f"{what}{', tmpfs' if ', tmpfs,' in where else ''}{cores}"


def ours(of: Served) -> Rival:
    """A whole backup: crawl, hash, safe on disk, catalog."""

    def prepare(place: Path) -> None:
        (place / "backup.toml").write_text(CONFIG.format(url=of.url))
        if of.ca is not None:
            with (place / "backup.toml").open("a") as file:
                file.write(f'tls = {{ ca_file = "{of.ca}" }}\n')

    def check(place: Path) -> None:
        attachments = json.loads((place.parent / "log").read_text().splitlines()[-1])["attachments"]
        if attachments["stored"] + attachments["unchanged"] != of.count:
            raise SystemExit(f"not all were stored: {attachments}")

    return Rival("migrator backup", lambda place: [*MIGRATOR, "backup", str(place / "backup.toml")], check, prepare)


def download(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """A set, by all programs."""
    with served(work, what, options.scale) as of:
        others = [rival for rival in rivals(of, work) if options.only in rival.name]
        others = [rival for rival in others if not any(name in rival.name for name in NOT_FAR.get(what, ()))]
        costs = in_turns([ours(of), *others], options.pairs, work)
        return [f"{DOWNLOADS[what]}; medians of {options.pairs} rounds.", "", *table(costs, of.count, of.size)]


def nothing_changed(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """The first backup of many tiny files, once; then in each round another one, and `status`."""
    with served(work, what, options.scale) as of:
        rival = ours(of)
        rival.prepare(work)
        command, status = rival.command(work), [*MIGRATOR, "status", str(work / "archive")]
        costs = {f"first backup of {of.count:,}, once": cost_of(command, work / "log")}
        rounds = [(cost_of(command, work / "log"), cost_of(status, work / "log")) for _ in range(options.pairs)]
    for name, some in zip(("backup, nothing changed", "status"), zip(*rounds, strict=True), strict=True):
        costs[name] = median(some)
    lines = [
        f"Medians of {options.pairs} rounds.",
        "",
        "| call | seconds | CPU s | peak RSS, MB |",
        "| --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {name} | {cost.seconds:.2f} | {cost.cpu:.2f} | {cost.memory / 1e6:.0f} |" for name, cost in costs.items()
    ]


def curve(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """First backups of ever more tiny files: the program's start weighs on few, and what grows would show on many."""
    lines = ["| files | seconds | files/s | CPU s per 1,000 files | peak RSS, MB |", "| --- | --- | --- | --- | --- |"]
    for count in CURVE:
        place = work / str(count)
        place.mkdir()
        with served(place, what, count * options.scale) as of:
            rival = ours(of)
            rival.prepare(place)
            cost = cost_of(rival.command(place), work / "log")
            rival.check(place)
        lines.append(
            f"| {of.count:,} | {cost.seconds:.2f} | {of.count / cost.seconds:,.0f} "
            f"| {cost.cpu / of.count * 1000:.3f} | {cost.memory / 1e6:.0f} |"
        )
    return lines


def catalog(what: str, options: argparse.Namespace, work: Path) -> list[str]:
    """Without any tracker, in a process of its own; its output is the table."""
    child = [sys.executable, "-m", "tests.bench.rows", what, str(work), str(options.scale)]
    return subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


BENCHMARKS: dict[str, Callable[[str, argparse.Namespace, Path], list[str]]] = {
    **dict.fromkeys(DOWNLOADS, download),
    "upload": upload,
    "bucket": bucket,
    "dask": dask,
    "nothing-changed": nothing_changed,
    "curve": curve,
    "million": catalog,
    "plan": catalog,
    "match": catalog,
}

main()
