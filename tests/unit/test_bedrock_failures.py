"""Failures on the way to Bedrock that a stand-in on this machine can't make, and what their sentences may hold."""

import socket

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ProxyConnectionError,
    SSOTokenLoadError,
    UnknownRegionError,
)

from chalicelib.errors import ModelAccessDenied, ModelInterrupted, ModelRejected, ModelUnreachable, PaiError
from chalicelib.llm.bedrock.failures import failed, failed_midway, repeats

URL = "https://bedrock-runtime.xx-nowhere-1.amazonaws.com/"


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (EndpointConnectionError(endpoint_url=URL, error=socket.gaierror()), ModelUnreachable, True),
        (ConnectTimeoutError(endpoint_url=URL), ModelUnreachable, True),
        (ProxyConnectionError(proxy_url="http://127.0.0.1:3128"), ModelUnreachable, True),
        (UnknownRegionError(region_name="xx-nowhere-1", error_msg=""), ModelUnreachable, False),
        (BotoCoreError(), ModelUnreachable, False),
        (ConnectionResetError(), ModelInterrupted, True),
        (SSOTokenLoadError(error_msg="Token has expired"), ModelAccessDenied, False),
        (ParamValidationError(report="value: my secret, type: int"), ModelRejected, False),
    ],
)
def test_each_failure_is_one_error_and_says_whether_to_ask_again(error: Exception, kind: type[PaiError], again: bool) -> None:
    failure = failed(error, "m", "xx-nowhere-1")

    assert type(failure.error) is kind
    assert failure.again is again
    assert "secret" not in failure.error.message


def test_a_region_without_bedrock_is_named() -> None:
    failure = failed(EndpointConnectionError(endpoint_url=URL, error=socket.gaierror()), "m", "xx-nowhere-1")

    assert "xx-nowhere-1" in failure.error.message
    assert "AWS_REGION" in failure.error.message


def test_once_words_have_come_a_failure_is_an_interruption() -> None:
    assert type(failed_midway(ConnectTimeoutError(endpoint_url=URL), "m", "us-east-1").error) is ModelInterrupted


@pytest.mark.parametrize(
    ("message", "said", "expected"),
    [
        ("Malformed input: it said 4711-0815-42 here", "my number is 4711-0815-42", True),
        ('Malformed input: "caf\\u00e9 cr\\u00e8me"', "café crème", True),
        ("Malformed input: abc", " abc\n", True),
        ("Malformed input", "abc", False),
        ("Malformed input", " ", False),
        ("This model doesn't support documents.", "What do you support?", False),
    ],
)
def test_a_message_that_repeats_what_was_said_is_noticed(message: str, said: str, expected: bool) -> None:
    assert repeats(message, ["Be brief.", said]) is expected
