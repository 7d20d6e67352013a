"""Failures of a transport as errors of ours, which say what to do next.

Failures of aiohttp and of our own connections are translated into `migrator.errors` here and nowhere else.

Beware: a library's error may contain a URL, and a URL a token; only the kind of error gets into a message.
"""

from __future__ import annotations

import ssl
import sys

from migrator import errors
from migrator.wire.h1 import IncompleteBodyError, NoConnectionError, ProtocolError
from migrator.wire.route import remedy_of, why_not_connected
from migrator.wire.transport import OutgoingRequest, Response, Transport

_ERRORS = (TimeoutError, ssl.SSLError, ConnectionError)


def transport_errors() -> tuple[type[Exception], ...]:
    """The exceptions that `translate_error` can translate; those of aiohttp are among them once it is imported.

    For an `except` clause, which asks for them only when something was raised.
    """
    aiohttp = sys.modules.get("aiohttp")
    return _ERRORS if aiohttp is None else (aiohttp.ClientError, *_ERRORS)


async def send(transport: Transport, request: OutgoingRequest, subject: str) -> Response:
    """The response's head. `RejectedError` where address or headers hold what can't be sent, such as a line break."""
    try:
        return await transport.send(request)
    except transport_errors():
        raise
    except ValueError:
        raise unusable(subject) from None


def translate_error(error: Exception, subject: str) -> errors.MigratorError:
    """The error that a failure of a transport means."""
    if (fault := _not_connected(error, subject) or _failed_exchange(error, subject)) is not None:
        return fault
    if isinstance(error, TimeoutError):
        return errors.ReadTimeoutError(f"{subject}: timed out waiting for data")
    if isinstance(error, IncompleteBodyError):
        return body_broke_off(subject)
    if isinstance(error, ProtocolError):
        return not_http(error, subject)
    return errors.RetriableError(_broken(error, subject))


def _not_connected(error: Exception, subject: str) -> errors.MigratorError | None:
    """The error if no connection was made at all; None if there was one."""
    if isinstance(error, NoConnectionError):
        return no_connection(subject, error.host, error.port, error.__cause__)
    if _is_of_aiohttp(error):
        from migrator.wire.aiohttp_failures import not_connected

        if (fault := not_connected(error, subject)) is not None:
            return fault
    if _wants_certificate(error):
        reason = "the tracker refused the client certificate, or requires one; see `tls.client_cert`"
        return errors.ConnectError(f"{subject}: {reason}")
    return None


def _failed_exchange(error: Exception, subject: str) -> errors.MigratorError | None:
    """The error if aiohttp has a class of its own for it, once connected."""
    if not _is_of_aiohttp(error):
        return None
    from migrator.wire.aiohttp_failures import failed_exchange

    return failed_exchange(error, subject)


def is_silence(error: Exception) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)


def no_connection(subject: str, host: str, port: int | None, cause: BaseException | None) -> errors.ConnectError:
    """There was no connection."""
    why = f"{subject}: no connection to {host}:{port} ({why_not_connected(cause)})"
    return errors.ConnectError(why, remedy=remedy_of(cause))


def unusable(subject: str) -> errors.RejectedError:
    """The address can't be requested."""
    return errors.RejectedError(f"{subject}: not a usable address")


def body_broke_off(subject: str) -> errors.UnexpectedBodyError:
    """The body ended too early."""
    return errors.UnexpectedBodyError(f"{subject}: the body broke off")


def not_http(error: Exception, subject: str) -> errors.RetriableError:
    """What came is no HTTP."""
    return errors.RetriableError(f"{_broken(error, subject)}: the answer is not valid HTTP")


def _broken(error: Exception, subject: str) -> str:
    return f"{subject}: the connection broke ({type(error).__name__})"


def _is_of_aiohttp(error: Exception) -> bool:
    aiohttp = sys.modules.get("aiohttp")
    return aiohttp is not None and isinstance(error, aiohttp.ClientError)


def _wants_certificate(error: BaseException) -> bool:
    """Whether the server refused our certificate or wants one; with TLS 1.3 an alert after the handshake says so."""
    alert = error if isinstance(error, ssl.SSLError) else error.__cause__ or error.__context__
    return isinstance(alert, ssl.SSLError) and "ALERT_CERTIFICATE" in (getattr(alert, "reason", "") or "")
