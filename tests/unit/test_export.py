"""Export: the files by their own names, whole, checked, and nowhere but at DEST."""

from __future__ import annotations

import asyncio
import csv
import errno
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import time
import zipfile
from pathlib import Path

import bagit
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.errors import ConfigError, RejectedError, StorageError
from migrator.pipeline.export import Destination, ExportSettings, copies, export, formats
from migrator.pipeline.rebuild import rebuild
from migrator.printable import spreadsheet_cell
from migrator.selection import Selection
from migrator.store import disk
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.store.space import RESERVE_BYTES
from migrator.trackers.memory import MemoryTracker
from tests.support.dying import DIED, DONE, dies_at
from tests.support.parts import FULL, overwrite, rows, run_backup, run_verify, small_tracker
from tests.support.program import kill, run, start, until
from tests.unit.test_pathnames import HOSTILE, assert_fit_for_a_bag, assert_legal, names

FORMATS = ("tree", "bagit", "zip")
COLUMNS = ["path", "kind", "entity_id", "attachment_id", "name", "size", "sha256"]
FOR_PEOPLE = ["title", "author", "date", "description", "address"]


async def run_export(root: Path, dest: Path, shape: str = "tree", stop=None, **changes):
    catalog = Catalog(root)
    try:
        return (await export(Archive(root), catalog, ExportSettings(dest, shape, **changes), stop=stop)).as_json()
    finally:
        catalog.close()


def opened(dest: Path, shape: str, into: Path) -> Path:
    """The folder with `index.csv`, whatever the shape."""
    if shape == "zip":
        with zipfile.ZipFile(dest) as file:
            assert file.testzip() is None
            file.extractall(into)
        return into
    return dest / "data" if shape == "bagit" else dest


def index_of(top: Path) -> list[dict[str, str]]:
    with (top / "index.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        assert lines.fieldnames == COLUMNS + FOR_PEOPLE
        return list(lines)


def assert_whole(tracker: MemoryTracker, top: Path, missing: int = 0) -> list[dict[str, str]]:
    """Every file of the tracker is there once, under the path that the index names, and nothing else."""
    index = index_of(top)
    assert len(index) == len(tracker.files) - missing
    there = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    assert there == {line["path"] for line in index} | {"index.csv"}
    for line in index:
        content = (top / line["path"]).read_bytes()
        assert content == tracker.content[line["attachment_id"]]
        of = tracker.files[line["attachment_id"]]
        names = (of.owner.kind, of.owner.id, of.name)
        assert (line["kind"], line["entity_id"], line["name"]) == tuple(map(spreadsheet_cell, names))
        assert (int(line["size"]), line["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    return index


@pytest.fixture
async def archive(tmp_path):
    tracker = small_tracker()
    root = tmp_path / "archive"
    await run_backup(tracker, root)
    return tracker, root


@pytest.mark.parametrize("empty_folder", [False, True])
@pytest.mark.parametrize("shape", FORMATS)
async def test_every_stored_file_arrives_under_its_name_with_an_index(archive, tmp_path, shape, empty_folder):
    tracker, root = archive
    dest = tmp_path / "deep" / "dest"
    if empty_folder and shape != "zip":
        dest.mkdir(parents=True)
    summary = await run_export(root, dest, shape)
    index = assert_whole(tracker, opened(dest, shape, tmp_path / "opened"))
    assert (summary["status"], summary["files"]) == ("complete", len(tracker.files))
    assert summary["bytes"] == sum(map(len, tracker.content.values()))
    assert "Unlinked/no entity/loose.txt" in {line["path"] for line in index}
    assert any(line["path"].startswith("Bug/") and line["path"].endswith(" entity 1/big 1.bin") for line in index)
    assert [path.name for path in dest.parent.iterdir()] == ["dest"], "nothing is left beside it"
    assert rows(root, "SELECT command, status FROM runs ORDER BY run_id DESC LIMIT 1") == [("export", "complete")]


@pytest.mark.parametrize("shape", ["tree", "bagit"])
async def test_files_are_writable_copies_unless_hard_links_are_asked_for(archive, tmp_path, shape):
    tracker, root = archive
    for links in (True, False):
        dest = tmp_path / f"links {links}"
        await run_export(root, dest, shape, **({"links": True} if links else {}))
        top = opened(dest, shape, tmp_path)
        for line in assert_whole(tracker, top):
            file, blob = top / line["path"], root / "blobs" / line["sha256"][:2] / line["sha256"]
            assert file.samefile(blob) == links
            assert stat.S_IMODE(file.stat().st_mode) == (0o400 if links else 0o600)
    for line in index_of(top):
        (top / line["path"]).write_bytes(b"edited")
    assert (await run_verify(root))["status"] == "complete"


async def test_a_copy_is_dated_as_its_attachment_where_that_has_a_date(tmp_path):
    tracker, root = MemoryTracker(), tmp_path / "archive"
    owner = tracker.add("Bug")
    dates = {"2020-02-03T04:05:06+02:00": 1580695506, "1960-01-01T00:00:00": -315619200, "yesterday": None, "": None}
    for number, date in enumerate([*dates, "9999-12-31T23:59:59-12:00"]):
        tracker.attach(owner, f"{number}.txt", b"same", created_at=date)
    await run_backup(tracker, root)
    blobs = {path: path.stat().st_mtime_ns for path in root.glob("blobs/*/*")}
    await run_export(root, tmp_path / "dest")
    found = {path.stem: path.stat().st_mtime for path in (tmp_path / "dest").rglob("*.txt")}
    assert len(found) == 5
    for number, wanted in enumerate(dates.values()):
        assert found[str(number)] == wanted or (wanted is None and abs(found[str(number)] - time.time()) < 600)
    assert {path: path.stat().st_mtime_ns for path in blobs} == blobs


async def test_the_index_opens_in_a_spreadsheet_and_runs_nothing(tmp_path):
    tracker, root = MemoryTracker(asked=()), tmp_path / "archive"
    owner = tracker.add("=Bug", "-1", title="@Łukasz")
    facts = {"created_at": "2018-02-25T05:17:16+01:00", "created_by": "+Żak", "description": "=HYPERLINK()\nx"}
    file = tracker.attach(owner, "=cmd|x.txt", b"x", **facts)
    await run_backup(tracker, root)
    for shape in FORMATS:
        await run_export(root, tmp_path / shape, shape)
        top = opened(tmp_path / shape, shape, tmp_path / "opened")
        [line] = index_of(top)
        assert (top / "index.csv").read_bytes().startswith("\ufeffpath,".encode()), "a spreadsheet knows it is UTF-8"
        assert line.pop("path") == "_=Bug/-1 @Łukasz/=cmd_x.txt"
        assert line == {
            "kind": "'=Bug", "entity_id": "'-1", "attachment_id": file.id, "name": "'=cmd|x.txt", "size": "1",
            "sha256": hashlib.sha256(b"x").hexdigest(), "title": "'@Łukasz", "author": "'+Żak",
            "date": "2018-02-25 05:17:16", "description": "'=HYPERLINK()\nx", "address": "memory:=Bug/-1",
        }  # fmt: skip


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
@pytest.mark.parametrize("shape", FORMATS)
async def test_files_have_the_dates_of_their_attachments_in_every_format(tmp_path, shape):
    tracker, root = MemoryTracker(), tmp_path / "archive"
    for number, date in enumerate(("2020-02-03T04:05:06+02:00", "1969-12-31T23:00:00Z", "", "9999-01-01T00:00:00")):
        tracker.attach(tracker.add("Bug"), f"{number}.txt", b"same", created_at=date)
    await run_backup(tracker, root)
    top = tmp_path / shape
    await run_export(root, top, shape)
    if shape == "zip":
        top = tmp_path / "opened"
        command = ["unzip", "-q", str(tmp_path / "zip"), "-d", str(top)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TZ": "Asia/Tokyo"})
    dates = {path.stem: path.stat().st_mtime for path in top.rglob("*.txt")}
    assert dates["0"] == 1580695506
    assert dates["1"] == -3600 or shape == "zip", "no date in a ZIP file is before 1980"


@pytest.mark.parametrize("shape", FORMATS)
async def test_filters_take_some_of_the_files(archive, tmp_path, shape):
    tracker, root = archive
    bugs = [file for file in tracker.files.values() if file.owner.kind == "Bug" and file.name.endswith(".bin")]
    assert 0 < len(bugs) < len(tracker.files)
    chosen = Selection(frozenset({"Bug"}), name_globs=("*.BIN",))
    summary = await run_export(root, tmp_path / "dest", shape, selection=chosen)
    index = index_of(opened(tmp_path / "dest", shape, tmp_path / "opened"))
    assert {line["attachment_id"] for line in index} == {file.id for file in bugs}
    assert (summary["files"], summary["bytes"]) == (len(bugs), sum(len(tracker.content[file.id]) for file in bugs))


async def test_a_selection_needs_room_for_itself_alone(archive, tmp_path, monkeypatch):
    _, root = archive
    monkeypatch.setattr(copies, "_cloned", lambda *_: False)
    monkeypatch.setattr(disk, "free_bytes", lambda _: RESERVE_BYTES + 10)
    summary = await run_export(root, tmp_path / "dest", selection=Selection(name_globs=("big 7.bin",), max_size=7))
    assert (summary["status"], summary["files"]) == ("complete", 1)


async def test_filters_that_match_nothing_are_refused(archive, tmp_path):
    _, root = archive
    for words, hint in (
        (["--kind", "Bgu"], "did you mean Bug"),
        (["--entity", "Bug:4711"], "matches"),
        (["--name-glob", "*.nothing"], "no file in this archive matches"),
    ):
        done = await run("export", root, tmp_path / "dest", "--format", "tree", *words)
        assert (done.code, hint in done.err) == (2, True), done.err
        assert not (tmp_path / "dest").exists()
    taken = ["--kind", "Bug", "--limit", "1", "--format", "tree"]
    assert (await run("--json", "export", root, tmp_path / "dest", *taken)).document["status"] == "complete"
    assert len({line["entity_id"] for line in index_of(tmp_path / "dest")}) == 1


def share_blocks(_handle: int, request: int, source: int) -> int:
    """What a file system that clones does for ioctl_ficlone(2), as far as anybody sees."""
    assert request == 0x40049409
    at = 0
    while chunk := os.pread(source, 2**20, at):
        at += os.pwrite(_handle, chunk, at)
    return 0


async def test_where_the_file_system_clones_files_an_export_needs_no_room(archive, tmp_path, monkeypatch):
    tracker, root = archive
    cloned = []
    monkeypatch.setattr(copies.fcntl, "ioctl", lambda *asked: cloned.append(asked) or share_blocks(*asked))
    monkeypatch.setattr(disk, "free_bytes", lambda _: RESERVE_BYTES + 10)
    monkeypatch.setattr(copies, "_copied", lambda *_: pytest.fail("copied by hand"))
    await run_export(root, tmp_path / "dest")
    assert_whole(tracker, tmp_path / "dest")
    assert len(cloned) == len(tracker.files) + 1
    assert [path.name for path in tmp_path.iterdir()] == ["archive", "dest"] or not list(tmp_path.glob(".*"))


async def test_where_it_does_not_copies_need_room(archive, tmp_path, monkeypatch):
    _, root = archive
    monkeypatch.setattr(copies, "_cloned", lambda *_: False)
    monkeypatch.setattr(disk, "free_bytes", lambda _: RESERVE_BYTES + 10)
    with pytest.raises(StorageError):
        await run_export(root, tmp_path / "dest")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


async def test_a_name_that_programs_disagree_on_is_avoided_in_a_bag_alone(tmp_path):
    tracker, root = MemoryTracker(), tmp_path / "archive"
    tracker.attach(tracker.add("Bug", title="50% off"), "100%25.txt", b"x")
    await run_backup(tracker, root)
    for shape, path in (("tree", "50% off/100%25.txt"), ("zip", "50% off/100%25.txt"), ("bagit", "50_ off/100_25.txt")):
        await run_export(root, tmp_path / shape, shape)
        [line] = index_of(opened(tmp_path / shape, shape, tmp_path / "opened"))
        assert line["path"].partition(" ")[2] == path
        assert line["name"] == "100%25.txt"
    bagit.Bag(str(tmp_path / "bagit")).validate()


async def test_where_links_are_refused_files_are_copied(archive, tmp_path, monkeypatch):
    tracker, root = archive

    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(formats.os, "link", refuse)
    await run_export(root, tmp_path / "dest", links=True)
    assert_whole(tracker, tmp_path / "dest")


@pytest.mark.parametrize("shape", FORMATS)
async def test_a_destination_in_use_is_refused_and_left_alone(archive, tmp_path, shape):
    _, root = archive
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "mine.txt").write_text("mine")
    for place in (dest, dest / "mine.txt"):
        with pytest.raises(ConfigError, match="exists"):
            await run_export(root, place, shape)
    assert [path.name for path in dest.iterdir()] == ["mine.txt"]
    assert (dest / "mine.txt").read_text() == "mine"


async def test_for_zip_an_empty_folder_is_in_use_too(archive, tmp_path):
    (tmp_path / "dest").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        await run_export(archive[1], tmp_path / "dest", "zip")


async def test_a_destination_inside_of_the_archive_is_refused(archive):
    _, root = archive
    with pytest.raises(ConfigError, match="inside"):
        await run_export(root, root / "out")
    assert (await run_verify(root))["status"] == "complete"


async def test_a_folder_that_cannot_be_replaced_is_filled(archive, tmp_path, monkeypatch):
    tracker, root = archive
    dest = tmp_path / "mounted"
    dest.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == dest)
    before = dest.stat().st_ino
    await run_export(root, dest, "bagit")
    assert_whole(tracker, dest / "data")
    bagit.Bag(str(dest)).validate()
    assert dest.stat().st_ino == before


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("shape", FORMATS)
async def test_a_damaged_and_a_missing_blob_are_named_and_the_rest_is_exported(archive, tmp_path, shape, links):
    tracker, root = archive
    [(bad,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 5.bin'")
    [(gone,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")
    path = root / "blobs" / bad[:2] / bad
    overwrite(path, path.read_bytes()[:-1] + b"?")
    (root / "blobs" / gone[:2] / gone).unlink()
    summary = await run_export(root, tmp_path / "dest", shape, links=links)
    assert summary["status"] == "damaged"
    assert {(p["code"], p["sha256"]) for p in summary["problems"]} == {("E01", bad), ("E02", gone)}
    assert {failure["name"] for failure in summary["failures"]} == {"big 5.bin", "big 7.bin"}
    assert_whole(tracker, opened(tmp_path / "dest", shape, tmp_path / "opened"), missing=2)
    if shape == "bagit":
        bagit.Bag(str(tmp_path / "dest")).validate()
    assert (await run_backup(tracker, root))["attachments"]["stored"] == 2, "the next backup fetches them again"
    assert (await run_export(root, tmp_path / "again", shape))["status"] == "complete"


async def test_a_link_in_place_of_a_blob_is_damage(archive, tmp_path):
    _tracker, root = archive
    [(sha256,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")
    path = root / "blobs" / sha256[:2] / sha256
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    for links in (True, False):
        assert (await run_export(root, tmp_path / f"dest {links}", links=links))["status"] == "damaged"


async def test_files_gone_from_the_source_are_left_out_unless_asked_for(archive, tmp_path):
    tracker, root = archive
    lost = next(file for file in tracker.files.values() if file.name == "big 7.bin")
    content = tracker.content[lost.id]
    tracker.remove(lost.id)
    await run_backup(tracker, root)
    await run_export(root, tmp_path / "dest")
    assert_whole(tracker, tmp_path / "dest")
    await run_export(root, tmp_path / "all", gone=True)
    [line] = [line for line in index_of(tmp_path / "all") if line["attachment_id"] == lost.id]
    assert (tmp_path / "all" / line["path"]).read_bytes() == content


async def test_only_stored_files_are_exported(tmp_path):
    tracker, root = small_tracker(), tmp_path / "archive"
    await run_backup(tracker, root, kinds=("Bug",))
    await run_export(root, tmp_path / "dest")
    assert {line["kind"] for line in index_of(tmp_path / "dest")} == {"Bug", "Unlinked"}


async def test_what_the_archive_lacks_is_named_and_makes_an_export_incomplete(tmp_path):
    tracker, root = small_tracker(), tmp_path / "archive"
    bad = next(file for file in tracker.files.values() if file.name == "big 7.bin")

    async def refuse(verb, key):
        if (verb, key) == ("download", bad.id):
            raise RejectedError("not now")

    tracker.on_call = refuse
    await run_backup(tracker, root)
    summary = await run_export(root, tmp_path / "dest")
    assert (summary["status"], summary["files"]) == ("incomplete", len(tracker.files) - 1)
    assert [failure["name"] for failure in summary["failures"]] == ["big 7.bin"]
    assert_whole(tracker, tmp_path / "dest", missing=1)
    others = await run_export(root, tmp_path / "others", selection=Selection(name_globs=("big 5*",)))
    assert (others["status"], others["failures"]) == ("complete", []), "it is none of these"


async def test_a_blob_lost_before_a_rebuild_is_still_named(archive, tmp_path):
    _, root = archive
    [(gone,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")
    (root / "blobs" / gone[:2] / gone).unlink()
    assert rebuild(Archive(root)).status == "damaged"
    summary = await run_export(root, tmp_path / "dest")
    assert (summary["status"], [failure["name"] for failure in summary["failures"]]) == ("incomplete", ["big 7.bin"])


@pytest.mark.parametrize("shape", FORMATS)
async def test_a_blob_that_the_disk_cannot_read_is_damaged(archive, tmp_path, monkeypatch, shape):
    tracker, root = archive
    [(bad,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 5.bin'")

    class Broken(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opened_blob(blob):
        handle = os.open(blob, os.O_RDONLY)
        return Broken(handle) if blob.name == bad else io.FileIO(handle)

    monkeypatch.setattr(copies, "_opened", opened_blob)
    summary = await run_export(root, tmp_path / "dest", shape)
    assert (summary["status"], [problem["sha256"] for problem in summary["problems"]]) == ("damaged", [bad])
    assert_whole(tracker, opened(tmp_path / "dest", shape, tmp_path / "opened"), missing=1)


def test_an_index_that_does_not_fit_on_the_disk_is_not_taken_for_written(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = formats._text_file(tmp_path / "index.csv")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # the first write is short, the next is refused
    try:
        with pytest.raises(OSError, match="too large"):
            print("x" * 20_000, end="", file=file, flush=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        file.close()


async def test_a_bag_is_valid_for_another_implementation_with_hostile_names(tmp_path):
    tracker = hostile_tracker(HOSTILE)
    await run_backup(tracker, tmp_path / "archive")
    await run_export(tmp_path / "archive", tmp_path / "bag", "bagit")
    bag = bagit.Bag(str(tmp_path / "bag"))
    bag.validate()
    assert bag.version_info == (1, 0)
    assert len(bag.payload_entries()) == len(HOSTILE) + 1
    assert "index.csv" not in {path.name for path in (tmp_path / "bag").iterdir()}
    assert int(bag.info["Payload-Oxum"].partition(".")[2]) == len(HOSTILE) + 1


async def test_a_bag_notices_a_change(archive, tmp_path):
    await run_export(archive[1], tmp_path / "bag", "bagit", links=False)
    path = next((tmp_path / "bag" / "data").rglob("big 7.bin"))
    path.write_bytes(b"y" * 7)
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path / "bag")).validate()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
async def test_a_zip_is_readable_by_unzip_with_hostile_names(tmp_path):
    tracker = hostile_tracker(HOSTILE)
    await run_backup(tracker, tmp_path / "archive")
    await run_export(tmp_path / "archive", tmp_path / "all.zip", "zip")
    command = ["unzip", "-q", str(tmp_path / "all.zip"), "-d", str(tmp_path / "out")]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"}, capture_output=True)
    assert_whole(tracker, tmp_path / "out")


async def test_a_zip_deflates_what_gets_smaller_and_stores_the_rest(tmp_path):
    tracker = MemoryTracker()
    owner = tracker.add("Bug")
    tracker.attach(owner, "text.log", b"line\n" * 50_000, created_at="2020-02-03T04:05:06+00:00")
    tracker.attach(owner, "noise.jpg", random.Random(1).randbytes(100_000))
    await run_backup(tracker, tmp_path / "archive")
    await run_export(tmp_path / "archive", tmp_path / "all.zip", "zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        found = {Path(entry.filename).name: entry for entry in file.infolist()}
    assert found["text.log"].compress_size < 5_000
    assert found["text.log"].date_time == (2020, 2, 3, 4, 5, 6)
    assert found["noise.jpg"].compress_type == zipfile.ZIP_STORED


def hostile_tracker(some, kinds=("Bug",), titles=("",)) -> MemoryTracker:
    tracker = MemoryTracker(asked=())
    owners = [tracker.add(kind, title=title) for kind in kinds for title in titles]
    for number, name in enumerate(some):
        clean = name.encode("utf-8", "replace").decode()
        tracker.attach(owners[number % len(owners)], clean, f"{number}".encode())
    return tracker


encodable = names.map(lambda name: name.encode("utf-8", "replace").decode())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(encodable, min_size=1, max_size=12),
    kinds=st.lists(encodable.filter(lambda kind: kind != "Unlinked"), min_size=1, max_size=3, unique=True),
    titles=st.lists(encodable, min_size=1, max_size=3),
    shape=st.sampled_from(["tree", "bagit"]),
)
def test_hostile_names_stay_inside_of_dest_and_are_legal_everywhere(tmp_path_factory, some, kinds, titles, shape):
    top = tmp_path_factory.mktemp("hostile")
    tracker = hostile_tracker(some, kinds, titles)
    asyncio.run(run_backup(tracker, top / "archive"))
    before = {str(path) for path in top.rglob("*")}
    asyncio.run(run_export(top / "archive", top / "dest", shape))
    made = {str(path) for path in top.rglob("*")} - before
    assert all(path == str(top / "dest") or path.startswith(f"{top / 'dest'}/") for path in made)
    for line in assert_whole(tracker, opened(top / "dest", shape, top)):
        parts = line["path"].split("/")
        assert len(parts) == 3
        for part in parts:
            (assert_fit_for_a_bag if shape == "bagit" else assert_legal)(part)
        assert len(line["path"].encode("utf-16-le")) // 2 <= 230
    if shape == "bagit":
        bagit.Bag(str(top / "dest")).validate()
    shutil.rmtree(top)


async def test_kinds_and_entities_with_similar_names_get_folders_of_their_own(tmp_path):
    tracker = MemoryTracker(asked=())
    for kind, entity in (("Bug", "a"), ("BUG", "a"), ("Bug", "A"), ("index.csv", "1")):
        tracker.attach(tracker.add(kind, entity), "x.txt", f"{kind}{entity}".encode())
    await run_backup(tracker, tmp_path / "archive")
    await run_export(tmp_path / "archive", tmp_path / "dest")
    found = {line["path"].casefold() for line in assert_whole(tracker, tmp_path / "dest")}
    assert len(found) == 4


async def test_a_stop_leaves_nothing_at_the_destination(archive, tmp_path):
    stop = asyncio.Event()
    stop.set()
    for shape in FORMATS:
        summary = await run_export(archive[1], tmp_path / "dest", shape, stop=stop)
        assert summary["status"] == "interrupted"
        assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("shape", FORMATS)
async def test_killed_at_any_step_it_leaves_all_or_nothing_and_the_next_cleans(tmp_path, shape):
    tracker, root = small_tracker(3), tmp_path / "archive"
    await run_backup(tracker, root)
    dest, step, deaths = tmp_path / "dest", 0, 0
    while True:
        step += 1 if FULL else 3
        code = await asyncio.to_thread(dies_at, step, root, dest, shape)
        if dest.exists():
            assert_whole(tracker, opened(dest, shape, tmp_path / f"opened {step}"))
            shutil.rmtree(dest) if dest.is_dir() else dest.unlink()
        if code == DONE:
            break
        assert code == DIED
        deaths += 1
    assert deaths > 4
    await run_export(root, dest, shape)
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("opened")}
    assert left == {"archive", "dest"}


@pytest.mark.parametrize("shape", ["tree", "bagit"])
async def test_killed_while_it_fills_a_folder_it_is_simply_repeated(tmp_path, monkeypatch, shape):
    tracker, root, dest = small_tracker(3), tmp_path / "archive", tmp_path / "mounted"
    await run_backup(tracker, root)
    dest.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == dest)
    step, halves = 0, 0
    while await asyncio.to_thread(dies_at, step := step + 1, root, dest, shape, mounted=True) == DIED:
        names = {path.name for path in dest.iterdir() if not path.name.startswith(".export")}
        halves += 0 < len(names) < 3
    assert halves > 1, "some were killed between two names"
    assert_whole(tracker, dest / "data" if shape == "bagit" else dest)
    with pytest.raises(ConfigError, match="not empty"):
        await run_export(root, dest, shape)


# The real program


async def test_the_program_exports_and_refuses_with_status_2(archive, tmp_path):
    tracker, root = archive
    done = await run("--json", "export", root, tmp_path / "dest", "--format", "tree")
    assert (done.code, done.document["status"], done.document["files"]) == (0, "complete", len(tracker.files))
    assert_whole(tracker, tmp_path / "dest")
    again = await run("--json", "export", root, tmp_path / "dest", "--format", "tree")
    assert (again.code, again.document["error"]["code"]) == (2, 2)
    people = await run("export", root, tmp_path / "all.zip", "--format", "zip")
    assert people.code == 0
    assert f"{len(tracker.files)} files" in people.out
    assert f"export: {len(tracker.files)} files, " in people.err, "progress is shown"


async def test_the_program_names_a_damaged_blob_with_status_5(archive, tmp_path):
    _, root = archive
    [(sha256,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")
    overwrite(root / "blobs" / sha256[:2] / sha256, b"x")
    done = await run("export", root, tmp_path / "dest", "--format", "tree")
    assert done.code == 5
    assert "big 7.bin" in done.out
    assert sha256 in done.out


async def test_a_killed_export_leaves_no_destination_and_it_holds_the_archive(tmp_path):
    tracker, root = MemoryTracker(asked=()), tmp_path / "archive"
    owner = tracker.add("Bug")
    for number in range(40):
        tracker.attach(owner, f"{number}.bin", random.Random(number).randbytes(3_000_000))
    await run_backup(tracker, root)
    process = await start("export", root, tmp_path / "dest", "--format", "zip")
    await until(lambda: list(tmp_path.glob(".export-*")), every=0.001)
    process.send_signal(signal.SIGSTOP)
    assert (await run("--json", "status", root)).code == 0
    refused = await run("--json", "export", root, tmp_path / "other", "--format", "tree")
    assert refused.code == 6
    assert await kill(process), "it was at work still"
    assert not (tmp_path / "dest").exists()
    assert (await run("--json", "export", root, tmp_path / "second", "--format", "tree")).code == 0
    assert_whole(tracker, tmp_path / "second")


def test_the_place_of_an_export_depends_on_archive_and_destination(tmp_path):
    one, two = (Destination(tmp_path / name, tmp_path / "dest", file=False).partial for name in ("a", "b"))
    assert one != two
    assert one.parent == two.parent == tmp_path
