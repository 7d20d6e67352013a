"""Which signals stop the program, and what they do while no job runs.

Ctrl-C, `systemctl stop` and a closed terminal are treated alike: a job is asked to stop, and ends in order
(`jobs.runtime`). While no job runs, for example when a configuration is read, a signal is a `KeyboardInterrupt`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from migrator.jobs.terminal import leave_terminal

T = TypeVar("T")
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


def interruptible(call: Callable[[], T]) -> T:
    """Call what may wait long for a store, in a thread, so that a stop meanwhile is a `KeyboardInterrupt` at once.

    The library that waits there hears no signals, and while the event loop waits for it, the loop doesn't either.
    """
    if not (numbers := active_signals()):
        return call()
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    former = {number: signal.getsignal(number) for number in numbers}
    try:
        interrupt_on_signals()
        threading.Thread(target=work, name="store", daemon=True).start()
        return future.result()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    if number == signal.SIGHUP:
        leave_terminal()
    raise KeyboardInterrupt
