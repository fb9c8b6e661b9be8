"""Lambda functions as the jobs: each is invoked by an event and works after the answer has gone out."""

from collections.abc import Mapping
from typing import Any

from chalicelib.errors import JobsUnavailable
from chalicelib.platform.aws.failures import aws_failures
from chalicelib.platform.limits import encode_job

# No retry: when an answer is lost nobody knows whether the job has begun, and it must not begin twice.
CLIENT_CONFIG: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 1}}


class LambdaJobs:
    """`client` is a Lambda client made with CLIENT_CONFIG. The job `x` is the function `<function_prefix>-x`.

    Lambda itself may, rarely, deliver an event twice: a job that must not run twice takes a lease first.
    """

    def __init__(self, client: Any, function_prefix: str) -> None:
        self._client = client
        self._function_prefix = function_prefix

    def start(self, name: str, payload: Mapping[str, object]) -> None:
        function = f"{self._function_prefix}-{name}"
        body = encode_job(payload)
        missing = f"There is no function {function!r}. Check PAI_JOB_FUNCTION, or deploy this stage."
        with aws_failures(JobsUnavailable, "Lambda", {"ResourceNotFoundException": (JobsUnavailable, missing)}):
            self._client.invoke(FunctionName=function, InvocationType="Event", Payload=body)
