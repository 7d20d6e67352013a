"""Any value under any key of a configuration, and any mapping file: taken, or refused with the key or the line.

No secret is said.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.config.settings import read_configuration
from migrator.errors import ConfigError
from migrator.jobs.wiring import wire_source, wire_target
from migrator.mapping.file import read_mapping
from tests.fuzz import examples

SECRET = "hunter2-is-the-secret"
WHOLE: dict[str, Any] = {
    "archive": "archive",
    "source": {
        "tracker": "targetprocess",
        "url": "https://x.example",
        "kinds": ["Bug"],
        "allow_forbidden": False,
        "auth": {"username": "ann", "password": SECRET},
        "download_auth": {"cookie": f"a={SECRET}"},
        "options": {"page_size": 100, "format": "json"},
    },
    "target": {
        "tracker": "issuetrak",
        "url": "https://y.example",
        "provenance": True,
        "auth": {"api_key": {"env": "MIGRATOR_TEST_KEY"}},
        "options": {"created_by": "Ann", "time_zone": "UTC", "max_bytes": 5},
    },
    "mapping": {"file": "mapping.csv", "match": ["title"], "create_missing": False},
    "limits": {
        "downloads": 4,
        "uploads": 2,
        "requests_per_second": 5.0,
        "bandwidth": "20 MB/s",
        "retries": 3,
        "backoff": "0.5 s",
        "backoff_max": "60 s",
        "timeout": "60 s",
    },
}


def keys_of(table: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in table.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += keys_of(value, (*above, key))
    return found


PLACES = keys_of(WHOLE)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=10),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.sampled_from(
        ["", " ", SECRET, f"x\n{SECRET}", "0 s", "1e9 s", "-1 s", "20 MB", "5 XB/s", "http://", "http://u:p@h/", "\0"]
    ),
    st.sampled_from(
        ["title", "field:", "pattern:(", "id", "~nobody/x", "http://[::1", "http://h:99999", "squash", "redmine"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["env", "file"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def as_toml(value: object) -> str:
    """A value as TOML spells it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(str(key))} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08X}" for char in value) + '"'
    if isinstance(value, bool | float):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGRATOR_TEST_KEY", SECRET)
    return tmp_path


def complaint(folder: Any, content: dict[str, Any]) -> str:
    """What is said of a configuration, by whoever reads or wires it; empty if nothing is wrong."""
    path = folder / "migrator.toml"
    path.write_text("\n".join(f"{as_toml(key)} = {as_toml(value)}" for key, value in content.items()), encoding="utf-8")
    try:
        configuration = read_configuration(path)
        assert configuration.archive, configuration.mapping_file
        wire_source(configuration)
        wire_target(configuration)
    except ConfigError as error:
        return str(error)
    return ""


def names_a_place(value: object) -> bool:
    """Whether it says where a secret is: that may be told, and has to be if it isn't there."""
    return isinstance(value, dict) and any(
        place in {"env", "file", "keyring"} or names_a_place(inner) for place, inner in value.items()
    )


def test_the_configuration_that_is_changed_is_in_order_at_first(folder):
    assert complaint(folder, WHOLE) == ""


@examples(300)
@given(place=st.sampled_from(PLACES), value=VALUES)
def test_any_value_is_taken_or_refused_with_the_name_of_its_key(folder, place, value):
    content = deepcopy(WHOLE)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    said = complaint(folder, content)
    if any("auth" in key for key in place) and not names_a_place(value):
        assert SECRET not in said
    assert not said or any(key in said for key in place[-2:]), said
    assert "\n" not in said


@examples(200)
@given(place=st.sampled_from(PLACES), key=st.text(max_size=8))
def test_a_key_that_is_missing_or_unknown_is_named(folder, place, key):
    content = deepcopy(WHOLE)
    inner = content
    for part in place[:-1]:
        inner = inner[part]
    was = inner.pop(place[-1])
    for name in (None, key):
        inner |= {} if name is None else {name: was}
        said = complaint(folder, content)
        assert SECRET not in said
        assert not said or any(key in said for key in (*place[-2:], name or place[-1])), said


CELLS = st.text(max_size=6) | st.sampled_from(
    ["", " ", "Bug", "1", '"', '""', '"a\nb"', "Unlinked", "\0", "x" * 200_000, "=1"]
)
LINES = st.lists(CELLS, max_size=6).flatmap(lambda cells: st.sampled_from(",;\t|").map(lambda mark: mark.join(cells)))


@examples(150)
@given(
    header=st.sampled_from(
        ["source_kind,source_id,target_kind,target_id", "source_kind;source_id;target_kind;target_id"]
    )
    | st.permutations(["source_kind", "source_id", "target_kind", "target_id", "more"]).map(",".join)
    | LINES,
    lines=st.lists(LINES, max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_any_mapping_is_read_or_refused_with_its_line(tmp_path, header, lines, end, coding):
    path = tmp_path / "mapping.csv"
    path.write_bytes(end.join([header, *lines]).encode(coding, "replace"))
    found, said = {}, ""
    try:
        found = read_mapping(path)
    except ConfigError as error:
        said = str(error)
    assert not said or re.search(r"mapping\.csv (line \d+|is not UTF-8)", said), said
    assert all(ref.kind and targets and all(to.id for to in targets) for ref, targets in found.items())
