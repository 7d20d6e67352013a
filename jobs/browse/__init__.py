"""An archive in a browser: a plugin for Datasette and the server around it."""

from __future__ import annotations

from migrator.jobs.browse.contents import text_preview
from migrator.jobs.browse.server import Browser

__all__ = ["Browser", "text_preview"]
