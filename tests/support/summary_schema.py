"""The JSON Schema of what `--json` prints, made from the dataclasses of `migrator.pipeline.summary`."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from pydantic import TypeAdapter

from migrator.pipeline import summary
from migrator.pipeline.summary import Failure, Summary

SCHEMA = Path(summary.__file__).with_name("summary.schema.json")
TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}
FAILURE = {
    "description": "One file or one entity that a run could not do; the last three where it is about an upload.",
    "type": "object",
    "properties": {
        **{key: {"type": "string"} for key in ("kind", "entity")},
        "attachment": TEXT_OR_NULL,
        **{key: {"type": "string"} for key in ("name", "reason", "target_kind", "target_id", "status")},
    },
    "required": ["kind", "entity", "attachment", "name", "reason"],
}
STOPPED = {
    "description": "Instead of a command's document where it came to nothing; exit status 2, 4, 6, 7 or 130.",
    "type": "object",
    "properties": {
        "command": {"type": "string"},
        "status": {"enum": ["failed", "interrupted"]},
        "error": {
            "type": "object",
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
            "required": ["code", "message"],
        },
    },
    "required": ["command", "status"],
    "maxProperties": 3,
}


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def check_document(document: dict[str, Any]) -> None:
    """Raise `jsonschema.ValidationError` unless a document is what the schema that ships says of it."""
    _validator().validate(document)


def made() -> dict[str, Any]:
    """The whole schema: a document is that of one command, or says why there is none."""
    classes = {name: each for name, each in vars(summary).items() if dataclasses.is_dataclass(each)}
    commands = {name: each for name, each in classes.items() if issubclass(each, Summary) and hasattr(each, "command")}
    definitions: dict[str, Any] = {}
    for name, each in commands.items():
        schema = TypeAdapter(each).json_schema(mode="serialization")
        definitions |= schema.pop("$defs", {})
        definitions[name] = schema
    for name in definitions.keys() & classes.keys():
        _as_printed(definitions[name], classes[name])
    definitions["Failure"] = FAILURE
    definitions["Stopped"] = STOPPED
    del definitions["EntityRef"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What migrator --json prints",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in [*sorted(commands), "Stopped"]],
        "$defs": dict(sorted(definitions.items())),
    }


def _as_printed(schema: dict[str, Any], of: type) -> None:
    """What `as_json` makes of a dataclass: hidden fields never, optional ones only where they have a value."""
    if of is Failure:
        return
    optional = set()
    for each in dataclasses.fields(of):
        if each.metadata.get("hidden"):
            del schema["properties"][each.name]
        elif each.metadata.get("optional"):
            optional.add(each.name)
            schema["properties"][each.name] = _without_null(schema["properties"][each.name])
    if issubclass(of, Summary):
        schema["properties"] = {"command": {"const": of.command}, **schema["properties"]}
    schema["required"] = [name for name in schema["properties"] if name not in optional]
    for field in schema["properties"].values():
        field.pop("title", None)
        field.pop("default", None)
    schema.pop("title", None)


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    [value] = [each for each in field["anyOf"] if each != {"type": "null"}]
    return value
