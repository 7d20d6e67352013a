"""How a tracker is reached, apart from credentials; so another process can make the same client."""

from __future__ import annotations

from dataclasses import dataclass

from migrator.wire.auth import Signer
from migrator.wire.client import HttpClient
from migrator.wire.rate import RateLimiter
from migrator.wire.recording import Recorder
from migrator.wire.route import Proxy, Route, TlsFiles
from migrator.wire.waits import DEFAULT_MAX_WAIT_SECONDS, Waits


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a tracker is, how to get there, and how much may be asked of it. Its only secret is a proxy's password.

    Rates are per second, 0 for no limit; `timeout` is in seconds without a byte; `max_wait` is how many seconds the
    tracker may make all requests wait. A `recorder` keeps what travels; only this process may have one.
    """

    url: str
    tls: TlsFiles | None = None
    proxy: Proxy | None = None
    connections: int = 16
    timeout: float = 60.0
    requests_per_second: float = 0.0
    bytes_per_second: float = 0.0
    max_wait: float = DEFAULT_MAX_WAIT_SECONDS
    recorder: Recorder | None = None

    @property
    def limited(self) -> bool:
        """Whether the rate of requests or bytes is limited."""
        return bool(self.requests_per_second or self.bytes_per_second)

    def rate(self, waits: Waits) -> RateLimiter:
        """What counts the requests and bytes of this process."""
        return RateLimiter(self.requests_per_second, self.bytes_per_second, max_wait=self.max_wait, waits=waits)

    def client(self, signer: Signer, files: Signer | None, rate: RateLimiter) -> HttpClient:
        """A client of the tracker. Reads certificates; `ConfigError` names the wrong key."""
        own_origin, other_origins = self.tls.contexts() if self.tls else (None, None)
        return HttpClient(
            self.url,
            signer,
            files=files,
            pacer=rate,
            timeout=self.timeout,
            connections=self.connections,
            route=Route(own_origin, other_origins, self.proxy),
            recorder=self.recorder,
        )
