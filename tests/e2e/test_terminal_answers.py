"""Answers as they come to people at a terminal, and to programs: in words, cut, stopped, begun again."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.terminal import Terminal
from tests.e2e.test_terminal import PAI, plain_environment
from tests.standins.turns import Answer, Events, TurnsStandin, done, event, reply, text, turns_standin

QUOTE = {"marker": 1, "document_id": "D", "name": "lease.pdf", "page": 2, "quote": "No pets.", "score": 0.9}
LONG = "\n\n".join(f"Point {number} of many." for number in range(40))


class Desk:
    """A terminal in front of a server that does what the test says. `gates` are what its answers wait for."""

    def __init__(self, server: TurnsStandin, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.gates = [threading.Event() for _ in range(3)]
        self.environment = plain_environment(
            PAI_URL=server.url, PAI_API_KEY="pai_any_key", PAI_CONFIG_HOME=str(folder), PAI_HOME=str(folder / "none")
        )

    def sit_at(self, *arguments: str, **more: str) -> Terminal:
        return Terminal(["-m", "pai", *arguments], {**self.environment, **more}, self.folder, rows=24)

    def chat(self, **more: str) -> Terminal:
        terminal = self.sit_at("chat", "--no-history", **more)
        terminal.wait_for("\n>")
        return terminal

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PAI, *arguments], input=stdin, capture_output=True, text=True, env=self.environment, cwd=self.folder, check=False
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with turns_standin() as server:
        desk = Desk(server, tmp_path)
        yield desk
        for gate in desk.gates:
            gate.set()


def test_words_appear_while_they_are_made(desk: Desk) -> None:
    first, second, third = desk.gates
    state = event("state", {"state": "waking"}, "0")
    answer = "Pets are **welcome**. [1]\n\n- dogs\n- cats"
    desk.server.events = [
        Events(
            [
                state,
                first,
                text("Pets are **wel", "1"),
                second,
                text("come**.\n\n- dogs", "2"),
                third,
                done(answer, citations=[QUOTE]),
            ]
        )
    ]
    with desk.chat() as terminal:
        terminal.say("Pets?", then="database wakes up, which may take a minute.")
        first.set()
        terminal.wait_for("\nPets are **wel")
        assert "wakes up" not in terminal.text
        second.set()
        terminal.wait_for("\nPets are welcome.\n\n • dogs")
        third.set()
        terminal.wait_for("first word after")
        terminal.wait_for("\n\n>")
    shown = terminal.text.partition("> Pets?\n")[2]
    assert shown.startswith(
        "\nPets are welcome. [1]\n\n • dogs\n • cats\n\n[1] lease.pdf, p. 2: “No pets.”\nstandin · tokens: 1 in"
    )


def test_a_long_answer_grows_at_the_bottom_and_stands_there_once(desk: Desk) -> None:
    first, second, _ = desk.gates
    desk.server.events = [
        Events(
            [
                text("Begin.\n\n"),
                text(LONG),
                first,
                text("\n\nThe end"),
                second,
                done(f"Begin [1].\n\n{LONG}\n\nThe end.", citations=[QUOTE]),
            ]
        )
    ]
    with desk.chat() as terminal:
        terminal.say("Long?", then="Point 39 of many.")
        assert "Point 28 of many." in terminal.text
        first.set()
        terminal.wait_for("The end")
        second.set()
        terminal.wait_for("first word after")
    shown = terminal.whole_text
    counts = [shown.count(f"Point {number} of many.") for number in range(40)]
    assert counts == [1] * 40
    assert (shown.count("> Long?"), shown.count("Begin"), shown.count("Begin [1]."), shown.count("The end")) == (1, 1, 1, 1)


def test_an_answer_goes_on_after_a_cut_and_a_restart_of_the_server(desk: Desk) -> None:
    desk.server.events = [
        Events([text("One ", "1"), desk.gates[0]], then="cut"),
        Events([desk.gates[1], text("two.", "2"), done("One two.")]),
    ]
    with desk.chat() as terminal:
        terminal.say("Count.", then="\nOne")
        desk.server.end()
        terminal.wait_for("Nothing answers at")
        desk.server.start()
        terminal.wait_for_no("Nothing answers")
        desk.gates[1].set()
        terminal.wait_for("first word after")
    assert "> Count.\n\nOne two.\nstandin" in terminal.text


def test_ctrl_c_stops_the_answer_on_the_server_and_keeps_what_was_said(desk: Desk) -> None:
    desk.server.events = [Events([text("One two", "1"), desk.gates[0]]), Events([done("Three.")])]
    with desk.chat() as terminal:
        terminal.say("Count.", then="\nOne two")
        terminal.type("\x03")
        terminal.wait_for("\nStopped. /regenerate answers the question again.\n>")
        assert desk.server.stopped.is_set()
        assert terminal.text.count("One two") == 1
        terminal.say("/retry", then="no question without an answer")
        terminal.say("/regenerate", then="\nThree.\nstandin")
        terminal.say("And on.", then="And on.\n\nThree.\nstandin")
    assert [len(desk.server.requests("POST", end)) for end in ("/chat", "/regenerate")] == [2, 1]


def test_ctrl_c_twice_stops_and_does_not_leave(desk: Desk) -> None:
    desk.server.events = [Events([text("One two", "1"), desk.gates[0]])]
    with desk.chat() as terminal:
        desk.server.told = desk.gates[1]
        terminal.say("Count.", then="\nOne two")
        terminal.type("\x03")
        assert desk.server.stopped.wait(10)
        terminal.type("\x03")
        terminal.wait_for("\nStopped")
        terminal.say("/help", then="show this list")


def test_ctrl_c_before_the_first_word_leaves_the_question_to_retry(desk: Desk) -> None:
    desk.server.events = [Events([event("state", {"state": "running"}), desk.gates[0]]), Events([done("Three.")])]
    with desk.chat() as terminal:
        terminal.type("Count.\r")
        terminal.wait_for_spinner()
        while not desk.server.requests("GET", "/events"):
            terminal.wait_for_spinner()
        terminal.type("\x03")
        terminal.wait_for("Stopped. The question is kept; /retry asks it again.")
        assert desk.server.stopped.is_set()
        terminal.say("/retry", then="\nThree.\nstandin")
    first, second = desk.server.requests("POST", "/chat")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_an_answer_that_begins_again_is_shown_once(desk: Desk) -> None:
    desk.server.events = [
        Events(
            [
                text("Old words.", "1"),
                desk.gates[0],
                event("restart", {}, "2"),
                desk.gates[1],
                text("New words.", "3"),
                desk.gates[2],
                done("New words."),
            ]
        )
    ]
    with desk.chat() as terminal:
        terminal.say("Go.", then="\nOld words.")
        desk.gates[0].set()
        terminal.wait_for("The answer begins again.")
        desk.gates[1].set()
        terminal.wait_for("\nNew words.")
        desk.gates[2].set()
        terminal.wait_for("\nNew words.\nstandin")
    assert "Old words" not in terminal.whole_text
    assert "begins again" not in terminal.whole_text


def test_what_was_said_before_a_failure_stays_with_the_reason(desk: Desk) -> None:
    failed = event("failed", {"Code": "ModelRejected", "Message": "The model is tired."})
    desk.server.events = [Events([text("Half a sen", "1"), desk.gates[0], failed])]
    with desk.chat() as terminal:
        terminal.say("Go.", then="\nHalf a sen")
        desk.gates[0].set()
        terminal.wait_for("\nHalf a sen\nThe model is tired.\n>")


def test_a_window_made_smaller_loses_no_words(desk: Desk) -> None:
    desk.server.events = [
        Events(
            [
                text("one two three four\n\n", "1"),
                desk.gates[0],
                text("five", "2"),
                desk.gates[1],
                done("one two three four\n\nfive"),
            ]
        )
    ]
    with desk.chat() as terminal:
        terminal.say("Go.", then="\none two three four")
        terminal.resize(12, 24)
        desk.gates[0].set()
        terminal.wait_for("five")
        desk.gates[1].set()
        terminal.wait_for("first word")
    assert "one two\nthree four\n\nfive\nstandin" in terminal.text


def test_a_screen_that_can_not_be_drawn_on_gets_the_whole_answer(desk: Desk) -> None:
    desk.server.events = [Events([text("One ", "1"), text("two", "2"), done("One two.")])]
    with desk.sit_at("ask", "Count.", TERM="dumb") as terminal:
        assert terminal.wait_for_end() == 0
    assert terminal.text.endswith("One two.")
    assert terminal.whole_text.count("One") == 1
    assert b"\x1b[?2026h" not in terminal.raw


def test_an_interrupted_ask_stops_the_answer_and_ends_with_130(desk: Desk) -> None:
    desk.server.events = [Events([text("One two", "1"), desk.gates[0]])]
    with desk.sit_at("ask", "Count.") as terminal:
        terminal.wait_for("One two")
        terminal.type("\x03")
        assert terminal.wait_for_end() == 130
    assert terminal.text == "One two\nInterrupted."
    assert desk.server.stopped.is_set()


def test_ask_prints_json_alone_on_a_screen_too(desk: Desk) -> None:
    desk.server.events = [Events([text("One ", "1"), done("One two.")])]
    with desk.sit_at("ask", "--json", "Count.") as terminal:
        assert terminal.wait_for_end() == 0
    assert json.loads(terminal.text)["message"] == "One two."


def test_a_program_gets_the_final_answer_and_nothing_else_also_after_a_cut(desk: Desk) -> None:
    desk.server.events = [
        Events([text("One ", "1"), text("two", "2")[:-3]], then="cut"),
        Events([text("two", "2"), b"retry: 0\n"], held=True),
        Events([done("One **two** [1]", citations=[QUOTE])], held=True),
    ]
    finished = desk.run("ask", "Count.")
    assert (finished.returncode, finished.stdout, finished.stderr) == (
        0,
        "One **two** [1]\n\n[1] lease.pdf, p. 2: “No pets.”\n",
        "",
    )


def test_a_piped_chat_gets_final_answers(desk: Desk) -> None:
    desk.server.events = [Events([text("One ", "1"), done("One two.")])]
    finished = desk.run("chat", stdin="Count.\n/regenerate\n")
    assert (finished.returncode, finished.stdout) == (0, "One two.\nOne two.\n")


def test_a_new_system_prompt_goes_with_the_next_message_and_not_with_another_answer(desk: Desk) -> None:
    desk.run("chat", stdin="One.\n/system Be brief.\n/regenerate\nTwo.\nThree.\n")
    bodies = [request.body for request in desk.server.seen if request.path.endswith(("/chat", "/regenerate"))]
    assert [body.get("system_prompt") for body in bodies] == [None, None, "Be brief.", None]


def test_without_a_conversation_there_is_nothing_to_answer_again(desk: Desk) -> None:
    finished = desk.run("chat", stdin="/regenerate\n")
    assert finished.returncode != 0
    assert "There is no conversation yet" in finished.stderr


def test_the_exit_status_tells_why_an_answer_failed_in_the_middle(desk: Desk) -> None:
    failed = event("failed", {"Code": "GuardrailIntervened", "Message": "The guardrail refused."})
    desk.server.events = [Events([text("One ", "1"), failed])]
    finished = desk.run("ask", "--json", "Count.")
    error = json.loads(finished.stdout)
    assert (finished.returncode, error["Code"], error["Status"]) == (2, "GuardrailIntervened", 422)
    assert error["conversation_id"]
    assert finished.stderr == "Error: The guardrail refused.\n"


def test_a_server_that_answers_at_once_is_fine(desk: Desk) -> None:
    desk.server.chats = [Answer(200, reply("Hello."))]
    assert desk.run("ask", "Hi").stdout == "Hello.\n"


def used(input_tokens: int, dollars: float | None, known: float) -> dict[str, object]:
    tokens = {"input_tokens": input_tokens, "output_tokens": 678, "cache_read_tokens": 0, "cache_write_tokens": 0}
    return {"tokens": tokens, "turns": 3, "dollars": dollars, "dollars_known": known}


def test_usage_is_a_table_of_models_and_says_what_is_left_and_what_has_no_price(desk: Desk) -> None:
    left = {"limit": 2.0, "used": 0.5, "left": 1.5, "resets_at": "2026-02-01T00:00:00.000Z"}
    desk.server.usage = {
        "month": "2026-01",
        "models": [{"model": "big", **used(12_345, 0.1234, 0.1234)}, {"model": "own", **used(1, None, 0.0)}],
        "total": used(12_346, None, 0.1234),
        "budget": {"day": {}, "month": {"dollars": left}, "key": {"day": {}, "month": {}}},
        "prices": {"as_of": "2025-12-31", "unknown": ["own"]},
    }
    with desk.chat() as terminal:
        terminal.say("/usage 2026-01", then="$1.50 of $2.00 left this month")
    words = [line.split() for line in terminal.text.splitlines()]
    assert ["big", "3", "12,345", "678", "0", "0", "0.1234"] in words
    assert ["own", "3", "1", "678", "0", "0", "?"] in words
    assert ["total", "3", "12,346", "678", "0", "0", "0.1234", "+", "?"] in words
    assert "No price is known of own." in terminal.text
    assert "Prices are as of 2025-12-31." in terminal.text
    assert desk.server.requests("GET", "/usage?month=2026-01")


@pytest.mark.parametrize("usage", [{}, {"models": 5, "total": None, "prices": [], "month": None}, {"models": [5, {}]}])
def test_usage_of_another_shape_is_no_crash(desk: Desk, usage: dict[str, object]) -> None:
    desk.server.usage = usage
    finished = desk.run("chat", stdin="/usage\n")
    assert finished.returncode == 0
    assert "Traceback" not in finished.stderr


def test_ctrl_c_while_the_server_is_away_promises_nothing(desk: Desk) -> None:
    desk.server.events = [Events([text("One two", "1"), desk.gates[0]], then="cut"), Events([done("One two three.")])]
    with desk.chat() as terminal:
        terminal.say("Count.", then="\nOne two")
        desk.server.end()
        terminal.wait_for("Nothing answers at")
        terminal.type("\x03")
        terminal.wait_for("\nOne two\nStopped waiting. The question is kept; /retry fetches its answer.\n>")
        desk.server.start()
        terminal.say("/retry", then="\nOne two three.\nstandin")
