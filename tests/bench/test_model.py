"""The model is reckoned right, and CONTRIBUTING shows what it prints."""

from pathlib import Path

import pytest

from tests.bench.model import DAY, Asked, Measured, bookkeeping, lines, money, night, stages

GUIDE = Path(__file__).parents[2] / ".github" / "CONTRIBUTING.md"
MEASURED = Measured(
    recording_seconds=0.001,
    catalog_bytes=1_000,
    journal_bytes=2_000,
    worker_seconds=0.002,
    worker_seconds_per_byte=1e-8,
    unchanged_seconds=0.0001,
)


def test_a_small_case_reckoned_by_hand() -> None:
    asked = Asked(files=1_000_000, bytes=1e12, workers=10, cores=4, coordinator_bytes_per_second=1e8)
    took = stages(asked, MEASURED)
    assert took["tracker: requests"] == pytest.approx(1_010_000 / 100)
    assert took["listing: page after page"] == pytest.approx(3_000)
    assert took["coordinator: catalog and journal"] == pytest.approx(1_000)
    assert took["workers: processors"] == pytest.approx((2_000 + 10_000) / 40)
    assert took["workers: their lines"] == pytest.approx(2e12 / 1.25e9)
    assert bookkeeping(asked, MEASURED) == pytest.approx({"catalog": 1e9, "journal": 2e9, "copy": 20, "lost": 420})
    assert night(asked, MEASURED)["coordinator: comparing"] == pytest.approx(100)
    assert money(asked)["first backup, requests"] == pytest.approx(5)


def test_a_large_file_takes_more_writes() -> None:
    large = Asked(files=1_000, bytes=1_000 * 80 * 2**20)
    assert money(large)["first backup, requests"] == pytest.approx(1_000 * 13 * 0.005 / 1000)


def test_contributing_shows_what_the_model_says() -> None:
    text = GUIDE.read_text()
    for line in lines(Asked()):
        assert line in text.splitlines() or not line, f"renew it with `python -m tests.bench.model`: {line}"
    assert stages(Asked())["tracker: requests"] > 10 * DAY, "the text says that the tracker is what takes longest"
