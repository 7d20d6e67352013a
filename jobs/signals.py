"""Which signals stop the program, and what they do while no job runs.

Ctrl-C, `systemctl stop` and closing the terminal are treated alike. A running job is told once, and finishes in order
(`jobs.runtime`). Outside a job, for example while a configuration is read or a result printed, a signal raises
`KeyboardInterrupt`.

Beware: this is imported before anything else, so it must not import anything slow.
"""

from __future__ import annotations

import os
import signal
import stat

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def active_signals() -> list[signal.Signals]:
    """Those of STOPS that have an effect; what `nohup` ignores stays ignored."""
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """From now on each of these signals raises `KeyboardInterrupt` in the main thread."""
    for number in active_signals():
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt


def leave_terminal() -> None:
    """The terminal was closed: discard output to it, which would otherwise be an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe outlives the terminal
            os.dup2(nowhere, number)
    os.close(nowhere)
