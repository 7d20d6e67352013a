"""Whether an upload that is on no list surely isn't there, so that it may be sent again.

A list may lag behind (a cache, a replica). This module watches how soon the lists of this target show what it accepted.
As long as they do so at once, a file that is not listed is not there; otherwise time has to pass.

Beware: a prompt list doesn't mean that the target has finished. It may still be working on an upload long after a
timeout, a kill or a proxy's 504 ended the connection. What the target said it accepted is sent again only by a later
run, long afterwards, and only if a list that is newer than the upload still lacks it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from migrator.model import Upload

MIN_LOOKS = 4
"""How often what was sent is looked for at the least; the wait between two looks doubles."""
UNANSWERED_SECONDS = 30.0
"""After so long an upload without an answer that is not listed is taken for one that never arrived."""
ACCEPTED_SECONDS = 600.0
"""After so long one that was accepted, or a target whose lists lag, by a later run, if the list is newer than it."""
MAX_DOUBT_SECONDS = 86_400.0
"""After so long in any case."""
PROMPT, LATE = "prompt", "late"


class Evidence:
    """What is known of the lists of one target.

    `verdict` is what earlier runs saw, `PROMPT`, `LATE` or nothing; what this run sees counts more. `wait` and `unit`
    are the length of a second in waits and in ages: tests have no time.
    """

    def __init__(self, run: int, verdict: str = "", *, wait: float = 1.0, unit: float = 1.0) -> None:
        self._run, self._before, self._wait, self._unit = run, verdict, wait, unit
        self._seen = ""

    @property
    def verdict(self) -> str:
        """What is known now."""
        return self._seen or self._before

    def note(self, *, prompt: bool) -> bool:
        """An upload that was accepted was listed at the first look, or was not. True if that is news."""
        was = self.verdict
        if self._seen != LATE:
            self._seen = PROMPT if prompt else LATE
        return self.verdict != was

    def waits(self) -> list[float]:
        """Seconds to wait before each look for what was sent."""
        return [0.0, *(self._wait * 2**number for number in range(MIN_LOOKS - 1))]

    def last_waits(self) -> list[float]:
        """Seconds to wait before each look until what was sent without an answer is that old."""
        return [self._wait * seconds for seconds in (1.0, 2.0, 4.0, 8.0, UNANSWERED_SECONDS - 15.0)]

    def is_absent(self, upload: Upload, *, newer: bool, finished: bool = False, broke: bool = False) -> bool:
        """Whether a sent upload that is not listed surely isn't there.

        `newer`: the list shows a file that came later. `finished`: the target answered with an error of its own.
        `broke`: its connection was seen to end. Else the target may be at work on it still, however prompt its lists.
        """
        age = self._age(upload)
        if age >= MAX_DOUBT_SECONDS * self._unit and upload.sent_run != self._run:
            return True
        if upload.accepted or self.verdict == LATE:
            return upload.sent_run != self._run and newer and age >= ACCEPTED_SECONDS * self._unit
        return finished or (broke and self.verdict == PROMPT) or age >= UNANSWERED_SECONDS * self._unit

    def _age(self, upload: Upload) -> float:
        """Seconds since it was sent; an earlier version did not note when."""
        if not upload.sent_at:
            return MAX_DOUBT_SECONDS
        return (datetime.now(UTC) - datetime.fromisoformat(upload.sent_at)).total_seconds()
