"""How Python runs the program's processes: how often it collects garbage, and how soon a thread gets its turn."""

from __future__ import annotations

import atexit
import gc
import sys

SWITCH_SECONDS = 0.0005
"""How long a thread that comes back from SQLite or the disk waits for the one that is running. With Python's 5 ms, a
backup that finds nothing new takes a tenth longer; with 0.1 ms it is faster still, but a first backup is slower."""


def tune_interpreter() -> None:
    """Set both for this process; may be called twice.

    Garbage is collected less often: with hundreds of thousands of live rows, the default takes an eighth of a backup,
    in a fetch worker a twentieth. At exit nothing is collected: the process ends anyway, and Python would look through
    everything several times.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(20_000, 50, 50)
    atexit.register(gc.freeze)
