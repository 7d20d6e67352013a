"""The configuration: TOML becomes typed settings; secrets are looked up when they are needed."""

from migrator.config.secrets import credentials
from migrator.config.settings import (
    Configuration,
    Limits,
    Secrets,
    SourceSection,
    TargetSection,
    address,
    options_of,
    read_configuration,
)

__all__ = [
    "Configuration",
    "Limits",
    "Secrets",
    "SourceSection",
    "TargetSection",
    "address",
    "credentials",
    "options_of",
    "read_configuration",
]
