"""Whose AWS account this is and where, and what AWS refuses, in words that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from chalicelib.errors import PaiError
from chalicelib.platform.aws.clients import client
from pai.operate.troubles import advice

APP = "pai"


class OperateError(click.ClickException):
    """AWS, or what it holds, does not let this be done; the sentence says what to do."""


@dataclass(frozen=True)
class Account:
    """An AWS account, by its number, and the region that is worked in."""

    id: str
    region: str

    @property
    def deployment_bucket(self) -> str:
        return f"{APP}-deployment-{self.id}-{self.region}"


def find_account() -> Account:
    """Return the account and region of the credentials that are found here."""
    with refusals("find out which account this is"):
        sts = client("sts")
        if not sts.meta.region_name:
            raise OperateError("No AWS region is set. Set AWS_REGION to the one of the deployment, or run `aws configure`.")
        return Account(sts.get_caller_identity()["Account"], sts.meta.region_name)


def stack_name(stage: str) -> str:
    return f"{APP}-{stage}"


def tags(stage: str) -> dict[str, str]:
    """Return what everything of a stage is tagged with."""
    return {"pai:app": APP, "pai:stage": stage}


def tag_list(stage: str) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags(stage).items()]


@contextmanager
def refusals(doing: str) -> Iterator[None]:
    """Turn what AWS refuses in this block into `OperateError`: what was to be done, AWS's own words, and what to do."""
    try:
        yield
    except ClientError as error:
        words = f"{error.operation_name}: {error.response.get('Error', {}).get('Message') or error}"
        raise OperateError(f"AWS refused to {doing} ({words.rstrip('.')}). {_advice(error, words)}") from error
    except NoCredentialsError as error:
        raise OperateError("There are no AWS credentials here. Run `aws configure`, or set AWS_PROFILE.") from error
    except ResponseParserError as error:
        raise OperateError(f"AWS was to {doing}, and its answer can't be read. Run it again; what is done is kept.") from error
    except BotoCoreError as error:
        raise OperateError(
            f"AWS could not be asked to {doing} ({error}). Check the network, AWS_PROFILE and AWS_REGION."
        ) from error
    except PaiError as error:
        raise OperateError(error.message) from error


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def is_missing(error: ClientError) -> bool:
    """Tell whether AWS says that there is no such thing."""
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return "NotFound" in code or "NonExistent" in code or code.startswith("NoSuch") or code in _GONE or status == 404


_GONE = {"404", "DBClusterNotFoundFault", "QueueDoesNotExist"}
_DENIED = ("AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden", "403")
_STALE = ("ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "AuthFailure")


def _advice(error: ClientError, words: str) -> str:
    code = code_of(error)
    if known := advice(words):
        return known
    if any(part in code for part in _STALE):
        return "Renew the AWS credentials: `aws configure` or `aws sso login`."
    if any(part in code for part in _DENIED):
        return f"Allow {_action(error)} for whoever runs this, and run it again."
    return "Run it again; what is done already is kept."


def _action(error: ClientError) -> Any:
    return f"`{error.operation_name}`"
