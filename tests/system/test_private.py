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


@pytest.fixture
async def source():
    async with SANDBOXES["targetprocess"](World.generate(entities=3, attachments=3, large_bytes=0)) as serving:
        yield serving


@pytest.mark.parametrize("name", ["letter.txt", "README.txt", "incoming/letter.txt"])
async def test_a_folder_with_files_of_others_becomes_no_archive(tmp_path, source, name):
    theirs = tmp_path / "archive" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    finished = await run("-q", "backup", config_of(tmp_path, source))
    assert finished.code == 2, finished.err
    assert f"it has {Path(name).parts[0]}: give the archive a folder of its own" in finished.err
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text() == "mine"


async def test_an_archive_in_the_place_of_a_file_is_a_mistake(tmp_path, source):
    (tmp_path / "archive").write_text("mine")
    finished = await run("-q", "backup", config_of(tmp_path, source))
    assert (finished.code, "is a file, not a folder" in finished.err) == (2, True), finished.err


async def test_a_fresh_disk_and_a_killed_first_backup_become_an_archive(tmp_path, source):
    for name in ("lost+found", ".snapshots", "incoming"):
        (tmp_path / "archive" / name).mkdir(parents=True)
    (tmp_path / "archive" / "lock").touch()
    finished = await run("-q", "backup", config_of(tmp_path, source))
    assert finished.code == 0, finished.err
