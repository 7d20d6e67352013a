"""What a target refuses in any file, or because it is empty: a dry run names it, and in a load the target decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.layers.dry_run import DryRunTarget
from migrator.model import Draft
from migrator.pipeline.load.refused_words import refused_word_in
from migrator.ports import Capabilities
from migrator.testing import Bytes
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import run_backup, run_load, twin_of

WORDS = (b"<html", b"<rt", b"onload=")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", None),
        (b"a < b, rt, <h tml", None),
        (b"before <HtMl behind", "<HtMl"),
        (b"\xff\0<rT\xff", "<rT"),
        (b"x" * 9 + b"onload=", "onload="),
    ],
)
async def test_a_word_is_found_in_either_case_wherever_chunks_are_cut(content, found):
    for size in range(1, 20):
        assert await refused_word_in(Bytes(content, size), WORDS) == found


async def test_without_words_a_file_is_not_read():
    body = Bytes(b"<html")
    assert await refused_word_in(body, ()) is None
    assert body.passes == 0


async def test_a_dry_run_names_what_the_target_refuses_in_any_file(tmp_path):
    source = MemoryTracker()
    owner = source.add("Bug")
    source.attach(owner, "page.txt", b"a <HTML> page")
    source.attach(owner, "fine.txt", b"fine")
    target, mapping = twin_of(source)
    target.capabilities = replace(target.capabilities, refused_words=WORDS)
    await run_backup(source, tmp_path)
    rehearsal = await run_load(target, tmp_path, mapping, target=DryRunTarget(MemoryTarget(target)), dry_run=True)
    assert [(row["name"], row["what"]) for row in rehearsal["rehearsal"]] == [
        ("page.txt", "refused"),
        ("fine.txt", "upload"),
    ]
    assert "<HTML" in rehearsal["failures"][0]["reason"]
    assert (await run_load(target, tmp_path, mapping))["uploads"]["uploaded"] == 2, "in a load the target decides"


def test_an_empty_file_is_refused_only_by_a_target_that_says_so():
    empty, small = Draft("x", "", "", 0), Draft("x", "", "", 1)
    strict = Capabilities(streams=("all",), refuses_empty=True)
    assert "0 bytes" in (strict.refuses(empty) or "")
    assert strict.refuses(small) is None
    assert Capabilities(streams=("all",)).refuses(empty) is None
