"""What every command prints, as JSON and as text, for a pair of sandboxes: compared with what was recorded once.

`fixtures/outputs` holds what the version before the packages printed. Who changes what users see on purpose records it
anew: `MIGRATOR_RECORD=1 pytest tests/system/test_recorded_outputs.py`, and reads the difference.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from migrator.sandbox import SANDBOXES
from migrator.sandbox.world import World
from tests.support.parts import FULL
from tests.support.program import configure, run

OUTPUTS = Path(__file__).parents[1] / "fixtures" / "outputs"
PAIRS = [
    ("targetprocess", "squash"),
    ("teampulse", "issuetrak"),
    ("squash", "targetprocess"),
    ("issuetrak", "teampulse"),
]
WORLD = World.generate(entities=4, seed=3, attachments=9, median_bytes=300, large_bytes=0)
ONE_AT_A_TIME = {"downloads": 1, "uploads": 1}
STEPS = (
    ("check", "CONFIG"),
    ("backup", "CONFIG"),
    ("status", "ARCHIVE"),
    ("map", "CONFIG"),
    ("load", "CONFIG", "--dry-run"),
    ("load", "CONFIG"),
    ("load", "CONFIG", "--verify-content"),
    ("backup", "CONFIG"),
    ("verify", "ARCHIVE"),
    ("rebuild", "ARCHIVE"),
    ("export", "ARCHIVE", "exported"),
    ("report", "ARCHIVE", "--out", "report.json"),
    ("rollback", "CONFIG", "--dry-run"),
    ("rollback", "CONFIG", "--yes"),
    ("status", "ARCHIVE"),
    ("backup", "nothing.toml"),
    ("verify", "nowhere"),
    ("load",),
    ("--version",),
)
VARYING = (
    (r"127\.0\.0\.1:\d+", "HOST"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d [A-Z+-]\w*", "TIME"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "TIME"),
    (r'"(seconds|age_seconds)": [\d.]+', r'"\1": 0'),
    (r"\bsince \d{4}-\d\d-\d\d \d\d:\d\d", "since TIME"),
    (r"\b\d+ (s|min) ago\b", "a while ago"),
    (r" in [\d.]+ s\b", " in 0 s"),
    (r"\d+ B/s|[\d.]+ .?i?B/s", "RATE"),
    (r"\bnever on \w+", "never"),
)


def as_recorded(text: str, folder: Path) -> str:
    """The output without what differs from run to run."""
    text = text.replace(str(folder), "FOLDER").replace(os.uname().nodename, "MACHINE")
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return text


async def flow(source: str, target: str, folder: Path) -> str:
    """All steps, each with its arguments, its exit status and what it printed."""
    printed = []
    async with SANDBOXES[source](WORLD) as first, SANDBOXES[target](WORLD) as second:
        config = configure(folder, first, second, limits=ONE_AT_A_TIME)
        places = {"CONFIG": str(config), "ARCHIVE": str(folder / "archive")}
        for step in STEPS:
            arguments = [places.get(word, word) for word in step]
            for form in ((), ("--json",)):
                finished = await run(*form, *arguments)
                printed.append(f"$ migrator {' '.join([*form, *step])}\n{finished.out}[{finished.code}]\n")
                if form == () and step[0] in {"backup", "load", "rollback", "export"} and "--dry-run" not in step:
                    break
    return as_recorded("".join(printed), folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("source", "target"), PAIRS if FULL else PAIRS[:1])
async def test_every_command_prints_what_it_printed_before(source, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")  # the name of the zone takes room in a table
    time.tzset()
    printed = await flow(source, target, tmp_path)
    recorded = OUTPUTS / f"{source}-{target}.txt"
    if os.environ.get("MIGRATOR_RECORD"):
        recorded.write_text(printed, encoding="utf-8")
    assert printed.splitlines() == recorded.read_text(encoding="utf-8").splitlines()
