"""Links from a page into an exported tree: which file of the tree is which attachment, by the tree's `index.csv`."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from urllib.parse import quote

from migrator.errors import ConfigError
from migrator.filenames import readable

INDEX = "index.csv"
_FOLDERS = ("", "data")
"""Where the index is: at the top of a tree, and below `data` in a bag."""


def exported_files(tree: Path, page: Path) -> dict[str, tuple[str, str]]:
    """For each attachment id the link from the page to its file, and the SHA-256 that the file had when exported.

    `ConfigError` if this is no exported tree. A row whose path leads out of the tree is left out.
    """
    index = next((path for path in (tree / folder / INDEX for folder in _FOLDERS) if path.is_file()), None)
    if index is None:
        raise ConfigError(f"{readable(tree)} is not an exported tree (no {INDEX} in it)")
    start = os.path.relpath(os.path.realpath(index.parent), os.path.realpath(page.parent))
    with index.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        if not {"path", "attachment_id", "sha256"} <= set(rows.fieldnames or ()):
            raise ConfigError(f"{readable(index)} is not the index of an exported tree")
        return {
            row["attachment_id"]: (_link(start, row["path"]), row["sha256"]) for row in rows if _is_inside(row["path"])
        }


def _is_inside(path: str | None) -> bool:
    return bool(path) and not {"", ".", ".."} & set(str(path).split("/"))


def _link(start: str, path: str) -> str:
    """The address relative to the page; it begins with a folder, so that no name can be taken for a scheme."""
    prefix = "" if start.startswith("..") else "./"
    return prefix + quote(f"{start}/{path}".removeprefix("./").encode("utf-8", "surrogateescape"))
