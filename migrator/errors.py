"""Every error that leaves this library, grouped by what to do next.

    MigratorError                      exit
    |- ConfigError                       2    mend the configuration; nothing was done
    |- Fatal                                  stop the run
    |  |- TrackerUnreachable             4    nobody answers, in spite of all retries
    |  |- AuthRefused                    4    the credentials are wrong
    |  |- ArchiveDamaged                 5    the archive is not what its catalog says
    |  |- ArchiveHeld                    6    another run holds it
    |  `- DiskRefused                    7    full, read-only or broken
    |- Retriable                              try again, later; at the end of patience: item failed (3)
    |  |- Throttled                           429, 503: all workers slow down
    |  |- ConnectFailed                       no connection came about
    |  |- Silent                              nothing came for too long
    |  `- WrongBody                           the body is not the file: cut, padded
    |     |- LoginPage                        a page for people instead
    |     `- ShortListing                     a listing ended before the number that the tracker told
    `- Rejected                          3    this item can't be had; go on with the others
       |- Gone                                404, 410: no longer there
       |- Forbidden                           403: not for this account
       |- Unauthorized                        401 for this one thing, while the tracker takes the credentials
       |- NotReachable                        the tracker has it, but its API doesn't hand it out
       `- Unanswered                          a write was sent and no answer seen: never repeat it blindly

Messages hold method and path, never a query, a header or a body: those may carry secrets.
"""

from __future__ import annotations


class MigratorError(Exception):
    """The root. `exit_code` is the status the program ends with when this error ends it."""

    exit_code = 1


class ConfigError(MigratorError):
    """The configuration, the mapping or the command line is not usable; the message names the key or line."""

    exit_code = 2


class Fatal(MigratorError):
    """No sense in going on with this run."""


class TrackerUnreachable(Fatal):
    """The tracker does not answer, or not in a way that makes sense."""

    exit_code = 4


class AuthRefused(Fatal):
    """The tracker refused the credentials, also after logging in again."""

    exit_code = 4


class ArchiveDamaged(Fatal):
    """The archive is not what its catalog says."""

    exit_code = 5


class ArchiveHeld(Fatal):
    """Another run holds the archive; the message says who, and since when."""

    exit_code = 6


class DiskRefused(Fatal):
    """The disk is full or refuses writes; what was recorded stays valid."""

    exit_code = 7


class Retriable(MigratorError):
    """May go well next time.

    `retry_after` is the wait in seconds that the tracker asked for, if it did; `status` that of the answer, if any.
    """

    exit_code = 3

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after, self.status = retry_after, status


class Throttled(Retriable):
    """The tracker asks everybody to slow down."""


class ConnectFailed(Retriable):
    """No connection: refused, no route, no such host, TLS."""


class Silent(Retriable):
    """Nothing came for too long; whoever was asked may be at work on it still."""


class WrongBody(Retriable):
    """What came is not the file that was listed."""


class LoginPage(WrongBody):
    """A login page, or another page for people, in place of what was asked for."""


class ShortListing(WrongBody):
    """The tracker tells of more items than it lists; what it listed can't be all."""


class Rejected(MigratorError):
    """A definite no for one item; repeating it would not change it. `status` is that of HTTP, where it was told so."""

    exit_code = 3

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Gone(Rejected):
    """It is no longer there (404, 410)."""


class Forbidden(Rejected):
    """This account may not (403)."""


class Unauthorized(Rejected):
    """This one thing was refused with a 401, though the tracker itself takes the credentials."""


class NotReachable(Rejected):
    """The tracker has the file, but its API doesn't hand it out."""


class Unanswered(Rejected):
    """A write went out and may have happened or not: look before sending again.

    `finished`: the tracker did answer, with an error of its own (500, 503), so it is not at work on it any more.
    `at_work`: it may be; nothing came for too long, or whoever stands before it gave up waiting (502, 504).
    `login`: a login page came, which says that nothing was done.
    """

    def __init__(self, message: str, *, finished: bool = False, at_work: bool = False, login: bool = False) -> None:
        super().__init__(message)
        self.finished, self.at_work, self.login = finished, at_work, login
