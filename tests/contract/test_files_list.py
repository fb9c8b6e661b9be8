"""Every platform's files can be listed, so that strays are found."""

import io
from pathlib import Path

import boto3
import pytest

from chalicelib.errors import FilesUnavailable
from chalicelib.platform import Files
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from tests.contract.aws_standin import refusing, serving

BUCKET = "pai-dev-documents-123456789012"
AWS = Settings(platform="aws", kms_key="alias/pai-dev", bucket=BUCKET)
KEYS = ["documents/anna/a.pdf", "documents/anna/ä b.pdf", "documents/ben/a.pdf"]


@pytest.fixture(params=["memory", "local", "aws"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    settings = Settings(platform=request.param, home=str(tmp_path / "home"))
    if request.param == "aws":
        request.getfixturevalue("aws")
        boto3.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        settings = AWS
    return Parts(settings).platform.files


def put(files: Files, *keys: str) -> None:
    for key in keys:
        files.put(key, io.BytesIO(b"x"), content_type="text/plain")


def test_keys_under_a_prefix_come_in_order_and_no_others(files: Files) -> None:
    put(files, *reversed(KEYS), "elsewhere")

    assert list(files.keys("documents/")) == KEYS
    assert list(files.keys("documents/anna/")) == KEYS[:2]


def test_a_file_stored_twice_is_listed_once(files: Files) -> None:
    put(files, *KEYS, *KEYS)

    assert list(files.keys("documents/")) == KEYS


def test_a_deleted_file_is_not_listed(files: Files) -> None:
    put(files, *KEYS)
    files.delete(KEYS[0])

    assert list(files.keys("documents/")) == KEYS[1:]


def test_where_nothing_was_ever_stored_there_is_nothing(files: Files) -> None:
    assert list(files.keys("documents/")) == []


def test_an_older_version_behind_a_delete_marker_is_listed(aws: str) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=BUCKET, Key=KEYS[0], Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key=KEYS[0])

    assert list(Parts(AWS).platform.files.keys("documents/")) == [KEYS[0]]


def test_a_bucket_that_may_not_be_listed_is_a_sentence(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(refusing("AccessDenied", 403)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(FilesUnavailable, match="denied ListObjectVersions"):
            list(Parts(AWS).platform.files.keys("documents/"))


def test_what_a_killed_process_left_half_written_is_no_file(tmp_path: Path) -> None:
    files = Parts(Settings(platform="local", home=str(tmp_path))).platform.files
    put(files, KEYS[0])
    (tmp_path / "files" / ".pai-x.part").write_bytes(b"half")

    assert list(files.keys("")) == [KEYS[0]]
