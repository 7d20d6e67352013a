"""Archives in object stores: blobs, lock, and copies of catalog and journal in a bucket.

obstore speaks to S3, Google Cloud Storage and Azure with one interface: conditional writes, multipart uploads, retries
and each cloud's own credentials. It is the Rust crate `object_store` of the Apache project, without dependencies in
Python. boto3 knows S3 only; fsspec brings a library for each cloud and has no conditional writes.
"""

from typing import TYPE_CHECKING

from migrator.first_use import imported_on_first_use

if TYPE_CHECKING:
    from migrator.store.objects.address import BucketAddress
    from migrator.store.objects.blobs import ObjectBlobs
    from migrator.store.objects.bucket import Bucket
    from migrator.store.objects.encoding import PLAIN, Encoding, IdentityNeededError, no_identity
    from migrator.store.objects.known import InStep, in_step
    from migrator.store.objects.lease import Lease, holder_in
    from migrator.store.objects.mirror import Mirror, holds_archive
    from migrator.store.objects.opening import Encryption, encoding_of, put_key

__all__ = [
    "PLAIN",
    "Bucket",
    "BucketAddress",
    "Encoding",
    "Encryption",
    "IdentityNeededError",
    "InStep",
    "Lease",
    "Mirror",
    "ObjectBlobs",
    "encoding_of",
    "holder_in",
    "holds_archive",
    "in_step",
    "no_identity",
    "put_key",
]

__getattr__ = imported_on_first_use(
    __name__,
    {
        "ObjectBlobs": "blobs",
        "Bucket": "bucket",
        "BucketAddress": "address",
        "PLAIN": "encoding",
        "Encoding": "encoding",
        "IdentityNeededError": "encoding",
        "no_identity": "encoding",
        "Lease": "lease",
        "holder_in": "lease",
        "InStep": "known",
        "Mirror": "mirror",
        "holds_archive": "mirror",
        "in_step": "known",
        "Encryption": "opening",
        "encoding_of": "opening",
        "put_key": "opening",
    },
)
