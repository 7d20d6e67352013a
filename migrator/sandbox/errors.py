"""The error with which the handlers of a sandbox tracker refuse a request."""

from typing import Any


class RefusedError(Exception):
    """A request is refused; each tracker makes it an answer in its own form.

    `details` are what the tracker says beside the message: the name of the error, a date, the fields that are wrong.
    """

    def __init__(self, status: int, message: str = "", **details: Any) -> None:
        super().__init__(message or str(details))
        self.status, self.message, self.details = status, message, details

    @property
    def body(self) -> dict[str, Any]:
        """Details and message, for trackers whose answer is a flat object."""
        return {**self.details, "message": self.message} if self.message else self.details
