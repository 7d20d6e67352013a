"""Being told to stop: which signals that are, and what they do while no job runs.

The one idea: Ctrl-C, `systemctl stop` and a terminal that is closed are the same; a job is told once and ends well
(`jobs.runtime`), and outside of one, where a configuration is read or a result printed, a signal is a
`KeyboardInterrupt`.
The one trap: this is imported before anything else, so it imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
import stat
import threading

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heeded() -> list[signal.Signals]:
    """Those of STOPS that mean something here; what `nohup` ignores stays ignored.

    None outside of the main thread: Python gives signals to that one alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """From here on each of them is a `KeyboardInterrupt` in the main thread."""
    for number in heeded():
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt


def leave_terminal() -> None:
    """The terminal was closed: what would be written to it goes nowhere, instead of being an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):  # a file or a pipe outlives the terminal
            os.dup2(nowhere, number)
    os.close(nowhere)
