"""`check` says what works, what doesn't, and, with a mark of its own, what works and is odd all the same."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import RejectedError
from migrator.model import EntityRef, Unread
from migrator.pipeline.check import check_source
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from migrator.trackers.memory import MemorySource, MemoryTracker
from tests.support.program import configure, run

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)
NO_IMAGES = {"source__options": {"inline_images": "skip"}}


def marks(document: dict, side: str) -> dict[str, tuple[bool, bool]]:
    """By the name of each check, whether it is ok and whether it is a warning."""
    return {one["check"]: (one["ok"], one.get("warning", False)) for one in document[side]["checks"]}


async def test_an_empty_tracker_is_a_warning_and_not_a_success(tmp_path):
    async with TargetprocessSandbox(WORLD.without_attachments()) as source:
        config = configure(tmp_path, source)
        told = await run("--json", "check", config)
        seen = await run("check", config)
    assert (told.code, told.document["status"]) == (0, "complete")
    assert marks(told.document, "source")["download"] == (True, True)
    assert marks(told.document, "source")["login"] == (True, False)
    [line] = [line for line in seen.out.splitlines() if "download" in line]
    assert line.split()[0] == "warn"
    assert "nothing was listed" in line


@pytest.mark.parametrize(("size", "shown"), [(7, "7 B"), (40 << 20, "bytes")])
async def test_a_file_without_a_listed_size_is_downloaded_in_part(size, shown):
    tracker = MemoryTracker(reports_size=False)
    tracker.attach(tracker.add("Bug"), "some.bin", bytes(size))
    checks = {one.check: one for one in (await check_source(MemorySource(tracker), "memory")).checks}
    assert checks["download"].ok
    assert checks["download"].warning is None
    assert shown in checks["download"].detail
    received = int(re.search(r"(\d+) (?:B|bytes)\b", checks["download"].detail)[1])
    assert received == size or 10 << 20 < received < 11 << 20


async def test_a_mapping_without_a_row_is_a_warning(tmp_path, target):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, target)
        file = tmp_path / "mapping.csv"
        file.write_text(file.read_text().splitlines()[0] + "\n")
        told = await run("--json", "check", config)
    assert told.code == 0
    assert marks(told.document, "target")["mapping"] == (True, True)


async def test_an_archive_of_another_tracker_fails_the_check_like_a_backup(tmp_path, target):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, **NO_IMAGES)
        assert (await run("-q", "backup", config)).code == 0
        same = await run("--json", "check", config)
    assert marks(same.document, "source")["archive"] == (True, False)
    before = tree_of(tmp_path / "archive")
    async with TargetprocessSandbox(WORLD) as moved:
        await refused_alike(configure(tmp_path, moved, **NO_IMAGES), f"--moved-from {source.url}`")
    other = await refused_alike(configure(tmp_path, target), f"this archive holds targetprocess {source.url}")
    assert "--moved-from" not in other
    assert tree_of(tmp_path / "archive") == before


async def refused_alike(config: Path, hint: str) -> str:
    """What check and backup say, each with the same words, of an archive that the tracker can't have."""
    checked, refused = await run("--json", "check", config), await run("-q", "--json", "backup", config)
    assert (checked.code, refused.code) == (3, 2)
    [check] = [one for one in checked.document["source"]["checks"] if one["check"] == "archive"]
    shown = (await run("check", config)).out
    assert hint in check["detail"]
    assert check["detail"].replace("CONFIG", str(config)) == refused.document["error"]["message"]
    assert f"  FAIL archive: {refused.document['error']['message']}" in shown
    return str(shown)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_a_missing_mapping_is_a_warning_that_names_the_next_step(tmp_path, target):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, target)
        (tmp_path / "mapping.csv").unlink()
        told = await run("--json", "check", config)
    assert told.code == 0
    assert marks(told.document, "target")["mapping"] == (True, True)
    assert "migrator map" in told.out


@pytest.mark.parametrize(
    ("kinds", "code", "words"),
    [
        ('["UserStroy"]', 2, "source.kinds: this tracker has no kind 'UserStroy'; did you mean UserStory?"),
        ('["Impediment"]', 0, "no entity of the kind Impediment is listed; there are"),
        ('["Bug"]', 0, "each kind has entities"),
    ],
)
async def test_kinds_are_held_against_those_that_the_tracker_has(tmp_path, kinds, code, words):
    async with TargetprocessSandbox(World.generate(entities=30, seed=3, attachments=4)) as source:
        config = configure(tmp_path, source)
        config.write_text(config.read_text().replace("[source]\n", f"[source]\nkinds = {kinds}\n"))
        told = await run("check", config)
        kept = await run("--json", "backup", config)
    assert (told.code, kept.code) == (code, code)
    assert words in (told.err if code else told.out)
    if not code:
        assert any("kind" in warning for warning in kept.document["warnings"]) == ("no entity" in words)


@pytest.mark.parametrize("option", [("--kind", "Bgu"), ("--entity", "Bgu:7")])
async def test_filter_with_a_kind_that_the_tracker_cannot_have_is_refused(tmp_path, option):
    async with TargetprocessSandbox(WORLD) as source:
        refused = await run("backup", configure(tmp_path, source), *option)
    assert (refused.code, "did you mean Bug?" in refused.err) == (2, True)


@pytest.mark.parametrize("refused", ["target", ""])
async def test_when_the_source_refuses_the_login_that_of_the_target_is_tried_too(tmp_path, target, refused):
    async with TargetprocessSandbox(WORLD) as source:
        wrong = {"username": "nobody", "password": "wrong"}
        config = configure(tmp_path, source, target, auth=wrong, target_auth=wrong if refused else None)
        told = await run("--json", "check", config)
    assert (told.code, told.document["status"]) == (4, "failed")
    first, second = told.err.splitlines()
    assert first.startswith("error: source (Targetprocess, ")
    assert second.startswith("target (TeamPulse, " if refused else "target: the login works")


@pytest.mark.parametrize("side", ["source", "target"])
async def test_unknown_tracker_is_named_with_its_key_and_file(tmp_path, source, target, side):
    config = configure(tmp_path, source, target)
    text = config.read_text()
    tracker = {"source": "targetprocess", "target": "teampulse"}[side]
    assert f'tracker = "{tracker}"' in text
    config.write_text(text.replace(f'tracker = "{tracker}"', 'tracker = "jira"'))
    told = await run("check", config)
    assert told.code == 2
    assert f"{config.name}: {side}.tracker: unknown tracker 'jira'; choose from" in told.err


def test_oddities_are_a_warning_and_a_failing_listing_is_told_once():
    async def checked() -> list[dict]:
        tracker = MemoryTracker()
        tracker.attach(tracker.add("Bug"), "a.txt", b"a")
        return (await check_source(Odd(tracker), "memory")).checks

    checks = {one.check: one for one in asyncio.run(checked())}
    assert (checks["listing of listed"].ok, checks["listing of listed"].warning) == (True, True)
    assert checks["listing of listed"].detail.endswith("no list of documents; Bug item 3: it has no id")
    assert not checks["listing of asked"].ok
    assert checks["download"].ok


@pytest.mark.parametrize(("size", "detail"), [(3, "'a.txt' of Bug 1, 3 B"), (11_000_000, "the first ")])
def test_a_file_whose_size_is_not_listed_is_tried_as_far_as_needed(size, detail):
    async def checked() -> list[dict]:
        tracker = MemoryTracker(reports_size=False)
        tracker.attach(tracker.add("Bug"), "a.txt", bytes(size))
        return (await check_source(MemorySource(tracker), "memory")).checks

    [download] = [one for one in asyncio.run(checked()) if one.check == "download"]
    assert (download.ok, download.warning) == (True, None)
    assert download.detail.startswith(detail)


class Odd(MemorySource):
    """One listing fails; another has something odd on its page."""

    async def read(self, stream, cursor):
        if stream == "asked":
            raise RejectedError("status 403")
        page = await super().read(stream, cursor)
        if stream != "listed":
            return page
        return replace(
            page, warnings=("no list of documents",), unread=(Unread(EntityRef("Bug", "item 3"), "it has no id"),)
        )


async def test_addresses_of_messages_are_checked_and_nothing_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOD_URL", "json://127.0.0.1:9/secret-token")
    monkeypatch.setenv("ODD_URL", "nonsense://secret-token")
    monkeypatch.setenv("PING_URL", "mailto:secret-token")
    monkeypatch.delenv("NO_URL", raising=False)
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source)
        urls = "urls = [{ env = 'GOOD_URL' }, { env = 'ODD_URL' }, { env = 'NO_URL' }, 'json://127.0.0.1:9']"
        config.write_text(config.read_text() + f"[notify]\n{urls}\nping = {{ env = 'PING_URL' }}\n")
        told = await run("--json", "check", config)
        seen = await run("check", config)
    found = {one["check"]: one for one in told.document["nightly"]}
    assert (told.code, told.document["status"]) == (3, "incomplete")
    assert [found[f"notify.urls[{number}]"]["ok"] for number in range(4)] == [True, False, False, True]
    assert found["notify.urls[1]"]["detail"] == "not an address that Apprise knows"
    assert "NO_URL is not set" in found["notify.urls[2]"]["detail"]
    assert found["notify.urls[3]"]["warning"] is True
    assert found["notify.ping"]["detail"] == "not an http or https address"
    assert "  FAIL notify.ping: not an http or https address" in seen.out
    assert "secret-token" not in told.out + told.err + seen.out + seen.err


async def test_the_folders_of_report_and_metrics_must_be_there(tmp_path):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source)
        without = await run("--json", "check", config)
        config.write_text(config.read_text() + "[nightly]\nreport = 'report.html'\nmetrics = 'missing/m.prom'\n")
        told = await run("--json", "check", config)
        (tmp_path / "missing").mkdir()
        mended = await run("--json", "check", config)
    assert "nightly" not in without.document
    found = {one["check"]: (one["ok"], one["detail"]) for one in told.document["nightly"]}
    assert told.code == 3
    assert found["nightly.report"] == (True, f"{tmp_path / 'report.html'} can be written")
    assert found["nightly.metrics"] == (False, f"the folder {tmp_path / 'missing'} does not exist")
    assert mended.code == without.code


@pytest.mark.parametrize(
    ("found", "words"), [("files", "it has mine.txt"), ("file", "is a file"), ("locked", "written")]
)
async def test_an_archive_that_a_backup_refuses_fails_the_check(tmp_path, monkeypatch, found, words):
    root, real = tmp_path / "archive", os.access
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, **NO_IMAGES)
        assert (await run("check", config)).code == 0
        if found == "file":
            root.touch()
        elif found == "files":
            root.mkdir()
            (root / "mine.txt").touch()
        else:
            assert (await run("-q", "backup", config)).code == 0
            assert (await run("check", config)).code == 0
            monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != root / "blobs" and real(path, mode))
        told = await run("--json", "check", config)
    assert told.code == 3
    assert marks(told.document, "source")["archive"] == (False, False)
    [detail] = [one["detail"] for one in told.document["source"]["checks"] if one["check"] == "archive"]
    assert words in detail
