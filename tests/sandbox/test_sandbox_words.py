"""Words are replaced, and what is odd about a name stays."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.sandbox.world.likeness import RealFile, world_like
from migrator.sandbox.world.samples import ODD
from migrator.sandbox.world.words import Words


@pytest.fixture
def words() -> Words:
    return Words(random.Random(1))


def kinds(text: str) -> list[str]:
    return [unicodedata.category(character) for character in text]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_text_keeps_its_length_in_characters_and_in_bytes(text):
    replaced = Words(random.Random(1)).replaced(text)
    assert len(replaced) == len(text)
    assert len(replaced.encode()) == len(text.encode())


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_stays_odd_in_the_same_way(words, name):
    replaced = words.replaced_name(name)
    if "%" not in name:
        assert kinds(replaced) == kinds(name)
    odd = [(place, character) for place, character in enumerate(name) if not character.isalnum()]
    assert [(place, replaced[place]) for place, _ in odd] == odd


def test_no_word_and_no_number_of_a_name_is_left(words):
    replaced = words.replaced_name("Merger with Contoso GmbH, Größe 48231 (Lebenslauf Śmigły 張偉明).pdf")
    for word in ("Merger", "Contoso", "GmbH", "Größe", "48231", "Lebenslauf", "Śmigły", "張偉明"):
        assert word not in replaced
    assert replaced.endswith(").pdf")


def test_an_extension_that_may_be_a_word_is_replaced(words):
    assert "Smith" not in words.replaced_name("letter to J.Smith")


def test_equal_words_stay_equal_and_different_ones_different(words):
    replaced = [words.replaced_name(name) for name in ("log.txt", "log.txt", "LOG.TXT", "dog.txt")]
    assert replaced[0] == replaced[1] != replaced[3]
    assert replaced[2] == replaced[0].upper()
    assert len({words.replaced_name(f"page {number}") for number in range(10)}) == 10


def test_names_that_windows_keeps_for_itself_stay(words):
    assert words.replaced_name("CON.txt") == "CON.txt"
    assert words.replaced_name("..") == ".."


def test_a_file_of_unknown_size_gets_that_of_another():
    files = [
        RealFile(None, in_comment=False, name="a.png", size=size, media_type="", description="", content=None)
        for size in (700, 700, None)
    ]
    assert [file.size for file in world_like([], files, 1).attachments] == [700, 700, 700]
