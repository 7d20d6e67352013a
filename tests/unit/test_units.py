"""Quantities as people write and read them."""

from __future__ import annotations

import time

import click
import pytest

from migrator.jobs.commands.verify import share, span
from migrator.units import (
    counted,
    human_duration,
    human_size,
    human_time_left,
    human_took,
    local_time,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("20 MB/s", 20e6), ("20MB/s", 20e6), ("1.5 MiB/s", 1.5 * 2**20), ("512 KiB/s", 512 * 1024), ("3 kB/s", 3000),
        ("1 GB/s", 1e9), ("1 GiB/s", 2**30), ("100 B/s", 100), ("20 MB / s", 20e6), (" 20 mb/s ", 20e6),
        (5000, 5000), (0, 0), (2.5, 2.5),
    ],
)  # fmt: skip
def test_a_bandwidth_has_units_of_10_and_of_2(written, meant):
    assert parse_rate(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("0.5 s", 0.5), ("60 s", 60), ("60s", 60), ("250 ms", 0.25), ("2 min", 120), ("1 h", 3600), (60, 60), (0.1, 0.1)],
)
def test_a_time_has_units(written, meant):
    assert parse_duration(written) == meant


@pytest.mark.parametrize("written", ["1 MB/s", "1 s", "", "-1", "MB", True, None])
def test_what_is_no_size_is_refused(written):
    with pytest.raises(ValueError, match=r"not a (size|number)"):
        parse_size(written)


def test_a_share_is_a_percentage():
    assert [parse_share(written) for written in ("0%", "2.5 %", "100%")] == [0, 0.025, 1]
    for written in ("101%", "5", "-1%", 0.5):
        with pytest.raises(ValueError, match="not a share"):
            parse_share(written)


def test_part_of_a_verify_is_more_than_nothing():
    assert (share("5%"), span("90s"), span("10m"), span("2h")) == (0.05, 90, 600, 7200)
    for read, written in ((share, "0%"), (share, "200%"), (span, "0s"), (span, "soon")):
        with pytest.raises(click.BadParameter, match=written):
            read(written)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_210_000, "3.2 MB"), (5e9, "5.0 GB"), (1e18, "1000000.0 TB")],
)
def test_a_size_is_shown_in_the_unit_that_fits(size, text):
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (11, "11 s"),
        (60, "1 min"),
        (89, "89 s"),
        (90, "1.5 min"),
        (300, "5 min"),
        (3600, "1 h"),
        (5400, "1.5 h"),
        (7e5, "8 days"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_fits(seconds, text):
    assert human_duration(seconds) == text


def test_time_left_has_two_units_at_most():
    seconds = (0.4, 40, 59.6, 250, 18_180, 3600, 187_200)
    shown = ["0 s", "40 s", "1m 0s", "4m 10s", "5h 3m", "1h 0m", "2d 4h"]
    assert [human_time_left(left) for left in seconds] == shown
    assert [human_took(took) for took in (0.04, 8.24, 59.94, 59.96)] == ["0.0 s", "8.2 s", "59.9 s", "1m 0s"]


def test_one_is_singular_and_thousands_are_separated():
    assert [counted(number, "file") for number in (0, 1, 12_345)] == ["0 files", "1 file", "12,345 files"]
    assert counted(2, "entity", "entities") == "2 entities"


def test_a_time_is_that_of_the_local_clock_with_its_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert local_time("2026-11-28T01:00:11+00:00") == "2026-11-28 02:00 CET"
    finally:
        monkeypatch.undo()
        time.tzset()
