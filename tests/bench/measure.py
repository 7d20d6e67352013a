"""Running programs to their end, in turns, and what they cost; the machine; the tables of results.md."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FEW = 200
FREED = 75
"""Seconds after which deleted files are no burden any more, see `in_turns`."""
RESULTS = Path(__file__).parent / "results.md"


@dataclass(frozen=True)
class Cost:
    """Of one process with its children: seconds by the clock and of all cores; the peaks of memory of all processes
    together, in bytes.
    """

    seconds: float
    cpu: float
    memory: int


@dataclass(frozen=True)
class Rival:
    """A program to be measured: its command line, what makes its place ready, what checks that it did its work."""

    name: str
    command: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    prepare: Callable[[Path], None] = lambda _: None


def cost_of(command: list[str], log: Path) -> Cost:
    """Run it; its output goes into a file. It must end well.

    Python may keep the bytecode of what it runs, as it does for users: else each start compiles all modules again.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env)
        peaks: dict[str, int] = {}
        watching = threading.Thread(target=_watch, args=(process.pid, peaks))
        watching.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    watching.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:3]} ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    children = sum(size for pid, size in peaks.items() if pid != str(process.pid))
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 + children)


def _watch(pid: int, peaks: dict[str, int]) -> None:
    """Note the peak of memory of each child, until the process is gone."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return
        for child in children:
            with suppress(OSError, IndexError):
                status = Path(f"/proc/{child}/status").read_text()
                peaks[child] = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        time.sleep(0.05)


def in_turns(rivals: list[Rival], rounds: int, work: Path) -> dict[str, Cost]:
    """The medians of each, over so many rounds in which each runs once, in another order each time.

    On disk, many files are kept until the end of the benchmark: for a minute ext4 looks at each inode that was freed
    before it makes a file, so whoever runs after a deletion of 10,000 files seems ten times slower. On tmpfs nothing is
    kept: memory that a virtual machine uses for the first time is slow, and made each run slower than the one before.
    """
    in_memory = file_system(work) == "tmpfs"
    costs: dict[str, list[Cost]] = {rival.name: [] for rival in rivals}
    for number in range(rounds):
        turn = number % len(rivals)
        for rival in rivals[turn:] + rivals[:turn]:
            place = work / f"place-{number}-{rivals.index(rival)}"
            place.mkdir()
            rival.prepare(place)
            os.sync()
            costs[rival.name].append(cost_of(rival.command(place), work / "log"))
            rival.check(place)
            if in_memory or sum(len(files) for _, _, files in os.walk(place)) < FEW:
                subprocess.run(["rm", "-rf", place], check=True)
    return {name: median(some) for name, some in costs.items()}


def median(costs: Sequence[Cost]) -> Cost:
    """Of each figure."""
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        int(statistics.median(cost.memory for cost in costs)),
    )


def machine(work: Path) -> str:
    """What the figures were taken on."""
    cpu = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    load, disk = os.getloadavg()[0], file_system(work)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({cpu}), {disk}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load before {load:.1f}"
    )


def file_system(path: Path) -> str:
    """The kind of the file system that a path is on, such as ext4."""
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    return max((mount for mount in mounts if path.is_relative_to(mount[0])), key=lambda mount: len(mount[0]))[1]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def table(costs: dict[str, Cost], count: int, size: int) -> list[str]:
    """Markdown: the first row is migrator, and each ratio is how much faster it is than that row's program."""
    lines = [
        "| program | seconds | files/s | MB/s | migrator is faster by | CPU s per 1,000 files | peak RSS, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ours = next(iter(costs.values()))
    for name, cost in costs.items():
        ratio = "" if cost is ours else f"{cost.seconds / ours.seconds:.2f}"
        lines.append(
            f"| {name} | {cost.seconds:.2f} | {count / cost.seconds:,.0f} | {size / cost.seconds / 1e6:,.0f} | {ratio} "
            f"| {cost.cpu / count * 1000:.3f} | {cost.memory / 1e6:.0f} |"
        )
    return lines


def publish(name: str, lines: list[str], *, dry: bool) -> None:
    """Print a section; and put it into results.md, in place of the one of that name."""
    print(f"\n## {name}\n\n" + "\n".join(lines))  # noqa: T201 - this is a program
    if dry:
        return
    head, *sections = RESULTS.read_text().split("\n## ") if RESULTS.exists() else ["# Results of tests/bench/run\n"]
    kept = {section.partition("\n")[0]: section.rstrip() for section in sections}
    kept[name] = f"{name}\n\n" + "\n".join(lines)
    RESULTS.write_text("\n\n## ".join([head.rstrip(), *kept.values()]) + "\n")
