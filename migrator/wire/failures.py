"""Failures of a transport as errors of ours, which say what to do next.

Failures of aiohttp and of our own connections are translated into `migrator.errors` here and nowhere else.

Beware: a library's error may contain a URL, and a URL a token; only the kind of error gets into a message.
"""

from __future__ import annotations

import ssl

import aiohttp

from migrator import errors
from migrator.wire.h1 import IncompleteBodyError, NoConnectionError, ProtocolError
from migrator.wire.route import remedy_of, why_not_connected
from migrator.wire.status import proxy_refusal
from migrator.wire.transport import OutgoingRequest, Response, Transport

TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, ssl.SSLError, ConnectionError)
"""The exceptions that `translate_error` can translate."""


async def send(transport: Transport, request: OutgoingRequest, subject: str) -> Response:
    """The response's head. `RejectedError` where address or headers hold what can't be sent, such as a line break."""
    try:
        return await transport.send(request)
    except TRANSPORT_ERRORS:
        raise
    except ValueError:
        raise _unusable(subject) from None


def translate_error(error: Exception, subject: str) -> errors.MigratorError:
    """The error that a failure of a transport means."""
    if (fault := _not_connected(error, subject)) is not None:
        return fault
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return _unusable(subject)
    if isinstance(error, TimeoutError):
        return errors.ReadTimeoutError(f"{subject}: timed out waiting for data")
    if isinstance(error, aiohttp.ClientPayloadError | IncompleteBodyError):
        return errors.UnexpectedBodyError(f"{subject}: the body broke off")
    broken = f"{subject}: the connection broke ({type(error).__name__})"
    if isinstance(error, ProtocolError | aiohttp.ClientResponseError):
        return errors.RetriableError(f"{broken}: the answer is not valid HTTP")
    return errors.RetriableError(broken)


def _not_connected(error: Exception, subject: str) -> errors.MigratorError | None:
    """The error if no connection was made at all; None if there was one."""
    if isinstance(error, aiohttp.ClientConnectorError | NoConnectionError):
        cause = _cause(error)
        why = f"{subject}: no connection to {error.host}:{error.port} ({why_not_connected(cause)})"
        return errors.ConnectError(why, remedy=remedy_of(cause))
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        why = f"{subject}: no connection (no answer in time)"
        return errors.ConnectError(why, remedy=remedy_of(TimeoutError()))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == 407:
            return proxy_refusal(subject)
        return errors.ConnectError(f"{subject}: the proxy couldn't connect (status {error.status})")
    if _wants_certificate(error):
        reason = "the tracker refused the client certificate, or requires one; see `tls.client_cert`"
        return errors.ConnectError(f"{subject}: {reason}")
    return None


def is_silence(error: Exception) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def _unusable(subject: str) -> errors.RejectedError:
    return errors.RejectedError(f"{subject}: not a usable address")


def _cause(error: aiohttp.ClientConnectorError | NoConnectionError) -> BaseException | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__


def _wants_certificate(error: BaseException) -> bool:
    """Whether the server refused our certificate or wants one; with TLS 1.3 an alert after the handshake says so."""
    alert = error if isinstance(error, ssl.SSLError) else error.__cause__ or error.__context__
    return isinstance(alert, ssl.SSLError) and "ALERT_CERTIFICATE" in (getattr(alert, "reason", "") or "")
