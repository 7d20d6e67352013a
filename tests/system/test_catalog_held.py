"""`catalog.db` in the hands of other programs: held, left behind by a killed one, damaged, too new or too old."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from migrator.errors import ArchiveDamagedError, ArchiveLockedError, ConfigError, StorageError
from migrator.pipeline.rebuild import rebuild
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog, database
from migrator.store.catalog.database import CatalogDatabase, sqlite_errors
from migrator.store.catalog.holders import holders_of
from migrator.store.kernel_locks import LOCKS
from migrator.store.layout import CATALOG
from migrator.store.repair.auditing import audit
from migrator.trackers.memory import MemorySource
from tests.support.parts import expected, rows, run_backup, run_verify, small_tracker, stored
from tests.support.program import config_of, run, run_process
from tests.system.test_rights import mere_owner, modes_hold

WORLD = World.generate(entities=6, seed=3, attachments=12, median_bytes=200, large_bytes=4000)
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for words in sys.argv[2:]:
    db.execute(words)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(root: Path, how: str = "BEGIN IMMEDIATE", first: str = "SELECT 1"):
    """Another program has the catalog open, and has a lock on it."""
    words = [sys.executable, "-c", HOLD, str(root / CATALOG), first, how]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)


# --- held


COMMANDS = (
    ("backup", ["{config}"]),
    ("load", ["{config}"]),
    ("rollback", ["{config}"]),
    ("map", ["{config}"]),
    ("verify", ["{root}"]),
    ("export", ["{root}", "{out}", "--format", "tree"]),
    ("rebuild", ["{root}"]),
)


async def test_commands_that_write_end_with_status_6_and_those_that_read_work(tmp_path, impatient):
    base = tmp_path / "base"
    async with TargetprocessSandbox(WORLD) as source, TeamPulseSandbox(WORLD.without_attachments()) as target:
        config = config_of(base, source, target)
        assert (await run("-q", "backup", config)).code == 0

        async def refused(command: str, words: list[str]) -> None:
            folder = Path(shutil.copytree(base, tmp_path / command))
            root = folder / "archive"
            before = rows(root, "SELECT run_id, command, status FROM runs")
            with held(root) as process:
                words = [word.format(config=folder / config.name, root=root, out=folder / "out") for word in words]
                finished = await run("-q", "--json", command, *words)
                assert (finished.code, finished.document["error"]["code"]) == (6, 6), finished
                assert "Traceback" not in finished.err
                assert "catalog.db is held by" in finished.err
                if LOCKS.exists():
                    assert f"(process {process.pid})" in finished.err
            assert rows(root, "SELECT run_id, command, status FROM runs") == before
            assert not (folder / "out").exists()

        for command, words in COMMANDS:
            await refused(command, words)
        root = base / "archive"
        with held(root):
            for words in (["status", root], ["report", root, "--out", tmp_path / "report.json"]):
                finished = await run("-q", "--json", *words)
                assert (finished.code, finished.document["status"]) == (0, "complete"), finished
        assert (await run("-q", "backup", tmp_path / "backup" / config.name)).code == 0
        assert (await run("-q", "verify", tmp_path / "backup" / "archive")).code == 0


EXCLUSIVE = "PRAGMA journal_mode = DELETE"


@pytest.mark.parametrize("read_only", [True, False])
async def test_catalog_that_cannot_even_be_read_is_held_and_not_damaged(tmp_path, impatient, read_only):
    await run_backup(small_tracker(), tmp_path)
    with held(tmp_path, "BEGIN EXCLUSIVE", EXCLUSIVE):
        with pytest.raises(ArchiveLockedError, match=CATALOG):
            Catalog(tmp_path, read_only=read_only)
        with pytest.raises(ArchiveLockedError, match=CATALOG):
            audit(tmp_path)
        with pytest.raises(ArchiveLockedError, match=CATALOG):
            rebuild(Archive(tmp_path))
    assert (await run_verify(tmp_path))["problems"] == []
    assert [path.name for path in tmp_path.glob("*damaged*")] == []


async def test_catalog_held_in_mid_run_ends_it_and_the_next_fetches_the_rest(tmp_path, impatient):
    tracker, holding = small_tracker(), ExitStack()

    class Source(MemorySource):
        async def download(self, attachment, sink):
            if len(tracker.downloads) == 5:
                holding.enter_context(held(tmp_path))
            await super().download(attachment, sink)

    with holding, pytest.raises(ArchiveLockedError, match="nothing is lost"):
        await run_backup(tracker, tmp_path, source=Source(tracker), downloads=1)
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert (await run_verify(tmp_path))["problems"] == []


@pytest.mark.skipif(not LOCKS.exists(), reason="this system has no table of locks")
async def test_only_lock_holders_are_named_and_looking_keeps_our_own_lock(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    with held(tmp_path, "SELECT 2"), closing(CatalogDatabase(tmp_path)) as catalog, catalog.transaction():
        catalog.db.execute("UPDATE runs SET command = 'x'")
        assert holders_of(tmp_path / CATALOG) == []
        refused = f"import sqlite3; sqlite3.connect({str(tmp_path / CATALOG)!r}, timeout=0).execute('DELETE FROM runs')"
        other = subprocess.run([sys.executable, "-c", refused], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr
    assert rows(tmp_path, "SELECT DISTINCT command FROM runs") == [("x",)]


# --- left behind by a program that was killed


KILLED = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for words in sys.argv[2:]:
    db.execute(words)
os._exit(9)
"""


def killed(root: Path, *statements: str) -> None:
    """A program that changed the catalog in this way and ended without letting go of it."""
    ended = subprocess.run([sys.executable, "-c", KILLED, root / CATALOG, *statements], check=False)
    assert ended.returncode == 9


LEFT = {
    "a log": ("CREATE TABLE IF NOT EXISTS settings (key)", "INSERT INTO settings VALUES ('theirs', '1')"),
    "a journal": (
        "PRAGMA journal_mode = DELETE",
        "PRAGMA cache_size = 1",
        "PRAGMA cache_spill = 1",
        "BEGIN",
        "UPDATE attachments SET raw = hex(randomblob(9999))",
        "UPDATE runs SET command = 'half'",
    ),
}


@pytest.mark.parametrize("left", LEFT)
async def test_the_next_run_takes_up_what_a_killed_one_left_beside_the_catalog(tmp_path, left):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    killed(tmp_path, *LEFT[left])
    assert [path.name for path in tmp_path.glob("catalog.db-*") if path.stat().st_size]
    with closing(Catalog(tmp_path, read_only=True)) as catalog, sqlite_errors(tmp_path):
        assert catalog.summaries.totals()["attachments"] == {"stored": len(tracker.files)}
    assert (await run_backup(tracker, tmp_path))["status"] == "complete"
    assert stored(tmp_path) == expected(tracker)
    assert "half" not in {command for (command,) in rows(tmp_path, "SELECT command FROM runs")}
    strange = [found["path"] for found in (await run_verify(tmp_path))["problems"] if found["code"] == "E03"]
    assert strange == []


@pytest.mark.parametrize("left", LEFT)
async def test_in_a_folder_that_cannot_be_written_it_is_status_7_and_the_reason(tmp_path, left):
    root = tmp_path / "archive"
    await run_backup(small_tracker(), root)
    killed(root, *LEFT[left])
    root.chmod(0o500)
    try:
        if not modes_hold(root):
            pytest.skip("this account may write whatever modes say, and can't give that up")
        finished = await run_process("-q", "--json", "status", root, preexec_fn=mere_owner)
    finally:
        root.chmod(0o700)
    if finished.code == 0:  # SQLite could read it after all
        assert finished.document["totals"]["attachments"]
    else:
        assert finished.code == 7, finished
        assert "was killed left behind" in finished.err


# --- damaged, or of another version


DAMAGE = {
    "no database": lambda path: path.write_bytes(b"no database" * 999),
    "malformed": lambda path: _overwritten(path, 4096, b"\xff" * (path.stat().st_size - 4096)),
    "malformed schema": lambda path: _scribbled(
        path, "UPDATE sqlite_master SET sql = 'CREATE TABLE x' WHERE rowid = 1"
    ),
    "no table": lambda path: _scribbled(path, "DROP TABLE blobs"),
    "of a later SQLite": lambda path: _overwritten(path, 44, b"\0\0\0\x09"),
}


def _overwritten(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def _scribbled(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(statement)


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_catalog_that_is_damaged_is_said_to_be_and_rebuilt(tmp_path, damage):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    DAMAGE[damage](tmp_path / CATALOG)
    for read_only in (True, False):
        with (
            pytest.raises(ArchiveDamagedError, match="migrator rebuild"),
            sqlite_errors(tmp_path),
            closing(Catalog(tmp_path, read_only=read_only)) as catalog,
        ):
            catalog.summaries.totals()
    assert {found["code"] for found in (await run_verify(tmp_path))["problems"]} == {"E11"}
    assert rebuild(Archive(tmp_path)).as_json()["problems"] == []
    assert (await run_verify(tmp_path))["problems"] == []
    assert stored(tmp_path) == expected(tracker)


@pytest.mark.parametrize("version", [(3, 7, 17), (3, 32, 3), (3, 34, 1)])
def test_a_sqlite_that_is_too_old_is_named(version):
    shown = re.escape(".".join(map(str, version)))
    with pytest.raises(ConfigError, match=rf"SQLite {shown}; 3\.35 or later is needed"):
        database.require_sqlite(version)


@pytest.mark.parametrize("version", [(3, 35, 0), (3, 46, 1), (4, 0, 0)])
def test_a_sqlite_that_is_new_enough_is_taken(version):
    database.require_sqlite(version)


async def test_no_catalog_is_opened_by_a_sqlite_that_is_too_old(tmp_path, monkeypatch):
    await run_backup(small_tracker(), tmp_path)
    monkeypatch.setattr(database, "OLDEST_SQLITE", (99, 0, 0))
    for read_only in (True, False):
        with pytest.raises(ConfigError, match=r"99\.0 or later is needed"):
            Catalog(tmp_path, read_only=read_only)


def error(code: int, words: str = "words") -> sqlite3.Error:
    found = sqlite3.OperationalError(words)
    found.sqlite_errorcode = code
    return found


MEANT = {
    ArchiveLockedError: (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED_SHAREDCACHE),
    StorageError: (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_READONLY_DIRECTORY),
    ArchiveDamagedError: (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_NOTADB),
    sqlite3.OperationalError: (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE),
}


@pytest.mark.parametrize("meant", MEANT)
def test_each_of_sqlites_codes_has_its_meaning_whatever_its_words(meant):
    for code in MEANT[meant]:
        with pytest.raises(meant), sqlite_errors():
            raise error(code)
