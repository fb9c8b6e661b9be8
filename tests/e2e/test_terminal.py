"""The terminal as people and programs use it: real processes, a real server, a model that does what the question says."""

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.obedient import MARKDOWN
from tests.e2e.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
PAI = [sys.executable, "-m", "pai"]
COLOUR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[\d;]*)?m")


def plain_environment(**more: str) -> dict[str, str]:
    """The environment of a person who has set nothing of PAI's or of colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "COV_")) and name != "NO_COLOR"}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "LANG": "C.UTF-8", **more}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that a server serves: its address and key are found there, as by anybody in the clone."""
    folder = tmp_path_factory.mktemp("home")
    log = folder / "server.log"
    environment = plain_environment(PAI_HOME=str(folder), PAI_LLM="tests.e2e.obedient")
    with log.open("w") as output:
        server = subprocess.Popen([*PAI, "run", "--port", "0"], cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "server.json").exists():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield folder
    finally:
        server.terminate()
        server.wait(timeout=10)


@dataclass
class Person:
    """Someone with settings of their own and a folder they are in."""

    environment: Mapping[str, str]
    folder: Path

    def run(self, *arguments: str, stdin: str | bytes = "", **more: str) -> "subprocess.CompletedProcess[str]":
        """Run `pai` from a program: pipes, no terminal."""
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(
            [*PAI, *arguments],
            input=given,
            capture_output=True,
            env={**self.environment, **more},
            cwd=self.folder,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def run_json(self, *arguments: str, stdin: str = "") -> Any:
        """Run `pai … --json`, which must succeed with one JSON value and nothing else."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def sit_at(self, *arguments: str, columns: int = 80, **more: str) -> Terminal:
        """Run `pai` on a terminal."""
        return Terminal(["-m", "pai", *arguments], {**self.environment, **more}, self.folder, columns=columns)

    def chat(self, *arguments: str, columns: int = 80, **more: str) -> Terminal:
        """Begin to chat, and wait until it is ready."""
        terminal = self.sit_at("chat", *arguments, columns=columns, **more)
        terminal.wait_for("\n>")
        return terminal


@pytest.fixture
def person(home: Path, tmp_path: Path) -> Person:
    settings = tmp_path / "settings"
    return Person(plain_environment(PAI_HOME=str(home), PAI_CONFIG_HOME=str(settings)), tmp_path)


# pai ask


def test_ask_prints_the_answer_and_nothing_else(person: Person) -> None:
    done = person.run("ask", "Hello", "there")
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: Hello there\n", "")


def test_ask_joins_the_question_and_what_is_piped_in(person: Person) -> None:
    done = person.run("ask", "What is this?", stdin="naïve\nfile 日本\n")
    assert done.stdout == "You said: What is this?\n\nnaïve\nfile 日本\n"


def test_ask_takes_its_question_from_a_pipe_alone(person: Person) -> None:
    assert person.run("ask", stdin="\ufeffHello").stdout == "You said: Hello\n"


def test_ask_prints_markdown_as_it_came_when_piped(person: Person) -> None:
    assert person.run("ask", "format", FORCE_COLOR="1").stdout == MARKDOWN + "\n"


def test_ask_prints_what_it_can_where_the_encoding_is_poor(person: Person) -> None:
    done = person.run("ask", "日本", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "You said: ??\n")


def test_ask_renders_markdown_on_a_terminal(person: Person) -> None:
    with person.sit_at("ask", "format") as terminal:
        assert terminal.wait_for_end() == 0
    assert "Some bold words and code:" in terminal.text
    assert "print('hello')" in terminal.text
    assert COLOUR.search(terminal.raw)


def test_ask_as_json_is_the_whole_reply(person: Person) -> None:
    reply = person.run_json("ask", "Hello")
    assert reply["message"] == "You said: Hello"
    assert reply["model"] == "obedient"
    assert reply["usage"] == {"input_tokens": 1, "output_tokens": 1}


def test_this_machine_is_reached_past_the_proxy(person: Person) -> None:
    assert person.run("ask", "Hello", HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9").returncode == 0


def test_ask_goes_on_with_a_conversation(person: Person) -> None:
    first = person.run_json("ask", "One")
    second = person.run_json("ask", "--conversation", first["conversation_id"][:13], "Two")
    third = person.run_json("ask", "-c", "Three")
    assert {reply["conversation_id"] for reply in (first, second, third)} == {first["conversation_id"]}
    assert third["usage"]["input_tokens"] == 5


def test_ask_chooses_model_and_system_prompt(person: Person) -> None:
    reply = person.run_json("ask", "--model", "other", "--system", "Be a pirate.", "who are you")
    assert (reply["model"], reply["message"]) == ("other", "Be a pirate.")


def test_ask_says_when_an_answer_was_cut_off(person: Person) -> None:
    done = person.run("ask", "cut")
    assert (done.returncode, done.stdout) == (0, "You said: cut\n")
    assert "cut off by the length limit" in done.stderr


def test_ask_gets_through_to_a_busy_model_without_asking_twice(person: Person) -> None:
    reply = person.run_json("ask", "be busy once, ask")
    assert reply["message"] == "You said: be busy once, ask"
    assert len(person.run_json("conversations", "show", reply["conversation_id"])["messages"]) == 2


def test_ask_fails_with_a_sentence_and_as_json_with_its_code(person: Person) -> None:
    done = person.run("ask", "--json", "be out of quota")
    error = json.loads(done.stdout)
    assert done.returncode == 1
    assert done.stderr == "Error: The quota of this model is used up.\n"
    assert (error["Code"], error["Status"]) == ("ModelQuotaSpent", 503)
    assert person.run_json("conversations", "show", error["conversation_id"])["messages"][0]["content"] == "be out of quota"


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        ((), {}, 2, "There is no question"),
        (("--max-tokens", "0", "Hi"), {}, 2, "max-tokens"),
        (("--max-tokens", "900000", "Hi"), {}, 2, "max_tokens"),
        (("--temperature", "nan", "Hi"), {}, 2, "can't be sent as JSON"),
        (("--preset", "nobody", "Hi"), {}, 2, "no preset 'nobody'"),
        (("--url", "ftp://x", "Hi"), {}, 2, "is not an address"),
        (("Hi",), {"PAI_API_KEY": "pai_wrong_key"}, 3, "pai use URL --key-file FILE"),
        (("Hi",), {"PAI_HOME": "/nowhere", "PAI_URL": "http://127.0.0.1:9"}, 3, "no API key for http://127.0.0.1:9"),
        (("--conversation", "00000000-0000-4000-8000-000000000000", "Hi"), {}, 4, "no such conversation"),
        (("--conversation", "zz", "Hi"), {}, 4, "No conversation's id begins with 'zz'"),
        (("--url", "http://127.0.0.1:9", "Hi"), {}, 1, "Nothing answers at http://127.0.0.1:9. Start it with `make run`"),
    ],
)
def test_the_exit_status_of_ask_tells_what_went_wrong(
    person: Person, arguments: tuple[str, ...], environment: dict[str, str], status: int, words: str
) -> None:
    done = person.run("ask", *arguments, **environment)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("stdin", "words"),
    [(b"\xff\xfe", "not UTF-8"), (b"x" * 1_000_001, "more than 1,000,000 bytes"), (b"x" * 900_000, "message")],
)
def test_ask_refuses_what_no_question_can_be(person: Person, stdin: bytes, words: str) -> None:
    done = person.run("ask", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_an_interrupted_ask_ends_with_130(person: Person) -> None:
    with person.sit_at("ask", f"wait for {person.folder / 'released'}") as terminal:
        terminal.wait_for_spinner()
        terminal.type("\x03")
        assert terminal.wait_for_end() == 130
        (person.folder / "released").touch()
    assert terminal.text.endswith("Interrupted.")


# pai chat


def test_a_conversation_is_held_with_slash_commands(person: Person) -> None:
    with person.chat() as terminal:
        terminal.say("My name is Ada.", then="You said: My name is Ada.")
        terminal.say("/title About Ada", then="Renamed.")
        terminal.say("/new", then="begins a new conversation")
        terminal.say("Something else", then="You said: Something else")
        terminal.say("/list Ada", then="1  ")
        terminal.say("/open 1", then="About Ada")
        terminal.say("/export exported.md", then="Saved in exported.md")
        terminal.say("And this?", then="tokens: 3 in")
        terminal.say("/delete", then="for good? [y/N]:")
        terminal.say("y", then="begins a new conversation.\n>")
        terminal.say("/quit", then="/quit")
        assert terminal.wait_for_end() == 0
    exported = person.folder / "exported.md"
    assert "My name is Ada." in exported.read_text()
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600


def test_a_mistyped_command_is_not_sent_to_the_model(person: Person) -> None:
    with person.chat() as terminal:
        terminal.say("/exprot", then="There is no /exprot. Did you mean /export?")
        terminal.say(" /etc/hosts, what is it?", then="You said: /etc/hosts, what is it?")


def test_system_prompt_preset_and_model_hold_from_the_next_message_on(person: Person) -> None:
    person.run("presets", "set", "brief", "--system", "Be brief.", "--model", "other")
    with person.chat() as terminal:
        terminal.say("/system Be a pirate.", then="next message on")
        terminal.say("who are you", then="Be a pirate.\n")
        terminal.say("/preset brief", then="next message on.\n>")
        terminal.say("who are you", then="Be brief.\nother")
        terminal.say("/new", then="new conversation.")
        terminal.say("/model obedient", then="next message on.\n>")
        terminal.say("Hello", then="You said: Hello\nobedient")


def test_ctrl_c_ends_the_wait_without_leaving_and_retry_fetches_the_answer(person: Person) -> None:
    released = person.folder / "released"
    with person.chat() as terminal:
        terminal.type(f"wait for {released}\r")
        terminal.wait_for_spinner()
        terminal.type("\x03")
        terminal.wait_for("The question is kept; /retry")
        released.touch()
        terminal.say("/retry", then="You said: wait for")
        terminal.say("/retry", then="no question without an answer")
        terminal.say("Still here", then="You said: Still here\nobedient · tokens: 3 in")


def test_a_failed_question_is_answered_by_retry_and_asked_once(person: Person) -> None:
    with person.chat() as terminal:
        terminal.say("be out of quota", then="The quota of this model is used up.")
        terminal.say("/model other", then="next message on")
        terminal.say("/retry", then="used up.\n>")
        terminal.say("Hello", then="You said: be out of quota\n\nHello\nother · tokens: 1 in")


def test_ctrl_d_leaves(person: Person) -> None:
    with person.chat() as terminal:
        terminal.type("\x04")
        assert terminal.wait_for_end() == 0


def test_what_is_typed_in_any_script_arrives(person: Person) -> None:
    with person.chat() as terminal:
        terminal.say("Grüße, 日本語, עברית, 👩‍🚀!", then="You said: Grüße")
    said = person.run_json("conversations", "search", "Grüße, 日本語, עברית, 👩‍🚀!")
    assert len(said["items"]) == 1


def test_a_pasted_text_of_many_lines_is_one_message(person: Person) -> None:
    with person.chat() as terminal:
        terminal.type("\x1b[200~first\n/quit\nthird\x1b[201~\r")
        terminal.wait_for("You said: first\n/quit\nthird")


def test_alt_enter_begins_a_new_line(person: Person) -> None:
    with person.chat() as terminal:
        terminal.type("first\x1b\rsecond\r")
        terminal.wait_for("You said: first\nsecond")


def test_tab_completes_a_command(person: Person) -> None:
    with person.chat() as terminal:
        terminal.type("/he\t\r")
        terminal.wait_for("leave; so does Ctrl-D")


def test_what_was_typed_comes_back_in_the_next_session(person: Person) -> None:
    with person.chat() as terminal:
        assert "What you type is kept in" in " ".join(terminal.text.split())
        terminal.say("Remember me", then="You said: Remember me")
    with person.chat() as terminal:
        assert "What you type is kept" not in terminal.text
        terminal.type("\x1b[A")
        terminal.wait_for("> Remember me")
    assert stat.S_IMODE((person.folder / "settings" / "history").stat().st_mode) == 0o600


@pytest.mark.parametrize("how", ["option", "settings"])
def test_nothing_typed_is_kept_when_history_is_off(person: Person, how: str) -> None:
    settings = person.folder / "settings"
    settings.mkdir()
    (settings / "config.toml").write_text("history = false" if how == "settings" else "")
    with person.chat(*(["--no-history"] if how == "option" else [])) as terminal:
        terminal.say("Forget me", then="You said: Forget me")
    assert not any(b"Forget me" in path.read_bytes() for path in settings.iterdir())


def test_no_color_is_respected(person: Person) -> None:
    with person.chat(NO_COLOR="1") as terminal:
        terminal.say("format", then="two")
        terminal.say("be out of quota", then="used up.")
        terminal.say("/list", then="1  ")
        terminal.say("/open 1", then="PAI · ")
    assert not COLOUR.search(terminal.raw)


def test_a_narrow_terminal_loses_no_words(person: Person) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    with person.chat("--no-history", columns=24, COLUMNS="80") as terminal:  # a shell may have exported an earlier size
        terminal.say(words, then="twelve\nobedient")
        shown = terminal.text.partition("You said:")[2].partition("obedient")[0]
        terminal.say("/help", then="the same\n>")
    assert shown.split() == words.split()


def test_an_answer_cannot_steer_the_terminal(person: Person) -> None:
    with person.chat() as terminal:
        terminal.say("control", then="[31mred and 2Jgone")
    assert b"\x1b[31mred" not in terminal.raw
    assert "\x9b".encode() not in terminal.raw


def test_a_chat_with_nobody_says_so_before_anything_is_typed(person: Person) -> None:
    with person.sit_at("chat", "--url", "http://127.0.0.1:9", PAI_API_KEY="pai_any_key") as terminal:
        assert terminal.wait_for_end() == 1
    assert "Nothing answers at http://127.0.0.1:9." in terminal.text


def test_chat_takes_lines_from_a_pipe(person: Person) -> None:
    done = person.run("chat", stdin="Hello\n\n/title Piped\n/title\n/system Be brief.\nwho are you\n/quit\nnever said\n")
    assert (done.returncode, done.stdout) == (0, "You said: Hello\nPiped\nBe brief.\n")


def test_the_first_failure_of_a_piped_chat_ends_it(person: Person) -> None:
    done = person.run("chat", stdin="Hello\n/open zz\nnever said\n")
    assert (done.returncode, done.stdout) == (4, "You said: Hello\n")
    assert "No conversation's id begins with 'zz'" in done.stderr


# pai conversations


def test_conversations_are_listed_searched_renamed_exported_and_deleted(person: Person) -> None:
    conversation_id = person.run_json("ask", "A word nobody else says: quokka")["conversation_id"]
    assert person.run_json("conversations", "rename", conversation_id, "Marsupials")["title"] == "Marsupials"
    found = person.run_json("conversations", "search", "QUOKKA")
    assert [(item["conversation_id"], item["title"]) for item in found["items"]] == [(conversation_id, "Marsupials")]
    assert "quokka" in found["items"][0]["match"]["excerpt"]
    assert person.run_json("conversations", "export", conversation_id)["messages"][1]["role"] == "assistant"
    receipt = person.run_json("conversations", "delete", "--yes", conversation_id)
    assert (receipt["deleted"], receipt["messages"]) == (True, 2)
    assert person.run("conversations", "show", conversation_id).returncode == 4


def test_a_piped_list_is_a_line_for_each_conversation(person: Person) -> None:
    conversation_id = person.run_json("ask", "Listed\tand\npiped")["conversation_id"]
    line = person.run("conversations", "list").stdout.splitlines()[0]
    assert re.fullmatch(rf"{conversation_id}\t\d{{4}}-\d\d-\d\d \d\d:\d\d\tListed and piped", line)


def test_a_list_goes_on_at_its_cursor(person: Person) -> None:
    ids = [person.run_json("ask", f"Number {number}")["conversation_id"] for number in range(3)]
    first = person.run_json("conversations", "list", "--limit", "2")
    second = person.run_json("conversations", "list", "--limit", "1", "--cursor", first["next_cursor"])
    everything = person.run_json("conversations", "list", "--all")
    assert [item["conversation_id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert [item["conversation_id"] for item in everything["items"]][:3] == ids[::-1]
    assert everything["next_cursor"] is None


def test_an_exported_file_is_not_replaced_unasked(person: Person) -> None:
    conversation_id = person.run_json("ask", "Keep this")["conversation_id"]
    target = person.folder / "kept.json"
    target.write_text("mine")
    refused = person.run("conversations", "export", conversation_id, "-o", str(target))
    assert (refused.returncode, target.read_text()) == (1, "mine")
    replaced = person.run("conversations", "export", conversation_id, "-o", str(target), "--force")
    assert (replaced.returncode, replaced.stdout) == (0, "")
    assert json.loads(target.read_text())["messages"][0]["content"] == "Keep this"


def test_an_export_to_a_full_disk_leaves_nothing(person: Person) -> None:
    conversation_id = person.run_json("ask", "Keep this")["conversation_id"]
    done = person.run("conversations", "export", conversation_id, "-o", "/proc/kept.md")
    assert done.returncode == 1
    assert "/proc/kept.md can't be written" in done.stderr


def test_nothing_is_deleted_without_a_yes(person: Person) -> None:
    conversation_id = person.run_json("ask", "Spare me")["conversation_id"]
    assert person.run("conversations", "delete", conversation_id).returncode == 2
    with person.sit_at("conversations", "delete", conversation_id[:13]) as terminal:
        terminal.wait_for("Delete the conversation 'Spare me' for good? [y/N]:")
        terminal.type("n\r")
        assert terminal.wait_for_end() == 1
    assert person.run("conversations", "show", conversation_id).returncode == 0


def test_a_shown_conversation_tells_who_said_what(person: Person) -> None:
    person.run("ask", "Hello")
    failed = json.loads(person.run("ask", "--json", "-c", "be out of quota").stdout)
    done = person.run("conversations", "show", failed["conversation_id"])
    assert [line for line in done.stdout.splitlines() if line and " · " not in line] == [
        "Hello",
        "Hello",
        "You said: Hello",
        "be out of quota",
    ]
    assert done.stderr == "No answer: The quota of this model is used up.\n"


# pai use, pai presets


def test_use_saves_an_address_with_its_key_and_never_prints_the_key(person: Person, home: Path) -> None:
    url = json.loads((home / "server.json").read_text())["url"]
    saved = person.run("use", url, "--key-file", str(home / "api-key"), PAI_HOME="/nowhere")
    shown = person.run("use", PAI_HOME="/nowhere")
    key = (home / "api-key").read_text().strip()
    assert saved.returncode == 0
    assert "It answers, and accepts the key" in saved.stderr
    assert url in shown.stdout
    assert key not in saved.stdout + saved.stderr + shown.stdout + shown.stderr
    assert person.run("ask", "Hello", PAI_HOME="/nowhere").stdout == "You said: Hello\n"


def test_use_takes_a_key_from_stdin_and_forgets_it(person: Person) -> None:
    url = "http://127.0.0.1:9"
    person.run("use", url, "--key-file", "-", stdin="pai_from_a_pipe\n")
    assert person.run_json("use")["saved"] == [url]
    assert person.run("use", "--forget", url).returncode == 0
    assert person.run_json("use")["saved"] == []


def test_use_saves_an_address_that_does_not_answer_yet_and_says_so(person: Person) -> None:
    done = person.run("use", "http://127.0.0.1:9", "--key", "pai_any_key")
    assert done.returncode == 0
    assert "But: Nothing answers at http://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--key", "pai_any_key"],
        ["--forget"],
        ["http://x", "--key", "a b"],
        ["http://u:p@x"],
        ["http://127.0.0.1:9", "--forget"],
    ],
)
def test_use_refuses_what_it_cannot_save(person: Person, arguments: list[str]) -> None:
    assert person.run("use", *arguments).returncode == 2
    assert person.run_json("use")["saved"] == []


def test_the_default_preset_is_a_saved_system_prompt(person: Person) -> None:
    person.run("presets", "set", "pirate", "--system-file", "-", stdin="Be a pirate.\n")
    person.run("presets", "default", "pirate")
    assert person.run("ask", "who are you").stdout == "Be a pirate.\n"
    assert person.run("ask", "--system", "Be brief.", "who are you").stdout == "Be brief.\n"
    assert person.run("ask", "--preset", "none", "who are you").stdout.startswith("You are PAI")
    assert person.run_json("presets", "list")["default"] == "pirate"
    person.run("presets", "rm", "pirate")
    assert person.run_json("presets", "list") == {"default": None, "items": []}
