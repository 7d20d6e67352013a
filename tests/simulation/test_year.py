"""Some weeks of nightly backups; `python -m tests.simulation.year` plays the whole year."""

from __future__ import annotations

import pytest

from tests.simulation.year import begun, lived


@pytest.mark.parametrize("seed", range(3))
async def test_every_kept_snapshot_of_some_weeks_is_as_it_was(tmp_path, seed):
    year = begun(tmp_path / "archive", seed, 60)
    await lived(year, 40, 0.2)
    assert year.kills
    assert year.failures
    assert len(year.expected) < 20
