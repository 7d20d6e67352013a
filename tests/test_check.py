"""`check` says what works, what doesn't, and, with a mark of its own, what works and is odd all the same."""

from __future__ import annotations

import pytest

from migrator.sandbox.targetprocess import TargetprocessSandbox
from migrator.sandbox.teampulse import TeamPulseSandbox
from migrator.sandbox.world import World
from tests.program import configure, run

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)


@pytest.fixture
async def target():
    async with TeamPulseSandbox(WORLD.without_attachments()) as sandbox:
        yield sandbox


def marks(document: dict, side: str) -> dict[str, tuple[bool, bool]]:
    """By the name of each check, whether it is ok and whether it is a warning."""
    return {one["check"]: (one["ok"], one.get("warning", False)) for one in document[side]["checks"]}


async def test_an_empty_tracker_is_a_warning_and_not_a_success(tmp_path):
    async with TargetprocessSandbox(WORLD.without_attachments()) as source:
        config = configure(tmp_path, source)
        told = await run("--json", "check", config)
        seen = await run("check", config)
    assert (told.code, told.document["status"]) == (0, "complete")
    assert marks(told.document, "source")["download"] == (True, True)
    assert marks(told.document, "source")["login"] == (True, False)
    [line] = [line for line in seen.out.splitlines() if "download" in line]
    assert line.split()[0] == "warn"
    assert "nothing was listed" in line


async def test_a_mapping_without_a_row_is_a_warning(tmp_path, target):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, target)
        file = tmp_path / "mapping.csv"
        file.write_text(file.read_text().splitlines()[0] + "\n")
        told = await run("--json", "check", config)
    assert told.code == 0
    assert marks(told.document, "target")["mapping"] == (True, True)
