"""Where a bucket is: its address, and the keys for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is, and the keys for it, under obstore's names."""

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_http: bool = False

    def is_within(self, other: BucketAddress) -> bool:
        """Whether it is the other address, or below it. What the path of a folder really is counts, links followed."""
        endpoints = {each.options["endpoint"] for each in (self, other) if "endpoint" in each.options}
        return len(endpoints) <= 1 and f"{self._real_url}/".startswith(f"{other._real_url}/")

    @property
    def _real_url(self) -> str:
        scheme, _, path = self.url.partition("://")
        return f"file://{os.path.realpath(path)}" if scheme == "file" else self.url

    @property
    def is_missing_folder(self) -> bool:
        """Whether it is a `file://` folder that doesn't exist; a `Bucket` there would make it."""
        return self.url.startswith("file://") and not Path(self.url.removeprefix("file://")).is_dir()
