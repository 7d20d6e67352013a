"""Fuzzing of everything that comes from outside. Always the same examples in the suite, of which a quick run takes a
third (see `FULL`); deep when asked for:

    MIGRATOR_FUZZ=50 pytest tests/fuzz

runs fifty times as many examples, other ones each time; an example that fails is printed with what repeats it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.parts import FULL

DEPTH = int(os.environ.get("MIGRATOR_FUZZ", "0"))


def examples(count: int) -> settings:
    """So many examples where all cases run; nothing is kept between runs, and no clock decides."""
    return settings(
        max_examples=count * DEPTH or (count if FULL else -(-count // 3)),
        derandomize=not DEPTH,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
