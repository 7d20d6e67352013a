"""The result of a request, whichever transport carried it: a `Response`, or an error that says what to do next.

Failures of aiohttp and of our own connection pool are translated into `migrator.errors` here and nowhere else.

Beware: a library's error may contain a URL, and a URL a token; only the kind of error gets into a message.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Protocol, Self

import aiohttp

from migrator import errors
from migrator.wire.h1 import IncompleteBodyError, NoConnectionError, ProtocolError
from migrator.wire.reading import Readable
from migrator.wire.route import why_not_connected


class Response(Protocol):
    """An answer under way, by whichever way it comes: the head is there, the body is to be read. A context."""

    @property
    def status(self) -> int:
        """As the server says."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""

    @property
    def content(self) -> Readable:
        """The body."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, ssl.SSLError, ConnectionError)
"""The exceptions that `translate_error` can translate."""


class Once:
    """A middleware of aiohttp for one request that must go out a single time.

    aiohttp sends PUT and DELETE again by itself when a kept connection breaks, as RFC 9110, 9.2.2, allows for what is
    idempotent; whether a tracker did take the first one, only a look at it can tell.
    """

    def __init__(self) -> None:
        self._failed: aiohttp.ClientError | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The answer, or how it failed the first time."""
        if self._failed is not None:
            raise self._failed
        try:
            return await handler(request)
        except aiohttp.ClientError as error:
            self._failed = error
            raise


async def sent(request: Awaitable[Response], what: str) -> Response:
    """The answer's head. `RejectedError` where address or headers hold what can't be sent, like half a line break."""
    try:
        return await request
    except TRANSPORT_ERRORS:
        raise
    except ValueError:
        raise _unusable(what) from None


def translate_error(error: Exception, what: str) -> errors.MigratorError:
    """What a failure of the wire means. Says the kind of failure only: its text may hold a URL with a token."""
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
    """What it means where no connection came about at all; None if one did."""
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
    """Whether somebody who should have answered did not."""
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
    """With TLS 1.3 a server says so only after the handshake, as an alert that ends the connection."""
    told = error if isinstance(error, ssl.SSLError) else error.__cause__ or error.__context__
    return isinstance(told, ssl.SSLError) and "ALERT_CERTIFICATE" in (getattr(told, "reason", "") or "")
