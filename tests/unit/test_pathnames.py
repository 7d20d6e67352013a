"""Names of exported files: legal on Linux, macOS and Windows, and different on each of them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.filenames import MAX_NAME_BYTES, UNSAFE_IN_A_BAG, fold, legal, unique
from migrator.testing import NASTY

HOSTILE = (
    *NASTY,
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "C:\\autoexec.bat",
    "CON",
    "con.txt",
    "NUL.tar.gz",
    "COM¹",
    "lpt9 .log",
    "CONIN$",
    "x" * 300 + ".txt",
    "日" * 300 + ".txt",
    "e\u0301" * 200 + ".docx",
    "\u200b\u200d",
    "\ud800.txt",
    "a\x85b",
    "ends\u00a0",
    "100%0Ab.txt",
    "." * 300,
    " . . ",
)

names = st.one_of(
    st.text(max_size=300), st.sampled_from(HOSTILE), st.text(alphabet="cCoOnN1.$ ~é\u0301%\n/\\:\ud83d", max_size=12)
)


def assert_legal(name: str) -> None:
    """By the rules of each system, written down a second time and otherwise."""
    assert name
    assert name not in {".", ".."}
    assert not set(name) & set('<>:"/\\|?*')
    assert not [char for char in name if unicodedata.category(char) in {"Cc", "Cs"}]
    assert not name.endswith(".")
    assert name == name.strip()
    device = name.split(".", maxsplit=1)[0].rstrip().upper()
    assert device not in {"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}
    assert not (device[:3] in {"COM", "LPT"} and device[3:] in set("0123456789¹²³"))
    for form in ("NFC", "NFD"):
        assert len(unicodedata.normalize(form, name).encode()) <= 255
    assert len(name.encode("utf-16-le")) <= 510
    assert fold(name), "something of it can be seen"


def assert_fit_for_a_bag(name: str) -> None:
    """Legal, and without what implementations of BagIt disagree on."""
    assert_legal(name)
    assert "%" not in name
    assert len(name.splitlines()) == 1


@given(names)
def test_any_name_becomes_one_that_is_legal_everywhere(name):
    assert_legal(legal(name))


@given(names)
def test_a_name_in_a_bag_has_nothing_that_implementations_disagree_on(name):
    assert_fit_for_a_bag(legal(name, avoid=UNSAFE_IN_A_BAG))
    assert legal("100%.txt", avoid=UNSAFE_IN_A_BAG) == "100_.txt"


@given(names, st.integers(min_value=40, max_value=255))
def test_a_shorter_limit_is_kept_too(name, limit):
    found = unique(legal(name, limit), {fold(legal(name, limit))}, limit)
    assert_legal(found)
    assert len(found.encode("utf-16-le")) // 2 <= limit


@given(st.lists(names, max_size=20))
def test_names_of_one_folder_differ_for_every_file_system(some):
    taken: set[str] = set()
    found = [unique(legal(name), taken) for name in some]
    for key in (str.casefold, str.lower, str.upper):
        for form in ("NFC", "NFD"):
            assert len({unicodedata.normalize(form, key(unicodedata.normalize(form, name))) for name in found}) == len(
                found
            )
    for name in found:
        assert_legal(name)


@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "Änderung 日本 😀.txt",
        ".hidden",
        "a;b=c.txt",
        "it's.txt",
        "100%.txt",
        "a%20b\u2028c",
        "x" * 251 + ".txt",
    ],
)
def test_a_legal_name_stays_as_it_is(name):
    assert legal(name) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("CON", "CON_"),
        ("nul.tar.gz", "nul_.tar.gz"),
        ("a/b.txt", "a_b.txt"),
        ("trailing. ", "trailing"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("\u200b", "unnamed"),
        ("x" * 300 + ".txt", "x" * 251 + ".txt"),
    ],
)
def test_an_illegal_name_keeps_what_it_can(name, found):
    assert legal(name) == found


def test_names_equal_on_some_system_are_numbered_before_the_extension():
    taken: set[str] = set()
    some = ["Straße.txt", "STRASSE.TXT", "é.txt", "e\u0301.txt", "a\u200bb", "ab"]
    assert [unique(legal(name), taken) for name in some] == [
        "Straße.txt",
        "STRASSE (2).TXT",
        "é.txt",
        "é (2).txt",
        "a\u200bb",
        "ab (2)",
    ]


def test_a_number_fits_into_the_longest_name():
    name = legal("y" * 300 + ".pdf")
    found = unique(name, {fold(name)})
    assert found.endswith(" (2).pdf")
    assert len(found) == MAX_NAME_BYTES
