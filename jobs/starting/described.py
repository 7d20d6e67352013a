"""Keys with their descriptions and defaults, read from the classes that define them.

A docstring describes each key in a paragraph of its own, `name   text`; further lines are indented. Both the sections
of the configuration and the options of the trackers are written that way.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from migrator.units import human_duration, parse_duration, parse_rate, parse_share

_KEY = re.compile(r"^(\w+) {2,}(\S.*)$")
_BEGIN = re.compile(r"^(source|target): ")
_NOTHING: tuple[object, ...] = (None, "", (), {}, [])


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `side` is `source` or `target` if it has a meaning on that side alone.

    `default` and `example` are written as in the file; `default` is empty if there is none, and `example` is the
    default where no other one is given.
    """

    name: str
    values: str
    default: str
    example: str
    text: str
    side: str = ""


def keys_of_section(model: Any) -> list[Key]:
    """The keys of a section (a pydantic model) in their order, those that stand for a section of their own left out."""
    texts, hints = descriptions(model), get_type_hints(model, include_extras=True)
    return [
        _key(name, hints[name], field.default, field.metadata, next(iter(field.examples or ()), None), texts[name])
        for name, field in model.model_fields.items()
        if name in texts
    ]


def keys_of_options(options: type[Any], examples: Mapping[str, object]) -> list[Key]:
    """The options of a tracker, in the order in which their class has them."""
    texts, hints = descriptions(options), get_type_hints(options)
    return [
        _key(field.name, hints[field.name], _default_of(field), (), examples.get(field.name), texts.get(field.name, ""))
        for field in dataclasses.fields(options)
    ]


def _default_of(field: dataclasses.Field[Any]) -> object:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _key(name: str, kind: Any, default: object, metadata: Any, example: object, text: str) -> Key:
    side = _BEGIN.match(text)
    written = "" if default in _NOTHING or repr(default) == "PydanticUndefined" else written_as(default, metadata)
    shown = toml(example) if example is not None else written or toml(default)
    return Key(name, values_of(kind), written, shown, _BEGIN.sub("", text), side[1] if side else "")


def descriptions(described: type[Any]) -> dict[str, str]:
    """The text of each key that the docstring of a class, or of one of its bases, describes."""
    texts: dict[str, str] = {}
    for cls in reversed(described.__mro__):
        texts |= dict(_paragraphs(inspect.cleandoc(vars(cls).get("__doc__") or "")))
    return texts


def _paragraphs(text: str) -> Iterator[tuple[str, str]]:
    name, words = "", list[str]()
    for line in [*text.splitlines(), ""]:
        begins = _KEY.match(line)
        if name and not line.startswith("    "):
            yield name, " ".join(words)
            name = ""
        if begins:
            name, words = begins[1], [begins[2]]
        elif name:
            words.append(line.strip())


def written_as(value: object, metadata: Any = ()) -> str:
    """A value as the configuration has it: times, shares and rates with their unit."""
    readers = {getattr(item, "func", None) for item in metadata}
    if isinstance(value, float) and parse_share in readers:
        return f'"{value * 100:g}%"'
    if isinstance(value, float) and parse_duration in readers:
        return f'"{value:g} s"' if value < 60 else f'"{human_duration(value)}"'
    if parse_rate in readers and not value:
        return "0"
    return toml(value)


def toml(value: object) -> str:
    """A value in TOML."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"{value:_}" if value >= 10_000 else str(value)
        case float():
            return f"{value:g}"
        case dict():
            return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
        case tuple() | list():
            return f"[{', '.join(map(toml, value))}]"
    return json.dumps("" if value is None else value, ensure_ascii=False)


_WORDS = {bool: "true or false", int: "number", float: "number", str: "text", type(None): "", dict: "table"}


def values_of(kind: Any) -> str:
    """The values that a type has, in words: `number`, `"a" or "b"`, `list of text`."""
    metadata = getattr(kind, "__metadata__", ())
    readers = {getattr(item, "func", None) for item in metadata}
    for reader, word in ((parse_share, "share"), (parse_duration, "time"), (parse_rate, "bandwidth")):
        if reader in readers:
            return word
    if metadata:
        return values_of(get_args(kind)[0])
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(toml, parts))
    if origin in {Union, types.UnionType}:
        words = [word for part in parts if (word := values_of(part))]
        return "text or secret" if "table" in words else " or ".join(words)
    if origin is tuple:
        return f"list of {values_of(parts[0])}"
    return _WORDS.get(origin or kind, "section")
