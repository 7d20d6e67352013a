"""The pages of `migrator browse`: real requests to the real server, over an archive whose tracker wished us ill."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import pytest

from migrator.jobs.browse.contents import image_type, text_preview
from migrator.store import Catalog
from migrator.store.blobs import Archive
from migrator.trackers.memory import MemoryTracker
from tests.support.browsed import LARGE, ODD_NAME, SCRIPT, Served, browsed, hostile_archive, png
from tests.support.program import run

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    root = tmp_path / "archive"
    tracker, ids = await hostile_archive(root)
    async with browsed(root, tmp_path / "copy") as url, aiohttp.ClientSession() as session:
        yield Served(root, tracker, ids, url, session)


@pytest.fixture(scope="module")
def one_archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("browse") / "archive"
    asyncio.run(hostile_archive(root))
    return root


@pytest.fixture
async def served_once(one_archive, tmp_path) -> AsyncIterator[Served]:
    """The same for tests that only ask."""
    async with browsed(one_archive, tmp_path / "copy") as url, aiohttp.ClientSession() as session:
        yield Served(one_archive, MemoryTracker(), {}, url, session)


# What is on the pages


async def test_the_start_page_says_what_status_says(served):
    answer = (await run("--json", "status", served.root)).document["health"]["answer"]
    page = await served.page("/")
    said = re.search(r'class="verdict warning">([^<]*)<', page)[1]
    ages = re.compile(r"\d+(\.\d+)? s ago")
    assert ages.sub("", said) == ages.sub("", answer)
    assert "refused.txt" in page
    assert "no: &lt;script&gt;" in page


async def test_search_finds_words_in_titles_names_and_ids(served):
    assert "Login page broken" in await served.page("/search", q="broken log")
    assert "april-report.txt" in await served.page("/search", q="REPORT apr")
    assert "april-report.txt" in await served.page("/search", q="EPÖR l-")
    assert "april-report.txt" in await served.page("/search", q="a*.t?t")
    assert "april-report.txt" not in await served.page("/search", q="a*.pdf")
    assert "Login page broken" in await served.page("/search", q="2/3?x")
    assert "Nothing was found" in await served.page("/search", q="nowhere")
    assert "withdrawn.bin" not in await served.page("/", q="withdrawn")


@pytest.mark.parametrize(
    "text",
    ['"', "*", '""', "a*b", "NEAR(", "NEAR/2", "AND", "OR NOT", "name:x", "{name}:", "-x", "^a", "'", "\\", "()", "\0",
     "%", "日本", "²", "é" * 2000, "a " * 500, "ª", "\U0001f600", "<script>", "\u0345", "select; drop table"],
)  # fmt: skip
async def test_no_search_is_an_error(served_once, text):
    assert (await served_once.get("/search", params={"q": text}))[0] == 200


async def test_the_view_of_files_says_all_about_each_in_one_row(served):
    rows = json.loads(await served.page("/catalog/files.json", _shape="objects", name="april-report.txt"))["rows"]
    assert {row["title"] for row in rows} == {"Login page broken"}
    assert (served.root / rows[0]["path"]).read_bytes() == "Grüße\n".encode() * 20_000
    [refused] = json.loads(await served.page("/catalog/files.json", _shape="objects", name="refused.txt"))["rows"]
    assert (refused["path"], refused["status"], refused["size"]) == (None, "failed", 5)
    assert "april-report.txt" in await served.page("/catalog/files")


async def test_an_earlier_snapshot_is_shown_as_it_was(served):
    now, then = await served.page("/search", q="report"), await served.page("/search", q="report", at="1")
    assert ("april-report.txt" in now, "march-report.txt" in now) == (True, False)
    assert ("april-report.txt" in then, "march-report.txt" in then) == (False, True)
    entity = {"kind": "Story", "id": "2/3?x=&y"}
    assert "withdrawn.bin" in await served.page("/entity", at="1", **entity)
    assert "withdrawn.bin" not in await served.page("/entity", at="2", **entity)
    assert (await served.get("/download", params={"id": served.ids["gone"], "at": "1"}))[2] == b"\0\1\2"
    await served.page("/file", 404, id=served.ids["gone"], at="2")
    for unknown in ("3", "99", "x", "-1", "1 OR 1"):
        await served.page("/search", 404, at=unknown)


async def test_every_snapshot_holds_what_the_catalog_says(served):
    for run_id in (1, 2):
        with closing(Catalog(served.root, read_only=True)) as catalog:
            catalog.snapshots.view(run_id)
            held = {tuple(row) for row in catalog.db.execute("SELECT attachment_id, name, sha256 FROM attachments")}
        sql = "select attachment_id, name, sha256 from browse_files where :at between from_run and until_run"
        rows = json.loads(await served.page("/catalog.json", sql=sql, at=str(run_id), _shape="arrays"))["rows"]
        assert {tuple(row) for row in rows} == held


@pytest.mark.parametrize("name", ["archive-1", "archive-1-before-manifests"])
async def test_an_archive_of_an_earlier_version_is_shown(tmp_path, name):
    root = tmp_path / "archive"
    shutil.copytree(FIXTURES / name, root)
    with closing(Catalog(root, read_only=True)) as catalog:
        stored = catalog.db.execute("SELECT attachment_id, sha256 FROM attachments WHERE status = 'stored'").fetchall()
    async with browsed(root, tmp_path / "copy") as url, aiohttp.ClientSession() as session:
        shown = Served(root, MemoryTracker(), {}, url, session)
        assert 'class="verdict' in await shown.page("/")
        assert stored
        for id_, sha256 in stored:
            _, _, body = await shown.get("/download", params={"id": id_})
            assert hashlib.sha256(body).hexdigest() == sha256


async def test_nothing_that_came_from_the_tracker_is_markup(served):
    evil = {"kind": "Bug", "id": "1"}
    pages = [
        await served.page("/"),
        await served.page("/failures"),
        await served.page("/search", q="script"),
        await served.page("/search", q=SCRIPT),
        await served.page("/entity", **evil),
        *[await served.page("/file", id=served.ids[name]) for name in ("picture", "fake", "svg", "odd", "old")],
        await served.page("/catalog/entities"),
        await served.page("/catalog/attachments"),
    ]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert 'href="javascript:' not in page
        assert "\u202e" not in page, "it would turn the text after it around"
    assert "&lt;script&gt;" in pages[4]
    assert "javascript:alert(1)" in pages[4], "it is shown, but is no link"
    good = await served.page("/entity", kind="Story", id="2/3?x=&y")
    assert '<a rel="noopener noreferrer" href="https://tracker.example/bug/2?a=1&amp;b=&#34;2">' in good
    assert 'href="https://tracker' not in await served.page("/catalog/entities")


async def test_texts_are_previewed_and_images_shown_by_their_content(served):
    text = await served.page("/file", id=served.ids["old"])
    assert "Grüße" in text
    assert len(text) < 80_000
    assert "<img" not in await served.page("/file", id=served.ids["fake"])
    assert "&lt;svg" in await served.page("/file", id=served.ids["svg"])
    assert "<img" in await served.page("/file", id=served.ids["picture"])
    status, headers, body = await served.get("/image", params={"id": served.ids["picture"]})
    assert (status, headers["content-type"], body) == (200, "image/png", png())
    assert headers["content-disposition"].startswith("inline")
    for name in ("fake", "svg", "odd", "large", "failed"):
        assert (await served.get("/image", params={"id": served.ids[name]}))[0] == 404


# Files


async def test_a_file_is_a_download_that_can_run_nothing(served):
    for name in ("fake", "svg", "odd", "picture"):
        status, headers, body = await served.get("/download", params={"id": served.ids[name]})
        assert (status, body) == (200, served.tracker.content[served.ids[name]])
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment;")
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["x-content-type-options"] == "nosniff"
    _, headers, _ = await served.get("/download", params={"id": served.ids["odd"]})
    assert "x-evil" not in headers
    plain, _, encoded = headers["content-disposition"].partition("; filename*=UTF-8''")
    assert plain == 'attachment; filename="a_b_c__X-Evil: 1 _ gr__e __.html"'
    assert unquote(encoded) == ODD_NAME.replace("\r\n", "\ufffd\ufffd")


async def test_a_large_file_is_sent_whole_and_its_head_alone_if_asked(served):
    status, headers, body = await served.get("/download", params={"id": served.ids["large"]})
    assert (status, len(body), headers["content-length"]) == (200, LARGE, str(LARGE))
    status, headers, body = await served.get("/download", params={"id": served.ids["large"]}, method="HEAD")
    assert (status, len(body), headers["content-length"]) == (200, 0, str(LARGE))


async def test_a_damaged_or_missing_file_is_said_to_be_so(served, caplog):
    def blob(name: str) -> Path:
        return Archive(served.root).store.path_of(hashlib.sha256(served.tracker.content[served.ids[name]]).hexdigest())

    blob("picture").unlink()
    for name, size in (("odd", None), ("large", LARGE)):
        path, content = blob(name), served.tracker.content[served.ids[name]]
        path.chmod(0o600)
        path.write_bytes(b"!" + content[1:] if size else b"?" * len(content))
    assert "damaged or missing" in await served.page("/file", 410, id=served.ids["picture"])
    for path, name in (("/download", "picture"), ("/image", "picture"), ("/download", "odd")):
        await served.page(path, 410, id=served.ids[name])
    with pytest.raises(aiohttp.ClientPayloadError):
        await served.get("/download", params={"id": served.ids["large"]})
    assert "a download was broken off" in caplog.text
    assert "Traceback" not in caplog.text
    caplog.clear()
    await served.get("/download", params={"id": served.ids["large"]}, method="HEAD")
    await asyncio.sleep(0.5)
    assert caplog.text == "", "nothing was read"
    assert "never" not in await served.page("/download", 404, id=served.ids["failed"])
    await served.page("/download", 404, id="no such file")


# Who may ask, and how


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.example:80", "10.0.0.1", ""])
async def test_a_foreign_host_is_refused(served_once, host):
    for path in ("/", "/catalog", "/assets/browse.css", "/download?id=1"):
        status, headers, body = await served_once.get(path, headers={"Host": host})
        assert status in ({403} if host else {400, 403})
        assert b"<" not in body
        assert "set-cookie" not in headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:8001"])
async def test_this_machine_may_be_named_in_any_way(served_once, host):
    assert (await served_once.get("/", headers={"Host": host}))[0] == 200


async def test_a_page_of_another_site_may_link_here_and_no_more(served_once):
    def sent(mode: str, dest: str) -> dict[str, str]:
        return {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}

    assert (await served_once.get("/", headers=sent("navigate", "document")))[0] == 200
    for mode, dest in (("navigate", "iframe"), ("no-cors", "image"), ("no-cors", "script"), ("cors", "empty")):
        assert (await served_once.get("/catalog?sql=select+1", headers=sent(mode, dest)))[0] == 403


async def test_only_reading_methods_are_answered(served_once):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/catalog", "/catalog/runs"):
            assert (await served_once.get(path, method=method))[0] == 405
    for path in ("/", "/search", "/catalog", "/assets/browse.css"):
        status, _, body = await served_once.get(path, method="HEAD")
        assert (status, body) == (200, b"")


async def test_every_page_has_a_strict_policy(served_once):
    for path in (
        "/",
        "/search?q=a",
        "/failures",
        "/nowhere",
        "/catalog",
        "/catalog/runs",
        "/catalog?sql=select+1",
        "/x/y",
    ):
        _, headers, _ = await served_once.get(path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        scripts = re.search(r"script-src ([^;]*)", policy)
        assert not scripts or "unsafe" not in scripts[1]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
    for path in ("/-/plugins", "/-/databases.json", "/-/metadata", "/-/permissions", "/_internal", "/_memory"):
        assert (await served_once.get(path))[0] == 404


@pytest.mark.parametrize(
    "sql",
    [
        "attach 'file:PATH?mode=rwc' as other",
        "with x as (select 1) insert into settings select 'a', 'b'",
        "with x as (select 1) delete from settings",
        "with x as (select 1) update settings set value = 'x'",
        "create table x (a)",
        "drop table settings",
        "vacuum into 'PATH'",
        "pragma query_only = 0",
        "select load_extension('PATH')",
        "select writefile('PATH', 'x')",
        "select readfile('PATH')",
        "select edit('x', 'touch PATH')",
        "select 1; attach 'PATH' as other",
        "select fts3_tokenizer('simple')",
        "select * from pragma_writable_schema",
        "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
    ],
)
async def test_the_sql_console_only_reads_the_copy_and_for_a_short_time(served_once, tmp_path, sql):
    path = tmp_path / "made"
    status, _, body = await served_once.get("/catalog.json", params={"sql": sql.replace("PATH", str(path))})
    assert status == 400, body
    assert not path.exists()
    status, _, body = await served_once.get("/catalog.json", params={"sql": "select count(*) from settings"})
    assert status == 200


# What is in a file


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html>\x89PNG", None),
        (b"BM......", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(head, kind):
    assert image_type(head) == kind


def test_a_text_may_be_cut_anywhere_and_shows_no_hidden_characters():
    assert text_preview("Grüße".encode()[:3]) == "Gr"
    assert text_preview("\ufeffa\r\nb".encode("utf-16-le")) == "a\nb"
    assert text_preview("a\u202eb".encode()) == "a\ufffdb"
    assert text_preview(b"\xff\x00") is None
    assert text_preview(b"a\0b") is None
