"""Failures of a transport as errors of ours, which say what to do next.

Failures of aiohttp and of our own connections are translated into `migrator.errors` here and nowhere else.

Beware: a library's error may contain a URL, and a URL a token; only the kind of error gets into a message.
"""

from __future__ import annotations

import ssl

import aiohttp

from migrator import errors
from migrator.wire.h1 import IncompleteBodyError, NoConnectionError, ProtocolError
from migrator.wire.route import why_not_connected
from migrator.wire.transport import OutgoingRequest, Response, Transport

TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, ssl.SSLError, ConnectionError)
"""The exceptions that `translate_error` can translate."""


async def send(transport: Transport, request: OutgoingRequest, what: str) -> Response:
    """The response's head. `RejectedError` where address or headers hold what can't be sent, such as a line break."""
    try:
        return await transport.send(request)
    except TRANSPORT_ERRORS:
        raise
    except ValueError:
        raise _unusable(what) from None


def translate_error(error: Exception, what: str) -> errors.MigratorError:
    """The error that a failure of a transport means."""
    if (fault := _not_connected(error, what)) is not None:
        return fault
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return _unusable(what)
    if isinstance(error, TimeoutError):
        return errors.ReadTimeoutError(f"{what}: nothing came for too long")
    if isinstance(error, aiohttp.ClientPayloadError | IncompleteBodyError):
        return errors.UnexpectedBodyError(f"{what}: the body broke off")
    if isinstance(error, ProtocolError | aiohttp.ClientResponseError):
        kind = type(error).__name__
        return errors.RetriableError(
            f"{what}: the connection broke ({kind}): what came is no HTTP, or not as it should be"
        )
    return errors.RetriableError(f"{what}: the connection broke ({type(error).__name__})")


def _not_connected(error: Exception, what: str) -> errors.MigratorError | None:
    """The error if no connection was made at all; None if there was one."""
    if isinstance(error, aiohttp.ClientConnectorError | NoConnectionError):
        return errors.ConnectError(f"{what}: no connection to {error.host}:{error.port} ({_cause(error)})")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return errors.ConnectError(f"{what}: no connection (nobody answered in time)")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == 407:
            return errors.AuthError(f"{what}: the proxy refused its credentials (status 407); see `proxy_auth`")
        return errors.ConnectError(f"{what}: the proxy makes no connection (status {error.status})")
    if _wants_certificate(error):
        return errors.ConnectError(f"{what}: the tracker refused our certificate, or wants one; see `tls.client_cert`")
    return None


def is_silence(error: Exception) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def _unusable(what: str) -> errors.RejectedError:
    return errors.RejectedError(f"{what}: not a usable address")


def _cause(error: aiohttp.ClientConnectorError | NoConnectionError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause: BaseException | None = error.certificate_error
    else:
        cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    return why_not_connected(cause)


def _wants_certificate(error: BaseException) -> bool:
    """Whether the server refused our certificate or wants one; with TLS 1.3 an alert after the handshake says so."""
    alert = error if isinstance(error, ssl.SSLError) else error.__cause__ or error.__context__
    return isinstance(alert, ssl.SSLError) and "ALERT_CERTIFICATE" in (getattr(alert, "reason", "") or "")
