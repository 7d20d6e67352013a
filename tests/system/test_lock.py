"""The lock of an archive: one run at a time, and never held by a dead one or freed under a living one."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrator.errors import ArchiveLockedError, StorageError
from migrator.store import lock
from migrator.store.lock import ArchiveLock
from tests.support.program import ROOT, run

HOLD = (
    "import sys, pathlib; from migrator.store.lock import ArchiveLock\n"
    "with ArchiveLock(pathlib.Path(sys.argv[1]), 'backup'): print('held', flush=True); sys.stdin.read()\n"
)


@contextmanager
def another_process(root):
    """A process that holds the archive until it is killed, or until the block ends."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()


def take(root):
    with ArchiveLock(root, "verify"):
        pass


def text(**changes) -> str:
    who = {"command": "load", "pid": 1, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "boot": "other"}
    return json.dumps({**who, **changes})


def test_a_second_process_is_told_the_holder_and_a_dead_one_holds_nothing(tmp_path):
    with another_process(tmp_path) as process:
        with pytest.raises(
            ArchiveLockedError, match=rf"`backup` \(process {process.pid} on .*, since \d{{4}}-"
        ) as error:
            take(tmp_path)
        assert "delete" not in str(error.value), "the kernel knows that it lives"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert "backup" in (tmp_path / "lock").read_text(), "it died without wiping its name"
        take(tmp_path)
    assert (tmp_path / "lock").read_text() == ""


def test_deleting_or_replacing_the_lock_file_does_not_free_a_living_run(tmp_path):
    with another_process(tmp_path):
        (tmp_path / "lock").unlink()
        with pytest.raises(ArchiveLockedError, match="another run"):
            take(tmp_path)
        (tmp_path / "lock").write_text("")
        with pytest.raises(ArchiveLockedError):
            take(tmp_path)
    take(tmp_path)


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"pid": 1}', "[" * 5000, "\0" * 100])
def test_a_lock_file_that_nobody_holds_is_free_whatever_stands_in_it(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    take(tmp_path)


def test_a_process_with_the_id_of_a_dead_holder_holds_nothing(tmp_path):
    (tmp_path / "lock").write_text(text(host=socket.gethostname(), pid=os.getpid(), boot=""))
    take(tmp_path)


def test_the_lock_that_another_host_left_on_a_share_is_not_taken_over(tmp_path):
    for left in text(), text(boot=""), text(boot=None):
        (tmp_path / "lock").write_text(left)
        with pytest.raises(ArchiveLockedError, match=r"on elsewhere, since .*if that process is long gone, delete"):
            take(tmp_path)
        assert (tmp_path / "lock").read_text() == left
    (tmp_path / "lock").unlink()
    take(tmp_path)


def test_the_lock_of_a_dead_container_of_this_host_is_taken_over(tmp_path):
    if not lock.boot_id():
        pytest.skip("this system names no boot")
    (tmp_path / "lock").write_text(text(boot=lock.boot_id()))
    take(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_not_taken_for_held(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.raises(StorageError, match=r"lock can't be locked \(.*needs a file system with locks"):
        take(tmp_path)


def test_where_folders_can_not_be_locked_the_file_decides(tmp_path, monkeypatch):
    real = lock.fcntl.flock

    def files_only(handle, how):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "no")
        real(handle, how)

    with another_process(tmp_path):
        monkeypatch.setattr(lock.fcntl, "flock", files_only)
        with pytest.raises(ArchiveLockedError, match="`backup`"):
            take(tmp_path)
    take(tmp_path)


def test_a_lock_file_deleted_between_opening_and_locking_is_made_anew(tmp_path, monkeypatch):
    real, seen = lock.fcntl.flock, []

    def delete_first(handle, how):
        seen.append(handle)
        if len(seen) == 2:  # the folder is the first
            (tmp_path / "lock").unlink()
        real(handle, how)

    monkeypatch.setattr(lock.fcntl, "flock", delete_first)
    with ArchiveLock(tmp_path, "verify"):
        assert "verify" in (tmp_path / "lock").read_text()
    assert len(seen) == 3


def test_a_lock_file_that_cannot_be_made_is_named_and_nothing_stays_open(tmp_path):
    (tmp_path / "lock").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StorageError, match="lock: "):
        take(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_every_command_that_writes_is_refused_and_those_that_read_are_not(tmp_path):
    from migrator.store.catalog import Catalog

    root = tmp_path / "archive"
    root.mkdir()
    Catalog(root).close()
    with another_process(root) as process:
        for words in ["verify", root], ["export", root, tmp_path / "out", "--format", "tree"]:
            finished = await run("-q", "--json", *words)
            assert (finished.code, finished.document["error"]["code"]) == (6, 6)
            assert f"process {process.pid}" in finished.err
        assert (await run("-q", "--json", "status", root)).code == 0
        assert (await run("-q", "--json", "report", root, "--out", tmp_path / "r.json")).code == 0
