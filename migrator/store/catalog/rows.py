"""Converts attachments and uploads to and from rows of the catalog, and makes statements that write many rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from migrator.model import Attachment, Blob, EntityRef, Upload, UploadStatus

COLUMNS = (
    "attachment_id, kind, entity_id, comment_id, name, size, media_type, description, created_at, created_by, "
    "locator, raw"
)
COLUMNS_OF_A = ", ".join(f"a.{column}" for column in COLUMNS.split(", "))
"""The same columns of a table `a`, for joins."""
ROWS_PER_STATEMENT = 512
"""Many rows are written by one statement, because each releases the GIL, and may wait milliseconds to get it back."""


def statements_for(statement: str, rows: Sequence[Sequence[object]]) -> Iterator[tuple[str, list[object]]]:
    """Statements that write these rows, each with its parameters; `{rows}` in `statement` stands for the rows.

    SQLite compiles a statement anew for each number of rows. To have few such numbers, each batch is padded to a power
    of two with NULL rows, which the statement has to skip.
    """
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        batch = rows[start : start + ROWS_PER_STATEMENT]
        width, length = len(batch[0]), 1 << (len(batch) - 1).bit_length()
        placeholders = f"({', '.join('?' * width)})"
        padding = [None] * (width * (length - len(batch)))
        yield statement.format(rows=", ".join([placeholders] * length)), [*chain.from_iterable(batch), *padding]


def row_of(attachment: Attachment) -> tuple[object, ...]:
    """The values of `COLUMNS`."""
    return (
        attachment.id,
        attachment.owner.kind,
        attachment.owner.id,
        attachment.comment_id,
        attachment.name,
        attachment.size,
        attachment.media_type,
        attachment.description,
        attachment.created_at,
        attachment.created_by,
        attachment.locator,
        attachment.raw,
    )


def attachment_from(row: Sequence[object]) -> Attachment:
    """The attachment in a row of `COLUMNS`."""
    (id_, kind, entity, comment, name, size, media_type, description, created_at, created_by, locator, raw) = row
    return Attachment(
        id=str(id_),
        owner=EntityRef(str(kind), str(entity)),
        name=str(name),
        size=size if isinstance(size, int) else None,
        comment_id=None if comment is None else str(comment),
        media_type=str(media_type),
        description=str(description),
        created_at=str(created_at),
        created_by=str(created_by),
        locator=str(locator),
        raw=str(raw),
    )


def upload_from(row: Sequence[Any]) -> Upload:
    """The upload in a row that `_uploads` selected."""
    kind, id_, status, remote_id, name, attempts, sent_run, seen, differs, deleting, *sent = row[:15]
    locator, sent_name, sent_at, accepted, altered = sent
    sha256, size, sha256_now, size_now, *attachment = row[15:]
    return Upload(
        attachment_from(attachment),
        Blob(sha256, size),
        EntityRef(kind, id_),
        UploadStatus(status),
        remote_id,
        name,
        attempts,
        sent_run,
        frozenset(json.loads(seen or "[]")),
        differs=bool(differs),
        deleting=bool(deleting),
        locator=locator,
        sent_name=sent_name,
        sent_at=sent_at or "",
        accepted=bool(accepted),
        altered=json.loads(altered or "{}"),
        blob_now=None if sha256_now is None else Blob(sha256_now, size_now),
    )
