"""What an archive in a bucket makes of each answer that was recorded from an S3 server: a value, or an error."""

from __future__ import annotations

import asyncio

import pytest

from migrator.errors import StorageError
from migrator.store import BucketAddress
from migrator.store.objects.bucket import Bucket
from tests.support.answered import RECORDED, exchanges_in

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="there are no recordings beside the project; MIGRATOR_TRACKERS names their folder"
)
EXCHANGES = {one.case: one for one in exchanges_in(RECORDED / "s3")}
LEFT_OUT = {
    "01-list-buckets": "nothing lists buckets",
    "10-list-v2-paged": "its first page alone would come for ever",
    "12-get-5MiB": "its body was not kept",
    "13-get-range": "nothing asks for a part of an object",
    "14-get-bad-range": "nothing asks for a part of an object",
    "15-get-if-none-match": "its body was not kept",
    "16-multipart-create": "an answer to one of several requests",
    "17-multipart-part1": "an answer to one of several requests",
    "18-multipart-part2": "an answer to one of several requests",
    "21-delete": "several objects are deleted by one request, of another kind",
    "22-delete-missing": "several objects are deleted by one request, of another kind",
}


def put(bucket: Bucket) -> object:
    return bucket.put("meta.txt", b"hello")


def create(bucket: Bucket) -> object:
    return bucket.create("meta.txt", b"hello")


def tag(bucket: Bucket) -> object:
    found = bucket.version("meta.txt")
    return found and found.e_tag


def read(bucket: Bucket) -> object:
    return bucket.read("dir/five.bin")


def sizes(bucket: Bucket) -> object:
    return dict(bucket.objects())


def look(bucket: Bucket) -> object:
    return bucket.look("dir")


TAG = '"b1946ac92492d2347c6235b4d2611184"'
MADE = {
    "02-put-5MiB": (put, '"cd91735bde0ab6c9a798cac31a47c191"'),
    "03-put-empty": (put, '"d41d8cd98f00b204e9800998ecf8427e"'),
    "04-put-unicode-key": (put, TAG),
    "05-put-with-metadata": (put, TAG),
    "06-head-with-metadata": (tag, TAG),
    "07-put-wrong-content-md5": (put, "400 Bad Request (BadDigest)"),
    "08-put-if-none-match-star": (create, TAG),
    "09-list-v2": (sizes, {"dir/empty.bin": 0, "dir/five.bin": 5242880, "dir/Änderung 日本.txt": 6, "meta.txt": 6}),
    "11-list-v2-prefix-delimiter": (look, ([], ["empty.bin", "five.bin", "Änderung 日本.txt"])),
    "23-error-not-found": (read, None),
    "24-error-no-bucket": (read, "there is no such bucket"),
    "25-error-bad-secret": (read, "403 Forbidden (SignatureDoesNotMatch)"),
    "26-error-bad-key": (read, "403 Forbidden (InvalidAccessKeyId)"),
    "27-error-no-auth": (read, "400 Bad Request (UnsupportedAlgorithm)"),
}


@pytest.mark.parametrize("case", MADE)
async def test_a_recorded_answer_of_a_store_is_read_as_expected(case):
    call, expected = MADE[case]
    async with EXCHANGES[case].answered() as address:
        options = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1", "endpoint": address}
        bucket = Bucket.at(BucketAddress("s3://test-bucket", options, allow_http=True))
        try:
            made = await asyncio.to_thread(call, bucket)
        except StorageError as error:
            made = str(error).split("; ")[0].rpartition(": ")[2]
    assert made == expected


def test_each_recorded_answer_is_read_or_left_out_for_a_reason():
    assert sorted([*MADE, *LEFT_OUT]) == sorted(EXCHANGES)
