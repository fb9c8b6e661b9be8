"""`pai doctor --stage dev`: what it says of a stage on AWS."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform import aws as aws_platform
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
from tests.standins.bedrock import BedrockStandIn
from tests.standins.processes import ROOT

Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def bedrock() -> Iterator[BedrockStandIn]:
    with BedrockStandIn() as standin:
        yield standin


@pytest.fixture
def doctor(aws: str, bedrock: BedrockStandIn) -> Doctor:
    """Run `pai doctor --stage dev`, where there is one API key; return its findings by name."""
    key, _ = keyring.new_key("test", "me", iso(time.time()))
    aws_platform.build(Settings(keys_secret="pai/dev/keys")).keys.save(KeyRing((key,)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
    account = boto3.client("sts").get_caller_identity()["Account"]
    environment = {
        **kept,
        "PAI_BUCKET": f"pai-dev-documents-{account}",
        "AWS_ENDPOINT_URL_BEDROCK": bedrock.url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.url,
    }

    def doctor(**variables: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "pai", "doctor", "--stage", "dev", "--json"]
        seen = subprocess.run(
            command, cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=False
        )
        findings = {finding["name"]: finding for finding in json.loads(seen.stdout)}
        assert seen.returncode == (0 if all(finding["ok"] for finding in findings.values()) else 1)
        assert "Traceback" not in seen.stderr
        return findings

    return doctor


def wrong(findings: dict[str, Any]) -> set[str]:
    return {name for name, finding in findings.items() if not finding["ok"]}


def test_stage_that_is_whole_has_nothing_wrong(doctor: Doctor) -> None:
    findings = doctor()

    assert wrong(findings) == set()
    assert "us-east-1" in findings["credentials"]["detail"]
    assert "answers" in findings["model access"]["detail"]


def test_missing_resources_are_named_one_by_one(doctor: Doctor) -> None:
    findings = doctor(PAI_TABLE="nowhere", PAI_KMS_KEY="alias/nowhere", PAI_KEYS_SECRET="nowhere")

    assert wrong(findings) == {"store", "cipher", "api keys"}
    assert findings["api keys"]["fix"] == "pai keys create --stage dev"


def test_aws_out_of_reach_is_said_and_does_not_crash(doctor: Doctor) -> None:
    findings = doctor(AWS_ENDPOINT_URL="http://127.0.0.1:9")

    assert {"credentials", "store", "cipher", "keys"} <= wrong(findings)


def test_environment_without_a_region_is_said(doctor: Doctor) -> None:
    findings = doctor(AWS_DEFAULT_REGION="", AWS_REGION="")

    assert "region" in findings["credentials"]["detail"].lower()
