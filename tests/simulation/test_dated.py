"""Some weeks of nights that ask only changed entities; `python -m tests.simulation.dated` plays more of them."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import patch

import pytest

from migrator.pipeline.backup import unchanged
from tests.simulation.dated import begun, lived
from tests.support.parts import FULL


@pytest.mark.parametrize("seed", range(20 if FULL else 6))
async def test_no_change_is_missed_by_nights_that_ask_little(tmp_path, seed):
    world = begun(tmp_path / "archive", seed)
    await lived(world, 25)
    assert world.complete
    assert world.left_out


async def test_the_model_finds_a_change_that_no_overlap_covers(tmp_path):
    async def many() -> None:
        for seed in range(10):
            await lived(begun(tmp_path / f"archive {seed}", seed), 25)

    with patch.object(unchanged, "OVERLAP", timedelta(0)), pytest.raises(AssertionError, match=r"missed|still held"):
        await many()
