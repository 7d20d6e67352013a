"""The documentation is true: commands, options, exit statuses, sample configurations, promises and their tests."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

import migrator
from migrator.config.settings import options_of, read_configuration
from migrator.errors import MigratorError
from migrator.jobs.cli import COMMANDS, EXIT_STATUS, group
from migrator.jobs.output import Output
from migrator.mapping.file import read_mapping
from migrator.trackers import TRACKERS, adapter

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [
    ROOT / name
    for name in (
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "sample_configs/README.md",
        "jobs/fetching/README.md",
        "jobs/nightly/README.md",
        "migrator/store/objects/README.md",
        "migrator/trackers/README.md",
    )
]
SAMPLES = sorted(path for path in (ROOT / "sample_configs").iterdir() if path.name != "README.md")
CONFIGURATIONS = [path for path in SAMPLES if path.suffix == ".toml"]

BLOCKS = re.findall(r"^ *```console\n(.*?)^ *```", README, re.MULTILINE | re.DOTALL)
SPANS = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^ *```.*?^ *```", "", README, flags=re.MULTILINE | re.DOTALL))


def section(title: str) -> str:
    """The text below one heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section {title!r}"
    return found[1]


def calls(texts: list[str]) -> Iterator[list[str]]:
    """The words after `migrator` of every call of it, however the program is named."""
    for text in texts:
        for line in re.split(r"\n|&&|\|\||;", text):
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name == "migrator":
                yield words[1:]


BLOCK_CALLS = list(calls(BLOCKS))
SPAN_CALLS = [words for words in calls(SPANS) if words]


# A command keeps the help option that it makes first, for the tests that come after these.
CONTEXT = click.Context(group, **group.context_settings)


def known_options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def parsed(words: list[str]) -> str:
    """The command's name, after its arguments and options were understood; nothing is run."""
    before = list(takewhile(lambda word: word.startswith("-"), words))
    assert set(before) <= known_options(group)
    name, *rest = words[len(before) :]
    context = click.Context(group, obj=Output(), **group.context_settings)
    group.get_command(context, name).make_context(name, rest, parent=context)
    return name


def test_readme_has_commands_to_copy():
    assert len(BLOCK_CALLS) >= 5


@pytest.mark.parametrize("words", BLOCK_CALLS, ids=" ".join)
def test_command_to_copy_is_understood(words):
    assert parsed(words) in COMMANDS


@pytest.mark.parametrize("words", SPAN_CALLS, ids=" ".join)
def test_command_told_of_in_passing_exists_with_its_options(words):
    [name] = [word for word in words if word in COMMANDS][:1]
    command = group.get_command(CONTEXT, name)
    assert {word for word in words if word.startswith("-")} <= known_options(command) | known_options(group)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_in_the_readme(name):
    assert name in {word for words in BLOCK_CALLS + SPAN_CALLS for word in words}


@pytest.mark.parametrize("name", COMMANDS)
def test_command_explains_itself_and_each_of_its_options(name):
    command = group.get_command(CONTEXT, name)
    assert command.name == name
    assert command.help
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not (option.help or option.show_default)] == []


def exit_codes(error: type[MigratorError] = MigratorError) -> set[int]:
    return {error.exit_code}.union(*(exit_codes(kind) for kind in error.__subclasses__()))


def test_readme_tells_of_every_exit_status_and_of_no_other():
    told = [int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit status"), re.MULTILINE)]
    assert told == sorted({*EXIT_STATUS.values(), *exit_codes()})


def test_help_tells_of_every_exit_status():
    for code in {*EXIT_STATUS.values(), *exit_codes()}:
        assert re.search(rf"\b{code} [a-z]", group.epilog), code


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
def test_tracker_is_in_the_readme_and_has_a_sample_configuration(tracker):
    assert tracker in README.lower()
    assert f"\n## {tracker}" in (ROOT / "migrator" / "trackers" / "README.md").read_text(encoding="utf-8").lower()
    assert any(read_configuration(path).settings.source.tracker == tracker for path in CONFIGURATIONS)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_sample_is_in_the_readme_of_samples(path):
    assert f"`{path.name}`" in (ROOT / "sample_configs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_sample_configuration_is_one_that_the_program_takes(path):
    settings = read_configuration(path).settings
    for where, part in (("source", settings.source), ("target", settings.target)):
        if part is not None:
            parts = adapter(part.tracker)
            options_of(part.options, parts.options, f"{where}.options")
            assert any(set(keys) == set(part.auth) for keys in parts.auth)
            assert not any(isinstance(secret, str) for key, secret in part.auth.items() if key != "username")


def test_sample_mapping_is_one_that_the_program_takes():
    assert read_mapping(ROOT / "sample_configs" / "mapping.csv")


def names_in(path: Path) -> set[str]:
    """`test_x`, and `TestClass::test_y`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{child.name}" for child in node.body if hasattr(child, "name")}
        elif hasattr(node, "name"):
            found.add(node.name)
    return found


LIST = (ROOT / "tests" / "PROMISES.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (?!---|promise)(.+?) \| (.+?) \|$", LIST, re.MULTILINE)


def test_readme_makes_promises():
    assert len(PROMISES) >= 5


@pytest.mark.parametrize(("promise", "held_by"), PROMISES)
def test_promise_is_held_by_a_test_that_exists(promise, held_by):
    named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", held_by)
    assert named, promise
    for path, test in named:
        assert test in names_in(ROOT / path), f"{path} has no {test}"
        assert test.rpartition("::")[2].startswith("test_")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_guide_names_exist(guide):
    """Those that are written with their folder; `<name>` stands for one of a kind."""
    text = guide.read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/.-])((?:\.ci|\.github|tests|migrator|jobs|sample_configs)/[\w./-]*)(?![\w<-])", text)
    assert named
    assert [path for path in named if not (ROOT / path.rstrip(".")).exists()] == []
    linked = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (guide.parent / link).exists()]
    assert linked == []


def test_scripts_can_be_run():
    ours = (".ci/run", ".ci/versions", ".ci/coverage", ".ci/with-tracker", ".ci/with-trackers")
    for script in ("tests/run", *ours):
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_changelog_begins_with_the_version():
    [first, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert first == migrator.__version__ == project["version"]
