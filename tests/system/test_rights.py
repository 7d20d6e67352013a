"""Archives that can't be written, and systems that let few files be open: what works then, and what is said.

The account of these tests may be root, to whom modes mean nothing; its children give up that right.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from migrator.errors import StorageError
from migrator.pipeline.export import ExportSettings, export
from migrator.pipeline.store_sink import MAX_IN_MEMORY_BYTES
from migrator.pipeline.verify import verify
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store import disk
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.layout import CATALOG
from tests.support.parts import overwrite, run_backup, small_tracker
from tests.support.program import config_of, run, run_process

WORLD = World.generate(entities=10, seed=3, attachments=25, median_bytes=2000, large_bytes=400_000)
DROP, OVERRIDE, SEARCH = 24, 1, 2
"""prctl's PR_CAPBSET_DROP, and the capabilities by which root reads and writes what modes forbid."""


def mere_owner() -> None:
    """Before exec: from here on modes hold for root, too."""
    if os.geteuid() == 0:
        for capability in OVERRIDE, SEARCH:
            ctypes.CDLL(None).prctl(DROP, capability, 0, 0, 0)


def modes_hold(folder) -> bool:
    probe = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w')", str(folder / "probe")]
    return subprocess.run(probe, preexec_fn=mere_owner, capture_output=True, check=False).returncode != 0


def forbid(root) -> None:
    """Nothing in this archive can be written."""
    for path in [*root.rglob("*"), root]:
        path.chmod(0o500 if path.is_dir() else 0o400)


def allow(root) -> None:
    for path in [root, *root.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.fixture
def sealed(tmp_path):
    """A folder for a test that seals its archive; it can be deleted afterwards."""
    yield tmp_path
    if (tmp_path / "archive").exists():
        (tmp_path / "archive").chmod(0o700)
        allow(tmp_path / "archive")


def seal(root) -> None:
    forbid(root)
    if not modes_hold(root):
        allow(root)
        pytest.skip("this account may write whatever modes say, and can't give that up")


def runs(root) -> list[tuple]:
    with sqlite3.connect(f"file:{root / CATALOG}?mode=ro&immutable=1", uri=True) as db:
        return db.execute("SELECT command, status FROM runs").fetchall()


async def test_an_archive_that_can_not_be_written_can_be_read_and_nothing_else(sealed, source):
    config, root = config_of(sealed, source), sealed / "archive"
    assert (await run("-q", "backup", config)).code == 0
    seal(root)
    for words in (
        ["status", root],
        ["report", root, "--out", sealed / "report.json"],
        ["verify", root],
        ["export", root, sealed / "out", "--format", "tree"],
    ):
        finished = await run_process("-q", "--json", *words, preexec_fn=mere_owner)
        assert (finished.code, finished.document["status"], finished.err) == (0, "complete", ""), words
    refused = await run_process("-q", "--json", "backup", config, preexec_fn=mere_owner)
    assert (refused.code, refused.document["error"]["code"], refused.err.count("\n")) == (7, 7, 1)
    assert f"{root}/lock: Permission denied" in refused.err or f"{root}: Permission denied" in refused.err
    assert runs(root) == [("backup", "complete")]
    blob = next((root / "blobs").glob("*/*"))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert (await run_process("-q", "--json", "verify", root, preexec_fn=mere_owner)).code == 5
    allow(root)
    assert (await run("-q", "--json", "backup", config)).code == 0


async def test_a_catalog_or_folder_that_refuses_us_is_status_7_in_one_line(sealed, source):
    config, root = config_of(sealed, source), sealed / "archive"
    assert (await run("-q", "backup", config)).code == 0
    seal(root)
    allow(root)
    (root / CATALOG).chmod(0o400)
    finished = await run_process("-q", "--json", "backup", config, preexec_fn=mere_owner)
    assert (finished.code, finished.err.count("\n")) == (7, 1), finished
    assert CATALOG in finished.err
    (root / CATALOG).chmod(0o000)
    for words in ["status", root], ["verify", root]:
        finished = await run_process("-q", "--json", *words, preexec_fn=mere_owner)
        assert (finished.code, finished.err.count("\n")) == (7, 1), finished
        assert CATALOG in finished.err
    root.chmod(0o000)
    finished = await run_process("-q", "--json", "backup", config, preexec_fn=mere_owner)
    assert (finished.code, finished.err.count("\n")) == (7, 1), finished
    assert f"{root}: Permission denied" in finished.err
    finished = await run_process("-q", "--json", "status", root, preexec_fn=mere_owner)
    assert finished.code == 2
    assert "is not readable" in finished.err


# Blobs, to which nobody may write


def modes(root) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) for path in root.glob("blobs/*/*")}


async def test_a_blob_that_nobody_may_write_to_is_repaired_by_its_owner(sealed):
    """Large ones, which have files of their own while they come in, and small ones."""
    large = [replace(file, size=MAX_IN_MEMORY_BYTES + number) for number, file in enumerate(WORLD.attachments[:3], 1)]
    async with TargetprocessSandbox(replace(WORLD, attachments=(*large, *WORLD.attachments[3:]))) as source:
        config, root = config_of(sealed, source), sealed / "archive"
        assert (await run_process("-q", "backup", config, preexec_fn=mere_owner)).code == 0
        assert modes(root) == {0o400}
        sizes = {path: path.stat().st_size for path in root.glob("blobs/*/*")}
        by_size = sorted((path for path in sizes if sizes[path]), key=sizes.get)
        assert sizes[by_size[-3]] > MAX_IN_MEMORY_BYTES > sizes[by_size[2]]
        for damaged, cut, missing in (by_size[:3], by_size[-3:]):
            overwrite(damaged, b"?" * sizes[damaged])
            overwrite(cut, b"")
            missing.unlink()
        finished = await run_process("-q", "--json", "verify", root, preexec_fn=mere_owner)
        assert (finished.code, len(finished.document["problems"])) == (5, 6)
        assert (await run_process("-q", "backup", config, preexec_fn=mere_owner)).code == 0
    finished = await run_process("-q", "--json", "verify", root, preexec_fn=mere_owner)
    assert (finished.code, finished.document["problems"]) == (0, [])
    assert modes(root) == {0o400}


README = "README.txt"


async def test_blobs_of_older_archives_are_sealed_once_and_stay_readable(tmp_path, monkeypatch):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    blobs = sorted(tmp_path.glob("blobs/*/*"))
    for number, path in enumerate(blobs):
        path.chmod(0o640 if number else 0o600)
    (tmp_path / "blobs" / "ab" / "link").symlink_to(tmp_path / "catalog.db")
    (tmp_path / README).write_text("blobs/ the files, as an earlier version wrote it\n")
    real, sealed = disk.seal, []

    def killed(folder) -> None:
        sealed.append(folder)
        if len(sealed) == 200:
            raise KeyboardInterrupt
        real(folder)

    monkeypatch.setattr(disk, "seal", killed)
    with pytest.raises(KeyboardInterrupt):
        Archive(tmp_path).prepare()
    Archive(tmp_path).prepare()
    assert len(sealed) == 200 + 256, "begun again, as it had not come to its end"
    assert [stat.S_IMODE(path.stat().st_mode) for path in blobs] == [0o400, *[0o440] * (len(blobs) - 1)]
    assert stat.S_IMODE((tmp_path / "catalog.db").stat().st_mode) == 0o600
    Archive(tmp_path).prepare()
    assert len(sealed) == 200 + 256, "once and for all"
    (tmp_path / "blobs" / "ab" / "link").unlink()
    assert (await run_backup(tracker, tmp_path))["attachments"]["unchanged"] == len(tracker.files)
    assert (await verify(Archive(tmp_path))).problems == ()


async def test_a_blob_whose_mode_cannot_be_changed_ends_no_run(tmp_path, monkeypatch):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    for path in tmp_path.glob("blobs/*/*"):
        path.chmod(0o600)
    (tmp_path / README).unlink()

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(disk.Path, "chmod", refuse)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert "nobody may" in (tmp_path / README).read_text()


# Few open files


def few_files(count: int):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    return limit


async def test_with_few_open_files_a_command_works_or_says_ulimit_at_its_start(tmp_path, source):
    async with TeamPulseSandbox(WORLD.without_attachments()) as target:
        few = {"downloads": 2, "uploads": 1}
        config, root = (
            config_of(tmp_path, source, target),
            tmp_path / "archive",
        )
        refused = await run_process("-q", "--json", "backup", config, preexec_fn=few_files(40))
        assert (refused.code, refused.document["error"]["code"], refused.err.count("\n")) == (7, 7, 1)
        assert re.search(r"only 40 files may be open at once, and 92 are needed: .*ulimit -n 92", refused.err)
        assert not root.exists()
        content = config.read_text()
        config.write_text(content.replace("[limits]", "[limits]\n" + "\n".join(f"{k} = {v}" for k, v in few.items())))
        for words, count in (
            (["backup", config], 41),
            (["load", config, "--verify", "content"], 41),
            (["verify", root], 32),
            (["export", root, tmp_path / "out", "--format", "bagit"], 32),
            (["status", root], 32),
        ):
            finished = await run_process("-q", "--json", *words, preexec_fn=few_files(count))
            assert (finished.code, finished.document["status"]) == (0, "complete"), words
            assert all(line.startswith("warning: ") for line in finished.err.splitlines()), finished.err


async def test_a_limit_that_the_program_may_raise_is_raised(tmp_path, source):
    def soft_only() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, hard))

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 92:
        pytest.skip("this system lets no process open 92 files")
    config = config_of(tmp_path, source)
    source.faults.latency = 0.2  # so that many are under way at once
    assert (await run_process("-q", "backup", config, preexec_fn=soft_only)).code == 0


async def test_a_blob_not_opened_for_want_of_descriptors_is_not_called_damaged(tmp_path, monkeypatch):
    root = tmp_path / "archive"
    await run_backup(small_tracker(), root)
    archive, catalog = Archive(root), Catalog(root)
    blob = next(iter(catalog.blobs.in_folder(next((root / "blobs").glob("*/*")).parent.name).values()))
    with open(os.devnull) as spare:  # noqa: PTH123 - to know the next free number
        top = spare.fileno()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, limits[1]))
        with pytest.raises(StorageError, match=r"Too many open files.*`ulimit -n`"):
            archive.body(blob)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        real = os.open

        def refuse(path, *how, **more):
            if "blobs" in str(path) and len(str(path)) > 64:
                raise OSError(24, "Too many open files")
            return real(path, *how, **more)

        monkeypatch.setattr("migrator.pipeline.export.formats.os.open", refuse)
        with pytest.raises(StorageError, match=r"Too many open files.*`ulimit -n`"):
            await export(archive, catalog, ExportSettings(tmp_path / "out"))
        monkeypatch.undo()
        monkeypatch.setattr("migrator.store.folder.hash_file", lambda *_: refuse("blobs" * 20))
        with pytest.raises(StorageError, match=r"Too many open files.*`ulimit -n`"):
            await verify(archive)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        catalog.close()


def test_descriptors_that_are_there_are_not_asked_for(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    disk.require_descriptors(8)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    monkeypatch.setattr(disk.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    disk.require_descriptors(2**20)
