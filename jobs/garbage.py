"""How often the program's processes collect garbage."""

from __future__ import annotations

import atexit
import gc


def collect_garbage_less_often() -> None:
    """Collect garbage less often: with hundreds of thousands of live rows, the default takes an eighth of a backup.

    In a fetch worker it takes a twentieth. At exit nothing is collected: the process ends anyway, and Python would look
    through everything several times.
    """
    gc.set_threshold(20_000, 50, 50)
    atexit.register(gc.freeze)
