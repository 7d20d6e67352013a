"""What is written is for its owner alone, whatever the umask."""

from __future__ import annotations

from pathlib import Path

from migrator.sandbox import SANDBOXES
from migrator.sandbox.world import World
from tests.program import configure, run


def open_to_others(folder: Path) -> dict[str, str]:
    """Files and folders that others may read or write, with their modes."""
    found = [folder, *folder.rglob("*")]
    return {
        str(path.relative_to(folder)): oct(path.stat().st_mode & 0o777) for path in found if path.stat().st_mode & 0o077
    }


async def test_archive_is_private_after_every_command_whatever_the_umask(tmp_path):
    world = World.generate(entities=12, attachments=20, median_bytes=300, large_bytes=0)
    async with SANDBOXES["targetprocess"](world) as source, SANDBOXES["teampulse"](world) as target:
        config, root = configure(tmp_path, source, target), tmp_path / "archive"
        for words in (["backup", config], ["load", config], ["verify", root], ["status", root]):
            finished = await run("-q", *words, umask=0)
            assert finished.code == 0, (words, finished.err)
            assert open_to_others(root) == {}, words
