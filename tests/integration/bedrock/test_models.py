"""Which model a name means."""

import pytest

from chalicelib.errors import Misconfigured, ModelAccessDenied, ModelEndOfLife, ModelRejected, UnknownModel
from chalicelib.llm import Finish, Text
from chalicelib.llm.bedrock import build
from chalicelib.settings import Settings
from tests.integration.bedrock.asking import HAIKU, MISTRAL, SONNET, Make, outcome, question
from tests.standins.bedrock import BedrockStandIn, Behaviour
from tests.standins.bedrock_models import listed_model, listed_profile


class TestAFamily:
    def test_is_its_newest_active_model_by_the_profile_of_the_area(self, make: Make) -> None:
        assert outcome(make(model="claude-sonnet")).finish.model == SONNET

    def test_is_looked_up_once(self, standin: BedrockStandIn, make: Make) -> None:
        llm = make(model="claude-sonnet", models="nova-lite")

        outcome(llm)
        outcome(llm)
        llm.models()

        assert len(standin.asked("ListFoundationModels")) == len(standin.asked("ListInferenceProfiles")) == 1

    def test_is_found_on_the_last_page_too(self, standin: BedrockStandIn, make: Make) -> None:
        standin.page_size = 2

        assert outcome(make(model="claude-sonnet")).finish.model == SONNET
        assert len(standin.asked("ListInferenceProfiles")) == 4

    def test_skips_models_that_are_withdrawn(self, standin: BedrockStandIn, make: Make) -> None:
        standin.models = [
            listed_model("anthropic.claude-sonnet-9", "Claude Sonnet 9", status="LEGACY", launched="2030-01-01"),
            *standin.models,
        ]
        standin.profiles = [listed_profile("us.anthropic.claude-sonnet-9", "us-east-1"), *standin.profiles]

        assert outcome(make(model="claude-sonnet")).finish.model == SONNET

    def test_is_not_a_profile_that_the_owner_made_for_something_else(self, standin: BedrockStandIn, make: Make) -> None:
        made = listed_profile(SONNET, "us-east-1", kind="APPLICATION")
        standin.profiles = [{**made, "inferenceProfileId": "a1b2c3d4e5f6"}, *standin.profiles]

        assert outcome(make(model="claude-sonnet")).finish.model == SONNET

    def test_whose_models_are_all_withdrawn_is_at_its_end(self, standin: BedrockStandIn, make: Make) -> None:
        standin.models = [listed_model("anthropic.claude-sonnet-4", "Claude Sonnet 4", status="LEGACY")]

        result = outcome(make(model="claude-sonnet"))

        assert type(result.error) is ModelEndOfLife
        assert "claude-sonnet" in result.error.message

    def test_that_bedrock_does_not_have_is_named(self, make: Make) -> None:
        result = outcome(make(model="claude-limerick"))

        assert type(result.error) is ModelRejected
        assert "claude-limerick" in result.error.message

    @pytest.mark.parametrize("operation", ["ListFoundationModels", "ListInferenceProfiles"])
    def test_that_may_not_be_looked_up_says_what_to_allow(self, standin: BedrockStandIn, make: Make, operation: str) -> None:
        words = f"User: x is not authorized to perform: bedrock:{operation} on resource: *"
        standin.script(Behaviour(model=operation, error="AccessDeniedException", status=403, message=words))

        result = outcome(make(model="claude-sonnet"))

        assert type(result.error) is ModelAccessDenied
        assert "bedrock:ListFoundationModels" in result.error.message

    def test_is_looked_up_again_when_that_failed(self, standin: BedrockStandIn, make: Make) -> None:
        standin.script(Behaviour(model="ListFoundationModels", error="AccessDeniedException", status=403, times=1))
        llm = make(model="claude-sonnet")

        first, second = outcome(llm), outcome(llm)

        assert type(first.error) is ModelAccessDenied
        assert second.finish.model == SONNET


class TestAModel:
    @pytest.mark.parametrize(
        "id", [SONNET, "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"]
    )
    def test_given_by_its_id_is_asked_without_looking_anything_up(self, standin: BedrockStandIn, make: Make, id: str) -> None:
        assert outcome(make(model=id)).finish.model == id
        assert [request.operation for request in standin.requests] == ["ConverseStream"]

    @pytest.mark.parametrize("name", ["claude-haiku", HAIKU])
    def test_may_be_asked_for_by_its_name_in_the_settings_or_its_id(self, make: Make, name: str) -> None:
        assert outcome(make(models="claude-haiku"), question(model=name)).finish.model == HAIKU

    def test_that_the_settings_do_not_have_is_refused_and_the_others_named(self, make: Make) -> None:
        result = outcome(make(model="claude-sonnet", models="nova-lite"), question(model="claude-opus"))

        assert type(result.error) is UnknownModel
        assert "claude-sonnet, nova-lite" in result.error.message

    def test_is_listed_with_its_names_the_default_first(self, make: Make) -> None:
        first, second, third = make(model="claude-sonnet", models=f"nova-lite,{SONNET},{MISTRAL}").models()

        assert (first.id, first.name, first.aliases, first.context_tokens) == (
            SONNET,
            "Claude Sonnet 4.6",
            ("claude-sonnet",),
            200_000,
        )
        assert second.aliases == ("nova-lite",)
        assert third.id == third.name == MISTRAL

    def test_that_is_not_known_has_the_context_window_of_the_settings(self, make: Make) -> None:
        [info] = make(model="acme.talker-v1:0").models()

        assert info.context_tokens == Settings().context_tokens


class TestSettings:
    def test_build_the_backend(self, standin: BedrockStandIn) -> None:
        events = list(build(Settings(llm="bedrock", model=SONNET)).stream(question("Well?")))

        assert events[0] == Text("We")
        assert isinstance(events[-1], Finish)

    @pytest.mark.parametrize("model", ["", " "])
    def test_without_a_model_are_incomplete(self, standin: BedrockStandIn, model: str) -> None:
        with pytest.raises(Misconfigured, match="PAI_MODEL is empty"):
            build(Settings(llm="bedrock", model=model, models="nova-lite"))

    @pytest.mark.parametrize("guardrail", ["gr1", ":1", "gr1:", "gr1:latest"])
    def test_with_half_a_guardrail_are_wrong(self, standin: BedrockStandIn, guardrail: str) -> None:
        with pytest.raises(Misconfigured, match="PAI_GUARDRAIL"):
            build(Settings(llm="bedrock", model=SONNET, guardrail=guardrail))
