"""The metadata of one file of a Squash TM, from its owner's record and from its own.

The owner's record shows that there is a file, and the download decides whether it can be fetched. The file's own record
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

MAX_ATTEMPTS = 3
"""Attempts at a record before its failure is final."""
MAX_WITHOUT_RECORD = 10
"""After this many files without a record, and none with one, each record is requested only once."""


class FileMetadata:
    """The metadata of the files of one server. It learns whether files have records at all."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._attempts: Counter[str] = Counter()
        self._without_record, self._has_records = 0, False

    async def completed(self, item: Mapping[str, Any], owner: EntityRef) -> Attachment:
        """A file with its size and date, as far as they are known; `item` is what the owner's record shows of it.

        Raises the failure of the file's own record the first `MAX_ATTEMPTS` - 1 times.
        """
        listed = attachment_in(item, owner)
        if listed.size is not None and listed.created_at:
            return listed
        try:
            file = attachment_in(await self._get(f"attachments/{listed.id}", {}), owner)
            if file.id != listed.id:
                raise UnexpectedBodyError(f"attachment {listed.id} was asked for, {file.id} came")
        except RejectedError:
            return listed
        except (ConnectError, ThrottledError):
            raise
        except (RetriableError, AuthError):
            if not self._has_no_record(listed.id):
                raise
            return listed
        self._has_records = True
        return file

    def _has_no_record(self, number: str) -> bool:
        """Count a failed record, and say whether it is final: at once, if this server seems to have no records."""
        self._attempts[number] += 1
        has_records = self._has_records or self._without_record < MAX_WITHOUT_RECORD
        if self._attempts[number] < (MAX_ATTEMPTS if has_records else 1):
            return False
        del self._attempts[number]
        self._without_record += 1
        return True
