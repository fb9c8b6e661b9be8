"""Plain `chalice local` with a real model: it holds what it can't send piece by piece, and still nobody misses a word."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from chalicelib import keyring
from chalicelib.clock import iso
from chalicelib.platform import local as local_platform
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
from pai.client import Client
from pai.client.turns import Begun, Done, Question, Text
from tests.e2e.test_chalice import chalice_local
from tests.local_model import NAME, small_model_path

pytestmark = pytest.mark.skipif(small_model_path() is None, reason="no small model here: `pai models fetch smollm2`")
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello to Anna."}]
STORY = "Tell me a very long story about the sea."


@dataclass(frozen=True)
class Local:
    """Stage local, served from a new home. `log` is what the server prints."""

    url: str
    key: str
    log: Path

    def count(self, text: str) -> int:
        return self.log.read_text().count(text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    folder = tmp_path_factory.mktemp("chalice")
    key, token = keyring.new_key("test", "me", iso(time.time()))
    home = folder / "home"
    home.mkdir(mode=0o700)
    local_platform.build(Settings(home=str(home))).keys.save(keyring.add(KeyRing(), key))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "AWS_"))}
    models = Path(str(small_model_path())).parent
    ours = {"PAI_HOME": str(home), "PAI_MODELS_HOME": str(models), "PAI_MODEL": NAME, "PAI_TITLES": "0"}
    with chalice_local("local", kept | ours, folder / "log") as url:
        yield Local(url, token, folder / "log")


def test_openai_package_gets_a_streamed_and_a_whole_answer(server: Local) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        whole = client.chat.completions.create(model="pai", messages=HELLO, max_tokens=12)
        chunks = list(client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=12, stream=True))

    assert whole.choices[0].message.content
    assert whole.model == NAME
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 12
    said = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(said) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_turn_in_the_background_is_followed_to_its_end_over_held_responses(server: Local) -> None:
    with Client(server.url, server.key) as client:
        question = Question(STORY, max_tokens=120, temperature=0)
        first, *events, last = client.stream(question)
        assert isinstance(first, Begun)
        [asked, answer] = client.conversation(first.conversation_id)["messages"]

    assert isinstance(last, Done)
    said = "".join(event.text for event in events if isinstance(event, Text))
    assert said
    assert last.reply["message"].startswith(said.strip())
    assert [asked["content"], answer["content"]] == [STORY, last.reply["message"]]
    assert server.count(f'GET /conversations/{first.conversation_id}/turns/{first.turn_id}/events HTTP/1.1" 200') > 2
