"""Which signals stop the program, and what they do while no job runs.

Ctrl-C, `systemctl stop` and a terminal that is closed are the same: a job is told once and ends in order
(`migrator.jobs.runtime`). Outside of one, while a configuration is read or a result printed, a signal is a
`KeyboardInterrupt`.
"""

from __future__ import annotations

import signal
import threading

from migrator.jobs.terminal import leave_terminal

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def active_signals() -> list[signal.Signals]:
    """Those of STOPS that mean something here; what `nohup` ignores stays ignored.

    None outside of the main thread: Python gives signals to that one alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """From here on each of them is a `KeyboardInterrupt` in the main thread."""
    for number in active_signals():
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt
