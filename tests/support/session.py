"""A migration by the README on embedded trackers: its commands, what they print, and the files of its recording."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world import World
from tests.support.program import config_of

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "fixtures" / "session.cast"
"""In the format of asciinema, version 2."""
PICTURE = ROOT / ".github" / "session.svg"
CONFIG = "targetprocess-to-teampulse.toml"
COLUMNS, ROWS = 100, 30
PROMPT = "$ "
WORLD = World.generate(entities=60, seed=5, attachments=240, median_bytes=40_000, large_bytes=3_000_000)

_COMMANDS = ("check", "backup", "status", "map", "load", "verify", "export", "report")
"""Those that the recording shows. Each is taken from the README with its arguments, in the order of its steps."""
_LEFT_OUT = ("--move-changed", "--verify", "--at")
"""What needs more than one load or backup."""
_VARYING = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8000"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2026-01-01 00:00 UTC"),
    (r"\b(in|last complete one) [\dm.]+ (s|min)( ago)?", r"\1 0 s"),
    (r"\d+ (s|min) ago", "0 s ago"),
)


def readme_commands() -> list[str]:
    """The commands of the README's migration, as they stand there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    steps = readme.partition("\n## A migration, step by step\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", steps, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    wanted = [line for line in lines if shlex.split(line)[1] in _COMMANDS and not any(w in line for w in _LEFT_OUT)]
    return list(dict.fromkeys(wanted))


@dataclass(frozen=True)
class Place:
    """The folder of a migration, and its trackers."""

    folder: Path
    source: Sandbox
    target: Sandbox

    def plain(self, text: str) -> str:
        """The text without the name of the folder."""
        return text.replace(str(self.folder), "~/migration")


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    """A configuration with both trackers, as somebody has written it by the README."""
    async with (
        SANDBOXES["targetprocess"](WORLD) as source,
        SANDBOXES["teampulse"](WORLD.without_attachments()) as target,
    ):
        config_of(folder, source, target, twins=False).rename(folder / CONFIG)
        yield Place(folder, source, target)


def alike(text: str) -> str:
    """Text without line breaks, and without what differs from run to run."""
    text = " ".join(text.split())
    for pattern, instead in _VARYING:
        text = re.sub(pattern, instead, text)
    return text.replace(" ", "")
