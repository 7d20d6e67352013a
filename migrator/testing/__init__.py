"""The contract suites for adapters: what every source and every target must do. Needs the extra `testing`.

Bind a suite in a test class by a fixture:

class TestMySource(SourceContract):
    @pytest.fixture
    async def bound(self):
        yield BoundSource(source, ...)

The tests of the program itself use the same suites, for adapters and for layers.
"""

import pytest

for module in ("bound_target", "changes", "crawling", "samples", "source", "target"):
    pytest.register_assert_rewrite(f"migrator.testing.{module}")  # so that a failure shows both sides

from migrator.testing.bound_target import NASTY, BoundTarget, Truth, arrivals, send, sha256, stub  # noqa: E402
from migrator.testing.crawling import BoundSource, Crawl, comparable, crawl, fetch, read_to_the_end  # noqa: E402
from migrator.testing.samples import (  # noqa: E402
    LARGEST_CHUNK,
    SAMPLES,
    Bytes,
    Expected,
    MemorySink,
    Sample,
    nowhere,
)
from migrator.testing.source import SourceContract  # noqa: E402
from migrator.testing.target import TargetContract, TargetReadContract  # noqa: E402

__all__ = [
    "LARGEST_CHUNK",
    "NASTY",
    "SAMPLES",
    "BoundSource",
    "BoundTarget",
    "Bytes",
    "Crawl",
    "Expected",
    "MemorySink",
    "Sample",
    "SourceContract",
    "TargetContract",
    "TargetReadContract",
    "Truth",
    "arrivals",
    "comparable",
    "crawl",
    "fetch",
    "nowhere",
    "read_to_the_end",
    "send",
    "sha256",
    "stub",
]
