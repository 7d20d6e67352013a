"""The summary of `init`, which writes a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrator.pipeline.summary.base import OPTIONAL, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSummary(Summary):
    """The summary of init: the file that was written and the environment variables that it reads secrets from.

    With --reference nothing is written, and `reference` is the text. With --nightly, `files` are those that start a
    night of the `config`, and the variables are to be set in one of them.
    """

    command = "init"

    config: str | None = field(default=None, metadata=OPTIONAL)
    files: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    variables: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    reference: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionSummary(Summary):
    """The summary of completion: the script for the shell."""

    command = "completion"

    shell: str
    script: str
