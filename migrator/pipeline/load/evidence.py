"""Whether an upload that no list shows is certainly absent, so that it may be sent again.

Lists may lag behind (a cache, a replica). This module watches how soon the lists of a target show what it accepted. If
they do so at once, a file that is not listed is not there; otherwise time has to pass.

Beware: even if its lists are prompt, a target may still be processing an upload long after a timeout, a kill or a
proxy's 504 ended the connection. An upload that the target accepted is sent again only by a later run, long afterwards,
and only if a list that is newer than the upload still lacks it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from migrator.model import Upload

MIN_LOOKS = 4
"""How often an upload is looked for at least; the wait between two looks doubles."""
UNANSWERED_SECONDS = 30.0
"""An upload without an answer that is not listed by then never arrived."""
ACCEPTED_SECONDS = 600.0
"""The same for an upload that was accepted, or if lists are late; only in a later run, and if the list is newer."""
MAX_DOUBT_SECONDS = 86_400.0
"""The same for any upload, in a later run."""
PROMPT, LATE = "prompt", "late"


class Evidence:
    """What is known about the lists of one target.

    `verdict` is what earlier runs saw: `PROMPT`, `LATE` or nothing; what this run sees replaces it. `wait` and `unit`
    are the length of a second in waits and in ages, which tests shorten.
    """

    def __init__(self, run: int, verdict: str = "", *, wait: float = 1.0, unit: float = 1.0) -> None:
        self._run, self._before, self._wait, self._unit = run, verdict, wait, unit
        self._seen = ""

    @property
    def verdict(self) -> str:
        """What is known now."""
        return self._seen or self._before

    def note(self, *, prompt: bool) -> bool:
        """Note whether an accepted upload was listed at the first look. True if the verdict changed."""
        was = self.verdict
        if self._seen != LATE:
            self._seen = PROMPT if prompt else LATE
        return self.verdict != was

    def waits(self) -> list[float]:
        """Seconds to wait before each look for what was sent."""
        return [0.0, *(self._wait * 2**number for number in range(MIN_LOOKS - 1))]

    def last_waits(self) -> list[float]:
        """Seconds to wait before each look, until an upload without an answer is old enough to be absent."""
        first = (1.0, 2.0, 4.0, 8.0)
        return [self._wait * seconds for seconds in (*first, UNANSWERED_SECONDS - sum(first))]

    def is_absent(self, upload: Upload, *, newer: bool, finished: bool = False, broke: bool = False) -> bool:
        """Whether an upload that was sent and is not listed is certainly absent.

        `newer`: the list shows a file that came later. `finished`: the target answered with an error of its own.
        `broke`: the connection broke. Otherwise the target may still be processing it, however prompt its lists are.
        """
        age = self._age(upload)
        if age >= MAX_DOUBT_SECONDS * self._unit and upload.sent_run != self._run:
            return True
        if upload.accepted or self.verdict == LATE:
            return upload.sent_run != self._run and newer and age >= ACCEPTED_SECONDS * self._unit
        return finished or (broke and self.verdict == PROMPT) or age >= UNANSWERED_SECONDS * self._unit

    def is_deleted(self, upload: Upload) -> bool:
        """Whether an upload was deleted at the target that had arrived, and that an earlier run has missed, too.

        Both looked at the list and asked for the file by its id, so only one that was sent just now may be late.
        """
        return self._age(upload) >= (ACCEPTED_SECONDS if self.verdict == LATE else UNANSWERED_SECONDS) * self._unit

    def _age(self, upload: Upload) -> float:
        """Seconds since it was sent. Earlier versions did not record when; such an upload is old."""
        if not upload.sent_at:
            return MAX_DOUBT_SECONDS
        return (datetime.now(UTC) - datetime.fromisoformat(upload.sent_at)).total_seconds()
