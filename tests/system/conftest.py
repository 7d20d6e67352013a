"""The trackers that most of these tests migrate between, with the `WORLD` of their module."""

from __future__ import annotations

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox


@pytest.fixture
async def source(request):
    async with TargetprocessSandbox(request.module.WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def target(request):
    """The same entities, without files."""
    async with TeamPulseSandbox(request.module.WORLD.without_attachments()) as sandbox:
        yield sandbox
