"""Sentences over which native readers stumbled: none of them is left in what the program says."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

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

KINDS = {
    "X is no Y": r"(?<!there )(?<!There )\b(?:is|are|was|were) no (?!longer\b|more\b)\w",
    "of no use": r"\bof no use\b",
    "exclude each other": r"\bexclude each other\b",
    "makes no sense": r"\bmakes? no sense\b",
    "is wanted": r"\b(?:is|are) wanted (?:here|with|without|;)",
    "known are": r"\bknown (?:here )?are\b",
    "stands in": r"\bstands? in (?:the|this) (?:configuration|file|archive|catalog)\b",
    "said yes": r"\bsaid yes\b",
    "goes on": r"\b(?:goes|went|go) on\b(?! there)",
    "nobody can": r"\bnobody can mend\b",
    "its fate": r"\bfate\b",
    "what is behind": r"\bbehind (?:a|the) #",
    "inside of": r"\binside of the archive\b",
    "as one": r"; better \{",
}
"""Ways of speaking that are right in another language, or nowhere: each under a short name, with its pattern."""

GUIDES = [
    "README.md",
    "CHANGELOG.md",
    *(str(path.relative_to(ROOT)) for folder in ("jobs", "migrator") for path in (ROOT / folder).rglob("README.md")),
    *(str(path.relative_to(ROOT)) for path in (ROOT / "sample_configs").rglob("*") if path.is_file()),
]


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


def test_no_module_speaks_in_a_way_of_these_kinds():
    said = [
        (module, kind) for module in MODULES for kind, pattern in KINDS.items() if re.search(pattern, texts(module))
    ]
    assert said == []


@pytest.mark.parametrize("guide", GUIDES)
def test_no_guide_says_an_old_sentence_or_one_of_these_kinds(guide):
    said = (ROOT / guide).read_text(encoding="utf-8")
    assert [old for old in OLD if old in said] == []
    assert [match[0] for pattern in KINDS.values() for match in re.finditer(pattern, " ".join(said.split()))] == []
