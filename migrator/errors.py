"""All errors of this library, grouped by what to do next, with the exit status of a run that ends with one.

    MigratorError                      exit
    |- ConfigError                       2    correct the configuration; nothing was done
    |- FatalError                             stop the run
    |  |- TrackerUnreachableError        4    no usable answer, in spite of all retries
    |  |- AuthError                      4    the credentials are wrong
    |  |- ArchiveDamagedError            5    the archive differs from its catalog
    |  |- ArchiveLockedError             6    another run holds it
    |  `- StorageError                   7    full, read-only or broken
    `- ItemFailedError                   3    this item failed; go on with the others
       |- RetriableError                      try again, later
       |  |- ThrottledError                   429, 503: all workers slow down
       |  |- ConnectError                     no connection
       |  |- ReadTimeoutError                 no byte came for too long
       |  `- UnexpectedBodyError              the body is not the file or answer
       |     |- LoginPageError                a login page or another web page instead
       |     `- ShortListingError             fewer items were listed than the tracker has
       `- RejectedError                       final; repeating would not help
          |- GoneError                        404, 410: no longer there
          |- ForbiddenError                   403: not for this account
          |- UnauthorizedError                401 for this item only; the credentials are right
          |- NotExposedError                  the tracker has it, but its API doesn't deliver it
          `- OutcomeUnknownError              a write was sent, and no answer came: look first

Messages contain method and path, never a query, a header or a body, because those may contain secrets.
"""

from __future__ import annotations


class MigratorError(Exception):
    """The base of all errors. `exit_code` is the exit status of the program if this error ends it."""

    exit_code = 1


class ConfigError(MigratorError):
    """The configuration, the mapping or the command line is not usable; the message names the key or line."""

    exit_code = 2


class FatalError(MigratorError):
    """This run can't go on."""


class TrackerUnreachableError(FatalError):
    """The tracker does not answer, or its answers make no sense."""

    exit_code = 4


class AuthError(FatalError):
    """The tracker refused the credentials, even after logging in again."""

    exit_code = 4


class ArchiveDamagedError(FatalError):
    """The archive differs from its catalog."""

    exit_code = 5


class ArchiveLockedError(FatalError):
    """Another run holds the archive; the message says which one, and since when."""

    exit_code = 6


class StorageError(FatalError):
    """The disk is full or refuses writes; what was recorded stays valid."""

    exit_code = 7


class ItemFailedError(MigratorError):
    """This item failed; the run goes on with the others. `status` is that of the HTTP response, if there was one."""

    exit_code = 3

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RetriableError(ItemFailedError):
    """The next try may succeed. `retry_after` is the wait in seconds that the tracker asked for, if it did."""

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class ThrottledError(RetriableError):
    """The tracker asks to slow down; this applies to all requests."""


class ConnectError(RetriableError):
    """There is no connection: refused, no route, no such host, TLS. `remedy` is what a person can do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class ReadTimeoutError(RetriableError):
    """No byte came for too long; the server may still be working on the request."""


class UnexpectedBodyError(RetriableError):
    """The body is not the file that was listed, or not the answer that was requested."""


class LoginPageError(UnexpectedBodyError):
    """The body is a login page or another web page."""


class ShortListingError(UnexpectedBodyError):
    """The tracker listed fewer items than it says it has."""


class RejectedError(ItemFailedError):
    """The item was refused for good; repeating the request would not change that."""


class GoneError(RejectedError):
    """The item no longer exists (404, 410)."""


class ForbiddenError(RejectedError):
    """This account may not see or change the item (403)."""


class UnauthorizedError(RejectedError):
    """This item was refused with a 401, although the tracker accepts the credentials."""


class NotExposedError(RejectedError):
    """The tracker has the file, but its API doesn't deliver it."""


class OutcomeUnknownError(RejectedError):
    """A write was sent, and may or may not have been carried out: look before sending it again.

    finished  the tracker is no longer working on the write: it answered, if only with an error (500, 503)
    at_work   it may still be working on the write: no byte came for too long, or a proxy gave up waiting (502, 504)
    login     a login page came, so nothing was written
    accepted  the tracker accepted the write, but does not show its result
    """

    def __init__(
        self,
        message: str,
        *,
        finished: bool = False,
        at_work: bool = False,
        login: bool = False,
        accepted: bool = False,
    ) -> None:
        super().__init__(message)
        self.finished, self.at_work, self.login, self.accepted = finished, at_work, login, accepted
