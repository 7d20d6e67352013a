"""What tests of all adapters inherit."""

from __future__ import annotations

import pytest

from tests.support.opened import close_all


@pytest.fixture(autouse=True)
async def closing():
    """Clients that a test opened are closed after it."""
    yield
    await close_all()
