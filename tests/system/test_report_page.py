"""The page of a report in a browser: drawn wide, on a phone, dark and on paper; its filter and its sorting work."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright

from migrator.errors import RejectedError
from migrator.pipeline.report import report
from migrator.store import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import FULL, only_in_full, run_backup, run_load, twin_of
from tests.system.test_browse_cli import complaints

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FEW, MANY = 5, 4_000 if FULL else 1_000
"""Entities; each has five files."""
FORMS = {
    "wide": (1280, "light"),
    "phone": (375, "light"),
    "dark": (1280, "dark"),
}
"""Width in pixels and colour scheme."""
MAX_MANY_BYTES = 14_000_000
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")


async def archive_of(root: Path, entities: int) -> Path:
    """An archive of some entities with five files each, loaded into two targets; a little of everything differs."""
    tracker = MemoryTracker(page_size=200)
    for number in range(FEW):
        owner = tracker.add("Bug" if number % 2 else "Story", title=f"entity {number} <b>with a long title</b> " * 2)
        for name in (
            "log.txt",
            "screenshot of a very long name " + "x" * 90 + ".png",
            "a/b.txt",
            "Łódź 日本.docx",
            "z",
        ):
            tracker.attach(owner, name, f"{name} {number}".encode() * (number + 1))

    async def refuse(verb: str, about: str) -> None:
        if verb == "download" and tracker.files[about].name == "z":
            raise RejectedError(f"GET files/{about}: status 403, you have no right to see it. Ask an admin for one.")

    tracker.on_call = refuse
    await run_backup(tracker, root, identity="memory https://old.example")
    for name, part in (("first", 5), ("second", 3)):
        target, mapping = twin_of(tracker)
        some = dict(list(mapping.items())[:part])
        await run_load(target, root, some, identity=f"{name} https://{name}.example", verify_content=True)
    if entities > FEW:
        multiply(root, entities // FEW)
    return root


def multiply(root: Path, times: int) -> None:
    """Add copies of all rows, under other ids."""
    keys = {"entities": ("entity_id",), "attachments": ("attachment_id", "entity_id"), "uploads": ("attachment_id",)}
    with sqlite3.connect(root / "catalog.db") as db:
        for table, ids in keys.items():
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            others = [column for column in columns if column not in ids]
            copied = ", ".join([*(f"{id_} || '-' || i" for id_ in ids), *others])
            db.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times - 1}) "
                f"INSERT INTO {table} ({', '.join([*ids, *others])}) SELECT {copied} FROM n, {table}"
            )


def written(root: Path, out: Path) -> Path:
    """The page of an archive, after the test of its size."""
    with closing(Catalog(root, read_only=True)) as catalog:
        report(catalog, lambda _: lambda base, file: f"{base}/files/{file.id}", out)
    assert out.stat().st_size < MAX_MANY_BYTES
    return out


@asynccontextmanager
async def shown(out: Path, width: int = 1280, scheme: str = "light") -> AsyncIterator[tuple[Page, list[str]]]:
    """The page in a browser, and what goes wrong on it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        viewport = ViewportSize(width=width, height=900)
        context = await browser.new_context(viewport=viewport, color_scheme="dark" if scheme == "dark" else "light")
        page = await context.new_page()
        wrong = complaints(page, out.as_uri())
        await page.goto(out.as_uri(), wait_until="load")
        yield page, wrong
        await browser.close()


@pytest.mark.parametrize("entities", [FEW, *((MANY,) if FULL else ())])
async def test_it_is_drawn_wide_on_a_phone_and_dark_without_an_error(tmp_path, entities):
    """Pictures are in the test's folder; MIGRATOR_SCREENSHOTS names another one, to look at them."""
    folder = Path(os.environ.get("MIGRATOR_SCREENSHOTS") or tmp_path)
    out = written(await archive_of(tmp_path / "archive", entities), tmp_path / "report.html")
    papers = set()
    for form, (width, scheme) in FORMS.items():
        async with shown(out, width, scheme) as (page, wrong):
            await page.screenshot(path=folder / f"report-{entities}-{form}.png", full_page=entities == FEW)
            assert wrong == [], form
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, form
            papers.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert await page.locator(".tools").is_visible()
            assert await page.locator("p.verdict").bounding_box() == pytest.approx(
                await page.locator("body > :first-child").bounding_box()
            )
    assert len(papers) == 2, "dark is another one"


async def test_paper_has_the_verdict_and_no_box_to_type_in(tmp_path):
    out = written(await archive_of(tmp_path / "archive", FEW), tmp_path / "report.html")
    async with shown(out) as (page, _):
        await page.emulate_media(media="print")
        assert await page.locator("p.verdict").is_visible()
        assert not await page.locator(".tools").is_visible()
        assert len(await page.pdf()) > 10_000


async def test_filter_finds_files_by_words_and_by_what_differs(tmp_path):
    out = written(await archive_of(tmp_path / "archive", FEW), tmp_path / "report.html")
    async with shown(out) as (page, wrong):
        box, hits = page.locator("input[type=search]"), page.locator("output")
        await box.fill("łódź ENTITY")
        await page.locator("output", has_text="5 files on 5 entities").wait_for()
        assert await page.locator("tbody tr:visible", has_text="docx").count() == 5
        await box.fill("nowhere to be found")
        await page.locator("output", has_text="0 files on 0 entities").wait_for()
        await box.fill("")
        await page.locator("output:empty").wait_for(state="attached")
        [show, sort] = [page.locator("select").nth(number) for number in range(2)]
        await show.select_option("missing")
        assert await hits.text_content() == "13 files on 5 entities", "five not fetched, eight not at the second target"
        await show.select_option("")
        await sort.select_option("bytes")
        first = await page.locator(".kind").first.locator(".entity summary").first.text_content()
        assert "entity 3" in (first or "")
        assert wrong == []


async def test_a_sample_leads_to_its_entity(tmp_path):
    out = written(await archive_of(tmp_path / "archive", FEW), tmp_path / "report.html")
    async with shown(out) as (page, wrong):
        await page.locator("section details summary").first.click()
        await page.locator("section details a").first.click()
        assert await page.locator(":target").is_visible()
        assert wrong == []


@only_in_full
async def test_filter_and_sorting_are_quick_with_very_many_files(tmp_path):
    out = written(await archive_of(tmp_path / "archive", MANY), tmp_path / "report.html")
    async with shown(out) as (page, wrong):
        began = time.monotonic()
        await page.locator("input[type=search]").fill("docx")
        await page.locator("output", has_text=f"{MANY:,} files on {MANY:,} entities").wait_for()
        await page.locator("select").nth(1).select_option("problems")
        assert time.monotonic() - began < 20
        assert wrong == []
