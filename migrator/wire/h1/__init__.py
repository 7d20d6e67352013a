"""HTTP/1.1 for reads: a pool of connections, and the reading of a response, on llhttp."""

from migrator.wire.h1.pool import ConnectionPool, NoConnectionError
from migrator.wire.h1.response import IncompleteBodyError, ProtocolError

__all__ = ["ConnectionPool", "IncompleteBodyError", "NoConnectionError", "ProtocolError"]
