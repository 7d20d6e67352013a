"""What a new configuration says about a tracker, besides its options, which describe themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Guide:
    """The words that `migrator init` takes from an adapter. All have a default: a new adapter works without them.

    name          the tracker as people write it
    url           an example of its address; `url_note` says what to mind about it
    prefix        of the environment variables for its secrets
    username      an example
    auth_notes    where a credential comes from, by its key
    kinds         examples of its kinds
    files_note    when the files need other credentials than the API ([source.download_auth])
    source_notes  paragraphs in front of [source]
    target_notes  paragraphs in front of [target]
    examples      what an option may look like, if its default says nothing
    source_set    options that a new [source.options] sets, with their values
    target_set    the same for [target.options]
    """

    name: str = ""
    url: str = ""
    url_note: str = ""
    prefix: str = ""
    username: str = "ann"
    auth_notes: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    files_note: str = ""
    source_notes: tuple[str, ...] = ()
    target_notes: tuple[str, ...] = ()
    examples: Mapping[str, object] = field(default_factory=dict)
    source_set: Mapping[str, object] = field(default_factory=dict)
    target_set: Mapping[str, object] = field(default_factory=dict)
