"""Targetprocess keeps the contracts on servers of every age, and meets each oddity with its own answer."""

from __future__ import annotations

import pytest

from migrator.adapters.targetprocess import Options
from migrator.sandbox.targetprocess import TargetprocessSandbox
from tests.adapters.targetprocess_bound import SKIP, bound_source, bound_target, running
from tests.contract.source import SourceContract
from tests.contract.target import TargetContract

SERVERS = {
    "new": {},
    "old": {"sortable": False, "counts": False},
    "xml": {"xml_only": True, "base_path": "/tp"},
    "oldest": {"xml_only": True, "sortable": False, "counts": False, "base_path": "/a/b"},
}


class TestTargetprocessSource(SourceContract):
    @pytest.fixture(params=SERVERS)
    async def bound(self, request):
        async with running(**SERVERS[request.param]) as sandbox:
            bound = bound_source(sandbox, SKIP)
            yield bound
            await bound.source.close()


class TestTargetprocessSourceWithImagesOfTexts(SourceContract):
    @pytest.fixture
    async def bound(self):
        async with running(base_path="/tp") as sandbox:
            bound = bound_source(sandbox, Options(page_size=9, format="xml"), cookie=TargetprocessSandbox.cookie)
            yield bound
            await bound.source.close()


class TestTargetprocessTarget(TargetContract):
    @pytest.fixture(params=["new", "xml"])
    async def bound(self, request):
        async with running(**SERVERS[request.param]) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


class TestTargetprocessTargetOfOld(TargetContract):
    @pytest.fixture
    async def bound(self):
        old = {"old_upload_answer": True, "html_upload_answer": True, "sortable": False}
        async with running(**old) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()
