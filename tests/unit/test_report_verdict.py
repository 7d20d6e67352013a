"""The verdict of a report in one true sentence; short reasons; numbers for each target; links to exported files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest

from migrator.errors import ConfigError, RejectedError
from migrator.model import RunStatus
from migrator.pipeline.report.reasons import short_reason
from migrator.pipeline.report.writers import report
from migrator.store import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import run_backup, run_load, run_rollback, small_tracker, stored, twin_of
from tests.unit.test_export import run_export
from tests.unit.test_report import Page

TITLES = {"source": "Old Tracker", "memory": "New Tracker", "first": "First", "second": "Second"}


def reported(root: Path, out: Path, **how):
    """The summary of a report, and the text of its file."""
    with closing(Catalog(root, read_only=True)) as catalog:
        summary = report(catalog, lambda _: lambda *_: "", out, title_of=TITLES.__getitem__, **how).as_json()
    return summary, out.read_text(encoding="utf-8")


async def backed_up(root: Path, *refused: str) -> MemoryTracker:
    """Twelve files, of which these can't be fetched."""
    tracker = MemoryTracker()
    for number in range(4):
        owner = tracker.add("Bug", title=f"bug {number}")
        for name in ("a", "b", "c"):
            tracker.attach(owner, f"{name}{number}.txt", f"{name}{number}".encode())

    async def refuse(verb: str, about: str) -> None:
        if verb == "download" and tracker.files[about].name in refused:
            raise RejectedError(f"GET file/{about}: status 403, no right to file {about}")

    tracker.on_call = refuse
    await run_backup(tracker, root, identity="source")
    return tracker


@pytest.mark.parametrize(
    ("refused", "verdict", "sentence"),
    [
        ((), "fine", "All 12 files of Old Tracker are in the archive."),
        (
            ("a0.txt", "b1.txt"),
            "bad",
            "10 of 12 files of Old Tracker are in the archive; 2 could not be fetched (access denied (status 403)).",
        ),
    ],
)
async def test_verdict_of_a_backup_counts_files_and_names_reasons(tmp_path, refused, verdict, sentence):
    await backed_up(tmp_path / "archive", *refused)
    summary, page = reported(tmp_path / "archive", tmp_path / "report.html")
    assert (summary["verdict"], summary["sentence"]) == (verdict, sentence)
    first = next(attributes for tag, attributes in Page(page).elements if tag == "p")
    assert first["class"] == f"verdict {verdict}"
    assert page.index(sentence) < page.index("<h1>")


async def test_verdict_of_a_load_says_whether_files_are_equal(tmp_path):
    source = await backed_up(tmp_path / "archive")
    target, mapping = twin_of(source)
    await run_load(target, tmp_path / "archive", mapping)
    summary, _ = reported(tmp_path / "archive", tmp_path / "report.html")
    assert summary["sentence"] == "All 12 files arrived at New Tracker."
    await run_load(target, tmp_path / "archive", mapping, verify_content=True)
    summary, _ = reported(tmp_path / "archive", tmp_path / "report.html")
    assert (summary["verdict"], summary["sentence"]) == ("fine", "All 12 files arrived at New Tracker and are equal.")


async def test_each_target_has_numbers_and_missing_files_of_its_own(tmp_path):
    source, root = await backed_up(tmp_path / "archive"), tmp_path / "archive"
    first, whole = twin_of(source)
    second, _ = twin_of(source)
    some = dict(list(whole.items())[:3])
    await run_load(first, root, whole, identity="first")
    await run_load(second, root, some, identity="second")
    summary, text = reported(root, tmp_path / "report.json")
    targets = json.loads(text)["targets"]
    assert [targets[name]["files"]["arrived"] for name in ("first", "second")] == [12, 9]
    assert [targets[name]["files"]["missing"] for name in ("first", "second")] == [0, 3]
    assert [targets[name]["entities"] for name in ("first", "second")] == [4, 3]
    assert summary["verdict"] == "warning", "nothing failed, and something did not arrive"
    clauses = ["All 12 files arrived at First", "9 of 12 files arrived at Second"]
    assert summary["sentence"] == "; ".join([*clauses, "3 not loaded at Second (no row in the mapping)."])
    await run_rollback(second, root, identity="second")
    summary, _ = reported(root, tmp_path / "report.json")
    assert summary["sentence"] == "All 12 files arrived at First.", "from the other it was rolled back, which was meant"
    assert (summary["verdict"], summary["missing"], summary["intended"]) == ("fine", 0, 9)


async def test_files_that_came_after_the_last_load_are_said_to_be_newer(tmp_path):
    source, root = await backed_up(tmp_path / "archive"), tmp_path / "archive"
    target, mapping = twin_of(source)
    await run_load(target, root, mapping)
    source.attach(next(iter(source.entities)), "late.txt", b"late")
    await run_backup(source, root, identity="source")
    sentence = reported(root, tmp_path / "report.json")[0]["sentence"]
    assert sentence == "12 of 13 files arrived at New Tracker; 1 not loaded yet (newer than the last load)."


async def test_verdict_is_no_praise_while_the_source_is_not_read_to_its_end(tmp_path):
    root = tmp_path / "archive"
    await backed_up(root)
    with closing(Catalog(root)) as catalog:
        catalog.runs.end(catalog.runs.begin("backup"), RunStatus.INTERRUPTED, {})
    summary, _ = reported(root, tmp_path / "report.json")
    assert summary["verdict"] == "warning"
    assert summary["sentence"].endswith("; the last backup was interrupted, so the source may have more.")


async def test_verdict_says_that_files_vanished_at_once(tmp_path):
    source, root = small_tracker(), tmp_path / "archive"
    await run_backup(source, root, identity="source")
    await run_backup(MemoryTracker(), root, identity="source")
    summary, page = reported(root, tmp_path / "report.html")
    assert summary["verdict"] == "bad"
    assert "files no longer listed (" in summary["sentence"]
    assert "--accept-gone" not in summary["sentence"], "the remedy is below"
    assert "--accept-gone" in page


async def test_an_archive_without_a_backup_is_not_fine(tmp_path):
    (tmp_path / "archive").mkdir()
    Catalog(tmp_path / "archive").close()
    summary, _ = reported(tmp_path / "archive", tmp_path / "report.html")
    assert (summary["verdict"], summary["sentence"]) == ("warning", "Nothing has been backed up yet.")


async def test_missing_renamed_and_intended_are_counted_apart(tmp_path):
    root = tmp_path / "archive"
    source = await backed_up(root, "a0.txt")
    source.attach(next(iter(source.entities)), "x/y.txt", b"renamed")
    await run_backup(source, root, identity="source")
    target, mapping = twin_of(source)
    await run_load(target, root, mapping)
    source.remove(next(file.id for file in source.files.values() if file.name == "b1.txt"))
    await run_backup(source, root, identity="source")
    summary, page = reported(root, tmp_path / "report.html")
    assert {key: summary[key] for key in ("missing", "altered", "intended")} == {
        "missing": 1,
        "altered": 1,
        "intended": 1,
    }
    headings = ("Missing: 1 file", "Renamed or altered: 1 file", "Left out, deleted or rolled back: 1 file")
    assert [page.index(heading) for heading in headings] == sorted(page.index(heading) for heading in headings)
    assert "no right to file" in page, "the message of the tracker can be unfolded"


async def test_unknown_sizes_are_said_to_be_unknown(tmp_path):
    root = tmp_path / "archive"
    await backed_up(root, "a0.txt", "a1.txt")
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("UPDATE attachments SET size = NULL WHERE status = 'failed'")
    _, page = reported(root, tmp_path / "report.html")
    assert "20 B on 4 entities; 2 of unknown size" in page
    assert "Bug</bdi>: 12 files, 20 B, 2 of unknown size" in page
    assert page.count("<td>unknown</td>") == 2


async def test_entities_without_files_are_named(tmp_path):
    tracker = MemoryTracker()
    tracker.add("Bug", title="nothing here")
    await run_backup(tracker, tmp_path / "archive", identity="source")
    _, page = reported(tmp_path / "archive", tmp_path / "report.html")
    assert 'nothing here</bdi> <span class="soft">no files</span>' in page


@pytest.mark.parametrize("shape", ["tree", "bagit"])
@pytest.mark.parametrize("place", [".", "elsewhere"])
async def test_names_lead_to_the_files_of_an_exported_tree(tmp_path, shape, place):
    source, root = small_tracker(), tmp_path / "archive"
    odd = source.attach(next(iter(source.entities)), "100% <b>#1?.txt", b"odd")
    await run_backup(source, root, identity="source")
    await run_export(root, tmp_path / "files", shape)
    (tmp_path / place).mkdir(exist_ok=True)
    out = tmp_path / place / "report.html"
    _, page = reported(root, out, tree=tmp_path / "files")
    links = [attributes["href"] for tag, attributes in Page(page).elements if tag == "a" and attributes.get("href")]
    led = [link for link in links if not link.startswith("#")]
    assert len(led) == len(stored(root)) == len(source.files)
    assert all(link.startswith(("./", "../")) for link in led)
    contents = sorted((out.parent / unquote(link)).read_bytes() for link in led)
    assert contents == sorted(source.content.values())
    assert odd.id in source.files
    with sqlite3.connect(root / "catalog.db") as db:  # as if its content were another one since
        db.execute("UPDATE attachments SET sha256 = (SELECT max(sha256) FROM blobs) WHERE name = 'big 5.bin'")
    _, page = reported(root, out, tree=tmp_path / "files")
    assert page.count('<a href="./') + page.count('<a href="../') == len(led) - 1, "not to what it was before"


async def test_no_link_leads_out_of_the_exported_tree(tmp_path):
    source, root, tree = small_tracker(), tmp_path / "archive", tmp_path / "files"
    await run_backup(source, root, identity="source")
    tree.mkdir()
    lines = [
        f"{path},{id_},{sha256}"
        for (id_, (_, sha256)), path in zip(
            stored(root).items(), ("../secret", "/etc/passwd", "a/../../b", "javascript:alert(1)"), strict=False
        )
    ]
    (tree / "index.csv").write_text("\n".join(["path,attachment_id,sha256", *lines]))
    _, page = reported(root, tmp_path / "report.html", tree=tree)
    links = [attributes["href"] for tag, attributes in Page(page).elements if tag == "a"]
    assert links == ["./files/javascript%3Aalert%281%29"]


async def test_a_folder_that_is_no_export_is_refused(tmp_path):
    await backed_up(tmp_path / "archive")
    with pytest.raises(ConfigError, match=r"not an exported tree \(no index.csv in it\)"):
        reported(tmp_path / "archive", tmp_path / "report.html", tree=tmp_path)
    with pytest.raises(ConfigError, match="is for a page"):
        reported(tmp_path / "archive", tmp_path / "report.csv", tree=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        ("GET api/v1/Bugs/7: status 403, you may not", "access denied (status 403)"),
        ("POST a b.json: status 413", "too large for the tracker (status 413)"),
        ("GET x: status 500, oops", "an error of the tracker (status 500)"),
        ("GET x: redirected to files.example: status 404", "not found (status 404)"),
        ("too short: 9 bytes came, 10 were listed", "it came too short"),
        ('a login page instead of the file ("Log in"); are these good?', "a login page came instead of the file"),
        ("GET x: timed out waiting for data", "timed out"),
        ("GET x: no connection to 127.0.0.1:9 (connection refused)", "no connection"),
        (
            "images can't be downloaded: use a cookie. Set [source.download_auth]",
            "images can't be downloaded: use a cookie",
        ),
        ("x" * 500, "x" * 159 + "…"),
    ],
)
def test_short_reason_leaves_out_request_and_remedy(reason, short):
    assert short_reason(reason) == short
