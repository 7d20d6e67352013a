"""The JSON Schema that ships in the package: it is that of the dataclasses, and what is printed fits it.

Whoever changes a summary makes it anew: `MIGRATOR_RECORD=1 pytest tests/unit/test_summary_schema.py`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from migrator.jobs.cli import COMMANDS
from tests.support.summary_schema import SCHEMA, check_document, generated_schema

OUTPUTS = Path(__file__).parents[1] / "fixtures" / "outputs"
DOCUMENTS = [
    (f"{path.stem} line {number}", json.loads(line))
    for path in sorted(OUTPUTS.glob("*.txt"))
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    if line.startswith('{"command"')
]


def test_the_schema_that_ships_is_that_of_the_summaries():
    text = json.dumps(generated_schema(), indent=1) + "\n"
    if os.environ.get("MIGRATOR_RECORD"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text


def test_the_schema_is_valid_and_knows_every_command():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    commands = {each.get("properties", {}).get("command", {}).get("const") for each in schema["$defs"].values()}
    assert commands - {None} == COMMANDS.keys() - {"browse", "sandbox"}


@pytest.mark.parametrize("document", [document for _, document in DOCUMENTS], ids=[name for name, _ in DOCUMENTS])
def test_a_recorded_document_fits_the_schema(document):
    check_document(document)


@pytest.mark.parametrize("key", ["status", "blobs", "problems"])
def test_a_document_that_lacks_a_key_or_has_another_type_does_not_fit(key):
    document = next(each for _, each in DOCUMENTS if each["command"] == "verify" and "blobs" in each)
    check_document(document)
    for odd in ({name: value for name, value in document.items() if name != key}, {**document, key: 7.5}):
        with pytest.raises(jsonschema.ValidationError):
            check_document(odd)
