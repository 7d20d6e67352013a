"""The configuration: TOML becomes typed settings; secrets are looked up when they are needed.

Beware: the typed settings take a quarter of a second to import, so a command that is given an archive does without.
"""

from typing import TYPE_CHECKING

from migrator.first_use import imported_on_first_use

if TYPE_CHECKING:
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
    from migrator.config.storage import EncryptionSection, StorageSection
    from migrator.config.stores import is_address, local_folder, store_address

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

__getattr__ = imported_on_first_use(
    __name__,
    {
        "Secret": "base",
        "Secrets": "base",
        "address": "base",
        "credentials": "secrets",
        "known_secrets": "secrets",
        "look_up": "secrets",
        "look_up_text": "secrets",
        "plain_secrets": "secrets",
        "warning_of_plain_text": "secrets",
        "Limits": "sections",
        "MappingSection": "sections",
        "NightlySection": "sections",
        "NotifySection": "sections",
        "RetentionSection": "sections",
        "Settings": "sections",
        "SourceSection": "sections",
        "TargetSection": "sections",
        "TlsSection": "sections",
        "WorkersSection": "sections",
        "Configuration": "settings",
        "options_of": "settings",
        "read_configuration": "settings",
        "read_notify": "settings",
        "EncryptionSection": "storage",
        "StorageSection": "storage",
        "is_address": "stores",
        "local_folder": "stores",
        "store_address": "stores",
    },
)
