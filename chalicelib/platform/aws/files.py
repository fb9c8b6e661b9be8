"""S3 as the files: uploads go straight to the bucket, under a policy that S3 enforces."""

import base64
import io
import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, BinaryIO

from chalicelib.clock import iso, seconds
from chalicelib.errors import FileNotFound, FilesUnavailable
from chalicelib.platform import Upload
from chalicelib.platform.aws.failures import Meanings, aws_failures
from chalicelib.platform.limits import check_file_key

_SERVICE = "S3"

CLIENT_CONFIG: dict[str, Any] = {
    "read_timeout": 20,
    # botocore still signs the old way in old regions, which a KMS-encrypted bucket refuses, and presigns for the global
    # address, which redirects a new bucket's uploads: browsers do not follow that.
    "signature_version": "s3v4",
    "s3": {"addressing_style": "virtual"},
}

# What one DeleteObjects takes.
_BATCH = 1000


class S3Files:
    """`client` is an S3 client made with CLIENT_CONFIG."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._meanings = _meanings(bucket)

    def presign(self, key: str, *, content_type: str, size_bytes: int, expires_s: int) -> Upload:
        type_field = {"Content-Type": content_type}
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings):
            post = self._client.generate_presigned_post(
                self._bucket,
                check_file_key(key),
                Fields=type_field,
                Conditions=[type_field, ["content-length-range", 1, size_bytes]],
                ExpiresIn=expires_s,
            )
        policy = json.loads(base64.b64decode(post["fields"]["policy"]))
        return Upload(post["url"], "POST", post["fields"], {}, expires_at=iso(seconds(policy["expiration"])))

    def put(self, key: str, content: BinaryIO, *, content_type: str) -> None:
        # Imported here: only whoever writes files needs it, and a chat does not.
        from s3transfer.manager import TransferManager

        arguments = {"ContentType": content_type}
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings), TransferManager(self._client) as transfers:
            transfers.upload(content, self._bucket, check_file_key(key), arguments).result()

    def open(self, key: str) -> BinaryIO:
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings):
            answer = self._client.get_object(Bucket=self._bucket, Key=check_file_key(key))
        return io.BufferedReader(_Body(answer["Body"], self._meanings))

    def delete(self, key: str) -> int:
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings):
            versions, markers = self._list(check_file_key(key))
            doomed = versions + markers
            for start in range(0, len(doomed), _BATCH):
                self._delete_batch(doomed[start : start + _BATCH])
        return len(versions)

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        last = ""
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings):
            for entry in (entry for page in pages for entry in page.get("Versions", [])):
                if entry["Key"] != last:  # the versions of a key follow one another
                    yield entry["Key"]
                last = entry["Key"]

    def _list(self, key: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Return the versions and the delete markers of this key, as DeleteObjects wants them."""
        found: dict[str, list[dict[str, str]]] = {"Versions": [], "DeleteMarkers": []}
        pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
        # S3 lists in order, and no key that begins with this one sorts before it: the first foreign key ends the list.
        for page in takewhile(lambda page: _first_key(page) == key, pages):
            for kind, entries in found.items():
                entries += [
                    {"Key": key, "VersionId": entry["VersionId"]} for entry in page.get(kind, []) if entry["Key"] == key
                ]
        return found["Versions"], found["DeleteMarkers"]

    def _delete_batch(self, batch: list[dict[str, str]]) -> None:
        answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
        if refused := answer.get("Errors"):
            raise FilesUnavailable(
                f"S3 kept {len(refused)} versions of a file ({refused[0]['Code']}). "
                "Allow s3:DeleteObjectVersion for this deployment's role and try again."
            )


def _first_key(page: dict[str, Any]) -> str | None:
    return min((entry["Key"] for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])), default=None)


class _Body(io.RawIOBase):
    """An object on its way, whose failures half-way are ours too."""

    def __init__(self, body: Any, meanings: Meanings) -> None:
        self._body = body
        self._meanings = meanings

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with aws_failures(FilesUnavailable, _SERVICE, self._meanings):
            return int(self._body.readinto(buffer))

    def close(self) -> None:
        self._body.close()
        super().close()


def _meanings(bucket: str) -> Meanings:
    return {
        "NoSuchKey": (FileNotFound, "There is no such file."),
        "NoSuchBucket": (
            FilesUnavailable,
            f"There is no bucket {bucket!r}. Check PAI_BUCKET, or deploy this stage's resources.",
        ),
    }
