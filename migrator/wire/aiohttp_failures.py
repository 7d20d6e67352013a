"""Failures of aiohttp as errors of ours. `failures` imports this when there is one, as aiohttp is imported then."""

from __future__ import annotations

import aiohttp

from migrator import errors
from migrator.wire.failures import body_broke_off, no_connection, not_http, unusable
from migrator.wire.route import remedy_of
from migrator.wire.status import proxy_refusal


def not_connected(error: Exception, subject: str) -> errors.MigratorError | None:
    """The error if no connection was made at all; None if there was one."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return no_connection(subject, error.host, error.port, error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return no_connection(subject, error.host, error.port, error.os_error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"{subject}: no connection (no answer in time)"
        return errors.ConnectError(why, remedy=remedy_of(TimeoutError()))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == 407:
            return proxy_refusal(subject)
        return errors.ConnectError(f"{subject}: the proxy couldn't connect (status {error.status})")
    return None


def failed_exchange(error: Exception, subject: str) -> errors.MigratorError | None:
    """The error if there was a connection; None if aiohttp has no class of its own for it."""
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return unusable(subject)
    if isinstance(error, aiohttp.ClientPayloadError):
        return body_broke_off(subject)
    return not_http(error, subject) if isinstance(error, aiohttp.ClientResponseError) else None
