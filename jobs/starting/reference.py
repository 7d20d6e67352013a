"""The reference: every key of the configuration and every option of a tracker, with values and default, in Markdown.

It is made from the code. `migrator init --reference` prints it, and `sample_configs/REFERENCE.md` has a copy.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.config import (
    EncryptionSection,
    Limits,
    MappingSection,
    NightlySection,
    NotifySection,
    RetentionSection,
    Settings,
    SourceSection,
    StorageSection,
    TargetSection,
    TlsSection,
    WorkersSection,
)
from migrator.jobs.starting.described import Key, keys_of_options, keys_of_section
from migrator.trackers import TRACKERS, Adapter, adapter

HEAD = """\
# All keys of a configuration

Made by `migrator init --reference` from the code. A time is written like "0.5 s", "2 min", "1 h" or "7 days", a share
like "20%", a bandwidth like "20 MB/s". A secret is `{ env = "NAME" }`, `{ file = "path" }`, `{ keyring = "service" }`,
or plain text, which brings a warning. Relative paths are relative to the configuration. A key without a default may be
left out, apart from `tracker`, `url` and the credentials.
"""

SECTIONS = (
    ("At the top of the file", Settings),
    ("[storage]: an archive in an object store", StorageSection),
    ("[encryption]: such an archive, encrypted", EncryptionSection),
    ("[source]", SourceSection),
    ("[target]", TargetSection),
    ("[source.tls] and [target.tls]", TlsSection),
    ("[mapping]", MappingSection),
    ("[limits]", Limits),
    ("[workers]: fetching on other machines", WorkersSection),
    ("[retention]: what `nightly` and `prune` keep", RetentionSection),
    ("[nightly]", NightlySection),
    ("[notify]", NotifySection),
)


def reference() -> str:
    """The whole reference."""
    parts = [HEAD]
    parts += [f"## {title}\n\n{_table(keys_of_section(section))}" for title, section in SECTIONS]
    parts += [_of_tracker(name, adapter(name)) for name in sorted(TRACKERS)]
    return "\n".join(parts)


def _of_tracker(name: str, parts: Adapter) -> str:
    logins = "; ".join(" and ".join(f"`{key}`" for key in keys) for keys in parts.auth)
    head = f"## {name}: [source.auth], [source.options], [target.auth] and [target.options]\n\nCredentials: {logins}.\n"
    keys = keys_of_options(parts.options, parts.guide.examples)
    return f"{head}\n{_table(keys)}" if keys else head


def _table(keys: Iterable[Key]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key in keys:
        cells = (f"`{key.name}`", key.values, f"`{key.default}`" if key.default else "", _meaning(key))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _meaning(key: Key) -> str:
    return f"{key.side}: {key.text}" if key.side else key.text
