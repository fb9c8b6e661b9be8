"""The stand-in itself: it must refuse what Bedrock refuses, or the tests above prove nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError

from chalicelib.llm.bedrock import control_client, runtime_client
from tests.integration.bedrock.asking import SONNET, Make, outcome
from tests.standins import eventstream
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.bedrock_models import Json

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/bedrock/aws4_request"}


def user(*content: Json) -> Json:
    return {"role": "user", "content": list(content or [{"text": "Hi"}])}


CACHE_POINT = {"cachePoint": {"type": "default"}}


def assistant(*content: Json) -> Json:
    return {"role": "assistant", "content": list(content)}


def use(id: str, arguments: object = None) -> Json:
    return {"toolUse": {"toolUseId": id, "name": "weather", "input": {} if arguments is None else arguments}}


def result(id: str, text: str = "Sun.") -> Json:
    return {"toolResult": {"toolUseId": id, "content": [{"text": text}]}}


def tools(*names: str, schema: Json | None = None, **members: object) -> Json:
    specs = [{"toolSpec": {"name": name, "inputSchema": {"json": schema or {"type": "object"}}}} for name in names]
    return {"tools": specs, **members}


def form(schema: Json) -> Json:
    structure = {"jsonSchema": {"schema": json.dumps(schema)}}
    return {"textFormat": {"type": "json_schema", "structure": structure}}


USED = [user(), assistant(use("t1"))]
WEATHER = {"toolConfig": tools("weather")}


class TestTheStandIn:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"messages": []}, "must start with a user message"),
            ({"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]}, "must start with a user message"),
            ({"messages": [user(), user()]}, "must alternate"),
            ({"messages": [user({"text": "  "})]}, "is blank"),
            ({"messages": [{"role": "user", "content": []}]}, "is empty"),
            ({"messages": [user(CACHE_POINT)]}, "nothing in front of it"),
            ({"messages": [user({"text": "Hi"}, *[CACHE_POINT] * 5)]}, "at most 4"),
            ({"messages": [user({"text": 5})]}, "Invalid type"),
            ({"messages": [user({"text": "Hi", "colour": "red"})]}, "Unknown parameter"),
            ({"messages": [user()], "colour": "red"}, "Unknown parameter"),
            ({"messages": [{"role": "wizard", "content": [{"text": "Hi"}]}]}, "enum value set"),
            ({"messages": [user()], "inferenceConfig": {"temperature": 2}}, "less than or equal to 1"),
            ({"messages": [user()], "inferenceConfig": {"maxTokens": 0}}, "valid min value: 1"),
            ({"messages": [user()], "system": [{"text": ""}]}, "valid min length: 1"),
            (
                {"messages": [user()], "guardrailConfig": {"guardrailIdentifier": "A b", "guardrailVersion": "1"}},
                "regular expression",
            ),
            ({"messages": [*USED, user(result("t1"))]}, "toolConfig field must be defined"),
            ({"messages": [user(result("t1"))], **WEATHER}, "exceeds the number of toolUse blocks"),
            ({"messages": [*USED, user()], **WEATHER}, "Expected toolResult blocks at messages.2.content"),
            ({"messages": [*USED, user(result("t2"))], **WEATHER}, "for the following Ids: t1"),
            ({"messages": [*USED, user({"text": "Hi"}, result("t1"))], **WEATHER}, "at the beginning of this message"),
            ({"messages": [*USED, user(result("t1", " "))], **WEATHER}, "is blank"),
            ({"messages": [user(use("t1"))], **WEATHER}, "can only be in `assistant` messages"),
            ({"messages": [user(), assistant(use("t1", [1])), user(result("t1"))], **WEATHER}, "Provide a json object"),
            ({"messages": [user(), assistant(use("a b")), user(result("a b"))], **WEATHER}, "regular expression"),
            ({"messages": [user()], "toolConfig": tools()}, "valid min length: 1"),
            ({"messages": [user()], "toolConfig": tools("the weather")}, "regular expression"),
            ({"messages": [user()], "toolConfig": tools("a", "a")}, "must be unique"),
            ({"messages": [user()], "toolConfig": tools("a", schema={"type": "string"})}, "one of the following: object"),
            ({"messages": [user()], "toolConfig": tools("a", toolChoice={"tool": {"name": "b"}})}, "'b' not found"),
            ({"messages": [user()], "toolConfig": tools("a", toolChoice={"none": {}})}, "Unknown parameter"),
            ({"messages": [user()], "inferenceConfig": {"stopSequences": [" "]}}, "non-whitespace"),
            ({"messages": [user()], "outputConfig": form({"type": "object"})}, "additionalProperties"),
            ({"messages": [user({"image": {"format": "png", "source": {"bytes": "no base64!"}}})]}, "Invalid type"),
        ],
    )
    def test_refuses_a_request_that_bedrock_would(self, standin: BedrockStandIn, body: Json, words: str) -> None:
        answer = httpx.post(f"{standin.url}/model/m/converse-stream", json=body, headers=SIGNED)

        assert answer.status_code == 400
        assert answer.headers["x-amzn-ErrorType"].startswith("ValidationException")
        assert words in answer.json()["message"]

    def test_takes_bytes_as_base64(self, standin: BedrockStandIn) -> None:
        image = {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}

        answer = httpx.post(f"{standin.url}/model/m/converse", json={"messages": [user({"text": "?"}, image)]}, headers=SIGNED)

        assert answer.status_code == 200

    @pytest.mark.parametrize(("path", "status"), [("/model/m/converse-stream", 403), ("/model/m/talk", 403), ("/", 403)])
    def test_refuses_a_request_without_a_signature(self, standin: BedrockStandIn, path: str, status: int) -> None:
        assert httpx.post(standin.url + path, json={"messages": [user()]}).status_code == status

    def test_refuses_what_is_no_json(self, standin: BedrockStandIn) -> None:
        answer = httpx.post(f"{standin.url}/model/m/converse-stream", content=b"{", headers=SIGNED)

        assert answer.headers["x-amzn-ErrorType"].startswith("SerializationException")

    def test_answers_in_one_piece_too(self, standin: BedrockStandIn) -> None:
        answer = runtime_client().converse(modelId=SONNET, messages=[user()])

        assert answer["output"]["message"]["content"] == [{"text": "Hi"}]
        assert answer["stopReason"] == "end_turn"
        assert answer["usage"]["outputTokens"] == 1

    def test_calls_the_tool_that_it_must(self, standin: BedrockStandIn) -> None:
        answer = runtime_client().converse(
            modelId=SONNET, messages=[user()], toolConfig=tools("a", "b", toolChoice={"tool": {"name": "b"}})
        )

        called = {"toolUseId": "tooluse_1", "name": "b", "input": {"echo": "Hi"}}
        assert answer["output"]["message"]["content"] == [{"toolUse": called}]
        assert answer["stopReason"] == "tool_use"

    def test_says_no_more_than_it_may(self, standin: BedrockStandIn) -> None:
        answer = runtime_client().converse(
            modelId=SONNET, messages=[user({"text": "One two three"})], inferenceConfig={"maxTokens": 2}
        )

        assert answer["output"]["message"]["content"] == [{"text": "One two"}]
        assert answer["stopReason"] == "max_tokens"

    @pytest.mark.parametrize("code", ["ThrottlingException", "ModelTimeoutException", "InternalServerException"])
    def test_gives_each_error_the_status_of_the_service_model(self, standin: BedrockStandIn, code: str) -> None:
        standin.script(Behaviour(error=code))
        bedrock = runtime_client()
        expected = bedrock.meta.service_model.shape_for(code).metadata["error"]["httpStatusCode"]

        with pytest.raises(ClientError) as refused:
            bedrock.converse(modelId=SONNET, messages=[user()])

        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == expected

    def test_lists_what_the_service_model_says(self, standin: BedrockStandIn) -> None:
        bedrock = control_client()

        models = bedrock.list_foundation_models()["modelSummaries"]
        profiles = bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]

        assert {model["modelLifecycle"]["status"] for model in models} == {"ACTIVE", "LEGACY"}
        assert models[1]["modelLifecycle"]["startOfLifeTime"].isoformat() == "2024-12-03T00:00:00+00:00"
        assert profiles == []

    def test_writes_events_that_botocore_reads(self) -> None:
        reader: Any = EventStreamBuffer()

        reader.add_data(eventstream.event("messageStop", {"stopReason": "end_turn"}) + eventstream.error("Odd", "größer"))

        first, second = reader
        assert (first.headers[":event-type"], first.payload) == ("messageStop", b'{"stopReason": "end_turn"}')
        assert second.headers == {":error-code": "Odd", ":error-message": "größer", ":message-type": "error"}


@pytest.fixture
def process() -> Iterator[str]:
    """Address of a stand-in in a process of its own."""
    command = [sys.executable, "-m", "tests.standins.bedrock", "--port", "0", "--deltas", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def test_a_stand_in_in_another_process_is_scripted_over_http(
    process: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", process)
    script: dict[str, Any] = {"behaviours": [{"reply": "Scripted.", "times": 1}], "default": {"reply": "Done."}}
    httpx.post(f"{process}/standin/script", json=script).raise_for_status()
    llm = make()

    first, second = outcome(llm), outcome(llm)

    assert (first.text, second.text) == ("Scripted.", "Done.")
    requests = httpx.get(f"{process}/standin/requests").json()
    assert [request["members"]["modelId"] for request in requests] == [SONNET, SONNET]
    assert httpx.delete(f"{process}/standin/script").status_code == 200
    assert httpx.get(f"{process}/standin/requests").json() == []
