"""The three platforms keep one contract, and each says what is wrong when what it stands on is missing."""

import base64
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from chalicelib import keyring
from chalicelib.clock import seconds
from chalicelib.errors import (
    CipherUnavailable,
    FilesUnavailable,
    JobsUnavailable,
    KeyRingChanged,
    KeysUnavailable,
    Misconfigured,
    SealBroken,
    TooLarge,
    Unavailable,
)
from chalicelib.platform import Platform
from chalicelib.platform.aws.cipher import KmsCipher
from chalicelib.platform.aws.clients import client
from chalicelib.platform.aws.files import S3Files
from chalicelib.platform.aws.jobs import LambdaJobs
from chalicelib.platform.aws.keys import SecretKeys
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
from chalicelib.wiring import parts
from tests.conftest import set_account
from tests.contract.aws_standin import Answer, Request, lambda_jobs, refusing, serving
from tests.contract.platform_contract import CONTEXT, KEY, PDF, PlatformContract, Stream, api_key, read

BUCKET = "pai-dev-documents-123456789012"
ALIAS = "alias/pai-dev"
SECRET = "pai/dev/keys"
AWS = Settings(platform="aws", kms_key=ALIAS, bucket=BUCKET, keys_secret=SECRET, job_function="pai-dev")
ONE_TRY: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 1}}


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of an AWS account, for services that each test stands in for."""
    set_account(monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    return monkeypatch


@pytest.fixture(autouse=True)
def fresh_parts() -> Iterator[None]:
    yield
    parts.cache_clear()


class TestMemory(PlatformContract):
    @pytest.fixture
    def platform(self) -> Platform:
        return parts(Settings(platform="memory")).platform


class TestLocal(PlatformContract):
    @pytest.fixture
    def platform(self, tmp_path: Path) -> Platform:
        return parts(Settings(platform="local", home=str(tmp_path / "home"))).platform


class TestAws(PlatformContract):
    @pytest.fixture
    def platform(self, aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
        # What moto's CloudFormation leaves out of the stack.
        boto3.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        with serving(lambda_jobs("pai-dev")) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            yield parts(AWS).platform

    # cipher

    @pytest.mark.parametrize("name", ["alias", "arn", "id"])
    def test_the_kms_key_may_be_named_in_any_way(self, platform: Platform, name: str) -> None:
        key_id = next(key["TargetKeyId"] for key in boto3.client("kms").list_aliases()["Aliases"] if key["AliasName"] == ALIAS)
        names = {"alias": ALIAS, "arn": f"arn:aws:kms:us-east-1:123456789012:key/{key_id}", "id": key_id}
        wrapped = KmsCipher(client("kms"), names[name]).wrap(KEY, CONTEXT)
        assert platform.cipher.unwrap(wrapped, CONTEXT) == KEY

    def test_a_kms_key_that_is_not_there_names_the_setting(self, aws: str) -> None:
        with pytest.raises(CipherUnavailable, match=r"alias/typo.*PAI_KMS_KEY"):
            KmsCipher(client("kms"), "alias/typo").wrap(KEY, CONTEXT)

    # files

    def test_the_signed_policy_binds_bucket_key_type_and_size(self, platform: Platform) -> None:
        upload = platform.files.presign("documents/ä b.pdf", content_type=PDF, size_bytes=1234, expires_s=600)
        policy = json.loads(base64.b64decode(upload.fields["policy"]))
        bound = {name: value for entry in policy["conditions"] if isinstance(entry, dict) for name, value in entry.items()}
        assert {"bucket": BUCKET, "key": "documents/ä b.pdf", "Content-Type": PDF}.items() <= bound.items()
        assert ["content-length-range", 1, 1234] in policy["conditions"]
        assert seconds(policy["expiration"]) == seconds(upload.expires_at)
        # Only the new signature: S3 refuses the old one for a bucket that is sealed by KMS.
        assert upload.fields["x-amz-algorithm"] == bound["x-amz-algorithm"] == "AWS4-HMAC-SHA256"

    def test_a_form_post_to_the_upload_address_stores_the_file(self, platform: Platform) -> None:
        upload = platform.files.presign("documents/ä b.pdf", content_type=PDF, size_bytes=1234, expires_s=600)
        httpx.post(upload.url, data=dict(upload.fields), files={"file": b"%PDF"}).raise_for_status()
        assert read(platform, "documents/ä b.pdf") == b"%PDF"
        assert boto3.client("s3").head_object(Bucket=BUCKET, Key="documents/ä b.pdf")["ContentType"] == PDF

    @pytest.mark.parametrize("region", ["eu-central-1", "eu-west-1"])
    def test_upload_addresses_are_the_regions_own(self, aws: str, monkeypatch: pytest.MonkeyPatch, region: str) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        upload = parts(AWS).platform.files.presign("a", content_type=PDF, size_bytes=1, expires_s=60)
        assert upload.url == f"https://{BUCKET}.s3.{region}.amazonaws.com/"

    def test_a_stored_file_has_its_type(self, platform: Platform) -> None:
        platform.files.put("a", Stream(9_000_000), content_type="text/markdown")
        assert boto3.client("s3").head_object(Bucket=BUCKET, Key="a")["ContentType"] == "text/markdown"

    def test_deleting_removes_every_version_and_delete_marker(self, platform: Platform) -> None:
        s3 = boto3.client("s3")
        for number in range(3):
            s3.put_object(Bucket=BUCKET, Key="a", Body=b"%d" % number)
        s3.delete_object(Bucket=BUCKET, Key="a")
        s3.put_object(Bucket=BUCKET, Key="a b", Body=b"stays")
        assert platform.files.delete("a") == 3
        left = s3.list_object_versions(Bucket=BUCKET)
        assert [version["Key"] for version in left["Versions"]] == ["a b"]
        assert "DeleteMarkers" not in left

    def test_deleting_goes_on_past_the_first_thousand_versions(self, somewhere: pytest.MonkeyPatch) -> None:
        deleted: list[list[str]] = []

        def answer(request: Request) -> Answer:
            if request.method == "POST":
                deleted.append(re.findall("<VersionId>(.*?)</VersionId>", request.body.decode()))
                return Answer(200, b"<DeleteResult/>")
            second = "key-marker=a&" in request.path and "version-id-marker=v999" in request.path
            numbers = range(1000, 1500) if second else range(1000)
            versions = "".join(f"<Version><Key>a</Key><VersionId>v{number}</VersionId></Version>" for number in numbers)
            more = "false" if second else "true"
            return Answer(
                200,
                f"<ListVersionsResult><IsTruncated>{more}</IsTruncated><NextKeyMarker>a</NextKeyMarker>"
                f"<NextVersionIdMarker>v999</NextVersionIdMarker>{versions}</ListVersionsResult>".encode(),
            )

        with serving(answer) as url:
            somewhere.setenv("AWS_ENDPOINT_URL_S3", url)
            assert parts(AWS).platform.files.delete("a") == 1500
        assert [len(batch) for batch in deleted] == [1000, 500]
        assert len({version for batch in deleted for version in batch}) == 1500

    def test_a_bucket_that_is_not_there_names_the_setting(self, aws: str) -> None:
        files = parts(Settings(platform="aws", bucket="no-such-bucket")).platform.files
        with pytest.raises(FilesUnavailable, match=r"no-such-bucket.*PAI_BUCKET"):
            files.open("a")
        with pytest.raises(FilesUnavailable, match=r"no-such-bucket.*PAI_BUCKET"):
            files.delete("a")
        with pytest.raises(FilesUnavailable, match=r"no-such-bucket.*PAI_BUCKET"):
            files.put("a", Stream(1), content_type=PDF)

    def test_an_answer_that_breaks_off_is_files_unavailable(self, somewhere: pytest.MonkeyPatch) -> None:
        with serving(lambda request: Answer(200, b"x" * 100, {"Content-Length": "200"})) as url:
            somewhere.setenv("AWS_ENDPOINT_URL_S3", url)
            with parts(AWS).platform.files.open("a") as file, pytest.raises(FilesUnavailable):
                file.read()

    def test_versions_that_s3_keeps_are_reported(self, somewhere: pytest.MonkeyPatch) -> None:
        def answer(request: Request) -> Answer:
            if request.method == "POST":
                return Answer(200, b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>")
            return Answer(
                200,
                b"<ListVersionsResult><IsTruncated>false</IsTruncated>"
                b"<Version><Key>a</Key><VersionId>v1</VersionId></Version></ListVersionsResult>",
            )

        with serving(answer) as url:
            somewhere.setenv("AWS_ENDPOINT_URL_S3", url)
            with pytest.raises(FilesUnavailable, match=r"kept 1 versions.*s3:DeleteObjectVersion"):
                S3Files(client("s3"), BUCKET).delete("a")

    # keys

    def test_a_ring_is_made_where_there_is_no_secret_at_all(self, aws: str) -> None:
        keys = SecretKeys(client("secretsmanager"), "pai/other/keys", ALIAS)
        assert keys.load() == KeyRing()
        keys.save(keyring.add(KeyRing(), api_key()))
        assert len(keys.load().keys) == 1
        assert boto3.client("secretsmanager").describe_secret(SecretId="pai/other/keys")["KmsKeyId"] == ALIAS

    def test_of_two_who_make_the_first_ring_at_once_one_is_told(self, somewhere: pytest.MonkeyPatch) -> None:
        def answer(request: Request) -> Answer:
            made_meanwhile = request.headers["X-Amz-Target"].endswith("CreateSecret")
            return refusing("ResourceExistsException" if made_meanwhile else "ResourceNotFoundException")(request)

        with serving(answer) as url:
            somewhere.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
            with pytest.raises(KeyRingChanged):
                parts(AWS).platform.keys.save(keyring.add(KeyRing(), api_key()))

    def test_a_ring_whose_secret_was_deleted_is_not_made_anew(self, aws: str) -> None:
        keys = SecretKeys(client("secretsmanager"), "pai/other/keys", "")
        with pytest.raises(KeyRingChanged):
            keys.save(KeyRing((api_key(),), version="5f4dcc3b5aa765d61d8327deb882cf99"))

    def test_a_secret_may_be_named_by_its_arn(self, platform: Platform) -> None:
        arn = boto3.client("secretsmanager").describe_secret(SecretId=SECRET)["ARN"]
        SecretKeys(client("secretsmanager"), arn, "").save(keyring.add(KeyRing(), api_key()))
        assert len(platform.keys.load().keys) == 1

    def test_a_disabled_key_does_not_come_back_with_the_previous_version(self, platform: Platform) -> None:
        key = api_key()
        platform.keys.save(keyring.add(KeyRing(), key))
        platform.keys.save(keyring.disable(platform.keys.load(), key.id))
        previous = boto3.client("secretsmanager").get_secret_value(SecretId=SECRET, VersionStage="AWSPREVIOUS")
        assert '"disabled":false' in previous["SecretString"]
        assert [key.disabled for key in platform.keys.load().keys] == [True]

    def test_saving_often_leaves_one_waiting_label(self, platform: Platform) -> None:
        for _ in range(4):
            platform.keys.save(keyring.add(platform.keys.load(), api_key()))
        stages = boto3.client("secretsmanager").describe_secret(SecretId=SECRET)["VersionIdsToStages"].values()
        assert sorted(label for labels in stages for label in labels) == ["AWSCURRENT", "AWSPREVIOUS", "PAIWAITING"]

    @pytest.mark.parametrize(
        "value",
        [{"SecretBinary": b"\xff"}, {"SecretString": "not json"}, {"SecretString": '{"keys": [{"id": 1}]}'}],
        ids=["binary", "text", "other"],
    )
    def test_a_secret_that_holds_no_ring_is_named(self, platform: Platform, value: Any) -> None:
        boto3.client("secretsmanager").put_secret_value(SecretId=SECRET, **value)
        with pytest.raises(KeysUnavailable, match=SECRET):
            platform.keys.load()

    def test_a_ring_that_is_too_big_for_a_secret_is_refused(self, platform: Platform) -> None:
        keys = tuple(api_key() for _ in range(400))
        with pytest.raises(TooLarge, match=r"65536|65,536"):
            platform.keys.save(KeyRing(keys))
        assert platform.keys.load() == KeyRing()

    def test_a_secret_marked_for_deletion_says_how_to_bring_it_back(self, platform: Platform) -> None:
        platform.keys.save(keyring.add(KeyRing(), api_key()))
        ring = platform.keys.load()
        boto3.client("secretsmanager").delete_secret(SecretId=SECRET)
        with pytest.raises(KeysUnavailable, match="restore-secret"):
            platform.keys.load()
        with pytest.raises(KeysUnavailable, match="restore-secret"):
            platform.keys.save(ring)

    def test_a_save_whose_answer_was_lost_is_not_reported_as_a_conflict(
        self, platform: Platform, aws: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        platform.keys.save(keyring.add(KeyRing(), api_key()))
        lost: list[str] = []

        def losing(request: Request) -> Answer:
            answer = httpx.post(aws, headers=request.headers, content=request.body)
            operation = request.headers.get("X-Amz-Target", "")
            if operation.endswith("UpdateSecretVersionStage") and not lost:
                lost.append(operation)
                return Answer(500, b"{}")
            return Answer(answer.status_code, answer.content)

        with serving(losing) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
            keys = SecretKeys(client("secretsmanager"), SECRET, "")
            keys.save(keyring.add(keys.load(), api_key("ben")))
        assert lost
        assert [key.owner for key in platform.keys.load().keys] == ["anna", "ben"]

    # jobs

    def test_a_function_that_is_not_there_names_the_setting(self, platform: Platform) -> None:
        with pytest.raises(JobsUnavailable, match=r"pai-dev-nothing.*PAI_JOB_FUNCTION"):
            platform.jobs.start("nothing", {})

    def test_an_invocation_whose_answer_was_lost_is_not_sent_again(self, somewhere: pytest.MonkeyPatch) -> None:
        sent: list[str] = []

        def losing(request: Request) -> Answer:
            sent.append(request.path)
            return Answer(500, b"{}")

        with serving(losing) as url:
            somewhere.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
            with pytest.raises(JobsUnavailable):
                parts(AWS).platform.jobs.start("work", {})
        assert len(sent) == 1


def ring_of_one() -> KeyRing:
    return KeyRing((api_key(),), version="5f4dcc3b5aa765d61d8327deb882cf99")


USES: dict[str, Callable[[], object]] = {
    "wrap": lambda: KmsCipher(client("kms", **ONE_TRY), ALIAS).wrap(KEY, CONTEXT),
    "unwrap": lambda: KmsCipher(client("kms", **ONE_TRY), ALIAS).unwrap(b"x" * 180, CONTEXT),
    "open": lambda: S3Files(client("s3", **ONE_TRY), BUCKET).open("a"),
    "put": lambda: S3Files(client("s3", **ONE_TRY), BUCKET).put("a", Stream(1), content_type=PDF),
    "delete": lambda: S3Files(client("s3", **ONE_TRY), BUCKET).delete("a"),
    "load": lambda: SecretKeys(client("secretsmanager", **ONE_TRY), SECRET, "").load(),
    "save": lambda: SecretKeys(client("secretsmanager", **ONE_TRY), SECRET, "").save(ring_of_one()),
    "start": lambda: LambdaJobs(client("lambda", **ONE_TRY), "pai-dev").start("work", {}),
}
UNAVAILABLE: dict[str, type[Unavailable]] = {
    "wrap": CipherUnavailable,
    "unwrap": CipherUnavailable,
    "open": FilesUnavailable,
    "put": FilesUnavailable,
    "delete": FilesUnavailable,
    "load": KeysUnavailable,
    "save": KeysUnavailable,
    "start": JobsUnavailable,
}


def failure_of(use: str) -> Unavailable:
    with pytest.raises(UNAVAILABLE[use]) as caught:
        USES[use]()
    return caught.value


@pytest.mark.parametrize("use", USES)
def test_a_service_that_does_not_answer_is_unavailable(somewhere: pytest.MonkeyPatch, use: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    somewhere.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    failure = failure_of(use)
    assert failure.status == 503
    assert failure.retry_after_s
    assert "does not answer" in failure.message


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("AccessDenied", "Allow it for this deployment's role"),
        ("AccessDeniedException", "Allow it for this deployment's role"),
        ("ThrottlingException", "Try again in a moment"),
        ("ExpiredTokenException", "Renew them"),
        ("InternalServiceError", "pai doctor"),
    ],
)
def test_what_aws_refuses_says_what_to_do(somewhere: pytest.MonkeyPatch, use: str, code: str, advice: str) -> None:
    with serving(refusing(code)) as url:
        somewhere.setenv("AWS_ENDPOINT_URL", url)
        failure = failure_of(use)
    assert advice in failure.message
    assert "never to be repeated" not in failure.message


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("DisabledException", "enable-key"),
        ("KMSInvalidStateException", "cancel-key-deletion"),
        ("KeyUnavailableException", "Try again"),
        ("DependencyTimeoutException", "Try again"),
    ],
)
def test_each_trouble_of_the_kms_key_has_its_own_sentence(somewhere: pytest.MonkeyPatch, code: str, advice: str) -> None:
    with serving(refusing(code)) as url:
        somewhere.setenv("AWS_ENDPOINT_URL_KMS", url)
        for use in ("wrap", "unwrap"):
            assert advice in failure_of(use).message


def test_a_key_wrapped_under_another_kms_key_names_the_setting(somewhere: pytest.MonkeyPatch) -> None:
    with serving(refusing("IncorrectKeyException")) as url:
        somewhere.setenv("AWS_ENDPOINT_URL_KMS", url)
        with pytest.raises(SealBroken, match="PAI_KMS_KEY"):
            USES["unwrap"]()


@pytest.mark.parametrize(
    ("code", "advice"), [("DecryptionFailure", "KMS"), ("EncryptionFailure", "KMS"), ("LimitExceededException", "tomorrow")]
)
def test_each_trouble_of_the_secret_has_its_own_sentence(somewhere: pytest.MonkeyPatch, code: str, advice: str) -> None:
    with serving(refusing(code)) as url:
        somewhere.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        assert advice in failure_of("save").message


@pytest.mark.parametrize(
    ("part", "variable"),
    [("cipher", "PAI_KMS_KEY"), ("files", "PAI_BUCKET"), ("keys", "PAI_KEYS_SECRET"), ("jobs", "PAI_JOB_FUNCTION")],
)
def test_a_setting_that_is_missing_is_named(somewhere: pytest.MonkeyPatch, part: str, variable: str) -> None:
    with pytest.raises(Misconfigured, match=variable):
        getattr(parts(Settings(platform="aws")).platform, part)


def test_a_client_without_a_region_says_what_to_set(somewhere: pytest.MonkeyPatch) -> None:
    somewhere.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(Misconfigured, match="AWS_REGION"):
        client("kms")


def test_a_profile_that_is_not_there_is_named(somewhere: pytest.MonkeyPatch) -> None:
    somewhere.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(Misconfigured, match="no-such-profile"):
        client("kms")


def test_without_credentials_the_owner_is_told_how_to_get_them(somewhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    somewhere.delenv("AWS_ACCESS_KEY_ID")
    somewhere.delenv("AWS_SECRET_ACCESS_KEY")
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        somewhere.setenv(variable, str(tmp_path / "none"))
    assert "aws configure" in failure_of("wrap").message


def test_a_new_client_follows_the_environment_it_is_made_in(somewhere: pytest.MonkeyPatch) -> None:
    first = client("kms")
    somewhere.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    somewhere.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    second = client("kms")
    assert (first.meta.endpoint_url, first.meta.region_name) == ("http://127.0.0.1:9", "us-east-1")
    assert (second.meta.endpoint_url, second.meta.region_name) == ("http://127.0.0.1:1", "eu-west-1")


def test_a_client_takes_other_timeouts_and_keeps_the_rest(somewhere: pytest.MonkeyPatch) -> None:
    config = client("kms", read_timeout=60).meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 60)
