"""What is wrong with a configuration, in our own words: pydantic's errors by their type.

Beware: pydantic's messages quote the input. Ours name the key and never the value, which may be a secret.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from migrator.hints import did_you_mean
from migrator.printable import printable

WHERE = "configuration"
"""How a message about the configuration begins."""

WORDS = {
    "string_type": "must be text, in quotes",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "has a character that can't be in a path",
    "bool_type": "must be true or false, without quotes",
    "bool_parsing": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is a number that is too large",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number, without quotes",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have at least one item",
    "literal_error": "must be {expected}",
    "tuple_type": 'must be a list, like ["a", "b"]',
    "dict_type": "must be a section, like [{key}]",
    "model_type": "must be a section, like [{key}]",
    "value_error": "{error}",
}
"""By the type of pydantic's error; `{...}` is from its context, `{key}` the key."""

FORMS = 'must be text, { env = "NAME" }, { file = "path" } or { keyring = "service" }'
"""How a secret is written; pydantic says twice what it is not."""


def validation_messages(error: ValidationError, model: type[BaseModel]) -> str:
    """All that is wrong with the settings, one sentence for each key."""
    return "; ".join(dict.fromkeys(_message(item, model) for item in error.errors()))


def options_message(error: ValidationError, where: str) -> str:
    """What is wrong with the options of a tracker; `where` is their section."""
    first = error.errors()[0]
    key = ".".join([where, *(str(part) for part in first["loc"])])
    return f"{WHERE}: {printable(key)}: {_in_words(first, key)}"


def _message(item: Any, model: type[BaseModel]) -> str:
    path = [str(part) for part in item["loc"]]
    of_secret = item["type"] != "extra_forbidden" and any(_is_branch(part) for part in path)
    if of_secret:
        path = [part for part in path if not _is_branch(part)]
    key = printable(".".join(path))
    if item["type"] == "extra_forbidden":
        return unknown_key(key, _keys_beside(model, path))
    if item["type"] == "missing":
        return f"{WHERE}: the key {key} is missing"
    return f"{WHERE}: {key}: {FORMS if of_secret else _in_words(item, key)}"


def _in_words(item: Any, key: str) -> str:
    words = WORDS.get(item["type"], "has a value that isn't allowed")
    return words.format_map({"key": printable(key), **item.get("ctx", {})})


def _is_branch(part: str) -> bool:
    """Whether pydantic names a branch of the type of a secret here, as it does after the secret's key."""
    return part in {"str", "constrained-str"} or part.startswith("dict[")


def unknown_key(key: str, known: list[str]) -> str:
    """The message for an unknown key, with the most similar known one."""
    key = printable(key)
    parent, dot, last = key.rpartition(".")
    hint = did_you_mean(last, sorted(known), "choose from", lambda near: f"{parent}{dot}{near}")
    return f"{WHERE}: unknown key {key}; {hint}"


def _keys_beside(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys of the section that the last key of a path is in."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
