"""Which signals stop the program, and what they do while no job runs.

Ctrl-C, `systemctl stop` and a closed terminal are treated alike: a job is asked to stop, and ends in order
(`jobs.runtime`). While no job runs, for example when a configuration is read, a signal is a `KeyboardInterrupt`.
"""

from __future__ import annotations

import signal
import threading

from migrator.jobs.terminal import leave_terminal

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def active_signals() -> list[signal.Signals]:
    """The signals of STOPS that stop this process: not SIGHUP under `nohup`.

    None outside of the main thread, the only one in which Python handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in STOPS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def interrupt_on_signals() -> None:
    """From now on, each of them raises `KeyboardInterrupt` in the main thread."""
    for number in active_signals():
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt
