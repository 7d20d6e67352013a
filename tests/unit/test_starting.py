"""What a person starts from: configurations made for their trackers, the reference, and the samples made of the same.

Whoever changes what they are made of writes the samples anew: `MIGRATOR_RECORD=1 pytest tests/unit/test_starting.py`.
"""

from __future__ import annotations

import os
import re
import tomllib
from itertools import product
from pathlib import Path

import pytest

from migrator.config import Settings, credentials, options_of, read_configuration
from migrator.errors import ConfigError
from migrator.jobs.starting import add_section, compose, file_name_for, reference, section
from migrator.jobs.starting.described import descriptions, keys_of_options, keys_of_section, toml
from migrator.trackers import TRACKERS, adapter

SAMPLES = Path(__file__).parents[2] / "sample_configs"
SAMPLE_TRACKERS = [
    ("issuetrak", None),
    ("kiwi", None),
    ("redmine", None),
    ("rt", None),
    ("squash", None),
    ("teampulse", None),
    ("redmine", "kiwi"),
    ("redmine", "redmine"),
    ("roundup", "roundup"),
    ("targetprocess", "squash"),
    ("targetprocess", "teampulse"),
    ("teampulse", "issuetrak"),
    ("trac", "trac"),
    ("trac", "rt"),
]
"""Samples that are exactly what `migrator init` writes."""
PAIRS = list(product(sorted(TRACKERS), (None, *sorted(TRACKERS))))


def sections(model: type = Settings) -> list[type]:
    """All sections of a configuration, the file itself first."""
    found = [model]
    for field in model.model_fields.values():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        found += [each for kind in kinds if hasattr(kind, "model_fields") for each in sections(kind)]
    return list(dict.fromkeys(found))


def keys_in(model: type) -> list[str]:
    """The keys of a section that are no sections themselves."""
    inner = {name for name, field in model.model_fields.items() if hasattr(field.annotation, "model_fields")}
    return [name for name in model.model_fields if name not in inner | {"target", "tls", "encryption"}]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_init_writes_is_a_configuration_for_these_trackers(tmp_path, monkeypatch, source, target):
    written = compose(source, target, "new.toml")
    (tmp_path / "new.toml").write_text(written.text)
    configuration = read_configuration(tmp_path / "new.toml")
    for name in written.variables:
        monkeypatch.setenv(name, "name=value")
    for where, wanted in (("source", source), ("target", target)):
        part = getattr(configuration.settings, where)
        assert (part and part.tracker) == wanted
        if part:
            credentials(part.auth, adapter(wanted).auth, f"{where}.auth", tmp_path)
            options_of(part.options, adapter(wanted).options, f"{where}.options")
    assert len(set(written.variables)) == len(written.variables), "each side has its own"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_line_that_is_commented_out_may_be_put_in(tmp_path, source, target):
    text = compose(source, target, "new.toml").text
    place, lines = "", []
    for line in text.splitlines():
        behind = re.match(r"# (\w+ = .*|\[[\w.]+\].*)$", line)
        place = (re.match(r"(?:# )?(\[[\w.]+\])", line) or [0, place])[1]
        lines.append(behind[1] if behind and ".auth" not in place else line)
    (tmp_path / "new.toml").write_text("\n".join(lines))
    settings = read_configuration(tmp_path / "new.toml").settings
    assert settings.limits.bandwidth == 20e6
    for where, part in (("source", settings.source), ("target", settings.target)):
        if part:
            options = options_of(part.options, adapter(part.tracker).options, f"{where}.options")
            named = {key.name for key in keys_of_options(type(options), {}) if key.side in {"", where}}
            assert named == set(part.options)


@pytest.mark.parametrize(("source", "target"), SAMPLE_TRACKERS)
def test_a_sample_is_what_init_writes_for_its_trackers(source, target):
    name = file_name_for(source, target)
    text = compose(source, target, name).text
    if os.environ.get("MIGRATOR_RECORD"):
        (SAMPLES / name).write_text(text, encoding="utf-8")
    assert (SAMPLES / name).read_text(encoding="utf-8") == text


def test_no_line_of_a_new_configuration_is_longer_than_120_columns():
    lines = [line for pair in PAIRS for line in compose(*pair, "new.toml").text.splitlines()]
    assert [line for line in lines if len(line) > 120] == []


def test_the_reference_that_is_kept_is_that_of_the_code():
    kept = SAMPLES / "REFERENCE.md"
    if os.environ.get("MIGRATOR_RECORD"):
        kept.write_text(reference(), encoding="utf-8")
    assert kept.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("model", sections(), ids=lambda model: model.__name__)
def test_every_key_of_a_section_is_described_and_in_the_reference(model):
    assert set(keys_in(model)) <= set(descriptions(model))
    for key in keys_of_section(model):
        assert f"| `{key.name}` | {key.values} | " in reference()


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
def test_every_option_of_a_tracker_is_described_and_in_the_reference(tracker):
    options = adapter(tracker).options
    assert set(options.__dataclass_fields__) <= set(descriptions(options))
    chapter = reference().partition(f"## {tracker}: ")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", chapter, re.MULTILINE) == list(options.__dataclass_fields__)


@pytest.mark.parametrize("model", sections(), ids=lambda model: model.__name__)
def test_a_default_in_the_reference_is_the_default(model):
    for key in keys_of_section(model):
        if key.default and key.name in model.model_fields:
            read = tomllib.loads(f"value = {key.default}")["value"]
            default = model.model_fields[key.name].default
            assert getattr(_read(model, key.name, read), key.name) == default


def _read(model: type, name: str, value: object) -> object:
    """A section with only this key, other than those that it must have."""
    needed = {"tracker": "redmine", "url": "https://x.example", "source": {"tracker": "x", "url": "https://x.example"}}
    given = {key: needed[key] for key, field in model.model_fields.items() if field.is_required()}
    return model.model_validate({**given, name: value})


# Sections of trackers that run already


SECRET = 'p"a\\s&s\tw'


def test_a_section_can_be_read_whatever_characters_a_secret_has(tmp_path):
    text = section("source", "redmine", "http://127.0.0.1:1", {"username": "ann", "password": SECRET})
    assert tomllib.loads(text)["source"]["auth"] == {"username": "ann", "password": SECRET}
    assert tomllib.loads(f"key = {toml('Łódź 🎉')}") == {"key": "Łódź 🎉"}


def test_a_section_is_added_to_what_a_file_has_and_never_replaces_one(tmp_path):
    config = tmp_path / "try.toml"
    add_section(config, "target", section("target", "squash", "http://127.0.0.1:2", {"token": "t"}))
    config.write_text(config.read_text() + "# mine")
    add_section(config, "source", section("source", "redmine", "http://127.0.0.1:1", {"api_key": "k"}))
    settings, text = read_configuration(config).settings, config.read_text()
    assert (settings.source.tracker, settings.target.tracker) == ("redmine", "squash")
    assert "# mine\n" in text
    with pytest.raises(ConfigError, match=r"try.toml has a \[source\] already"):
        add_section(config, "source", section("source", "squash", "http://127.0.0.1:3", {"token": "t"}))
    assert config.read_text() == text
    (tmp_path / "notes.txt").write_text("not a configuration")
    with pytest.raises(ConfigError, match="not a configuration"):
        add_section(tmp_path / "notes.txt", "source", "")
    assert (tmp_path / "notes.txt").read_text() == "not a configuration"
