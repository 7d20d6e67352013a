"""Layers are sources and targets themselves; each adds one thing."""

import pytest

from migrator.adapters.memory import MemoryTracker
from migrator.layers import DryRunTarget, Patience, RetryingSource, RetryingTarget, VerifiedSource
from tests.adapters.memory_bound import bound_source, bound_target
from tests.contract.source import SourceContract
from tests.contract.target import TargetContract, TargetReadContract


class TestVerifiedSource(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(), VerifiedSource)


class TestRetryingVerifiedSource(SourceContract):
    @pytest.fixture
    async def bound(self):
        return bound_source(MemoryTracker(), lambda source: RetryingSource(VerifiedSource(source), Patience()))


class TestRetryingTarget(TargetContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker(), lambda target: RetryingTarget(target, Patience()))


class TestDryRunTarget(TargetReadContract):
    @pytest.fixture
    async def bound(self):
        return bound_target(MemoryTracker(), DryRunTarget)
