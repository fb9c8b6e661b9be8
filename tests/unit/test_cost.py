"""What a stage costs: prices, the idle floor of the template, both kinds of turn, and a month so far."""

import json
import logging
import re
from typing import Any

import pytest

from chalicelib import http, logs
from infrastructure.wire import ACCESS_LOG
from pai.operate.cost import (
    ACCESS_LOG_KB,
    API_GB,
    FOLLOWED,
    FUNCTION_LOG_KB,
    WAITED_FOR,
    WORKER_GB,
    Line,
    Month,
    Turn,
    floor,
    per_turns,
    total,
)
from pai.operate.prices import aws_price, aws_prices
from pai.operate.template import load_template
from tests.conftest import RESOURCES
from tests.standins.processes import ROOT

KINDS = pytest.mark.parametrize("turn", [WAITED_FOR, FOLLOWED], ids=lambda turn: turn.kind)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What the benchmarks have kept."""
    return dict(json.loads((ROOT / "benchmarks" / "results.json").read_text()))


def dollars_of(lines: list[Line], *names: str) -> float:
    return total(line for line in lines if line.what in names)


def test_each_price_is_of_one_dated_file_with_its_source() -> None:
    prices = aws_prices()
    assert prices.as_of == "2026-11"
    assert all(price.source.startswith("https://aws.amazon.com/") for price in prices.prices.values())
    assert aws_price("lambda_gb_s").cost(2_500_000) == pytest.approx(33.33, abs=0.01)


# ---- Idle ----


def test_an_idle_stage_is_paid_for_by_what_its_template_has() -> None:
    template = load_template(RESOURCES)
    off, on = ({line.what: line.dollars for line in floor(template, rag=rag, rotations=0)} for rag in (False, True))
    assert (off["KMS key"], off["key ring"]) == (1.0, 0.4)
    assert not {"database's password", "polling of queues", "its rotations"} & set(off)
    assert on["database's password"] == 0.4
    assert "database at rest" not in on


def test_the_alarm_of_files_that_wait_is_paid_for_with_documents_alone() -> None:
    template = load_template(RESOURCES)
    assert dollars_of(floor(template, rag=False), "alarms") == pytest.approx(0.1 * 6)
    assert dollars_of(floor(template, rag=True), "alarms") == pytest.approx(0.1 * 9)


def test_an_alarm_costs_a_metric_for_each_that_it_gathers_where_its_condition_holds() -> None:
    gathered = [{"Id": "sum", "Expression": "a + b"}, {"Id": "a", "MetricStat": {}}, {"Id": "b", "MetricStat": {}}]
    plain: dict[str, Any] = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"MetricName": "x"}}
    template = {
        "Parameters": {"EnableRag": {"Default": "false"}},
        "Conditions": {"Rag": {"Fn::Equals": [{"Ref": "EnableRag"}, "true"]}, "Bare": {"Fn::Not": [{"Condition": "Rag"}]}},
        "Resources": {
            "Always": plain,
            "WithDocuments": {**plain, "Condition": "Rag", "Properties": {"Metrics": gathered}},
            "Without": {**plain, "Condition": "Bare"},
        },
    }
    assert [line.amount for rag in (False, True) for line in floor(template, rag=rag)] == [2, 3]


def test_a_database_that_does_not_rest_shows_in_the_floor() -> None:
    template = load_template(RESOURCES)
    template["Resources"]["Cluster"]["Properties"]["ServerlessV2ScalingConfiguration"]["MinCapacity"] = 0.5
    assert dollars_of(floor(template, rag=True), "database at rest") == pytest.approx(43.8)


@pytest.mark.parametrize(("years", "dollars"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_a_key_costs_more_for_its_first_two_rotations_and_no_further(years: int, dollars: float) -> None:
    assert dollars_of(floor(load_template(RESOURCES), rag=False, rotations=years), "its rotations") == dollars


# ---- Formulas ----


def test_a_formula_says_how_its_dollars_come_about() -> None:
    assert Line("x", 2_500_000, "lambda_gb_s").formula == "2,500,000 GB-s × $13.3334 / 1,000,000"
    assert Line("x", 1, "kms_key").formula == "1 keys × $1"


def reckoned(formula: str) -> float:
    """Return what a formula, as it is printed, comes to."""
    found = re.fullmatch(r"(\S+) .+ × \$(\S+?)(?: / (\S+))?", formula)
    assert found, formula
    amount, price, per = (float((part or "1").replace(",", "")) for part in found.groups())
    return amount * price / per


@pytest.mark.parametrize("turns", [1, 1_234_567])
@KINDS
def test_every_formula_comes_to_its_dollars(turn: Turn, turns: int) -> None:
    for line in (*per_turns(turns, turn), *floor(load_template(RESOURCES), rag=True)):
        assert reckoned(line.formula) == pytest.approx(line.dollars, rel=1e-9), line.formula


# ---- Turns ----


def test_a_turn_that_is_waited_for_takes_the_units_that_were_measured(measured: dict[str, Any]) -> None:
    assert WAITED_FOR.write_units == measured["turn"]["write_units"][-1]
    assert WAITED_FOR.read_units == measured["turn"]["read_units"][-1]
    assert WAITED_FOR.api_s >= measured["stream"]["aws_answer_s"]


def test_a_followed_turn_takes_what_was_measured(measured: dict[str, Any]) -> None:
    stream = measured["stream"]
    assert FOLLOWED.polls == pytest.approx(stream["polls_per_turn"], rel=0.05)
    assert FOLLOWED.write_units == pytest.approx(stream["aws_write_units"], rel=0.05)
    assert FOLLOWED.read_units == pytest.approx(stream["aws_read_units"], rel=0.05)


def test_a_million_followed_turns_cost_what_the_benchmark_says(measured: dict[str, Any]) -> None:
    lines, stream = per_turns(1e6, FOLLOWED), measured["stream"]
    authorizer = 1e6 * aws_price("lambda_request").dollars / 1e6
    units = dollars_of(lines, "API Gateway", "Lambda, requests", "DynamoDB, writes", "DynamoDB, reads") - authorizer
    assert units == pytest.approx(stream["dollars_per_million_turns"], rel=0.05)
    assert dollars_of(lines, "Lambda, time") == pytest.approx(stream["dollars_per_million_turns_of_function_time"], rel=0.05)


def test_a_followed_turn_is_the_dearer_one() -> None:
    assert total(per_turns(1, FOLLOWED)) > 2 * total(per_turns(1, WAITED_FOR))


def test_turns_that_are_waited_for_call_no_worker() -> None:
    assert (WAITED_FOR.requests, WAITED_FOR.calls) == (1, 2)
    assert (FOLLOWED.requests, FOLLOWED.calls) == (24, 26)
    assert not any("worker" in line.why or "polls" in line.why for line in per_turns(1, WAITED_FOR))


@KINDS
def test_a_bill_has_what_each_of_its_turns_takes(turn: Turn) -> None:
    amounts = {line.what: line.amount for line in per_turns(10, turn)}
    assert amounts["API Gateway"] == 10 * turn.requests
    assert amounts["Lambda, requests"] == 10 * turn.calls
    assert amounts["Lambda, time"] == pytest.approx(10 * turn.gb_s)
    assert (amounts["DynamoDB, writes"], amounts["DynamoDB, reads"]) == (10 * turn.write_units, 10 * turn.read_units)
    assert (amounts["KMS"], amounts["Secrets Manager"]) == (10 * turn.kms_requests, 10)
    assert amounts["logs"] == pytest.approx(10 * turn.log_kb / 1e6)


def test_the_functions_of_a_turn_have_the_memory_that_is_reckoned_with() -> None:
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    workers = {stage["lambda_functions"]["worker"]["lambda_memory_size"] for stage in cloud_stages(config)}
    assert config["lambda_memory_size"] == API_GB * 1024
    assert workers == {WORKER_GB * 1024}


def cloud_stages(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [stage for stage in config["stages"].values() if "lambda_functions" in stage]


# ---- Logs ----

REQUEST_ID = "8f507cfc-0000-4697-b07a-ac58fc914c95"
ROUTE = "/conversations/{conversation_id}/turns/{turn_id}/events"
BY_LAMBDA = (
    f"START RequestId: {REQUEST_ID} Version: $LATEST\n",
    f"END RequestId: {REQUEST_ID}\n",
    f"REPORT RequestId: {REQUEST_ID}\tDuration: 12345.67 ms\tBilled Duration: 12346 ms\tMemory Size: 1024 MB\t"
    "Max Memory Used: 100 MB\t\n",
)
WITH_EACH = 26
"""Bytes that CloudWatch adds to an event.
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""


def logged_kb(*lines: str) -> float:
    return sum(len(line.encode()) + WITH_EACH for line in lines) / 1000


@pytest.fixture
def written() -> Any:
    """The lines that PAI logs in a test, as they go out."""
    logs.configure()
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{logs.log.handlers[0].format(record)}\n")

    keep = Keep()
    logs.log.addHandler(keep)
    yield lines
    logs.log.removeHandler(keep)


def test_a_call_of_a_function_logs_no_more_than_is_reckoned_with(written: list[str]) -> None:
    request = http.Request(REQUEST_ID, f"GET {ROUTE}", "me", key_id="k_0123456789")
    http.answer(lambda request: http.Reply({}), request, {})
    assert len(written) == 1
    assert 0.8 * FUNCTION_LOG_KB < logged_kb(*BY_LAMBDA, *written) <= FUNCTION_LOG_KB


def test_api_gateway_s_line_of_a_request_is_no_longer_than_is_reckoned_with() -> None:
    line = ACCESS_LOG
    values = {
        "requestId": REQUEST_ID,
        "requestTime": "27/Nov/2026:12:51:26 +0000",
        "httpMethod": "GET",
        "resourcePath": ROUTE,
        "status": "200",
        "responseLength": "12345",
        "responseLatency": "12345",
        "error.responseType": "-",
    }
    for name, value in values.items():
        line = line.replace(f"$context.{name}", value)
    assert "$context" not in line
    assert 0.8 * ACCESS_LOG_KB < logged_kb(line) <= ACCESS_LOG_KB


def test_followed_turns_log_for_each_of_their_requests() -> None:
    assert WAITED_FOR.log_kb == pytest.approx(2 * 0.7 + 0.3)
    assert FOLLOWED.log_kb == pytest.approx(26 * 0.7 + 24 * 0.3)


# ---- A month ----

MONTH = Month(turns=1000, model=2.5, unpriced=(), share=0.25, documents=False, idle=4.0)


def test_a_month_is_the_model_and_its_turns_and_its_share_of_being_idle() -> None:
    each = total(per_turns(1, FOLLOWED))
    assert [part.dollars for part in MONTH.parts()] == pytest.approx([2.5, 1000 * each, 1.0])
    assert MONTH.dollars == pytest.approx(3.5 + 1000 * each)


def test_a_month_says_that_its_turns_are_reckoned_as_the_dearer_kind() -> None:
    _, aws, _ = MONTH.parts()
    assert "dearer" in aws.why
    assert reckoned(aws.formula) == pytest.approx(aws.dollars, rel=1e-5)


def test_a_month_s_idle_part_says_its_price_and_its_share() -> None:
    *_, idle = MONTH.parts()
    assert (idle.what, idle.formula) == ("idle, documents off", "$4.00 × 25.0% of the month")


# ---- docs/cost.md ----


def rows_of(page: str) -> list[list[str]]:
    return [[cell.strip("* ") for cell in line.strip("| ").split(" | ")] for line in page.splitlines() if line.startswith("|")]


def test_the_page_has_both_kinds_of_turn_and_its_tables_agree() -> None:
    rows = rows_of((ROOT / "docs" / "cost.md").read_text())
    [planned] = [row for row in rows if row[0] == "Total"]
    waited, followed = [row for row in rows if row[0] == "total"]
    assert planned[-2:] == [waited[3], followed[3]]
    assert (planned[2], planned[3]) == ("~$22.26", "$49.71")


def test_the_first_plan_s_lines_are_what_its_own_assumptions_come_to() -> None:
    rows = {row[0]: row for row in rows_of((ROOT / "docs" / "cost.md").read_text()) if len(row) == 7}
    assert rows["Lambda"][2:4] == ["$2.08", "$33.53 to $41.87"]
    assert rows["API Gateway"][3] == "$3.50"
    assert rows["DynamoDB"][3] == "$0.75"
    assert rows["Bedrock"][3] == "$10.50"
    assert rows["KMS"][3] == "$1.03"
    assert rows["Secrets Manager"][3] == "$0.40"
