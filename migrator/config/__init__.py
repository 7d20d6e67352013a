"""The configuration: TOML becomes typed settings; secrets are looked up when they are needed."""

from migrator.config.base import Secret, Secrets, address
from migrator.config.secrets import (
    credentials,
    known_secrets,
    look_up,
    look_up_text,
    plain_secrets,
    warning_of_plain_text,
)
from migrator.config.sections import (
    Limits,
    MappingSection,
    NightlySection,
    NotifySection,
    RetentionSection,
    Settings,
    SourceSection,
    TargetSection,
    TlsSection,
    WorkersSection,
)
from migrator.config.settings import Configuration, options_of, read_configuration, read_notify
from migrator.config.storage import EncryptionSection, StorageSection, is_address, local_folder, store_address

__all__ = [
    "Configuration",
    "EncryptionSection",
    "Limits",
    "MappingSection",
    "NightlySection",
    "NotifySection",
    "RetentionSection",
    "Secret",
    "Secrets",
    "Settings",
    "SourceSection",
    "StorageSection",
    "TargetSection",
    "TlsSection",
    "WorkersSection",
    "address",
    "credentials",
    "is_address",
    "known_secrets",
    "local_folder",
    "look_up",
    "look_up_text",
    "options_of",
    "plain_secrets",
    "read_configuration",
    "read_notify",
    "store_address",
    "warning_of_plain_text",
]
