"""Sentences over which native readers stumbled: none of them is left in what the program says."""

from __future__ import annotations

import ast
from functools import cache

from tests.test_house import MODULES, ROOT, tree

OLD = (
    "not handed out by the REST API",
    "is no archive",
    "is no empty folder",
    "the ending decides",
    "is no rule",
    "is no active user",
    "is another now",
    "has another name at the target",
    "an address that is none",
    "nothing came for too long",
    "names no one thing",
    "no address of it",
    "the header lacks",
    "against the disk",
    "anew",
    "say how it was found",
    "had to end at the very moment",
    "what is in flight is finished",
    "twice as dear",
    "taken back from the target",
)


@cache
def texts(module: str) -> str:
    """All texts in a module, docstrings of commands among them, other docstrings not."""
    docstrings = set()
    if "jobs.commands" not in module:
        docstrings = {id(node.value) for node in ast.walk(tree(module)) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree(module)) if isinstance(node, ast.Constant))
    return "\n".join(str(node.value) for node in constants if id(node) not in docstrings)


def test_no_module_says_an_old_sentence():
    said = [(module, old) for module in MODULES for old in OLD if old in texts(module)]
    assert said == []


def test_the_readme_and_the_changelog_say_none_of_the_old_sentences():
    said = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md"))
    assert [old for old in OLD if old in said] == []
