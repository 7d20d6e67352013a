"""The paths of an export: legal and different on Linux, macOS and Windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from migrator.filenames import (
    MAX_FOLDER_CHARACTERS,
    MAX_KIND_CHARACTERS,
    MAX_PATH_CHARACTERS,
    fold,
    legal,
    length_on_windows,
    unique,
)
from migrator.model import Blob
from migrator.pipeline.export.formats import INDEX
from migrator.pipeline.export.placing import ExportItem
from migrator.printable import spreadsheet_cell


def items_with_paths(rows: Iterator[dict[str, Any]], avoid: str = "") -> Iterator[ExportItem]:
    """Each row (ordered by kind and entity) with its path in the tree, different from all others on any file system.

    `avoid`: characters that must not be in a path although they are legal.
    """
    kinds, folders, names = {fold(INDEX)}, set[str](), set[str]()
    kind = folder = ""
    last_kind: str | None = None
    last_entity: str | None = None
    for row in rows:
        if row["kind"] != last_kind:
            last_kind, last_entity, folders = row["kind"], None, set()
            kind = legal(_harmless(row["kind"]), MAX_KIND_CHARACTERS, avoid=avoid)
            kind = unique(kind, kinds, MAX_KIND_CHARACTERS, extension=False)
        if row["entity_id"] != last_entity:
            last_entity, names = row["entity_id"], set()
            title = f"{row['entity_id']} {row['title']}".strip()
            folder = unique(
                legal(title, MAX_FOLDER_CHARACTERS, "no entity", avoid=avoid),
                folders,
                MAX_FOLDER_CHARACTERS,
                extension=False,
            )
        room = MAX_PATH_CHARACTERS - length_on_windows(kind) - length_on_windows(folder) - 2
        name = unique(legal(row["name"], room, avoid=avoid), names, room)
        yield ExportItem(
            f"{kind}/{folder}/{name}",
            row["kind"],
            row["entity_id"],
            row["attachment_id"],
            row["name"],
            Blob(row["sha256"], row["size"]),
            row["created_at"],
            row["title"],
            row["created_by"],
            row["description"],
            row["url"],
        )


def _harmless(kind: str) -> str:
    """A kind with which no path in the index begins like a formula."""
    return kind if spreadsheet_cell(kind) == kind else f"_{kind}"
