"""The platform on an AWS account: KMS, S3, Secrets Manager, asynchronous Lambda, SQS."""

from functools import cached_property

from chalicelib.errors import Misconfigured
from chalicelib.platform.aws.cipher import KmsCipher
from chalicelib.platform.aws.clients import client
from chalicelib.platform.aws.files import CLIENT_CONFIG as S3_CONFIG
from chalicelib.platform.aws.files import S3Files
from chalicelib.platform.aws.jobs import CLIENT_CONFIG as LAMBDA_CONFIG
from chalicelib.platform.aws.jobs import LambdaJobs
from chalicelib.platform.aws.keys import SecretKeys
from chalicelib.platform.aws.queue import SqsQueue
from chalicelib.settings import Settings


def build(settings: Settings) -> "AwsPlatform":
    return AwsPlatform(settings)


class AwsPlatform:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def cipher(self) -> KmsCipher:
        return KmsCipher(client("kms"), self._needed("kms_key"))

    @cached_property
    def files(self) -> S3Files:
        return S3Files(client("s3", **S3_CONFIG), self._needed("bucket"))

    @cached_property
    def keys(self) -> SecretKeys:
        return SecretKeys(client("secretsmanager"), self._needed("keys_secret"), self._settings.kms_key)

    @cached_property
    def jobs(self) -> LambdaJobs:
        return LambdaJobs(client("lambda", **LAMBDA_CONFIG), self._needed("job_function"))

    @cached_property
    def queue(self) -> SqsQueue:
        return SqsQueue(client("sqs"), self._needed("queue_url"))

    def _needed(self, name: str) -> str:
        if not (value := getattr(self._settings, name)):
            raise Misconfigured(f"PAI_{name.upper()} is not set, and stage {self._settings.stage} runs on AWS: name it there.")
        return str(value)
