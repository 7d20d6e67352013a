"""What is said about a word that nobody knows."""

from __future__ import annotations

import pytest

from migrator.hints import did_you_mean

KINDS = ["Story", "Bug", "Task"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("Storys", "did you mean Story?"),
        ("BUG", "did you mean Bug?"),
        ("task_of_a_long_name", "did you mean Task?"),
        ("Epic", "choose from Story, Bug, Task"),
        ("", "choose from Story, Bug, Task"),
    ],
)
def test_the_most_similar_word_is_suggested_or_all_are_named(word, hint):
    assert did_you_mean(word, KINDS) == hint


def test_where_nothing_is_known_that_is_said():
    assert did_you_mean("Bug", []) == "there are none"


def test_caller_chooses_the_words_and_the_spelling():
    assert did_you_mean("x", KINDS, "there are") == "there are Story, Bug, Task"
    assert did_you_mean("bug", KINDS, shown=repr) == "did you mean 'Bug'?"
