"""What is wrong with a configuration is said in our own words, whatever section and key it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from migrator.config import Settings, options_of, read_configuration
from migrator.config.messages import WORDS, validation_messages
from migrator.errors import ConfigError
from migrator.jobs.given import naming_file
from migrator.trackers import TRACKERS, adapter
from tests.unit.test_starting import sections

ODD = [0, -1, 7, 1.5, 10**30, float("inf"), float("nan"), True, "", "x", "\0", "12 parsecs", "200%", [], [1], ["x"]]
ODD += [{}, {"env": "X"}, {"x": 1}, [{"x": 1}], [[]], "5 %", None]
PYDANTIC = (
    "Input should",
    "input",
    "valid string",
    "valid dictionary",
    "Field required",
    "Extra inputs",
    "Value error",
)
BASE: dict[str, Any] = {"tracker": "redmine", "url": "https://x.example"}


def whole(model: type, key: str, value: object) -> dict[str, Any]:
    """A file with this value for the key of a section."""
    source = dict(BASE)
    places = {
        "Settings": lambda: {"source": source, key: value},
        "StorageSection": lambda: {"source": source, "archive": "s3://bucket", "storage": {key: value}},
        "SourceSection": lambda: {"source": {**source, key: value}},
        "TargetSection": lambda: {"source": source, "target": {**source, key: value}},
        "TlsSection": lambda: {"source": {**source, "tls": {key: value}}},
        "MappingSection": lambda: {"source": source, "mapping": {key: value}},
        "Limits": lambda: {"source": source, "limits": {key: value}},
        "WorkersSection": lambda: {"source": source, "archive": "s3://bucket", "workers": {key: value}},
        "EncryptionSection": lambda: {
            "source": source,
            "archive": "s3://bucket",
            "encryption": {"recipients": ["age1"], key: value},
        },
        "RetentionSection": lambda: {"source": source, "retention": {key: value}},
        "NightlySection": lambda: {"source": source, "nightly": {key: value}},
        "NotifySection": lambda: {"source": source, "notify": {key: value}},
    }
    return places[model.__name__]()


CASES = [(model, key) for model in sections() for key in [*model.model_fields, "unknwon"]]


def refusals_of_key(model: type, key: str) -> Iterator[tuple[str, set[str]]]:
    """What is said of each odd value, and pydantic's types of it."""
    for value in ODD:
        try:
            Settings.model_validate(whole(model, key, value))
        except ValidationError as error:
            yield validation_messages(error, Settings), {item["type"] for item in error.errors()}


def refusals_of_option(options: type, name: str) -> Iterator[str]:
    for value in ODD:
        try:
            options_of({name: value}, options, "source.options")
        except ConfigError as error:
            yield str(error)


@pytest.mark.parametrize(("model", "key"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_no_word_of_pydantic_is_in_what_is_said_of_any_key(model, key):
    refusals = list(refusals_of_key(model, key))
    assert refusals, "every key refuses something"
    for said, types in refusals:
        assert types <= {*WORDS, "missing", "extra_forbidden"}, said
        assert not [word for word in PYDANTIC if word in said], said
        assert said.startswith("configuration: ")
        assert key in said
        assert "{" not in re.sub(r"{ (env|file|keyring) = ", "", said)


@pytest.mark.parametrize("tracker", sorted(TRACKERS))
def test_no_word_of_pydantic_is_in_what_is_said_of_any_option(tracker):
    options = adapter(tracker).options
    for name in options.__dataclass_fields__:
        refusals = list(refusals_of_option(options, name))
        assert refusals, name
        for said in refusals:
            assert said.startswith(f"configuration: source.options.{name}")
            assert not [word for word in (*PYDANTIC, "that isn't allowed") if word in said], said


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("[source]\nurl = 'https://x.example'", "configuration: the key source.tracker is missing"),
        ("source = 3", "configuration: source: must be a section, like [source]"),
        ("[limits]\nretries = 'many'", "configuration: limits.retries: must be a whole number, without quotes"),
        ("[limits]\nretries = 1000", "configuration: limits.retries: must be at most 100"),
        ("[limits]\ntimeout = 0", "configuration: limits.timeout: must be more than 0"),
        ("[mapping]\nmatch = []", "configuration: mapping.match: must have at least one item"),
        ("[mapping]\nmatch = 'title'", 'configuration: mapping.match: must be a list, like ["a", "b"]'),
        ("[mapping]\ncreate_missing = 'yes'", "configuration: mapping.create_missing: must be true or false"),
        ("[notify]\nping = 3", 'configuration: notify.ping: must be text, { env = "NAME" }'),
        ("[source.auth]\npassword = 3", 'configuration: source.auth.password: must be text, { env = "NAME" }'),
        ("archive = ''", "configuration: archive: must not be empty"),
    ],
)
def test_a_mistake_is_said_with_its_key_and_once(tmp_path, lines, says):
    config = tmp_path / "typo.toml"
    start = (
        "" if "source" in lines.partition("\n")[0] else "\n[source]\ntracker = 'redmine'\nurl = 'https://x.example'\n"
    )
    config.write_text(lines + "\n" + start)
    with pytest.raises(ConfigError) as refused:
        read_configuration(config)
    messages = str(refused.value).split("; configuration: ")
    assert says.removeprefix("configuration: ") in " ".join(messages), refused.value
    assert len(messages) == len(set(messages))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("configuration: archive: must not be empty", "a.toml: archive: must not be empty"),
        ("configuration: unknown key x; configuration: y: must be text", "a.toml: unknown key x; y: must be text"),
        ("a.toml: [storage] has no effect", "a.toml: [storage] has no effect"),
        ("the configuration: it is b.toml", "the configuration: it is b.toml"),
    ],
)
def test_a_mistake_is_said_with_the_name_of_the_file(message, says):
    assert naming_file(message, "folder/a.toml") == says
    assert naming_file(message, None) == message
