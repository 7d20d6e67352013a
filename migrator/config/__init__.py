"""The configuration: TOML becomes typed settings; secrets are looked up when they are needed."""

from migrator.config.secrets import credentials, known_secrets, look_up, warning_of_plain_text
from migrator.config.sections import (
    Limits,
    MappingSection,
    NightlySection,
    NotifySection,
    RetentionSection,
    Secret,
    Secrets,
    Settings,
    SourceSection,
    TargetSection,
    TlsSection,
    address,
)
from migrator.config.settings import Configuration, options_of, read_configuration, read_notify

__all__ = [
    "Configuration",
    "Limits",
    "MappingSection",
    "NightlySection",
    "NotifySection",
    "RetentionSection",
    "Secret",
    "Secrets",
    "Settings",
    "SourceSection",
    "TargetSection",
    "TlsSection",
    "address",
    "credentials",
    "known_secrets",
    "look_up",
    "options_of",
    "read_configuration",
    "read_notify",
    "warning_of_plain_text",
]
