"""`mapping.csv`: which target entity each source entity becomes.

The file belongs to a person. The program only appends rows, for source entities that have none, and adds columns that
the header lacks. Every existing row stays as it is, byte for byte, and the new file replaces the old one atomically.

Beware: people edit it in spreadsheets. A byte order mark, another delimiter, spaces, empty lines and extra columns are
all accepted; anything that can't be understood is an error that names the line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from migrator.errors import ConfigError, StorageError
from migrator.hints import did_you_mean
from migrator.model import UNLINKED, EntityRef
from migrator.printable import BYTE_ORDER_MARK, spreadsheet_cell
from migrator.whole_file import whole_file

COLUMNS = ("source_kind", "source_id", "target_kind", "target_id")

NOTE_COLUMNS = ("found_by", "sure", "why", "source_title", "target_title", "source_url", "target_url")
"""Columns that say how the program found a row, how sure it is, and what both entities are; only people read them."""

Mapping = dict[EntityRef, tuple[EntityRef, ...]]


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row that the program adds, with the notes of `NOTE_COLUMNS`."""

    source: EntityRef
    target: EntityRef
    found_by: str = ""
    sure: str = ""
    why: str = ""
    source_title: str = ""
    target_title: str = ""
    source_url: str = ""
    target_url: str = ""


Pair = tuple[EntityRef, EntityRef]
"""A row of the file: a source entity and the target entity that it becomes."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A mapping, with the line number of each of its rows in the file `name`."""

    mapping: Mapping
    lines: dict[Pair, int]
    name: str

    def unmatched(self, known: Container[EntityRef]) -> list[Pair]:
        """Rows whose source entity is unknown, in the order of the file. Rows for unlinked files name no entity."""
        return [pair for pair in self.lines if pair[0] not in known and pair[0].kind != UNLINKED]

    def require_target_kinds(self, kinds: Collection[str]) -> None:
        """`ConfigError` for the first row whose target kind is not one of these (any, if empty)."""
        for (_, target), line in self.lines.items():
            if target.kind and kinds and target.kind not in kinds:
                hint = did_you_mean(target.kind, sorted(kinds), shown=repr)
                raise ConfigError(f"{self.name} line {line}: the target has no kind {target.kind!r}; {hint}")


def read_rows(path: Path, *, may_be_missing: bool = False) -> Rows:
    """Like `read_mapping`, with line numbers; a row that occurs twice has the number of the first."""
    content = _content(path)
    if may_be_missing and _is_blank(content):
        return Rows({}, {}, path.name)
    if content is None:
        raise ConfigError(f"the mapping file {path} does not exist; `migrator map CONFIG` proposes one")
    return _rows(content, path.name)


def read_mapping(path: Path, *, may_be_missing: bool = False) -> Mapping:
    """Read a mapping file. A source entity on two rows goes to both targets; a repeated row counts once.

    `may_be_missing`: a missing or empty file maps nothing; otherwise it is an error.
    """
    return read_rows(path, may_be_missing=may_be_missing).mapping


def add_rows(path: Path, rows: Iterable[NewRow]) -> int:
    """Append a row for each source entity that has none in the file now; returns the number of rows added.

    A missing file is created. A kill at any moment leaves the file complete or as it was before.
    `StorageError` if it can't be written, `ConfigError` if its content is not a mapping.
    """
    content = _content(path)
    if content is None or _is_blank(content):
        content = BYTE_ORDER_MARK + ",".join((*COLUMNS, *NOTE_COLUMNS)) + "\n"
    known = _rows(content, path.name).mapping
    new = {(row.source, row.target): row for row in rows if row.source not in known}
    if new:
        replace_file(path, _with_rows(content, new.values()))
    return len(new)


def replace_file(path: Path, content: str) -> None:
    """Replace a file by a new one, atomically. A symbolic link stays one; `StorageError` if writing fails."""
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror}; run the same command again once it can"
        ) from None


def _content(path: Path) -> str | None:
    """The text of the file, with byte order mark and line ends as they are; None if there is no file."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"the mapping file {path} can't be read: {error.strerror}") from None


def _is_blank(content: str | None) -> bool:
    return not (content or "").strip("\ufeff \t\r\n")


def _reader(content: str) -> csv.Reader:  # type: ignore[name-defined]
    plain = content.removeprefix(BYTE_ORDER_MARK)
    return csv.reader(io.StringIO(plain, newline=""), delimiter=_delimiter(plain), strict=True)


def _delimiter(plain: str) -> str:
    first = io.StringIO(plain, newline="").readline()
    return max(",;\t", key=first.count)


def _with_rows(content: str, rows: Iterable[NewRow]) -> str:
    """The content with these rows appended, in its own delimiter, line ends and column order."""
    reader = _reader(content)
    header = next(reader)
    byte_order_mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else ""
    plain = content.removeprefix(BYTE_ORDER_MARK)
    lines = list(io.StringIO(plain, newline=""))
    # A quoted cell of the header may hold line breaks, so the header may be several lines.
    head, body = "".join(lines[: reader.line_num]), "".join(lines[reader.line_num :])
    end = next((end for end in ("\r\n", "\n", "\r") if end in plain), "\n")
    names = [cell.strip().lower() for cell in header]
    # Columns that the header lacks go to its end. Existing rows stay as they are: a short row has empty cells there.
    lacking = [column for column in NOTE_COLUMNS if column not in names]
    if lacking:
        head = head.rstrip("\r\n") + "".join(_delimiter(plain) + column for column in lacking) + end
    # The last line may have no end yet.
    body += "" if (head + body).endswith(("\n", "\r")) else end
    added = io.StringIO(newline="")
    writer = csv.writer(added, delimiter=_delimiter(plain), lineterminator=end)
    writer.writerows(_cells(row, [*names, *lacking]) for row in rows)
    return byte_order_mark + head + body + added.getvalue()


def _cells(row: NewRow, columns: Sequence[str]) -> list[str]:
    values = (row.source.kind, row.source.id, row.target.kind, row.target.id)
    notes = {column: spreadsheet_cell(getattr(row, column)) for column in NOTE_COLUMNS}
    named = dict(zip(COLUMNS, values, strict=True)) | notes
    return [named.get(column, "") for column in columns]


def _numbered_rows(content: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its last line."""
    reader = _reader(content)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ConfigError(f"{name} line {reader.line_num} is not valid CSV: {error}") from None


def _rows(content: str, name: str) -> Rows:
    numbered_rows = _numbered_rows(content, name)
    _, header_row = next(numbered_rows, (1, []))
    header = [cell.strip().lower() for cell in header_row]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        column = "column" if len(missing) == 1 else "columns"
        raise ConfigError(f"{name} line 1: missing {column} {', '.join(missing)} in the header")
    positions = [header.index(column) for column in COLUMNS]
    targets_of: dict[EntityRef, dict[EntityRef, None]] = {}
    line_of: dict[Pair, int] = {}
    for number, row in numbered_rows:
        if not any(cell.strip() for cell in row):
            continue
        cells = [row[position].strip() if position < len(row) else "" for position in positions]
        source, target = EntityRef(cells[0], cells[1]), EntityRef(cells[2], cells[3])
        _check(source, target, f"{name} line {number}")
        targets_of.setdefault(source, {})[target] = None
        line_of.setdefault((source, target), number)
    return Rows({source: tuple(targets) for source, targets in targets_of.items()}, line_of, name)


def _check(source: EntityRef, target: EntityRef, where: str) -> None:
    if not source.kind:
        raise ConfigError(f"{where}: source_kind is empty")
    if not source.id and source.kind != UNLINKED:
        raise ConfigError(f"{where}: source_id is empty")
    if any("\0" in word for word in (source.kind, source.id, target.kind, target.id)):
        raise ConfigError(f"{where}: a NUL character; is this a text file?")
    if not target.id:
        raise ConfigError(f"{where}: target_id is empty (delete the row if {source} is not to be migrated)")
