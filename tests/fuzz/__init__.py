"""Fuzzing of everything that comes from outside. Quick and always the same in the suite; deep when asked for:

    MIGRATOR_FUZZ=50 pytest tests/fuzz

runs fifty times as many examples, other ones each time; an example that fails is printed with what repeats it.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

DEPTH = int(os.environ.get("MIGRATOR_FUZZ", "0"))


def examples(quick: int) -> settings:
    """So many examples in the suite; nothing is kept between runs, and no clock decides."""
    return settings(
        max_examples=quick * max(1, DEPTH),
        derandomize=not DEPTH,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
