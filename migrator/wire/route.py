"""TLS and proxy settings for a tracker.

The configured TLS settings apply to the tracker's own origin only. A file that a tracker keeps on another host is
fetched with certificates verified and without a client certificate.

Beware: OpenSSL asks at the terminal for the password of an encrypted key, and its errors name neither file nor key.
Each file is therefore read separately here, so that the message can name the configuration key that is wrong.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import warnings
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from migrator.errors import ConfigError

OBSOLETE_TLS_VERSIONS = frozenset({"1.0", "1.1"})
"""Versions of TLS that are broken; they are refused unless the configuration allows them."""

_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy and the credentials for it; `password` goes to the proxy only and stays out of any `repr`."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The credentials; aiohttp sends them as `Proxy-Authorization`, in the CONNECT if there is one."""
        return {"Authorization": "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode()}


@dataclass(frozen=True, slots=True)
class Route:
    """TLS contexts and proxy. `own_origin` is for the tracker itself, `other_origins` for other hosts of its files.

    None stands for the default context. Proxies that the environment names (`HTTPS_PROXY`, ...) are never used.
    """

    own_origin: ssl.SSLContext | None = None
    other_origins: ssl.SSLContext | None = None
    proxy: Proxy | None = None


DEFAULT_ROUTE = Route()


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The `tls` settings of a section, with absolute paths. `where` is its name in messages, like `source.tls`."""

    where: str
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    verify: bool = True
    minimum: str = ""

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The contexts for the tracker and for other hosts. Reads the files; `ConfigError` names the key that is wrong.

        A `ca_file` is trusted in addition to the system's certificates. `minimum` applies to the tracker only.
        """
        own_origin, other_origins = ssl.create_default_context(), ssl.create_default_context()
        for context in (own_origin, other_origins):
            if self.ca_file is not None:
                self._trust(context, self.ca_file)
        self._add_client_certificate(own_origin)
        if not self.verify:
            own_origin.check_hostname, own_origin.verify_mode = False, ssl.CERT_NONE
        if self.minimum:
            self._set_minimum(own_origin)
        return own_origin, other_origins

    def _set_minimum(self, context: ssl.SSLContext) -> None:
        """Set the oldest version. OpenSSL 3 allows the old ones, with SHA-1 signatures, only at security level 0."""
        if self.minimum in OBSOLETE_TLS_VERSIONS:
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of old versions
            context.minimum_version = _VERSIONS[self.minimum]

    def _trust(self, context: ssl.SSLContext, path: Path) -> None:
        text = self._read(path, "ca_file")
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError, TypeError):
            raise ConfigError(f"configuration: {self.where}.ca_file: {path} has no certificate in PEM format") from None

    def _add_client_certificate(self, context: ssl.SSLContext) -> None:
        if self.client_cert is None:
            if self.client_key is not None:
                raise ConfigError(f"configuration: {self.where}.client_key has no effect without client_cert")
            return
        certificate = self._read(self.client_cert, "client_cert")
        if "BEGIN CERTIFICATE" not in certificate:
            raise ConfigError(
                f"configuration: {self.where}.client_cert: {self.client_cert} has no certificate in PEM format"
            )
        key_name, path = ("client_key", self.client_key) if self.client_key else ("client_cert", self.client_cert)
        key = self._read(path, key_name)
        if "PRIVATE KEY" not in key:
            raise ConfigError(f"configuration: {self.where}.{key_name}: {path} has no private key in PEM format")
        if "ENCRYPTED" in key:
            raise ConfigError(
                f"configuration: {self.where}.{key_name}: the key in {path} is encrypted; store it unencrypted"
            )
        try:
            context.load_cert_chain(self.client_cert, path, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            mismatch = isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH"
            wrong = "is not the key of client_cert" if mismatch else "can't be used with client_cert"
            raise ConfigError(f"configuration: {self.where}.{key_name}: {path} {wrong}") from None

    def _read(self, path: Path, key: str) -> str:
        try:
            return path.read_text(encoding="ascii", errors="replace")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise ConfigError(f"configuration: {self.where}.{key}: {path} can't be read: {reason}") from None


_TOO_OLD = 'a TLS older than 1.2, which is broken: have it updated, or set tls.minimum = "1.0" if it can\'t be'
_NO_TLS = "WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE|UNKNOWN_PROTOCOL"
_HOSTNAME_MISMATCH = 62
"""X509_V_ERR_HOSTNAME_MISMATCH of OpenSSL."""
_MESSAGES_BY_REASON = (
    ("PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|WRONG_SSL_VERSION|VERSION_TOO_LOW", f"it supports only {_TOO_OLD}"),
    (_NO_TLS, "it doesn't speak TLS there; is it http:// instead of https://?"),
    ("ALERT_CERTIFICATE", "it refused the client certificate, or requires one; see tls.client_cert"),
    (
        "HANDSHAKE_FAILURE",
        (
            "it broke off the TLS handshake: it requires a client certificate (tls.client_cert), or supports only "
            'broken ciphers (tls.minimum = "1.0" allows those, too)'
        ),
    ),
    ("DH_KEY_TOO_SMALL|EE_KEY_TOO_SMALL|CA_MD_TOO_WEAK|LEGACY_SIGALG", f"its keys are those of {_TOO_OLD}"),
)


def why_not_connected(cause: BaseException | None) -> str:
    """Why there is no connection, in words: the name, the address, the certificate or the handshake was refused."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = getattr(cause, "verify_message", "")
        return f"its certificate is not trusted{why and ': '}{why}"
    if isinstance(cause, ssl.SSLError):
        reason = cause.reason or ""
        message = next((text for pattern, text in _MESSAGES_BY_REASON if re.search(pattern, reason)), "")
        return message or f"TLS: {reason.replace('_', ' ').lower() or 'the handshake failed'}"
    if isinstance(cause, ConnectionResetError | BrokenPipeError):
        return f"it broke off the handshake without a reason, as servers do that support only {_TOO_OLD}"
    if isinstance(cause, socket.gaierror):
        return f"the host doesn't exist, or no name server answered: {cause.strerror}"
    return _in_words(cause)


def remedy_of(cause: BaseException | None) -> str:
    """What a person can do about it; empty if that is not known. Keys of the tracker's section are in backticks."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        name_differs = getattr(cause, "verify_code", 0) == _HOSTNAME_MISMATCH
        return "is the host in `url` right?" if name_differs else "name the authority that signed it in `tls.ca_file`"
    if isinstance(cause, ssl.SSLError):
        return "correct `url`" if re.search(_NO_TLS, cause.reason or "") else ""
    if isinstance(cause, socket.gaierror):
        return "is the host in `url` spelled right?"
    number = _number_of(cause)
    if number == errno.ECONNREFUSED:
        return "is `url` right, and does the server run?"
    if number in {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH} or isinstance(cause, TimeoutError):
        return "is `url` right? A firewall, or a `proxy` that is not set, has this effect too"
    return ""


def _number_of(cause: BaseException | None) -> int | None:
    """The number of an error of the system, even if it joins the errors of several addresses."""
    number = cause.errno if isinstance(cause, OSError) else None
    match = re.search(r"\[Errno (\d{1,5})\]", str(cause)) if number is None else None
    return int(match[1]) if match else number


def _in_words(cause: BaseException | None) -> str:
    """The system's words for an error."""
    number = _number_of(cause)
    if number is None and isinstance(cause, TimeoutError):
        return "no answer in time"
    if number == errno.ECONNREFUSED:
        return "connection refused: nothing listens there"
    return os.strerror(number) if number and number > 0 else type(cause).__name__
