"""The facts about one file of a Squash TM: what its owner's record says, and what its own record adds.

The owner's record shows that there is a file, and the download decides whether it can be had. The file's own record
adds only size and date, so if it is unreadable, no file is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from migrator.errors import AuthError, ConnectError, RejectedError, RetriableError, ThrottledError, UnexpectedBodyError
from migrator.model import Attachment, EntityRef
from migrator.trackers.squash.hal import Get
from migrator.trackers.squash.parse import attachment_in

MAX_ATTEMPTS = 3  # times that a record is asked for, before a failure is taken for its last word
MAX_WITHOUT_RECORD = 10  # files without a record, and none with one, before each is asked for only once


class FileFacts:
    """Of the files of one server. It learns whether records can be had at all."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._attempts: Counter[str] = Counter()
        self._without_record, self._has_records = 0, False

    async def of(self, item: Mapping[str, Any], owner: EntityRef) -> Attachment:
        """A file with its size and date, as far as they are known; what the owner's record says is kept.

        Raises what its record failed with, until that has happened STUMBLES times.
        """
        told = attachment_in(item, owner)
        if told.size is not None and told.created_at:
            return told
        try:
            found = attachment_in(await self._get(f"attachments/{told.id}", {}), owner)
            if found.id != told.id:
                raise UnexpectedBodyError(f"attachment {told.id} was asked for, {found.id} came")
        except RejectedError:
            return told
        except (ConnectError, ThrottledError):
            raise
        except (RetriableError, AuthError):
            if not self._has_no_record(told.id):
                raise
            return told
        self._has_records = True
        return found

    def _has_no_record(self, number: str) -> bool:
        """Whether it failed often enough; once is enough on a server of which no record was ever had."""
        self._attempts[number] += 1
        patient = self._has_records or self._without_record < MAX_WITHOUT_RECORD
        if self._attempts[number] < (MAX_ATTEMPTS if patient else 1):
            return False
        del self._attempts[number]
        self._without_record += 1
        return True
