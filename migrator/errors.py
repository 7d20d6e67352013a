"""Every error that leaves this library, grouped by what to do next, with the exit status of a run that it ends.

    MigratorError                      exit
    |- ConfigError                       2    mend the configuration; nothing was done
    |- FatalError                             stop the run
    |  |- TrackerUnreachableError        4    nobody answers, in spite of all retries
    |  |- AuthError                      4    the credentials are wrong
    |  |- ArchiveDamagedError            5    the archive is not what its catalog says
    |  |- ArchiveLockedError             6    another run holds it
    |  `- StorageError                   7    full, read-only or broken
    `- ItemFailedError                   3    this item can't be had now; go on with the others
       |- RetriableError                      try again, later
       |  |- ThrottledError                   429, 503: all workers slow down
       |  |- ConnectError                     no connection came about
       |  |- ReadTimeoutError                 nothing came for too long
       |  `- UnexpectedBodyError              the body is not the file: cut, padded
       |     |- LoginPageError                a page for people instead
       |     `- ShortListingError             a listing ended before the number that the tracker gave
       `- RejectedError                       a definite no
          |- GoneError                        404, 410: no longer there
          |- ForbiddenError                   403: not for this account
          |- UnauthorizedError                401 for this one thing, while the tracker takes the credentials
          |- NotExposedError                  the tracker has it, but its API doesn't hand it out
          `- OutcomeUnknownError              a write was sent and no answer seen: never repeat it blindly

Messages hold method and path, never a query, a header or a body: those may carry secrets.
"""

from __future__ import annotations


class MigratorError(Exception):
    """The root. `exit_code` is the status the program ends with when this error ends it."""

    exit_code = 1


class ConfigError(MigratorError):
    """The configuration, the mapping or the command line is not usable; the message names the key or line."""

    exit_code = 2


class FatalError(MigratorError):
    """No sense in going on with this run."""


class TrackerUnreachableError(FatalError):
    """The tracker does not answer, or not in a way that makes sense."""

    exit_code = 4


class AuthError(FatalError):
    """The tracker refused the credentials, also after logging in again."""

    exit_code = 4


class ArchiveDamagedError(FatalError):
    """The archive is not what its catalog says."""

    exit_code = 5


class ArchiveLockedError(FatalError):
    """Another run holds the archive; the message says who, and since when."""

    exit_code = 6


class StorageError(FatalError):
    """The disk is full or refuses writes; what was recorded stays valid."""

    exit_code = 7


class ItemFailedError(MigratorError):
    """This item can't be had; the run goes on with the others.

    `status` is that of the HTTP answer, if there was one.
    """

    exit_code = 3

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class RetriableError(ItemFailedError):
    """May go well next time. `retry_after` is the wait in seconds that the tracker asked for, if it did."""

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after


class ThrottledError(RetriableError):
    """The tracker asks everybody to slow down."""


class ConnectError(RetriableError):
    """No connection: refused, no route, no such host, TLS."""


class ReadTimeoutError(RetriableError):
    """Nothing came for too long; the server may still be working on it."""


class UnexpectedBodyError(RetriableError):
    """What came is not the file that was listed."""


class LoginPageError(UnexpectedBodyError):
    """A login page, or another page for people, in place of what was asked for."""


class ShortListingError(UnexpectedBodyError):
    """The tracker tells of more items than it lists; what it listed can't be all."""


class RejectedError(ItemFailedError):
    """A definite no for one item; repeating the request would not change it."""


class GoneError(RejectedError):
    """It is no longer there (404, 410)."""


class ForbiddenError(RejectedError):
    """This account may not (403)."""


class UnauthorizedError(RejectedError):
    """This one thing was refused with a 401, though the tracker itself takes the credentials."""


class NotExposedError(RejectedError):
    """The tracker has the file, but its API doesn't hand it out."""


class OutcomeUnknownError(RejectedError):
    """A write went out and may have happened or not: look before sending again.

    `finished`: the tracker did answer, with an error of its own (500, 503), so it is not at work on it any more.
    `at_work`: it may be; nothing came for too long, or whoever stands before it gave up waiting (502, 504).
    `login`: a login page came, which says that nothing was done. `accepted`: it said yes, and doesn't show it.
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
