"""What is said of a run's progress, in no more than a given number of columns: details are dropped by rank."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from migrator.jobs.progress.tally import Tally
from migrator.units import counted, human_number, human_size, human_time_left, human_took


def fitting(parts: Sequence[tuple[int, str]], width: int) -> str:
    """The parts with commas between, without those of the highest ranks if they take more than `width` columns."""
    left = [(rank, text) for rank, text in parts if text]
    while left and len(text := ", ".join(text for _, text in left)) > width:
        left.remove(max(left))
    return text if left else ""


def longest(texts: Sequence[str], width: int) -> str:
    """The first text that takes no more than `width` columns, or nothing."""
    return next((text for text in texts if len(text) <= width), "")


def counts(tally: Tally, width: int) -> str:
    """How many files, bytes and entities, how fast, and how many failed."""
    moved = tally.bytes or tally.wanted_bytes
    return fitting(
        (
            (0, _files(tally)),
            (3, human_size(tally.bytes) if moved else ""),
            (2, f"{human_size(tally.bytes_per_second)}/s" if moved else ""),
            (1, f"{human_number(tally.failures)} failed" if tally.failures else ""),
            (4 if tally.wanted else 0, counted(tally.seen, "entity", "entities") if tally.seen else ""),
        ),
        width,
    )


def _files(tally: Tally) -> str:
    if not tally.wanted:
        return ""
    return f"{_of_all(tally)}{'' if tally.total_known else ' so far'}"


def _of_all(tally: Tally) -> str:
    noun = counted(tally.wanted, tally.shown.noun)
    return (
        noun
        if tally.files == tally.wanted and tally.total_known
        else f"{human_number(min(tally.files, tally.wanted))} of {noun}"
    )


def time_left(tally: Tally) -> str:
    """How long it still takes, or at least takes, or nothing."""
    left = tally.seconds_left
    if left is None or left < 1:
        return ""
    return f"{'' if tally.total_known else 'at least '}{human_time_left(left)} left"


def percent(tally: Tally) -> str:
    """The share that is done, once the total is known."""
    return f"{int(tally.share * 100)}%" if tally.total_known and tally.wanted else ""


def waiting(tally: Tally, width: int) -> str:
    """What is being waited for, if nothing has come for long; of a tracker, as without one nobody is waited for."""
    if not tally.silence or tally.shown.waits is None:
        return ""
    silent, wait = human_time_left(tally.silence), tally.wait
    if wait and wait.until is not None:
        until = f"{datetime.fromtimestamp(wait.until).astimezone():%H:%M:%S}"
        long, short, tried = f"the tracker asked to wait until {until}", f"waiting until {until}", ""
    else:
        long, short = f"the tracker has not answered for {silent}", f"no answer for {silent}"
        tried = f", try {wait.attempt} of {wait.attempts}" if wait else ""
        if wait is None:
            long, short = f"nothing has come from the tracker for {silent}", f"nothing came for {silent}"
        elif wait.answered:
            long, short = f"the tracker has answered with errors for {silent}", f"errors for {silent}"
    files = counted(tally.good, tally.shown.noun)
    kept = f"; {files} {'is' if tally.good == 1 else 'are'} {tally.shown.done}" if tally.good else ""
    return longest((f"{long}{tried}{kept}", f"{short}{tried}{kept}", f"{short}{tried}", short), width)


def line(tally: Tally) -> str:
    """All of it as one line, for a log."""
    text = waiting(tally, 10_000) or ", ".join(filter(None, (counts(tally, 10_000), time_left(tally))))
    return f"{tally.shown.label}: {text or 'nothing yet'}"


def last_line(tally: Tally) -> str:
    """What was done, when it has ended; nothing if it ended before anything was found to do."""
    if not (tally.wanted or tally.files or tally.seen):
        return f"{tally.shown.label}: nothing to do" if tally.total_known else ""
    seconds, size = tally.seconds, human_size(tally.bytes)
    rate = f" ({human_size(tally.bytes / seconds)}/s)" if seconds >= 1 else ""
    parts = (
        _of_all(tally) if tally.wanted else counted(tally.seen, "entity", "entities"),
        f"{size}{rate}" if tally.bytes else "",
        f"{human_number(tally.failures)} failed" if tally.failures else "",
    )
    return f"{tally.shown.label}: {', '.join(filter(None, parts))} in {human_took(seconds)}"
