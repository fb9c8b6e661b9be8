"""An AWS account on this machine for as long as a benchmark runs: moto and the Bedrock stand-in, over HTTP."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import httpx

from benchmarks.support.processes import environment
from pai.stage import enter_stage
from tests.standins.processes import ROOT, server

RESOURCES = ROOT / "infrastructure" / "resources.yaml"

BUDGET = "day-dollars=1000, month-dollars=10000, day-tokens=1000M, month-tokens=10000M, key-minute-requests=100000"
"""All the limits that a deployment has, so high that a benchmark does not meet them."""
_MOTO = ("-c", "from tests.standins.aws_account import serve; serve()", "-H", "127.0.0.1", "-p", "0")
_BEDROCK = ("-m", "tests.standins.bedrock", "--port", "0")


@contextmanager
def dev_account(answer: str, deltas: int) -> Iterator[None]:
    """Put this process on stage dev of an empty account, where the model always gives `answer` in so many pieces."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        moto = stack.enter_context(server(folder / "moto", *_MOTO))
        bedrock = stack.enter_context(bedrock_server(folder))
        stack.enter_context(environment(settings(folder, moto, bedrock)))
        enter_stage("dev")
        script(bedrock, {"reply": answer, "deltas": deltas})
        create_stack()
        yield


def bedrock_server(folder: Path) -> AbstractContextManager[str]:
    """Run the Bedrock stand-in, with its output in this folder; the context is its address."""
    return server(folder / "bedrock", *_BEDROCK)


def script(bedrock: str, behaviour: Mapping[str, object]) -> None:
    """Have the stand-in answer everything so (tests.standins.bedrock.Behaviour)."""
    httpx.post(f"{bedrock}/standin/script", json={"default": behaviour}).raise_for_status()


def create_stack() -> None:
    """Make PAI's resources for stage dev."""
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=[{"ParameterKey": "Environment", "ParameterValue": "dev"}],
    )


def settings(folder: Path, moto: str, bedrock: str) -> dict[str, str]:
    """Return the account's environment; nothing of the person's own AWS settings may leak into it.

    Conversations are not named by the model: that is a worker's job, after the turn.
    """
    return {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ENDPOINT_URL_BEDROCK": bedrock,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
        "PAI_HOME": str(folder / "home"),
        "PAI_BUDGET": BUDGET,
        "PAI_TITLES": "0",
    }
