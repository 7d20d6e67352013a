"""The sections about archives in object stores."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from migrator.config.base import Flag, PathText, Secret, Section, address, example


class StorageSection(Section):
    """[storage]: how an archive in an object store is reached. Without keys the cloud's own places count: environment,
    profile, role of the machine.

    local           the folder of this machine for the catalog; left out: one below ~/.local/state/migrator
    endpoint        the address of the store, where it isn't the cloud's own
    region          its region
    access_key      the key's name; for az:// the account's
    secret_key      the key
    session_token   goes with keys that are valid for a while only
    allow_http      true: the endpoint may be reached without TLS
    """

    local: Annotated[PathText | None, example("catalog")] = None
    endpoint: Annotated[
        Annotated[str, BeforeValidator(address)] | None, example("https://s3.eu-central-1.amazonaws.com")
    ] = None
    region: Annotated[str | None, example("eu-central-1")] = None
    access_key: Annotated[Secret | None, example({"env": "AWS_ACCESS_KEY_ID"})] = None
    secret_key: Annotated[Secret | None, example({"env": "AWS_SECRET_ACCESS_KEY"})] = None
    session_token: Annotated[Secret | None, example({"env": "AWS_SESSION_TOKEN"})] = None
    allow_http: Flag = False


class EncryptionSection(Section):
    """[encryption]: everything is encrypted with age before it leaves for the bucket. Needs the extra `encryption`.

    recipients      the public keys to which it is encrypted, as `age-keygen` shows them
    identity        the private key, to read with: for load, export, verify --full, a new machine; a backup needs none
    """

    recipients: Annotated[
        tuple[str, ...],
        Field(min_length=1),
        example(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]),
    ]
    identity: Annotated[Secret | None, example({"file": "key.txt"})] = None
