"""What is sent for each upload: the name, description and dates of the file at the target."""

from __future__ import annotations

from collections.abc import Container
from itertools import takewhile

from migrator.filenames import name_at_target, names_at_target
from migrator.model import Attachment, Draft, Upload
from migrator.pipeline.load.settings import LoadSettings
from migrator.ports import Target

FIRST_ATTACHED = "[first attached"


class Drafts:
    """Drafts for the uploads to one target."""

    def __init__(self, target: Target, settings: LoadSettings) -> None:
        self._target, self._settings = target, settings

    def draft_of(self, upload: Upload, names: Container[str]) -> Draft:
        """What to send; `names` are those in use on the entity. If it was sent before, the name stays the same."""
        attachment, can = upload.attachment, self._target.capabilities
        name = upload.sent_name or name_at_target(
            attachment.name, self._target.legal_name, can.max_name_bytes, names, can.name_encoding
        )
        return Draft(
            name,
            attachment.media_type,
            self._description(attachment),
            upload.blob.size,
            attachment.created_at,
            attachment.created_by,
        )

    def names_of(self, upload: Upload, names: Container[str]) -> list[str]:
        """The names that this file may have got when it was sent, perhaps by a load from another archive: the one that
        would be sent if it were the first, and those that were added a number because such a name was in use.
        """
        if upload.sent_name:
            return [upload.sent_name]
        can = self._target.capabilities
        possible = names_at_target(
            upload.attachment.name, self._target.legal_name, can.max_name_bytes, can.name_encoding
        )
        return list(takewhile(names.__contains__, possible))

    def _description(self, attachment: Attachment) -> str:
        """The original description, with a line for author and date if the target can't keep those.

        A file that is restored for the second time has that line already.
        """
        keeps = self._target.capabilities.keeps_author_and_date
        if keeps or not self._settings.provenance or not (attachment.created_by or attachment.created_at):
            return attachment.description
        if self._settings.restores and FIRST_ATTACHED in attachment.description:
            return attachment.description
        by = f" by {attachment.created_by}" if attachment.created_by else ""
        at = f" on {attachment.created_at}" if attachment.created_at else ""
        return f"{attachment.description}\n{FIRST_ATTACHED}{by}{at}]".strip()
