"""What a person sees of a run's progress: true at any width, of the last seconds, and never silent."""

from __future__ import annotations

import io
import logging
import re
import time
from contextlib import closing

import pytest
from rich.console import Console

from migrator.jobs.output import Output
from migrator.jobs.progress import Shown, write_lines
from migrator.jobs.progress.bar import Display
from migrator.jobs.progress.lines import pause_after
from migrator.jobs.progress.words import counts, fitting, last_line, line, time_left, waiting
from migrator.layers import DryRunTarget
from migrator.pipeline.export import ExportSettings, export
from migrator.pipeline.verify import Portion, verify
from migrator.selection import Selection
from migrator.store import Archive, Catalog
from migrator.trackers.memory import MemoryTarget
from migrator.wire import Waits
from tests.support.parts import rows, run_backup, run_load, small_tracker, twin_of
from tests.support.progress import Clock, Recorded, run_for, tally_at

WIDTHS = (20, 40, 60, 80, 99, 100, 120, 200)
FOR_EVER = 10_000
"""Columns: enough for everything."""


@pytest.fixture
def clock():
    return Clock()


def drawn(tally, width: int) -> list[str]:
    """The lines of the bar on a terminal of this width."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system="standard").print(Display(tally))
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).removesuffix("\n").split("\n")


def busy(clock, **how):
    """A backup of 643 files, 50 of which are done, after 50 seconds."""
    tally = tally_at(clock, **how)
    tally.entities(1300)
    tally.known(643, 643_000_000)
    run_for(tally, clock, 50, size=1_000_000)
    return tally


class ColourTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("no_color", ["", "1"])
def test_warnings_above_the_bar_are_yellow_too(monkeypatch, no_color):
    terminal = ColourTerminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    output = Output()
    with output.progress("backup"):
        output.warn("from the command")
        logging.getLogger("migrator").warning("from the log")
    mark = "warning: " if no_color else "\x1b[33mwarning: \x1b[0m"
    assert f"{mark}from the command" in terminal.getvalue()
    assert f"{mark}from the log" in terminal.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bar_is_there_at_any_width_and_no_line_is_too_long(clock, width):
    tally = busy(clock)
    for known in (False, True):
        if known:
            tally.all_known()
        shown = drawn(tally, width)
        assert shown[0].count("━") + shown[0].count("╸") + shown[0].count("╺") >= 8
        assert max(map(len, shown)) <= width - len("^C ")
        assert len(shown) == (1 if width >= 100 else 2)


def test_details_are_dropped_by_rank_until_the_rest_fits(clock):
    tally = busy(clock)
    run_for(tally, clock, 1, failed=True)
    tally.all_known()
    whole = "51 of 643 files, 50.0 MB, 900.0 kB/s, 1 failed, 1,300 entities"
    assert counts(tally, len(whole)) == whole
    assert counts(tally, len(whole) - 1) == "51 of 643 files, 50.0 MB, 900.0 kB/s, 1 failed"
    assert counts(tally, 40) == "51 of 643 files, 900.0 kB/s, 1 failed"
    assert counts(tally, 26) == "51 of 643 files, 1 failed"
    assert counts(tally, 20) == "51 of 643 files"
    assert counts(tally, 10) == ""


def test_a_part_without_text_takes_no_room():
    assert fitting([(0, "a"), (1, ""), (2, "b")], 4) == "a, b"


def test_a_total_that_may_still_grow_is_called_so(clock):
    tally = busy(clock)
    assert counts(tally, FOR_EVER).startswith("50 of 643 files so far, ")
    assert time_left(tally) == "at least 9m 53s left"
    assert "%" not in drawn(tally, 80)[0]
    tally.all_known()
    assert counts(tally, FOR_EVER).startswith("50 of 643 files, ")
    assert time_left(tally) == "9m 53s left"
    assert "7%" in drawn(tally, 80)[0]


def test_the_rate_is_that_of_the_last_seconds(clock):
    tally = tally_at(clock)
    tally.known(2000, 2000 * 10**6)
    run_for(tally, clock, 100, size=9_000_000)
    run_for(tally, clock, 30, size=1_000_000)
    assert tally.bytes_per_second == pytest.approx(1_000_000, rel=0.1)


def test_time_left_adapts_to_what_the_last_minute_brought(clock):
    tally = tally_at(clock)
    tally.known(5000, 0)
    run_for(tally, clock, 100, files=20)
    run_for(tally, clock, 70, files=1)
    assert tally.seconds_left == pytest.approx(5000 - 2070, rel=0.1)


def test_files_that_need_no_transfer_do_not_stretch_the_time_left(clock):
    tally = tally_at(clock)
    tally.known(1000, 1000 * 10**6)
    for _ in range(50):
        clock.now += 1
        tally.done(not_transferred=10**6)
    tally.transferred(1000)
    assert tally.seconds_left == pytest.approx(950, rel=0.1)


def test_nothing_is_left_to_go_once_it_ended(clock):
    tally = busy(clock)
    tally.all_known()
    run_for(tally, clock, 593, size=1_000_000)
    assert time_left(tally) == ""
    assert last_line(tally) == "backup: 643 files, 643.0 MB (1.0 MB/s) in 10m 43s"


def test_a_run_with_nothing_to_do_says_so_and_one_that_broke_off_nothing(clock):
    tally = tally_at(clock, label="load")
    clock.now += 1
    assert last_line(tally) == ""
    tally.all_known()
    assert last_line(tally) == "load: nothing to do"


def test_a_run_that_broke_off_ends_with_what_was_done(clock):
    assert last_line(busy(clock)) == "backup: 50 of 643 files, 50.0 MB (1.0 MB/s) in 50.0 s"


def test_a_silent_tracker_is_said_to_be_silent_with_the_next_try(clock, monkeypatch):
    waits = Waits()
    tally = busy(clock, waits=waits)
    tally.all_known()
    monkeypatch.setattr(time, "monotonic", clock)
    clock.now += 5
    waits.trying_again(2, "no connection", 5, 9, answered=False)
    assert waiting(tally, FOR_EVER) == ""
    clock.now += 15
    sentence = "the tracker has not answered for 20 s, try 5 of 9; 50 files are kept"
    assert waiting(tally, FOR_EVER) == sentence
    assert line(tally) == f"backup: {sentence}"
    assert waiting(tally, 60) == "no answer for 20 s, try 5 of 9; 50 files are kept"
    assert waiting(tally, 40) == "no answer for 20 s, try 5 of 9"
    assert time_left(tally) == ""
    assert tally.bytes_per_second == 0
    assert sentence in "\n".join(drawn(tally, 80))
    tally.transferred(1)
    assert waiting(tally, FOR_EVER) == ""


def test_a_silence_says_what_is_known_of_its_cause(clock, monkeypatch):
    waits = Waits(clock=lambda: 1_700_000_000.0)
    tally = tally_at(clock, waits=waits)
    monkeypatch.setattr(time, "monotonic", clock)
    run_for(tally, clock, 1)
    clock.now += 60
    assert waiting(tally, FOR_EVER) == "nothing has come from the tracker for 1m 0s; 1 file is kept"
    waits.trying_again(2, "status 500", 2, 3, answered=True)
    assert waiting(tally, FOR_EVER) == "the tracker has answered with errors for 1m 0s, try 2 of 3; 1 file is kept"
    waits.asked(300, 429)
    until = time.strftime("%H:%M:%S", time.localtime(1_700_000_300))
    assert waiting(tally, FOR_EVER) == f"the tracker asked to wait until {until}; 1 file is kept"


def test_an_earlier_wait_does_not_explain_a_silence(clock, monkeypatch):
    waits = Waits()
    tally = tally_at(clock, waits=waits)
    monkeypatch.setattr(time, "monotonic", clock)
    waits.trying_again(2, "no connection", 2, 3, answered=False)
    run_for(tally, clock, 1)
    clock.now += 30
    assert waiting(tally, FOR_EVER).startswith("nothing has come")


def test_lines_become_rarer_with_time():
    after, times = 0.0, []
    while after < 6 * 3600:
        after += pause_after(after)
        times.append(after)
    assert times[:7] == [10, 20, 30, 40, 50, 60, 120]
    assert times[13:17] == [540, 600, 1200, 1800]
    assert len(times) == 50


def test_lines_come_by_the_clock_while_nothing_happens(monkeypatch):
    monkeypatch.setattr("migrator.jobs.progress.lines.PAUSES_SECONDS", ((3600.0, 0.02),))
    said = []
    with write_lines(Shown("verify", "blob"), said.append) as tally:
        tally.known(3, 0)
        until = time.monotonic() + 20
        while said.count("verify: 0 of 3 blobs so far") < 3 and time.monotonic() < until:
            time.sleep(0.01)
        tally.done()
    assert said.count("verify: 0 of 3 blobs so far") >= 3
    assert said[-1].startswith("verify: 1 of 3 blobs in ")


async def test_a_load_knows_its_total_before_the_first_file(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    first, again = Recorded(), Recorded()
    summary = await run_load(target, tmp_path, mapping, progress=first)
    planned = summary["uploads"]["planned"]
    assert (first.wanted_at_first_done, first.wanted_when_known, first.files) == (planned, planned, planned)
    assert first.settled_bytes == first.wanted_bytes > 0
    await run_load(target, tmp_path, mapping, progress=again)
    assert (again.wanted, again.files, again.total_known) == (planned, planned, True), "each is looked for"
    assert again.wanted_bytes == again.bytes == 0


async def test_what_is_there_already_counts_as_settled_and_not_as_sent(tmp_path):
    source = small_tracker()
    target, mapping = twin_of(source)
    for root, progress in ((tmp_path / "first", Recorded()), (tmp_path / "second", Recorded())):
        await run_backup(source, root)
        await run_load(target, root, mapping, progress=progress)
    assert progress.bytes == 0
    assert progress.settled_bytes == progress.wanted_bytes > 0


async def test_a_rehearsal_transfers_nothing(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    progress = Recorded()
    await run_load(None, tmp_path, mapping, target=DryRunTarget(MemoryTarget(target)), dry_run=True, progress=progress)
    assert (progress.files, progress.bytes) == (progress.wanted, 0)
    assert progress.wanted > 0


async def test_a_part_of_a_load_knows_its_total_too(tmp_path):
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    progress = Recorded()
    summary = await run_load(target, tmp_path, mapping, progress=progress, selection=Selection(limit=2))
    uploads = summary["uploads"]
    assert progress.wanted_when_known == uploads["planned"] - uploads["skipped"] == progress.files


async def test_a_backup_says_that_all_is_listed_when_it_is(tmp_path):
    progress = Recorded()
    await run_backup(small_tracker(), tmp_path, progress=progress)
    [(listed,)] = rows(tmp_path, "SELECT count(*) FROM attachments")
    assert (progress.wanted_when_known, progress.files) == (listed, listed)
    assert progress.wanted_at_first_done <= listed


async def test_a_verify_knows_its_total_before_the_first_blob(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    [(blobs, size)] = rows(tmp_path, "SELECT count(*), sum(size) FROM blobs")
    [(lost,)] = rows(tmp_path, "SELECT sha256 FROM blobs ORDER BY size LIMIT 1")
    (tmp_path / "blobs" / lost[:2] / lost).unlink()
    whole, part = Recorded(), Recorded()
    await verify(Archive(tmp_path), progress=whole)
    assert (whole.wanted_at_first_done, whole.wanted_when_known, whole.files) == (blobs, blobs, blobs)
    assert (whole.wanted_bytes, whole.settled_bytes, whole.failures) == (size, size, 1)
    await verify(Archive(tmp_path), portion=Portion(share=0.5), progress=part)
    assert part.wanted_when_known == part.files == -(-blobs // 2)


@pytest.mark.parametrize("shape", ["tree", "bagit", "zip"])
async def test_an_export_says_the_same_size_while_it_runs_and_at_its_end(tmp_path, shape):
    """Also where several files have the same blob, which is read only once."""
    await run_backup(small_tracker(), tmp_path / "archive")
    progress = Recorded()
    with closing(Catalog(tmp_path / "archive")) as catalog:
        settings = ExportSettings(tmp_path / "exported", shape)
        summary = await export(Archive(tmp_path / "archive"), catalog, settings, progress=progress)
    assert progress.bytes == progress.wanted_bytes == summary.bytes
    assert progress.files == progress.wanted_when_known == summary.files
