from collections.abc import AsyncIterator

import aiohttp
import pytest

from migrator.sandbox.world.model import World


@pytest.fixture(scope="session")
def world() -> World:
    return World.generate(median_bytes=2_000, large_bytes=3_000_000)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session
