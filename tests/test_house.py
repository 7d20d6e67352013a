"""The rules of the house as tests: what may import what, one home per library, docstrings, lengths, the registry."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

import migrator
from migrator.testing import SourceContract, TargetContract
from migrator.trackers import TRACKERS, Adapter, adapter
from migrator.wire.client import HttpClient

ROOT = Path(__file__).parent.parent
FOLDERS = {"migrator": ROOT / "migrator", "migrator.jobs": ROOT / "jobs"}
"""The packages of the code and where their files are; `migrator/jobs` is a link, or in an sdist a copy."""

MAY_IMPORT = {
    "model": "",
    "errors": "",
    "dates": "",
    "progress": "",
    "filenames": "",
    "first_use": "",
    "printable": "",
    "units": "",
    "hints": "",
    "whole_file": "",
    "ports": "model errors",
    "sniffing": "model ports printable",
    "selection": "model errors hints",
    "mapping": "model errors hints printable whole_file",
    "store": "model errors dates first_use units",
    "config": "errors filenames first_use hints printable units mapping",
    "wire": "model errors ports sniffing units",
    "layers": "model errors ports sniffing wire",
    "trackers": "model errors ports sniffing wire",
    "pipeline": "model errors filenames first_use hints printable units whole_file ports progress selection mapping "
    "store",
    "sandbox": "",
    "testing": "model errors ports",
    "jobs": "everything",
}
"""What a module or package of `migrator` may import of the others."""

HOMES = {
    "aiofiles": ("migrator.store.folder", "migrator.store.receiving"),
    "aiohappyeyeballs": ("migrator.wire.h1.pool",),
    "aiohttp": (
        "migrator.wire.aiohttp_transport",
        "migrator.wire.aiohttp_failures",
        "migrator.wire.cookies",
        "migrator.sandbox",
    ),
    "apprise": ("migrator.jobs.nightly.sending",),
    "click": ("migrator.jobs",),
    "datasette": ("migrator.jobs.browse.server",),
    "defusedxml": ("migrator.wire.xml_reader",),
    "distributed": ("migrator.jobs.fetching.cluster",),
    "httptools": ("migrator.wire.h1.response",),
    "jinja2": ("migrator.pipeline.report.html",),
    "keyring": ("migrator.config.secrets",),
    "markupsafe": ("migrator.pipeline.report.html",),
    "msgspec": ("migrator.wire.json_codec",),
    "multidict": ("migrator.wire.h1",),
    "obstore": ("migrator.store.objects.bucket",),
    "pydantic": ("migrator.config",),
    "pyrage": ("migrator.store.objects.age",),
    "pytest": ("migrator.testing",),
    "rich": ("migrator.jobs",),
    "sqlite3": ("migrator.store",),
    "sqlite_utils": ("migrator.store",),
    "tenacity": ("migrator.layers.retry_policy",),
    "typing_extensions": ("migrator",),
    "uvicorn": ("migrator.jobs.browse.server",),
    "uvloop": ("migrator.jobs.event_loop",),
    "yarl": (
        "migrator.wire.addresses",
        "migrator.wire.auth",
        "migrator.config.base",
        "migrator.config.sections",
        "migrator.wire.cookies",
        "migrator.wire.redirects",
        "migrator.wire.client",
        "migrator.wire.exchange",
        "migrator.wire.h1.pool",
        "migrator.wire.redaction",
        "migrator.wire.request",
        "migrator.wire.split_transport",
        "migrator.wire.transport",
    ),
}

LONG: dict[str, str] = {}
"""Modules over LONGEST lines, each with its reason."""
LONGEST = 300
MAX_TEST_NAME = 70
"""Characters."""


def _name(package: str, path: Path) -> str:
    return ".".join((package, *path.relative_to(FOLDERS[package]).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {
    _name(package, path): path
    for package, folder in FOLDERS.items()
    for path in sorted(folder.rglob("*.py"))
    if not path.is_relative_to(ROOT / "migrator" / "jobs")
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> list[tuple[str, int]]:
    """Every module that one imports, at its top or inside a function, and the column: 0 is the top."""
    imported = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            imported += [(alias.name, node.col_offset) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            imported += [(name if name in MODULES else str(node.module), node.col_offset) for name in whole]
    return imported


def part_of(module: str) -> str:
    """The module or package right below `migrator`."""
    return module.partition(".")[2].partition(".")[0]


def is_in(module: str, home: str) -> bool:
    return module == home or module.startswith(home + ".")


INSIDE = sorted(set(MODULES) - {"migrator", "migrator.__main__"})


def test_every_part_stands_in_the_table():
    assert {part_of(module) for module in INSIDE} == {*MAY_IMPORT}


def test_a_module_imports_what_the_table_allows():
    forbidden = {}
    for module in INSIDE:
        part = part_of(module)
        allowed = {*MAY_IMPORT} if MAY_IMPORT[part] == "everything" else {*MAY_IMPORT[part].split()}
        ours = {part_of(name) for name, _ in imports(module) if name in MODULES and part_of(name)}
        forbidden[module] = ours - {part} - allowed
    assert {module: parts for module, parts in forbidden.items() if parts} == {}


def test_the_map_is_the_table():
    """What `migrator/__init__.py` shows to a reader."""
    rows = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*) +<- (.*(?:\n {9,}.*)?)$", migrator.__doc__, re.MULTILINE)
    shown = {part: " ".join(may.replace(",", "").split()) for parts, may in rows for part in parts.split(", ")}
    assert shown == {part: may or "nothing" for part, may in MAY_IMPORT.items()}


WITHOUT_A_DOOR = {"migrator", "migrator.pipeline", "migrator.jobs", "migrator.jobs.commands"}
"""Packages whose modules stand for themselves: each is a job, or a command."""
DOORS = {module for module, path in MODULES.items() if path.name == "__init__.py"} - WITHOUT_A_DOOR


def door_of(module: str, target: str) -> str | None:
    """The outermost package that holds what is imported, and not the module that imports it."""
    parts = target.split(".")
    above = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((door for door in above if door in DOORS and not is_in(module, door)), None)


def imported_past_a_door(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        inside = isinstance(node, ast.ImportFrom) and module in DOORS and is_in(node.module, module)
        if isinstance(node, ast.ImportFrom) and not inside and (door := door_of(module, node.module)):
            listed = import_module(door).__all__
            for alias in node.names:
                if node.module != door or alias.name not in listed:
                    yield f"{node.module}.{alias.name}"


def test_nobody_imports_past_a_door():
    """From outside of a package only what its `__init__` lists in `__all__`, and from there. A door may look inside."""
    past = {module: [*imported_past_a_door(module)] for module in MODULES}
    assert {module: names for module, names in past.items() if names} == {}


def test_what_a_door_lists_is_there():
    for door in DOORS:
        package = import_module(door)
        assert [name for name in getattr(package, "__all__", ()) if not hasattr(package, name)] == []


def test_imports_run_in_no_circle():
    """At the top of modules, that is; an import inside a function is made when it is needed."""
    TopologicalSorter(
        {module: {name for name, column in imports(module) if name in MODULES and not column} for module in INSIDE}
    ).prepare()


def test_every_library_has_one_home():
    ours = {*sys.stdlib_module_names, "migrator"} - {"sqlite3"}
    astray = [
        f"{library} is not at home in {module}"
        for module in MODULES
        for library in {name.partition(".")[0] for name, _ in imports(module)} - ours
        if not any(is_in(module, home) for home in HOMES.get(library, ()))
    ]
    assert astray == []


def test_every_library_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = ("browse", "cluster", "encryption", "keyring", "notify", "s3", "testing")
    extras = (project["optional-dependencies"][extra] for extra in names)
    declared = [*project["dependencies"], *chain(*extras)]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in declared}
    brought_along = {"aiohappyeyeballs", "multidict", "yarl", "markupsafe"}  # types of aiohttp and jinja2
    runs_them = {"pytest_asyncio"}  # the tests in the contract suites; it is a plug-in of pytest
    assert names - runs_them | brought_along | {"sqlite3"} == set(HOMES)


def test_a_start_loads_no_library_but_click():
    """`migrator --version` takes 50 ms; each of the others adds a fifth of that or more."""
    code = "import sys; before = set(sys.modules); import migrator.jobs.cli; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {name.partition(".")[0] for name in loaded.split()} & set(HOMES) - {"sqlite3"} == {"click"}


def test_a_worker_that_fetches_loads_neither_aiohttp_nor_the_catalog():
    """Together they would take twice as long as the rest of a worker's start."""
    not_needed = {"aiohttp", "defusedxml", "importlib.metadata", "pydantic", "sqlite_utils", "tenacity"}
    code = "import sys, migrator.jobs.fetching.worker, migrator.trackers.targetprocess; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {*loaded.split()} & {*not_needed, "migrator.store.catalog"} == set()


def test_library_neither_prints_nor_exits():
    unwanted = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write"}
    calls = [
        f"{module}: {ast.unparse(node.func)}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if not is_in(module, "migrator.jobs") and isinstance(node, ast.Call) and ast.unparse(node.func) in unwanted
    ]
    assert calls == []


def public(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for child in node.body:
        named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named and not child.name.startswith(("_", "test_")):  # the name of a test is its docstring
            yield f"{prefix}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}.{child.name}")


def test_every_public_name_has_a_docstring():
    named = [pair for module in sorted(MODULES) for pair in [(module, tree(module)), *public(tree(module), module)]]
    assert [name for name, node in named if not (ast.get_docstring(node) or overrides(node))] == []


def overrides(node: ast.AST) -> bool:
    """Whether a method is marked as one that its base, or a port, describes."""
    return "override" in [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ())]


def test_functions_are_short():
    lengths = [
        (node.end_lineno - node.lineno + 1, f"{module}.{node.name}")
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [name for length, name in lengths if length > 60] == []
    over_40 = [name for length, name in lengths if length > 40]
    assert len(over_40) <= 0.02 * len(lengths), over_40


def test_modules_are_short_or_say_why_not():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES.values()}
    assert {name for name, count in lines.items() if count > LONGEST} == set(LONG)


DEEP = {
    "migrator.trackers": "a tracker's source and target share a base, and the bases of all trackers share HttpTracker",
}
"""Where a class may have two bases of ours, one behind the other, each with its reason."""


def test_a_class_has_one_base_of_ours_at_most():
    """Parts are composed, not derived from each other."""
    made = [value for name in INSIDE for value in vars(import_module(name)).values() if inspect.isclass(value)]
    deep = {kind for kind in made if len(bases_of(kind)) > 2}
    assert {
        kind for kind in deep if len(bases_of(kind)) > 3 or not any(is_in(kind.__module__, home) for home in DEEP)
    } == set()
    assert {home for home in DEEP if any(is_in(kind.__module__, home) for kind in deep)} == set(DEEP)


def bases_of(made: type) -> list[type]:
    """A class of ours and its bases, one behind the other; the longest such list.

    Protocols and exceptions don't count, and neither does data (dataclasses, models), whose bases only bring fields.
    """
    bases = max((bases_of(base) for base in made.__bases__), key=len, default=[])
    is_data = is_dataclass(made) or hasattr(made, "model_fields")
    counts = not (is_data or getattr(made, "_is_protocol", False) or issubclass(made, BaseException))
    return [made, *bases] if counts and made.__module__.partition(".")[0] == "migrator" else bases


def test_names_of_tests_are_short():
    """A name is the first line of a failure, and is read there once."""
    names = [
        f"{path.name}::{node.name}"
        for path in (*(ROOT / "tests").rglob("*.py"), *(ROOT / "migrator" / "testing").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert [name for name in names if len(name.partition("::")[2]) > MAX_TEST_NAME] == []


def test_nothing_is_left_open_in_the_code():
    left = re.compile(r"\b(?:TODO|FIXME|XXX|HACK|raise NotImplementedError)\b")
    found = [f"{module}: {word}" for module, path in MODULES.items() for word in left.findall(path.read_text())]
    assert found == []


def text_files() -> Iterator[Path]:
    """Everything that is delivered: the folders of the layout, and the files beside them."""
    folders = [ROOT / name for name in ("migrator", "jobs", "tests", "sample_configs", ".ci")]
    for path in [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*"))]:
        if path.is_file() and path.name != ".git" and not {"__pycache__", ".pytest_cache"} & set(path.parts):
            yield path


def test_no_path_of_a_machine_and_no_package_index_stands_in_the_tree():
    machine = re.compile(r"(^|[^.\w])/(work|root|home|Users)/[a-z]", re.MULTILINE)
    index = re.compile(r"pypi\.org|pythonhosted\.org|(extra-)?index-url")
    found = {}
    for path in text_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        if path != Path(__file__) and (hits := [*machine.finditer(text), *index.finditer(text)]):
            found[str(path.relative_to(ROOT))] = [hit[0] for hit in hits]
    assert found == {}


# --- the registry of trackers


@pytest.mark.parametrize("name", sorted(TRACKERS))
async def test_tracker_is_built_without_any_request(name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("building makes no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    parts = adapter(name)
    assert isinstance(parts, Adapter)
    for keys in parts.auth:
        http = HttpClient("http://127.0.0.1:9", parts.signer(dict.fromkeys(keys, "name=value")))
        source, target = parts.source(http, parts.options()), parts.target(http, parts.options())
        assert source.capabilities.streams
        assert target.legal_name("plain.txt") == "plain.txt"
        await http.close()


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_tracker_is_bound_to_both_contracts(name):
    bound = inspect.getmembers(import_module(f"tests.trackers.test_{name}"), inspect.isclass)
    collected = [made for title, made in bound if title.startswith("Test")]
    assert any(issubclass(made, SourceContract) for made in collected)
    assert any(issubclass(made, TargetContract) for made in collected)


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_every_option_of_a_tracker_is_told_of(name):
    options = adapter(name).options
    assert [field for field in options.__dataclass_fields__ if field not in (options.__doc__ or "")] == []


@pytest.mark.parametrize("name", sorted(TRACKERS))
def test_the_largest_file_in_the_options_is_the_largest_the_target_takes(name):
    parts = adapter(name)
    if "max_bytes" not in parts.options.__dataclass_fields__:
        pytest.skip("this tracker has no such option")
    http = HttpClient("http://127.0.0.1:9", parts.signer(dict.fromkeys(parts.auth[0], "name=value")))
    told = [parts.target(http, parts.options(max_bytes=size)) for size in (0, 7)]
    assert [target.capabilities.max_attachment_bytes for target in told] == [None, 7]
