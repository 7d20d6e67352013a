"""A file that is written whole or not at all."""

from __future__ import annotations

import pytest

from migrator.whole_file import whole_file


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def _write_and_fail(file, error):
    file.write("new")
    raise error


def test_until_the_end_the_earlier_file_stands_and_then_the_new_one(tmp_path):
    path = tmp_path / "report.csv"
    path.write_text("earlier")
    with whole_file(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "earlier"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["report.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_whatever_ends_it_early_leaves_the_earlier_file(tmp_path, error):
    path = tmp_path / "report.csv"
    path.write_text("earlier")
    with pytest.raises(error), whole_file(path) as file:
        _write_and_fail(file, error)
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["report.csv"]


def test_a_new_file_is_for_its_owner_and_an_existing_one_keeps_its_rights(tmp_path):
    for mode in 0o600, 0o640:
        with whole_file(tmp_path / "report.csv") as file:
            file.write("text")
        assert (tmp_path / "report.csv").stat().st_mode & 0o777 == mode
        (tmp_path / "report.csv").chmod(0o640)


def test_a_link_stays_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    with whole_file(link) as file:
        file.write("text")
    assert (link.is_symlink(), real.read_text()) == (True, "text")


def test_a_link_to_itself_is_an_error_of_the_disk(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"), whole_file(loop) as file:
        file.write("text")
    assert names(tmp_path) == ["loop"]


def test_a_name_as_long_as_a_name_may_be_can_be_written(tmp_path):
    name = "é" * 125 + ".csv"
    with whole_file(tmp_path / name) as file:
        file.write("text")
    assert names(tmp_path) == [name]
