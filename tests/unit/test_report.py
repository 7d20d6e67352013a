"""The report: true, whole, harmless whatever names there are, and made while others work."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sqlite3
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from migrator.errors import ConfigError, RejectedError
from migrator.jobs.commands.report import command
from migrator.layers.retry import RetryingTarget
from migrator.model import Attachment, EntityRef
from migrator.pipeline.report.data import EntityReport, FileReport
from migrator.pipeline.report.history import History
from migrator.pipeline.report.html import write_page
from migrator.pipeline.report.totals import Totals
from migrator.pipeline.report.writers import report
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store.catalog import Catalog
from migrator.store.lock import ArchiveLock
from migrator.trackers import TRACKERS, adapter
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import FULL, PATIENCE, rows, run_backup, run_load, small_tracker, twin_of
from tests.support.program import config_of, run

XSS = (
    "<script>alert(1)</script>.txt",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)",
    "</details></table></style><svg onload=alert(1)>",
    "&lt;script&gt;",
    "=HYPERLINK(1)",
    "\u202egnp.exe",
    "\x1b[31mred",
)
VOID = {"meta", "br", "rect", "input"}


class Page(HTMLParser):
    """What a browser makes of the page: elements, attributes, texts; fails where elements are not nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in {"tr", "td", "th", "table"} and tag not in self.open:
            raise AssertionError(tag)
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def policy_of(page: Page) -> str:
    """The content security policy of a page."""
    [policy] = [of["content"] for tag, of in page.elements if tag == "meta" and "http-equiv" in of]
    return policy


def policy_for(text: str) -> str:
    """The strictest policy that lets a page with this text use its own style and script."""
    [style], [script] = (re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("style", "script"))
    of_style, of_script = (
        base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)
    )
    rules = ["default-src 'none'", f"style-src 'sha256-{of_style}'", f"script-src 'sha256-{of_script}'"]
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def memory_url(base: str, attachment: Attachment) -> str:
    return f"https://{base or 'source'}.example/{attachment.id}"


def write(root: Path, out: Path | None, redirects: Path | None = None, url_of=lambda _: memory_url):
    catalog = Catalog(root, read_only=True)
    try:
        return report(catalog, url_of, out, redirects).as_json()
    finally:
        catalog.close()


@pytest.fixture
async def moved(tmp_path):
    """An archive with something of everything: loaded, failed, unmapped, renamed, gone, damaged."""
    source, root = small_tracker(), tmp_path / "archive"
    bug = next(ref for ref in source.entities if ref.kind == "Bug")
    for name in XSS:
        source.attach(bug, name, name.encode(), created_by="<b>Ann</b>")
    source.attach(bug, "a/b.txt", b"slash")
    await run_backup(source, root)
    target, mapping = twin_of(source)

    class Refusing(MemoryTarget):
        async def upload(self, owner, draft, body):
            if draft.name == "big 7.bin":
                raise RejectedError("POST upload: status 413 <i>too large</i>")
            return await super().upload(owner, draft, body)

    await run_load(target, root, mapping, target=RetryingTarget(Refusing(target), PATIENCE), verify_content=True)
    lost = next(file for file in source.files.values() if file.name == "big 8.bin")
    source.remove(lost.id)
    await run_backup(source, root)
    return source, target, root


async def test_the_document_tells_of_every_file_where_it_is_and_why_not(moved, tmp_path):
    source, _target, root = moved
    summary = write(root, tmp_path / "report.json")
    document = json.loads((tmp_path / "report.json").read_text())
    files = {file["attachment"]: file for entity in document["details"] for file in entity["attachments"]}
    assert summary["attachments"] == len(files) == len(source.files) + 1
    for id_, of in source.files.items():
        assert (files[id_]["name"], files[id_]["size"]) == (of.name, len(source.content[id_]))
        assert len(files[id_]["sha256"]) == 64
    by_name = {file["name"]: file for file in files.values()}
    assert by_name["loose.txt"]["differs"] == ["not loaded: no row in the mapping"]
    assert by_name["big 8.bin"]["differs"] == ["no longer in the source; the archive has kept it"]
    assert by_name["a/b.txt"]["differs"] == ["renamed to a name that the target allows"]
    assert by_name["a/b.txt"]["uploads"][0]["name"] == "a_b.txt"
    assert "413" in by_name["big 7.bin"]["differs"][0]
    assert by_name["big 5.bin"]["differs"] == []
    assert by_name["big 5.bin"]["uploads"][0]["content"] == "same"
    # beside those four, two of the hostile names have a slash
    assert summary["differing"] == document["differing"] == sum(bool(file["differs"]) for file in files.values()) == 6
    assert len(document["details"]) == len(source.entities) + 1


async def test_the_page_is_self_contained_and_hostile_names_are_only_text_on_it(moved, tmp_path):
    _, _, root = moved
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("UPDATE entities SET url = 'javascript:alert(1)', title = ? WHERE kind = 'Bug'", [XSS[1]])
    write(root, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert tags & {"img", "link", "iframe", "object", "embed", "form", "base", "image", "use"} == set()
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert set(attributes) & {"src", "srcset", "action", "formaction"} == set()
        if "href" in attributes:
            assert tag == "a"
            assert attributes["href"].startswith(("https://", "#e"))
    assert "url(" not in text
    assert "@import" not in text
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert policy_of(page) == policy_for(text)
    words = "".join(page.words)
    for name in XSS[:6]:
        assert name in words, "the name can be read as it is"
    assert {"\x1b", "\u202e"} & set(text) == set()
    assert "prefers-color-scheme: dark" in text


async def test_the_page_has_the_hashes_the_charts_and_what_differs(moved, tmp_path):
    source, _, root = moved
    write(root, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for (sha256,) in rows(root, "SELECT sha256 FROM attachments"):
        assert sha256 in text
    assert re.findall(r'aria-label="([^"]+)"', text) == ["Files by kind", "Files by size", "Failures"]
    assert "status 413 &lt;i&gt;too large" in text
    assert len(re.findall(r'<details class="entity" data-b="\d+" open>', text)) == 1, (
        "what failed is open, the rest is folded"
    )
    assert f"<b>{len(source.files):,} files</b>" in text
    assert "1 more were deleted there" in text


async def test_a_page_of_nothing_differing_says_so(tmp_path):
    await run_backup(small_tracker(), tmp_path / "archive")
    write(tmp_path / "archive", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "every file of the source is in the archive" in text
    assert "nothing was loaded yet" in text


def test_a_page_is_written_while_its_rows_are_read():
    page, written = io.StringIO(), []

    def entities():
        for number in range(3_000):
            written.append(page.tell())
            of = Attachment(f"{number}", EntityRef("Bug", f"{number}"), "a.txt")
            filed = FileReport(of, "stored", "", 1, "https://x.example/\u200c\udc80", (), ())
            yield EntityReport(of.owner, "", "", "", (filed,))

    totals = Totals("memory", "2026-11-29T02:05:00+00:00")
    write_page(page, totals, {"memory": "Memory"}, History((), "", ()), entities())
    assert written[1_000] < written[2_000] < page.tell()
    assert page.tell() - written[-1] < 20_000, "little of it is held back"
    assert page.getvalue().count('href="https://x.example/%E2%80%8C%3F"') == 3_000


async def test_the_table_has_a_row_per_file_and_runs_nothing_in_a_spreadsheet(moved, tmp_path):
    source, _, root = moved
    write(root, tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes().startswith("\ufeffkind,".encode()), "a spreadsheet knows it is UTF-8"
    with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(source.files) + 1
    assert "'=HYPERLINK(1)" in {row["name"] for row in found}
    assert [cell for row in found for cell in row.values() if cell[:1] in set("=+-@")] == []
    assert {row["upload"] for row in found} == {"uploaded", "failed", ""}


async def test_redirects_lead_from_each_old_address_to_the_new_one(moved, tmp_path):
    source, target, root = moved
    summary = write(root, None, tmp_path / "redirects.csv")
    with (tmp_path / "redirects.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert summary["redirected"] == len(found) == target.uploads
    for row in found:
        assert row["old_url"].endswith(f"/{row['attachment_id']}")
        at = target.content[row["new_url"].rpartition("/")[2]]
        assert at == source.content.get(row["attachment_id"], at)
    assert "big 7.bin" not in {
        source.files[row["attachment_id"]].name for row in found if row["attachment_id"] in source.files
    }


async def test_an_unknown_ending_is_refused_and_nothing_is_written(moved, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown file extension \.pdf; use \.csv, \.html or \.json"):
        write(moved[2], tmp_path / "report.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


async def test_a_report_that_fails_leaves_the_earlier_one(moved, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("earlier")

    def broken(base, attachment):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write(moved[2], out, url_of=lambda _: broken)
    assert out.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "report.html"}


async def test_an_archive_of_an_earlier_version_is_reported_and_not_changed(moved, tmp_path):
    _, _, root = moved
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("ALTER TABLE uploads DROP COLUMN remote_locator")
        db.execute("ALTER TABLE uploads DROP COLUMN content_check")
    before = rows(root, "SELECT sql FROM sqlite_master")
    assert write(root, tmp_path / "report.json")["differing"] == 6
    assert rows(root, "SELECT sql FROM sqlite_master") == before


async def test_an_archive_of_an_earlier_version_is_upgraded_by_the_next_run(moved):
    source, _target, root = moved
    with sqlite3.connect(root / "catalog.db") as db:
        db.execute("ALTER TABLE uploads DROP COLUMN remote_locator")
        db.execute("ALTER TABLE uploads DROP COLUMN content_check")
        db.execute("DELETE FROM _sqlite_migrations WHERE name LIKE '0004%'")
    await run_backup(source, root)
    assert rows(root, "SELECT DISTINCT remote_locator, content_check FROM uploads") == [("", None)]


MANY = 100_000 if FULL else 20_000


async def test_a_report_of_very_many_files_is_made_in_reasonable_time(tmp_path):
    tracker = MemoryTracker(asked=())
    tracker.attach(tracker.add("Bug"), "x.txt", b"x")
    await run_backup(tracker, tmp_path / "archive")
    with sqlite3.connect(tmp_path / "archive" / "catalog.db") as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(attachments)")]
        others = ", ".join(column for column in columns if column not in {"attachment_id", "entity_id"})
        db.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) "
            f"INSERT INTO attachments (attachment_id, entity_id, {others}) "
            f"SELECT 'n' || i, 'e' || (i / 5), {others} FROM n, attachments"
        )
    began = time.monotonic()
    assert write(tmp_path / "archive", tmp_path / "report.html")["attachments"] == MANY + 1
    assert time.monotonic() - began < 60
    assert (tmp_path / "report.html").stat().st_size < MANY * 600


# Addresses


def file(id_: str = "7", name: str = "a b/?.txt", locator: str = "") -> Attachment:
    return Attachment(id_, EntityRef("Bug", "1"), name, locator=locator)


@pytest.mark.parametrize(
    ("tracker", "attachment", "url"),
    [
        ("targetprocess", file(), "https://x/tp/Attachment.aspx?AttachmentID=7"),
        ("targetprocess", file("inline:1:images/a.png", locator="images/a b.png"), "https://x/tp/images/a%20b.png"),
        ("redmine", file(), "https://x/tp/attachments/download/7/a%20b%2F%3F.txt"),
        ("teampulse", file(locator="AttachmentDownload/39/x\nother"), "https://x/tp/AttachmentDownload/39/x"),
        ("teampulse", file(), ""),
        (
            "kiwi",
            file(locator="uploads/attachments/testcases_testcase/1/a.txt"),
            "https://x/tp/uploads/attachments/testcases_testcase/1/a.txt",
        ),
        ("squash", file(), "https://x/tp/api/rest/latest/attachments/7/content"),
        ("issuetrak", file(), ""),  # its API answers to signed requests only, and nothing tells its pages' addresses
    ],
)
def test_address_of_a_file_is_the_one_that_people_use(tracker, attachment, url):
    assert adapter(tracker).url_of("https://x/tp", attachment) == url


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
def test_address_of_a_file_stays_below_the_tracker_whatever_its_id(tracker):
    url = adapter(tracker).url_of("https://x/tp", file("../7?a=b#c", "../../x", "Attachment/7"))
    assert not url or url.startswith("https://x/tp/")
    assert ".." not in url.replace("..%2F", "")


# The real program


async def test_the_program_reports_during_a_run_with_addresses_of_both_trackers(tmp_path):
    world = World.generate(entities=10, seed=3, attachments=20, median_bytes=500, large_bytes=2_000)
    empty = world.without_attachments()
    async with TargetprocessSandbox(world) as source, TeamPulseSandbox(empty) as target:
        config = config_of(tmp_path, source, target)
        assert (await run("migrate", config)).code == 0
        checked = await run("--json", "load", config, "--verify-content")
        assert checked.code == 0
        content = checked.document["content"]
        assert content["checked"] == content["same"] == checked.document["uploads"]["planned"] > 0
        with ArchiveLock(tmp_path / "archive", "load"):
            words = ["--out", tmp_path / "report.html", "--redirects", tmp_path / "redirects.csv"]
            done = await run("--json", "report", tmp_path / "archive", *words)
        assert done.code == 0, done.err
        with (tmp_path / "redirects.csv").open(encoding="utf-8", newline="") as lines:
            found = list(csv.DictReader(lines))
        assert done.document["redirected"] == len(found) == content["checked"]
        for row in found:
            assert row["old_url"] == f"{source.url}/Attachment.aspx?AttachmentID={row['attachment_id']}"
            assert row["new_url"].startswith(f"{target.url}/Attachment")
            assert f"/{3 * int(row['remote_id']) + 18}/" in row["new_url"], "the number in the address is another"
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        for secret in (*source.credentials.values(), *target.credentials.values()):
            assert secret not in text or secret in {source.credentials["username"], target.credentials["username"]}


async def test_the_program_refuses_a_report_of_nothing(tmp_path):
    for words in ([tmp_path, "--out", tmp_path / "x.html"], [tmp_path / "archive"]):
        assert (await run("--json", "report", *words)).code == 2
    assert command.name == "report"
