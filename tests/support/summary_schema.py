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

SCHEMA = Path(summary.__file__).parents[1] / "summary.schema.json"
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
    """Raise `jsonschema.ValidationError` unless a document fits the schema that ships in the package."""
    _validator().validate(document)


def generated_schema() -> dict[str, Any]:
    """The whole schema: a document is the summary of one command, or says why there is none."""
    classes = {name: value for name in summary.__all__ if dataclasses.is_dataclass(value := getattr(summary, name))}
    commands = {name: cls for name, cls in classes.items() if issubclass(cls, Summary) and hasattr(cls, "command")}
    definitions: dict[str, Any] = {}
    for name, cls in commands.items():
        schema = TypeAdapter(cls).json_schema(mode="serialization")
        definitions |= schema.pop("$defs", {})
        definitions[name] = schema
    for name in definitions.keys() & classes.keys():
        _fit_to_json(definitions[name], classes[name])
    definitions["Failure"] = FAILURE
    definitions["Stopped"] = STOPPED
    del definitions["EntityRef"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What migrator --json prints",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in [*sorted(commands), "Stopped"]],
        "$defs": dict(sorted(definitions.items())),
    }


def _fit_to_json(schema: dict[str, Any], cls: type) -> None:
    """Change the schema of a dataclass to what `as_json` makes of it: no hidden fields, optional ones never null."""
    if cls is Failure:
        return
    optional = set()
    for field in dataclasses.fields(cls):
        if field.metadata.get("hidden"):
            del schema["properties"][field.name]
        elif field.metadata.get("optional"):
            optional.add(field.name)
            schema["properties"][field.name] = _without_null(schema["properties"][field.name])
    if issubclass(cls, Summary):
        schema["properties"] = {"command": {"const": cls.command}, **schema["properties"]}
    schema["required"] = [name for name in schema["properties"] if name not in optional]
    for part in schema["properties"].values():
        part.pop("title", None)
        part.pop("default", None)
    schema.pop("title", None)


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    [schema] = [option for option in field["anyOf"] if option != {"type": "null"}]
    return schema
