"""How a source is built, in a run and in its fetch workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrator.layers import Login, ParanoidSource, RetryingSource, RetryPolicy, VerifiedSource
from migrator.ports import Source
from migrator.trackers import adapter
from migrator.wire import HttpClient, Reach


@dataclass(frozen=True, slots=True)
class SourceRecipe:
    """All that a source is made of, except credentials. It is handed to other processes.

    `downloads` is how many files may be in flight. `paranoid`: files of unknown length are downloaded twice.
    """

    tracker: str
    reach: Reach
    options: Any
    policy: RetryPolicy
    downloads: int
    paranoid: bool = False

    def build(self, http: HttpClient, *, answered: bool = False, login: Login | None = None) -> Source:
        """The source with its layers. `answered`: the tracker is known to answer. `login` explains a refused one."""
        inner = adapter(self.tracker).source(http, self.options)
        checked = ParanoidSource(VerifiedSource(inner)) if self.paranoid else VerifiedSource(inner)
        return RetryingSource(checked, self.policy, answered=answered, login=login)
