"""Operating a stage, where it touches nothing: parameters, pins, templates, what troubles mean."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chalicelib.errors import ModelRejected
from pai.operate.parameters import Exposed, is_placeholder, load_parameters
from pai.operate.pin import Pins, pin, write
from pai.operate.template import dump_template, holds, load_template, place_code
from pai.operate.troubles import TROUBLES, advice
from pai.operate.watch import seconds_of
from pai.stage import StageError
from tests.standins.processes import ROOT

OWN = "an-own-key-of-forty-four-characters-1234567="
CONFIGURED = {
    "PAI_MODEL": "claude-sonnet",
    "PAI_MODELS": "claude-haiku",
    "PAI_FALLBACK_MODELS": "claude-haiku",
    "PAI_BUDGET": "day-dollars=2, model=claude-haiku",
}
NEWEST = {"claude-sonnet": "us.anthropic.claude-sonnet-5", "claude-haiku": "us.anthropic.claude-haiku-5-5-v1:0"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "S3_BUCKET_NAME"):
        monkeypatch.delenv(name, raising=False)


# ---- Parameters ----


def write_parameters(project: Path, **values: object) -> Path:
    path = project / "infrastructure" / "parameters" / "dev.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]))
    return path


def track(path: Path, project: Path) -> None:
    for command in (["init", "-q"], ["add", str(path)]):
        subprocess.run(["git", *command], cwd=project, check=True, capture_output=True)


def test_a_file_s_own_key_and_bucket_are_taken_and_are_no_parameters_of_the_stack(tmp_path: Path) -> None:
    write_parameters(tmp_path, Environment="dev", ApiKeyValue=OWN, S3BucketName="mine", AlarmEmail="me@home.test")
    found = load_parameters(tmp_path, "dev")
    assert (found.api_key, found.bucket) == (OWN, "mine")
    assert found.template == {"Environment": "dev", "AlarmEmail": "me@home.test"}
    assert OWN not in repr(found)


def test_the_environment_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parameters(tmp_path, ApiKeyValue=OWN, S3BucketName="mine")
    monkeypatch.setenv("API_KEY", f"other-{OWN}")
    monkeypatch.setenv("S3_BUCKET_NAME", "theirs")
    found = load_parameters(tmp_path, "dev")
    assert (found.api_key, found.bucket) == (f"other-{OWN}", "theirs")


def test_a_key_in_a_file_that_git_tracks_is_refused_and_not_repeated(tmp_path: Path) -> None:
    track(write_parameters(tmp_path, ApiKeyValue=OWN), tmp_path)
    with pytest.raises(Exposed, match="tracked by git") as refusal:
        load_parameters(tmp_path, "dev")
    assert OWN not in refusal.value.message


def test_a_placeholder_may_be_tracked_and_means_nothing(tmp_path: Path) -> None:
    track(
        write_parameters(tmp_path, ApiKeyValue="your-generated-api-key-here", S3BucketName="pai-deployment-your-account-id"),
        tmp_path,
    )
    found = load_parameters(tmp_path, "dev")
    assert (found.api_key, found.bucket) == ("", "")


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_files_that_come_with_the_project_hold_nothing_secret(stage: str) -> None:
    found = load_parameters(ROOT, stage)
    assert (found.api_key, found.bucket, found.template["Environment"]) == ("", "", stage)


def test_no_file_is_no_parameters(tmp_path: Path) -> None:
    assert load_parameters(tmp_path, "prod").template == {"Environment": "prod"}


@pytest.mark.parametrize(
    "text", ["{}x", '{"Environment": "dev"}', '[{"Key": "x"}]', '[{"ParameterKey": "A", "ParameterValue": 1}]']
)
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    write_parameters(tmp_path).write_text(text)
    with pytest.raises(StageError, match=r"dev\.json is not a list of the form"):
        load_parameters(tmp_path, "dev")


def test_a_file_of_another_stage_is_refused(tmp_path: Path) -> None:
    write_parameters(tmp_path, Environment="prod")
    with pytest.raises(StageError, match="is of 'prod'"):
        load_parameters(tmp_path, "dev")


def test_a_real_value_is_no_placeholder() -> None:
    assert not is_placeholder(OWN)
    assert not is_placeholder("me@example.com")


# ---- Pins ----


def resolve(name: str) -> str:
    return NEWEST[name]


def unresolved(name: str) -> str:
    raise ModelRejected(f"nobody knows {name}")


def test_every_name_becomes_the_newest_model_of_its_family() -> None:
    assert pin(CONFIGURED, {}, resolve).applied(CONFIGURED) == {
        "PAI_MODEL": NEWEST["claude-sonnet"],
        "PAI_MODELS": NEWEST["claude-haiku"],
        "PAI_FALLBACK_MODELS": NEWEST["claude-haiku"],
        "PAI_BUDGET": f"day-dollars=2, model={NEWEST['claude-haiku']}",
    }


def test_what_is_pinned_stays_and_what_is_newer_is_told() -> None:
    before = {"PAI_MODEL": "us.anthropic.claude-sonnet-4-6", "PAI_MODELS": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}
    pins = pin(CONFIGURED, before, resolve)
    assert pins.ids == {"claude-sonnet": before["PAI_MODEL"], "claude-haiku": before["PAI_MODELS"]}
    assert pins.newer == NEWEST


def test_pins_hold_where_nobody_can_be_asked_and_a_first_deployment_does_not() -> None:
    before = {"PAI_MODEL": "us.anthropic.claude-sonnet-4-6", "PAI_MODELS": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}
    assert pin(CONFIGURED, before, unresolved).newer == {}
    with pytest.raises(ModelRejected):
        pin(CONFIGURED, {}, unresolved)


def test_a_named_model_takes_the_stage_s_place_and_renews_the_others() -> None:
    before = {"PAI_MODEL": "us.anthropic.claude-sonnet-4-6", "PAI_MODELS": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}
    pins = pin(CONFIGURED, before, resolve, model="us.amazon.nova-pro-v1:0")
    assert pins.applied(CONFIGURED)["PAI_MODEL"] == "us.amazon.nova-pro-v1:0"
    assert pins.applied(CONFIGURED)["PAI_MODELS"] == NEWEST["claude-haiku"]


def test_ids_and_arns_stand_as_they_are() -> None:
    ids = {"PAI_MODEL": "arn:aws:bedrock:us-east-1:1:inference-profile/x", "PAI_MODELS": "amazon.nova-lite-v1:0"}
    assert pin(ids, {}, unresolved).applied(ids) == ids


def test_only_texts_are_written_over_in_a_template() -> None:
    template = {
        "Resources": {
            "A": {"Type": "AWS::Serverless::Function", "Properties": {"Environment": {"Variables": dict(CONFIGURED)}}},
            "B": {"Type": "AWS::Lambda::Function", "Properties": {"Environment": {"Variables": {"PAI_MODEL": {"Ref": "M"}}}}},
            "C": {"Type": "AWS::SQS::Queue"},
        }
    }
    write(template, Pins(NEWEST, {}))
    resources: Any = template["Resources"]
    assert resources["A"]["Properties"]["Environment"]["Variables"]["PAI_MODEL"] == NEWEST["claude-sonnet"]
    assert resources["B"]["Properties"]["Environment"]["Variables"] == {"PAI_MODEL": {"Ref": "M"}}


# ---- Templates ----


def test_short_forms_are_read_as_long_ones_and_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "Resources: {A: {Type: T, V: 2012-10-17, R: !Ref B, G: !GetAtt C.Arn, S: !Sub 'x', I: !If [c, !Ref D, e]}}\n"
    )
    assert json.loads(dump_template(load_template(path)))["Resources"]["A"] == {
        "Type": "T",
        "V": "2012-10-17",
        "R": {"Ref": "B"},
        "G": {"Fn::GetAtt": ["C", "Arn"]},
        "S": {"Fn::Sub": "x"},
        "I": {"Fn::If": ["c", {"Ref": "D"}, "e"]},
    }


def test_the_code_s_place_is_said_to_each_function() -> None:
    template = {
        "Resources": {
            "Sam": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "./deployment.zip"}},
            "There": {"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": "s3://other/x.zip"}},
            "Plain": {"Type": "AWS::Lambda::Function", "Properties": {"Code": "./deployment.zip"}},
        }
    }
    place_code(template, "b", "k.zip")
    assert {name: entry["Properties"] for name, entry in template["Resources"].items()} == {
        "Sam": {"CodeUri": {"Bucket": "b", "Key": "k.zip"}},
        "There": {"CodeUri": "s3://other/x.zip"},
        "Plain": {"Code": {"S3Bucket": "b", "S3Key": "k.zip"}},
    }


def test_conditions_say_which_resources_there_are() -> None:
    template = {
        "Parameters": {"A": {"Default": "no"}, "B": {}},
        "Conditions": {
            "IsA": {"Fn::Equals": [{"Ref": "A"}, "yes"]},
            "Neither": {"Fn::And": [{"Fn::Not": [{"Condition": "IsA"}]}, {"Fn::Equals": [{"Ref": "B"}, ""]}]},
            "Either": {"Fn::Or": [{"Condition": "IsA"}, {"Condition": "Neither"}]},
        },
        "Resources": {name: {"Condition": name} for name in ("IsA", "Neither", "Either")} | {"Always": {}},
    }
    assert set(holds(template, {}).resources(template)) == {"Neither", "Either", "Always"}
    assert set(holds(template, {"A": "yes"}).resources(template)) == {"IsA", "Either", "Always"}


# ---- What to do ----


def test_every_trouble_that_people_know_has_its_words_and_what_to_do() -> None:
    names = [trouble.name for trouble in TROUBLES]
    assert names == [
        "S3 bucket not found",
        "Rate limit exceeded",
        "Unauthorized",
        "Lambda timeout errors",
        "DynamoDB throttling",
        "CloudWatch Logs role ARN must be set",
    ]
    page = (ROOT / "docs" / "operations.md").read_text()
    assert all(f"“{trouble.name}”" in page and trouble.what_to_do in page for trouble in TROUBLES)


def test_what_is_in_the_way_is_looked_at_and_nothing_is_to_be_destroyed_for_it() -> None:
    for words in ("pai-dev already exists in stack", "Topic: null (HandlerErrorCode: AlreadyExists)"):
        assert "Look whose it is" in advice(words)
        assert "destroy" not in advice(words)


def test_unknown_words_get_no_advice() -> None:
    assert advice("Something nobody has seen") == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("10", None), ("m", None)]
)
def test_a_span_is_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
