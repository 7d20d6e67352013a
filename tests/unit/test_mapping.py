"""`mapping.csv` as spreadsheets and people write it."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.errors import ConfigError, StorageError
from migrator.mapping.file import COLUMNS, NewRow, add_rows, read_mapping
from migrator.model import UNLINKED, EntityRef

HEADER = "source_kind,source_id,target_kind,target_id\n"
BUG = EntityRef("Bug", "1")
TARGET = EntityRef("Issue", "7")


def mapping_of(folder: Path, content: str | bytes):
    path = folder / "mapping.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_mapping(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + "Bug,1,Issue,7\n", id="as the contract has it"),
        pytest.param("\ufeff" + HEADER + "Bug,1,Issue,7\n", id="a byte order mark"),
        pytest.param((HEADER + "Bug,1,Issue,7\n").replace(",", ";"), id="semicolons"),
        pytest.param((HEADER + "Bug,1,Issue,7\n").replace(",", "\t"), id="tabs"),
        pytest.param((HEADER + "Bug,1,Issue,7\n").replace("\n", "\r\n"), id="CRLF"),
        pytest.param((HEADER + "Bug,1,Issue,7\n").replace("\n", "\r"), id="CR alone"),
        pytest.param(HEADER + "Bug,1,Issue,7", id="no last line end"),
        pytest.param(" Source_Kind , SOURCE_ID,target_kind ,target_id\n Bug , 1, Issue ,7 \n", id="spaces and case"),
        pytest.param(HEADER + "\n,,,\n  \nBug,1,Issue,7\n\n , , ,\n", id="empty lines"),
        pytest.param('"source_kind","source_id","target_kind","target_id"\n"Bug","1","Issue","7"\n', id="quotes"),
        pytest.param(HEADER + "Bug,1,Issue,7\nBug,1,Issue,7\n", id="the same row twice"),
        pytest.param(HEADER + "Bug,1,Issue,7,a note,another\n", id="cells beyond the header"),
        pytest.param(
            "title,target_id,note,source_id,source_kind,target_kind\n"
            '"It says ""no"", sometimes\non two lines",7,x,1,Bug,Issue\n',
            id="further columns, another order, a quoted line end",
        ),
    ],
)
def test_what_a_spreadsheet_makes_of_it_is_understood(tmp_path, content):
    assert mapping_of(tmp_path, content) == {BUG: (TARGET,)}


def test_a_source_entity_on_two_rows_goes_to_both_targets_in_their_order(tmp_path):
    found = mapping_of(tmp_path, HEADER + "Bug,1,Issue,9\nStory,1,Issue,8\nBug,1,Issue,7\n")
    assert found == {BUG: (EntityRef("Issue", "9"), TARGET), EntityRef("Story", "1"): (EntityRef("Issue", "8"),)}


def test_a_target_kind_may_be_empty(tmp_path):
    assert mapping_of(tmp_path, HEADER + "Bug,1,,7\n") == {BUG: (EntityRef("", "7"),)}


def test_files_that_nothing_owns_are_mapped_by_an_empty_id(tmp_path):
    assert mapping_of(tmp_path, HEADER + "Unlinked,,Issue,7\n") == {EntityRef(UNLINKED, ""): (TARGET,)}


def test_ids_are_text_and_keep_their_zeros(tmp_path):
    assert mapping_of(tmp_path, HEADER + "Bug,007,Issue,0x1\n") == {
        EntityRef("Bug", "007"): (EntityRef("Issue", "0x1"),)
    }


def test_a_header_alone_maps_nothing(tmp_path):
    assert mapping_of(tmp_path, HEADER) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", ["mapping.csv", "line 1", "source_kind"], id="an empty file"),
        pytest.param(
            "source_kind,source_id,target_kind\nBug,1,Issue\n", ["line 1", "target_id"], id="a lacking column"
        ),
        pytest.param("Bug,1,Issue,7\n", ["line 1", "header", "source_kind"], id="no header"),
        pytest.param(HEADER + "Bug,1,Issue,7\n,2,Issue,8\n", ["line 3", "source_kind"], id="no kind"),
        pytest.param(HEADER + "\n\nBug,,Issue,7\n", ["line 4", "source_id"], id="no id"),
        pytest.param(HEADER + "Bug,1,Issue,\n", ["line 2", "target_id", "Bug 1"], id="no target"),
        pytest.param(HEADER + "Bug,1\n", ["line 2", "target_id"], id="a short row"),
        pytest.param(HEADER + 'x,1,Issue,7\nBug,"1,Issue,7\n', ["mapping.csv", "line"], id="a quote never closed"),
        pytest.param(HEADER + "Bug,1\0,Issue,7\n", ["mapping.csv", "line 2"], id="a NUL"),
        pytest.param(HEADER + "Bug," + "9" * 200_000 + ",Issue,7\n", ["mapping.csv", "line 2"], id="a huge cell"),
        pytest.param(b"\xff\xfe" + HEADER.encode("utf-16-le"), ["mapping.csv", "UTF-8"], id="UTF-16"),
        pytest.param(HEADER.encode() + b"Bug,1,K\xfche,7\n", ["mapping.csv", "UTF-8"], id="Latin-1"),
    ],
)
def test_what_can_not_be_understood_is_an_error_that_names_file_and_line(tmp_path, content, says):
    with pytest.raises(ConfigError) as error:
        mapping_of(tmp_path, content)
    for word in says:
        assert word in str(error.value)
    assert len(str(error.value)) < 300


def test_a_file_that_is_not_there_and_a_folder_are_errors_that_name_it(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.csv.* does not exist"):
        read_mapping(tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match=tmp_path.name):
        read_mapping(tmp_path)


# A lone CR is left out: the csv module writes it without quotes.
cell = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12).map(str.strip)
full = cell.filter(bool)
quiet = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@quiet
@given(
    rows=st.lists(st.tuples(full, full, cell, full), max_size=6),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_whatever_was_written_as_csv_is_read_again(tmp_path, rows, delimiter, end, mark):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    wanted: dict[EntityRef, dict[EntityRef, None]] = {}
    for kind, id_, target_kind, target_id in rows:
        wanted.setdefault(EntityRef(kind, id_), {})[EntityRef(target_kind, target_id)] = None
    assert mapping_of(tmp_path, mark + text.getvalue()) == {ref: tuple(to) for ref, to in wanted.items()}


@quiet
@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEADER + text).encode(errors="replace"))
)
def test_any_file_is_a_mapping_or_a_configuration_error(tmp_path, content):
    with contextlib.suppress(ConfigError):
        found = mapping_of(tmp_path, content)
        assert all(ref.kind and targets and all(to.id for to in targets) for ref, targets in found.items())


# --- adding rows

LABELS = ("Größe", "=1+1", "http://a/2", "http://b/8")
NEW = NewRow(EntityRef("Bug", "2"), EntityRef("Issue", "8"), "title", "medium", "the same title", *LABELS)
REST = "why,source_title,target_title,source_url,target_url"
NOTES = f"found_by,sure,{REST}"
NOTED = "title,medium,the same title,Größe,'=1+1,http://a/2,http://b/8"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "source_kind,source_id,target_kind,target_id\nBug,1,Issue,7\n",
            f"source_kind,source_id,target_kind,target_id,{NOTES}\nBug,1,Issue,7\nBug,2,Issue,8,{NOTED}\n",
        ),
        (
            '\ufeffsource_kind;source_id;target_kind;target_id;Note\r\nBug;1;Issue;7;"see\r\nbelow"\r\n\r\n',
            (
                f"\ufeffsource_kind;source_id;target_kind;target_id;Note;{NOTES.replace(',', ';')}\r\n"
                f'Bug;1;Issue;7;"see\r\nbelow"\r\n\r\nBug;2;Issue;8;;{NOTED.replace(",", ";")}\r\n'
            ),
        ),
        (
            'sure,target_id,source_id , Source_Kind,target_kind,found_by\n,7,1, Bug ,Issue,"me"',
            (
                f"sure,target_id,source_id , Source_Kind,target_kind,found_by,{REST}\n"
                ',7,1, Bug ,Issue,"me"\n'
                f"medium,8,2,Bug,Issue,title,{NOTED.removeprefix('title,medium,')}\n"
            ),
        ),
    ],
)
def test_rows_are_added_and_those_of_a_person_stay_byte_for_byte(tmp_path, before, after):
    path = tmp_path / "mapping.csv"
    path.write_bytes(before.encode())
    assert add_rows(path, [NEW, NewRow(BUG, EntityRef("Issue", "999"), "id", "low")]) == 1
    assert path.read_bytes().decode() == after
    assert read_mapping(path) == {BUG: (TARGET,), NEW.source: (NEW.target,)}
    assert add_rows(path, [NEW]) == 0
    assert path.read_bytes().decode() == after


@pytest.mark.parametrize("before", [None, "", "\ufeff\r\n"])
def test_a_mapping_file_is_made_where_there_is_none(tmp_path, before):
    path = tmp_path / "mapping.csv"
    if before is not None:
        path.write_bytes(before.encode())
    assert read_mapping(path, may_be_missing=True) == {}
    assert add_rows(path, [NEW]) == 1
    header = f"\ufeffsource_kind,source_id,target_kind,target_id,{NOTES}"
    assert path.read_text(encoding="utf-8") == f"{header}\nBug,2,Issue,8,{NOTED}\n", "a spreadsheet knows it is UTF-8"
    assert read_mapping(path) == {NEW.source: (NEW.target,)}


def test_nothing_to_add_leaves_the_file_alone(tmp_path):
    path = tmp_path / "mapping.csv"
    assert add_rows(path, []) == 0
    assert not path.exists()


def test_a_link_and_the_rights_of_the_file_stay(tmp_path):
    real, link = tmp_path / "real.csv", tmp_path / "mapping.csv"
    real.write_text("source_kind,source_id,target_kind,target_id\n")
    real.chmod(0o640)
    link.symlink_to(real)
    add_rows(link, [NEW])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert read_mapping(real) == {NEW.source: (NEW.target,)}


def test_a_kill_before_the_new_file_is_complete_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "mapping.csv"
    path.write_text("source_kind,source_id,target_kind,target_id\nBug,1,Issue,7\n")
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            add_rows(path, [NEW])
    assert path.read_bytes() == before
    assert add_rows(path, [NEW]) == 1


def test_a_place_that_can_not_be_written_is_a_disk_that_refuses(tmp_path):
    (tmp_path / f".mapping.csv.{os.getpid()}.new").mkdir()
    with pytest.raises(StorageError):
        add_rows(tmp_path / "mapping.csv", [NEW])


def test_rows_are_not_added_to_what_is_no_mapping(tmp_path):
    path = tmp_path / "mapping.csv"
    path.write_text("a letter to a friend\n")
    with pytest.raises(ConfigError):
        add_rows(path, [NEW])
    assert path.read_text() == "a letter to a friend\n"
