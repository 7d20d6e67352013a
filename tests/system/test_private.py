"""What is written is for its owner alone, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrator.sandbox import SANDBOXES
from migrator.sandbox.world.model import World
from tests.support.program import config_of, run


@pytest.fixture(autouse=True)
def no_umask():
    """A program that does not look after modes itself makes files that all may read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Files and folders that others may read or write, with their modes."""
    found = [folder, *folder.rglob("*")]
    return {
        str(path.relative_to(folder)): oct(path.stat().st_mode & 0o777) for path in found if path.stat().st_mode & 0o077
    }


async def test_archive_is_private_after_every_command_whatever_the_umask(tmp_path):
    world = World.generate(entities=12, attachments=20, median_bytes=300, large_bytes=0)
    async with SANDBOXES["targetprocess"](world) as source, SANDBOXES["teampulse"](world) as target:
        config, root = config_of(tmp_path, source, target), tmp_path / "archive"
        for words in (["backup", config], ["load", config], ["verify", root], ["status", root]):
            finished = await run("-q", *words)
            assert finished.code == 0, (words, finished.err)
            assert open_to_others(root) == {}, words


async def test_what_is_written_beside_an_archive_is_private_too(tmp_path):
    world = World.generate(entities=12, attachments=20, median_bytes=300, large_bytes=0)
    made = tmp_path / "made"
    made.mkdir(mode=0o700)
    async with SANDBOXES["targetprocess"](world) as source, SANDBOXES["teampulse"](world) as target:
        config = config_of(made, source, target, twins=False)
        config.chmod(0o600)
        for secret in made.iterdir():
            secret.chmod(0o600)
        root = made / "archive"
        calls = (
            ["backup", config],
            ["map", config],
            ["report", root, "--out", made / "report.html"],
            ["export", root, made / "tree", "--format", "tree"],
            ["export", root, made / "bag", "--format", "bagit"],
            ["export", root, made / "files.zip", "--format", "zip"],
        )
        for words in calls:
            finished = await run("-q", *words)
            assert finished.code == 0, (words, finished.err)
            assert open_to_others(made) == {}, words
