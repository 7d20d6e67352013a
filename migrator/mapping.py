"""`mapping.csv`: which target entity each source entity becomes.

The one trap: people edit it in spreadsheets. A byte order mark, another delimiter, spaces, empty lines and extra
columns are all fine; what can't be understood is an error that names the line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from migrator.errors import ConfigError
from migrator.model import UNLINKED, EntityRef

COLUMNS = ("source_kind", "source_id", "target_kind", "target_id")

Mapping = dict[EntityRef, tuple[EntityRef, ...]]


def read_mapping(path: Path) -> Mapping:
    """The mapping of a file. A source entity on two rows goes to both; the same row twice counts once."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            return _mapping(_lines(csv.reader(file, delimiter=delimiter, strict=True), path.name), path.name)
    except FileNotFoundError:
        raise ConfigError(f"the mapping file {path} does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"the mapping file {path} can't be read: {error.strerror}") from None


def _lines(reader: csv.Reader, name: str) -> Iterator[tuple[int, list[str]]]:  # type: ignore[name-defined]
    """Each row with the number of its last line."""
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ConfigError(f"{name} line {reader.line_num} is not valid CSV: {error}") from None


def _mapping(lines: Iterator[tuple[int, list[str]]], name: str) -> Mapping:
    header = [cell.strip().lower() for cell in next(lines, (1, []))[1]]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ConfigError(f"{name} line 1: the header lacks {', '.join(missing)}")
    places = [header.index(column) for column in COLUMNS]
    found: dict[EntityRef, dict[EntityRef, None]] = {}
    for number, row in lines:
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        source, target = EntityRef(cells[0], cells[1]), EntityRef(cells[2], cells[3])
        _check(source, target, f"{name} line {number}")
        found.setdefault(source, {})[target] = None
    return {source: tuple(targets) for source, targets in found.items()}


def _check(source: EntityRef, target: EntityRef, where: str) -> None:
    if not source.kind:
        raise ConfigError(f"{where}: source_kind is empty")
    if not source.id and source.kind != UNLINKED:
        raise ConfigError(f"{where}: source_id is empty")
    if any("\0" in word for word in (source.kind, source.id, target.kind, target.id)):
        raise ConfigError(f"{where}: a NUL character; is this a text file?")
    if not target.id:
        raise ConfigError(f"{where}: target_id is empty (delete the row if {source} is not to be migrated)")
