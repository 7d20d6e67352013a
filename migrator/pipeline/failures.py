"""An item that a run could not do, as every summary tells of it."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model import Attachment, EntityRef, Upload


@dataclass(frozen=True, slots=True)
class Failure:
    """One file or one entity. `target` is set where it is about an upload; `status` then says how that stands."""

    owner: EntityRef
    attachment: str | None
    name: str
    reason: str
    target: EntityRef | None = None
    status: str = ""

    @classmethod
    def of_upload(cls, upload: Upload, reason: str, status: str = "") -> Failure:
        """The upload of a file. Its status is that of the upload, if no other is given."""
        of = upload.attachment
        return cls(of.owner, of.id, of.name, reason, upload.to, status or str(upload.status))

    @classmethod
    def of_file(cls, attachment: Attachment, reason: str) -> Failure:
        """A file of the source."""
        return cls(attachment.owner, attachment.id, attachment.name, reason)

    def as_json(self) -> dict[str, str | None]:
        """The keys of `failures` in the JSON of a run; three more where an upload failed."""
        told: dict[str, str | None] = {
            "kind": self.owner.kind,
            "entity": self.owner.id,
            "attachment": self.attachment,
            "name": self.name,
            "reason": self.reason,
        }
        if self.target is not None:
            told |= {"target_kind": self.target.kind, "target_id": self.target.id, "status": self.status}
        return told
