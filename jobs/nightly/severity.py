"""Which of several exit statuses is the worst, and which status each means."""

from __future__ import annotations

from collections.abc import Iterable

from migrator.model import RunStatus

WORST_FIRST = (130, 1, 5, 7, 2, 4, 6, 3, 0)
"""Exit statuses, the worst first.

130  stopped: nobody knows what the rest would have been
1    a bug: what was done can't be relied on
5    damaged: files that were safe no longer are
7    disk full: nothing more gets into this archive, and perhaps into none
2    wrong configuration: no night will work until somebody corrects it
4    tracker away: may be over tomorrow
6    archive held: yesterday's run is still at work
3    some files failed, and the next night tries them again
0    all done
"""

CODE_OF = {
    RunStatus.INTERRUPTED: 130,
    RunStatus.DAMAGED: 5,
    RunStatus.INCOMPLETE: 3,
    RunStatus.COMPLETE: 0,
}
"""The exit status for the status of a step. An error has a status of its own."""


def status_of(code: int) -> RunStatus:
    """The status for an exit status: `failed`, unless a step can end with it."""
    return next((status for status, its_code in CODE_OF.items() if its_code == code), RunStatus.FAILED)


def worst(codes: Iterable[int]) -> int:
    """The worst of some exit statuses; 0 for none."""
    return min(codes, key=WORST_FIRST.index, default=0)
