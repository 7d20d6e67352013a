"""What a person sees on terminals of several widths, with and without colours, and without a terminal.

Recorded in `fixtures/outputs/screens`, colours as `{red:FAIL}`. Record anew what changes on purpose, and read the
difference: `MIGRATOR_RECORD=1 pytest tests/system/test_screens.py`.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from migrator.jobs.progress.bar import Display
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world import World
from migrator.wire import Waits
from tests.support.program import configure, run_process
from tests.support.progress import Clock, run_for, tally_at
from tests.support.screen import drawn, on_terminal, painted, text_of

SCREENS = Path(__file__).parents[1] / "fixtures" / "outputs" / "screens"
WORLD = World.generate(entities=4, seed=3, attachments=9, median_bytes=300, large_bytes=0)
STEPS = (
    ("check", "migration.toml"),
    ("backup", "migration.toml"),
    ("load", "migration.toml"),
    ("status", "archive"),
    ("backup", "nothing.toml"),
)
ALIKE = (
    (rb"127\.0\.0\.1:\d+", b"127.0.0.1:65535"),
    (rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC", b"2026-01-01 00:00 UTC"),
    (rb" in \d+\.\d s", b" in 0.1 s"),
    (rb" \([\d.]+ .?B/s\)", b""),
    (rb"never on \w+|\d+ (s|min) ago", b"0 s ago"),
)
"""What differs from run to run, each in place of what is as long: where lines break is to be seen, too."""
PLAIN = {"TZ": "UTC", "TERM": "xterm"}


def assert_recorded(name: str, shown: str) -> None:
    """Compare with what was recorded, or record it."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("MIGRATOR_RECORD"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown.splitlines() == path.read_text(encoding="utf-8").splitlines()


def alike(written: bytes, folder: Path) -> bytes:
    """The same without what differs from run to run."""
    written = written.replace(str(folder).encode(), b"/tmp/trackers")
    for pattern, instead in ALIKE:
        written = re.sub(pattern, instead, written)
    return written


async def screens(folder: Path, columns: int, *, colours: bool) -> str:
    """All steps on a terminal, one after the other, each with its exit status."""
    shown = []
    env = PLAIN if colours else {**PLAIN, "NO_COLOR": "1"}
    async with TargetprocessSandbox(WORLD) as source, SquashSandbox(WORLD) as target:
        configure(folder, source, target, limits={"downloads": 1, "uploads": 1})
        for step in STEPS:
            terminal = await on_terminal(step, columns, env=env, cwd=folder)
            code = await terminal.ended()
            written = alike(b"".join(piece for _, piece in terminal.written), folder)
            shown.append(f"$ migrator {' '.join(step)}\n{painted(drawn(written, columns))}\n[{code}]\n")
    return "".join(shown)


@pytest.mark.parametrize("columns", [40, 80, 120])
async def test_what_is_shown_on_a_terminal_is_what_was_recorded(tmp_path, columns):
    assert_recorded(f"terminal-{columns}", await screens(tmp_path, columns, colours=True))


async def test_without_colours_the_same_is_shown(tmp_path):
    shown = await screens(tmp_path, 80, colours=False)
    assert_recorded("terminal-80-no-colour", shown)
    coloured = (SCREENS / "terminal-80.txt").read_text(encoding="utf-8")
    plain = re.sub(r"\{[a-z]+:([^}]*)\}", r"\1", coloured)
    assert re.sub(" +$", "", plain, flags=re.MULTILINE) == shown  # a colour may reach over the space at a line's end


async def test_what_is_shown_without_a_terminal_is_what_was_recorded(tmp_path):
    shown = []
    async with TargetprocessSandbox(WORLD) as source, SquashSandbox(WORLD) as target:
        configure(tmp_path, source, target, limits={"downloads": 1, "uploads": 1})
        for step in STEPS:
            finished = await run_process(*step, env=PLAIN, cwd=tmp_path)
            shown.append(f"$ migrator {' '.join(step)}\n")
            for name, text in (("stderr", finished.err), ("stdout", finished.out)):
                lines = alike(text.encode(), tmp_path).decode().splitlines()
                shown += [f"{name}: {line}".rstrip() + "\n" for line in lines]
            shown.append(f"[{finished.code}]\n")
    assert_recorded("no-terminal", "".join(shown))


def states(monkeypatch):
    """A backup at several moments, by name."""
    clock, waits = Clock(), Waits(lambda: 1_700_000_000.0)
    monkeypatch.setattr("time.monotonic", clock)
    tally = tally_at(clock, waits=waits)
    yield "nothing yet", tally
    tally.entities(1300)
    tally.known(643, 6_430_000_000)
    run_for(tally, clock, 50, size=10_000_000)
    yield "still listing", tally
    run_for(tally, clock, 43, failed=True)
    tally.known(11_702, 117_020_000_000)
    tally.all_known()
    run_for(tally, clock, 240, size=10_000_000)
    yield "all is listed", tally
    clock.now += 12
    yield "silent", tally
    waits.trying_again(20, "no connection", 5, 9, answered=False)
    clock.now += 8
    yield "silent, and tried again", tally
    waits.asked(300, 429)
    clock.now += 52
    yield "told to wait", tally


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_a_bar_at_each_moment_is_what_was_recorded(monkeypatch, columns):
    monkeypatch.setenv("TZ", "UTC")
    shown = []
    for name, tally in states(monkeypatch):
        out = io.StringIO()
        console = Console(file=out, width=columns, height=25, force_terminal=True, color_system="standard")
        console.print(Display(tally))
        screen = drawn(out.getvalue().replace("\n", "\r\n").encode(), columns, 3)
        shown.append(f"{name}\n{text_of(screen)}\n{painted(screen)}\n\n")
    assert_recorded(f"bar-{columns}", "".join(shown))
