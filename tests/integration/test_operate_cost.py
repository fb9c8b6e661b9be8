"""`pai cost` of a stage: the documents it is deployed with, what its JSON says, and what it says where it may not look."""

import json
import time
from typing import Any

import boto3
import pytest

from chalicelib.metering.ledger import Amount, Ledger, Line, Reservation, date_of
from chalicelib.records import Usage
from chalicelib.settings import Settings
from chalicelib.store import dynamodb
from tests.conftest import RESOURCES
from tests.integration.operating import SONNET, Pai, account, bedrock, pai  # noqa: F401 - fixtures
from tests.standins.intervening import Answer, Intervening

DENIED_STACK = Answer(
    ("Action=DescribeStacks",),
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not you.</Message></Error></ErrorResponse>",
    status=403,
)
DENIED_TABLE = Answer(
    ("KeyConditionExpression",),
    '{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "Not you."}',
    status=400,
    content_type="application/x-amz-json-1.0",
)


def create_stage(documents: str) -> None:
    """Make stage dev as its base alone, with two answers counted, one by a model that has no price."""
    boto3.client("cloudformation").create_stack(
        StackName="pai-dev",
        TemplateBody=RESOURCES.read_text(),
        Parameters=[
            {"ParameterKey": "Environment", "ParameterValue": "dev"},
            {"ParameterKey": "EnableRag", "ParameterValue": documents},
        ],
    )
    store, today = dynamodb.build(Settings(table="PAI-Conversations-dev")), date_of(time.time())
    for line in (
        Line("me", "k_1", SONNET, Usage(1000, 200), 1, 2_500_000_000),
        Line("me", "k_1", "unheard-of", Usage(1_000_000, 0), 1, None),
    ):
        Ledger(store, time.time).settle(Reservation("", today, "k_1"), Amount(0, 0), line)


@pytest.mark.parametrize(("documents", "word"), [("false", "off"), ("true", "on")])
def test_the_month_is_idle_with_documents_as_the_stage_has_them(pai: Pai, documents: str, word: str) -> None:  # noqa: F811
    create_stage(documents)

    told = json.loads(pai("cost", "--stage", "dev", "--json").stdout)
    shown = pai("cost", "--stage", "dev")

    month = told["month"]
    assert (month["documents"], shown.returncode) == (documents == "true", 0)
    assert month["idle"] == pytest.approx(told["idle"][word]["dollars"] * month["share"])
    assert f"idle, documents {word}\t" in shown.stdout
    assert ("while they are used is not in this" in shown.stderr) == (word == "on")


def table_of(stdout: str) -> dict[str, list[str]]:
    """Return what is printed to a program, without the totals: the lines' cells by their names, the month's at the end."""
    rows = [line.split("\t") for line in stdout.splitlines()]
    return {row[0]: row[1:] for row in rows if row[0] != "total"}


def test_the_json_says_what_is_printed(pai: Pai) -> None:  # noqa: F811
    create_stage("true")

    told = json.loads(pai("cost", "--stage", "dev", "--json").stdout)
    printed = table_of(pai("cost", "--stage", "dev").stdout)

    entries: list[dict[str, Any]] = [*told["idle"]["on"]["lines"], *told["month"]["lines"]]
    assert {entry["what"] for entry in entries} == set(printed)
    for entry in entries:
        amount, formula, why = printed[entry["what"]]
        assert float(amount[1:]) == pytest.approx(entry["dollars"], abs=0.005)
        assert [formula, why] == [entry["formula"], entry["why"]]
    assert told["month"]["total"] == pytest.approx(sum(entry["dollars"] for entry in told["month"]["lines"]))


def test_a_price_that_is_named_later_counts_for_what_had_none(pai: Pai) -> None:  # noqa: F811
    create_stage("false")
    prices = json.dumps({"models": {"unheard-of": {"input": 4, "output": 8}}})

    before = json.loads(pai("cost", "--stage", "dev", "--json").stdout)["month"]
    after = json.loads(pai("cost", "--stage", "dev", "--json", PAI_PRICES=prices).stdout)["month"]

    assert (before["model"], before["unpriced"]) == (2.5, ["unheard-of"])
    assert (after["model"], after["unpriced"]) == (6.5, [])


def test_a_stack_that_may_not_be_looked_at_costs_as_if_documents_were_on(pai: Pai, account: str) -> None:  # noqa: F811
    create_stage("false")
    with Intervening(account, DENIED_STACK) as between:
        shown = pai("cost", "--stage", "dev", AWS_ENDPOINT_URL_CLOUDFORMATION=between.url)
        told = pai("cost", "--stage", "dev", "--json", AWS_ENDPOINT_URL_CLOUDFORMATION=between.url)

    month = json.loads(told.stdout)["month"]
    assert (shown.returncode, told.returncode, month["documents"]) == (0, 0, None)
    assert month["idle"] == pytest.approx(json.loads(told.stdout)["idle"]["on"]["dollars"] * month["share"])
    assert "Allow `DescribeStacks` for whoever runs this" in shown.stderr
    assert "as if documents were on" in shown.stderr
    assert "idle, documents perhaps on\t" in shown.stdout


def test_a_table_that_may_not_be_read_leaves_what_is_idle_and_fails(pai: Pai, account: str) -> None:  # noqa: F811
    create_stage("false")
    with Intervening(account, DENIED_TABLE) as between:
        shown = pai("cost", "--stage", "dev", AWS_ENDPOINT_URL_DYNAMODB=between.url)
        told = pai("cost", "--stage", "dev", "--json", AWS_ENDPOINT_URL_DYNAMODB=between.url)

    assert (shown.returncode, told.returncode) == (1, 1)
    assert "dynamodb:Query on the table PAI-Conversations-dev" in shown.stderr
    assert "Traceback" not in shown.stderr + told.stderr
    assert "KMS key\t" in shown.stdout
    assert "AWS for them" not in shown.stdout
    assert (json.loads(told.stdout)["month"], bool(json.loads(told.stdout)["idle"])) == (None, True)


def test_a_stage_that_is_not_deployed_says_what_it_would_cost_idle(pai: Pai) -> None:  # noqa: F811
    shown = pai("cost", "--stage", "prod")
    assert shown.returncode == 1
    assert "database's password\t$0.40" in shown.stdout
    assert "There is no table PAI-Conversations-prod" in shown.stderr


@pytest.mark.parametrize(
    ("missing", "words"), [("AWS_DEFAULT_REGION", "Set AWS_REGION"), ("AWS_ACCESS_KEY_ID", "no AWS credentials")]
)
def test_without_region_or_credentials_it_says_so(
    pai: Pai,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    words: str,
) -> None:
    monkeypatch.delenv(missing)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    shown = pai("cost", "--stage", "dev")

    assert shown.returncode == 1
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr
