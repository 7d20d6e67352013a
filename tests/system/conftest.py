"""The trackers that most of these tests migrate between, with the `WORLD` of their module, and a store."""

from __future__ import annotations

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from tests.support.buckets import proxy_to, s3_server


@pytest.fixture
async def source(request):
    async with TargetprocessSandbox(request.module.WORLD) as sandbox:
        yield sandbox


@pytest.fixture
async def target(request):
    """The same entities, without files."""
    async with TeamPulseSandbox(request.module.WORLD.without_attachments()) as sandbox:
        yield sandbox


@pytest.fixture
async def server(tmp_path):
    """A real S3 server, which ignores conditions on writes."""
    async with s3_server(tmp_path) as serving:
        yield serving


@pytest.fixture
async def proxy(server):
    """The same store through a proxy that heeds conditions, so that no run has to pause for its lock."""
    async with proxy_to(server) as passing:
        yield passing
