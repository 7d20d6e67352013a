"""`mapping.csv`: which target entity each source entity becomes.

The one trap: people edit it in spreadsheets. A byte order mark, another delimiter, spaces, empty lines and extra
columns are all fine; what can't be understood is an error that names the line.
"""

from __future__ import annotations

import csv
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
            return _rows(csv.reader(file, delimiter=delimiter, strict=True), path.name)
    except FileNotFoundError:
        raise ConfigError(f"the mapping file {path} does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{path.name} is not valid CSV: {error}") from None
    except OSError as error:
        raise ConfigError(f"the mapping file {path} can't be read: {error.strerror}") from None


def _rows(reader: csv.Reader, name: str) -> Mapping:  # type: ignore[name-defined]
    header = [cell.strip().lower() for cell in next(reader, [])]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ConfigError(f"{name} line 1: the header lacks {', '.join(missing)}")
    places = [header.index(column) for column in COLUMNS]
    found: dict[EntityRef, dict[EntityRef, None]] = {}
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[place].strip() if place < len(row) else "" for place in places]
        source, target = EntityRef(cells[0], cells[1]), EntityRef(cells[2], cells[3])
        _check(source, target, f"{name} line {reader.line_num}")
        found.setdefault(source, {})[target] = None
    return {source: tuple(targets) for source, targets in found.items()}


def _check(source: EntityRef, target: EntityRef, where: str) -> None:
    if not source.kind:
        raise ConfigError(f"{where}: source_kind is empty")
    if not source.id and source.kind != UNLINKED:
        raise ConfigError(f"{where}: source_id is empty")
    if not target.id:
        raise ConfigError(f"{where}: target_id is empty (delete the row if {source} is not to be migrated)")
