"""What the handlers of a sandbox tracker raise to refuse a request."""

from typing import Any


class RefusedError(Exception):
    """An answer with an error status; each tracker gives it its own form.

    `details` are what a tracker says beside the message: the name of the error, a date, the fields that are wrong.
    """

    def __init__(self, status: int, message: str = "", **details: Any) -> None:
        super().__init__(message or str(details))
        self.status, self.message, self.details = status, message, details

    @property
    def body(self) -> dict[str, Any]:
        """Details and message, for trackers that answer with a flat object."""
        return {**self.details, "message": self.message} if self.message else self.details
