"""What the sections of the configuration share: their strictness, and the types of their values."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

Flag = Annotated[bool, Field(strict=True)]
PathText = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Secret = str | dict[str, str]
Secrets = dict[str, Secret]


class Section(BaseModel):
    """A section: unknown keys are errors, and an error doesn't quote a value."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True, allow_inf_nan=False
    )


def example(value: object) -> Any:
    """What stands in a new configuration instead of a default that says nothing."""
    return Field(examples=[value])


def address(value: object) -> str:
    """A tracker's URL as the catalog spells it; `ValueError` if it is not one."""
    try:
        url = URL(value) if isinstance(value, str) else URL()
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("not an http or https address")
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("must be an address without user, password, query and fragment; credentials go into `auth`")
    return str(url).rstrip("/")
