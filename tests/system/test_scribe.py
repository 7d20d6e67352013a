"""The process that writes batches of small files: it writes what is written here, and nothing hangs on its life."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from migrator.errors import StorageError
from migrator.model import Blob
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from migrator.store import writer as module
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.lock import ArchiveLock
from migrator.store.writer import Scribe
from tests.support.program import ROOT, config_of, run, start, until

HOLD_AND_WRITE = (
    "import sys, pathlib, time; from migrator.store.lock import ArchiveLock; from migrator.store.writer import Scribe\n"
    "root = pathlib.Path(sys.argv[1])\n"
    "with ArchiveLock(root, 'backup') as lock:\n"
    "    scribe = Scribe(root, lock.handles)\n"
    "    while not scribe.write([(f'{n:064x}', b'') for n in range(16)]): time.sleep(0.01)\n"
    "    print(scribe._process.pid, flush=True); sys.stdin.read()\n"
)


def files(some: str, count: int = 20) -> list[tuple[Blob, bytes]]:
    bodies = [f"{some} {number}".encode() for number in range(count)]
    return [(Blob(hashlib.sha256(body).hexdigest(), len(body)), body) for body in bodies]


@pytest.fixture
def root(tmp_path):
    Archive(tmp_path / "archive").prepare()
    return tmp_path / "archive"


@pytest.fixture
def scribe(root):
    with closing(Scribe(root)) as made:
        yield made


async def at_work(scribe: Scribe) -> int:
    """Have it started and up; gives its process id."""
    await until(lambda: scribe.write([(blob.sha256, body) for blob, body in files("first", module.MIN_FILES_TO_START)]))
    return scribe._process.pid


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        if int(thread.name) != pid
        for child in (thread / "children").read_text().split()
    ]


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_the_first_large_batch_starts_it_and_it_writes_an_archive_s_files(root, scribe):
    archive = Archive(root, scribe)
    archive.store_batch(files("few", 3))
    assert scribe._process is None
    await at_work(scribe)
    some = files("more")
    assert scribe.write([(blob.sha256, body) for blob, body in some])
    for blob, body in some:
        path = archive.path_of(blob.sha256)
        assert (path.read_bytes(), path.stat().st_mode & 0o777) == (body, 0o400)
    assert list(archive.incoming.iterdir()) == []
    assert archive.untrusted == set()


async def test_a_repeated_batch_with_large_files_leaves_nothing_behind(root, scribe):
    await at_work(scribe)
    archive, some = Archive(root, scribe), files("small", 3)
    (archive.incoming / "large").write_bytes(b"large")
    (archive.incoming / "same").write_bytes(b"large")
    (archive.incoming / "known").write_bytes(some[0][1])
    large = Blob(hashlib.sha256(b"large").hexdigest(), 5)
    archive.store_batch(some[:1])
    for _ in range(2):
        archive.store_batch([*some, (large, "large"), (large, "same"), (some[0][0], "known")])
        archive.untrusted.add(large.sha256)
        assert archive.path_of(large.sha256).read_bytes() == b"large"
        assert list(archive.incoming.iterdir()) == []
    archive.path_of(large.sha256).unlink()
    with pytest.raises(StorageError, match="No such file"):
        archive.store_batch([(large, "large")])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_that_ends_a_run_in_order_does_not_end_it(scribe, number):
    os.kill(await at_work(scribe), number)
    assert scribe.write([(blob.sha256, body) for blob, body in files("after a signal")])


async def test_a_batch_is_written_here_when_it_dies(root, scribe):
    os.kill(await at_work(scribe), signal.SIGKILL)
    archive, some = Archive(root, scribe), files("left over")
    archive.store_batch(some)
    assert all(archive.has(blob) for blob, _ in some)
    assert not scribe.write([(blob.sha256, body) for blob, body in some]), "it is not started again"


async def test_a_disk_that_refuses_is_told_in_the_same_words(root, scribe):
    await at_work(scribe)
    archive, some = Archive(root, scribe), files("nowhere to go")
    folder = archive.path_of(some[3][0].sha256).parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(OSError, match="No such file") as error:
        scribe.write([(blob.sha256, body) for blob, body in some])
    assert error.value.errno == errno.ENOENT
    others = [*files("nowhere either"), some[3]]
    with pytest.raises(StorageError, match=f"{root}: No such file or directory"):
        archive.store_batch(others)
    assert archive.untrusted == {blob.sha256 for blob, _ in others}
    folder.mkdir()
    archive.store_batch(others)
    assert all(archive.has(blob) for blob, _ in others)


async def test_where_no_process_can_be_started_all_is_written_here(root, scribe, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(root / "no python"))
    archive, some = Archive(root, scribe), files("alone")
    archive.store_batch(some)
    assert all(archive.has(blob) for blob, _ in some)
    assert scribe._process is None


async def test_it_runs_our_code_whatever_lies_where_the_run_was_started(root, scribe, monkeypatch):
    (root / "migrator").mkdir()
    (root / "migrator" / "scribe.py").write_text("raise SystemExit(1)")
    (root / "ctypes.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(root)
    await at_work(scribe)


async def test_closing_ends_it_and_may_be_repeated(scribe):
    pid = await at_work(scribe)
    scribe.close()
    scribe.close()
    assert not is_alive(pid)
    assert not scribe.write([])


async def test_it_holds_the_archive_until_its_end_though_its_parent_was_killed(root):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_WRITE, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    Catalog(root).close()
    try:
        next_run = asyncio.create_task(run("-q", "--json", "verify", root))
        await asyncio.sleep(0.7)
        assert not next_run.done(), "it waits for what the killed run left behind"
        assert json.loads((root / "lock").read_text())["pid"] == parent.pid
    finally:
        os.kill(pid, signal.SIGCONT)
    finished = await next_run
    assert "is held by" not in finished.err
    assert not is_alive(pid)
    with ArchiveLock(root, "verify"):
        pass


async def test_a_backup_goes_on_without_it(tmp_path):
    world = World.generate(entities=100, seed=3, attachments=1500, median_bytes=2000, large_bytes=5000)
    async with TargetprocessSandbox(world) as sandbox:
        config = config_of(tmp_path, sandbox)
        process = await start("-q", "--json", "backup", config)
        await until(lambda: process.returncode is not None or bool(children(process.pid)))
        await until(lambda: sandbox.downloads.total() > 400)
        (pid,) = children(process.pid)
        os.kill(pid, signal.SIGKILL)
        assert sandbox.downloads.total() < 1400, "there was something left to write"
        out, _ = await process.communicate()
    document = json.loads(out)
    assert (document["status"], document["attachments"]["stored"]) == ("complete", 1500)
    verified = await run("-q", "--json", "verify", tmp_path / "archive")
    assert verified.code == 0, verified.err
