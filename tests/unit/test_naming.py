"""Names at a target: kept where legal, shortened before the extension, unique where they were changed."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from migrator.filenames import name_at_target, shorten, split_extension

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=400)
limits = st.integers(60, 300)


def bytes_of(name: str) -> int:
    return len(name.encode())


def test_a_name_of_255_bytes_is_kept_and_one_of_256_is_shortened():
    assert shorten("x" * 251 + ".txt", 255) == "x" * 251 + ".txt"
    assert shorten("x" * 252 + ".txt", 255) == "x" * 251 + ".txt"


def test_a_cut_never_falls_inside_a_character():
    for letter in "é", "漢", "😀":
        for pad in range(5):
            name = "a" * pad + letter * 200 + ".pdf"
            short = shorten(name, 255)
            assert short.endswith(".pdf")
            assert name.startswith(short[:-4])
            assert 255 - 3 <= bytes_of(short) <= 255


def test_the_extension_follows_the_last_dot_if_it_looks_like_one():
    assert split_extension("report.tar.gz") == ("report.tar", ".gz")
    assert split_extension(".bashrc") == (".bashrc", "")
    assert split_extension("README") == ("README", "")
    assert split_extension("see. " + "x" * 40) == ("see. " + "x" * 40, "")


def test_a_legal_name_stays_even_if_it_is_taken():
    assert name_at_target("same.txt", str, 255, {"same.txt"}) == "same.txt"


def test_a_changed_name_does_not_collide_with_any_other():
    def legal(name: str) -> str:
        return name.replace(":", "_")

    assert name_at_target("a:b.txt", legal, 255, set()) == "a_b.txt"
    assert name_at_target("a:b.txt", legal, 255, {"a_b.txt"}) == "a_b (2).txt"
    assert name_at_target("a:b.txt", legal, 255, {"a_b.txt", "a_b (2).txt"}) == "a_b (3).txt"


def test_the_number_of_a_changed_name_is_made_legal_too():
    def legal(name: str) -> str:
        return re.sub("[^a-z0-9_.]", "_", name)

    assert name_at_target("a b.txt", legal, 255, {"a_b.txt"}) == "a_b__2_.txt"


def test_long_names_that_differ_only_at_their_end_stay_different():
    taken: set[str] = set()
    for number in range(120):
        name = name_at_target("漢" * 300 + f"{number}.docx", str, 255, taken)
        assert name not in taken
        assert name.endswith(".docx")
        assert bytes_of(name) <= 255
        taken.add(name)


def test_a_name_of_which_nothing_is_legal_gets_one():
    assert name_at_target("???", lambda _: "", 255, set()) == "unnamed"


@given(names, limits)
def test_any_name_is_shortened_to_the_limit_with_beginning_and_extension(name, limit):
    short = shorten(name, limit)
    assert bytes_of(short) <= limit
    stem, ext = split_extension(name)
    if bytes_of(name) <= limit:
        assert short == name
    else:
        assert short.endswith(ext)
        assert stem.startswith(short.removesuffix(ext) if ext else short)
        assert bytes_of(short) > limit - 4, "no more than needed is cut"


@given(st.lists(names, max_size=12), limits, st.sampled_from("aeé漢. "))
def test_changed_names_are_unique_whatever_they_were(originals, limit, illegal):
    taken = set(originals)
    sent = []
    for original in originals:
        name = name_at_target(original, lambda text: text.replace(illegal, "_"), limit, taken)
        assert bytes_of(name) <= limit
        if name != original:
            assert name not in taken
        taken.add(name)
        sent.append(name)
    changed = [name for name, original in zip(sent, originals, strict=True) if name != original]
    assert len(set(changed)) == len(changed)
