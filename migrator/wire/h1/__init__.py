"""HTTP/1.1 for downloads: a pool of connections, and the reading of a response, on llhttp."""

from migrator.wire.h1.pool import CLOSING, ConnectionPool, NoConnectionError
from migrator.wire.h1.response import LINE_LIMIT, IncompleteBodyError, ProtocolError

__all__ = ["CLOSING", "LINE_LIMIT", "ConnectionPool", "IncompleteBodyError", "NoConnectionError", "ProtocolError"]
