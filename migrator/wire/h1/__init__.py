"""HTTP/1.1 for downloads: a pool of connections, and the reading of a response, on llhttp."""

from migrator.wire.h1.pool import CLOSING, Lane, NoConnection
from migrator.wire.h1.response import LINE_LIMIT, CutOff, NotHttp

__all__ = ["CLOSING", "LINE_LIMIT", "CutOff", "Lane", "NoConnection", "NotHttp"]
