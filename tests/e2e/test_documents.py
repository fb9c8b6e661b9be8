"""Documents as a person at a terminal meets them: a real server, real files, a screen, Ctrl-C, a backup."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_terminal import COLOUR, PAI, Person, plain_environment
from tests.standins.processes import ROOT

LEASE = "Pets are allowed in the garden, and nowhere else, said the lease of 2023.\n"
RECIPE = "Simmer the lentils for twenty minutes with cumin and a bay leaf.\n"
PARTS = {"PAI_LLM": "tests.e2e.obedient", "PAI_EMBEDDER": "tests.e2e.patient", "PAI_RETRIEVER": "memory"}
PATIENCE_S = 60


class Served:
    """A home that a server serves."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home
        with (home.parent / f"{home.name}.log").open("w") as log:
            self._server = subprocess.Popen(
                [*PAI, "run", "--port", "0"],
                cwd=ROOT,
                env=plain_environment(PAI_HOME=str(home), **PARTS),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._log = Path(log.name)
        until((home / "server.json").exists, self.said)

    def said(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait(timeout=10)


def until(true: Callable[[], bool], otherwise: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path / "home")
    yield server
    server.stop()


def person_at(served: Served, folder: Path) -> Person:
    folder.mkdir(exist_ok=True)
    settings = {"PAI_HOME": str(served.home), "PAI_CONFIG_HOME": str(folder / "settings"), **PARTS}
    return Person(plain_environment(**settings), folder)


@pytest.fixture
def person(served: Served, tmp_path: Path) -> Person:
    return person_at(served, tmp_path / "person")


def write(person: Person, **texts: str) -> None:
    (person.folder / "papers").mkdir(exist_ok=True)
    for name, text in texts.items():
        (person.folder / "papers" / f"{name}.txt").write_text(text)


def states(person: Person) -> dict[str, str]:
    return {item["name"]: item["state"] for item in person.run_json("docs", "list")["items"]}


def test_a_screen_shows_what_came_of_each_file(person: Person) -> None:
    write(person, lease=LEASE, recipe=RECIPE)
    (person.folder / "papers" / "broken.pdf").write_text("%PDF-1.4 not one\n" * 10)

    with person.sit_at("docs", "add", "papers") as terminal:
        assert terminal.wait_for_end() == 1

    assert "✔ lease.txt  1 passage" in terminal.text
    assert "✘ broken.pdf" in terminal.text
    assert "1 of 3 did not make it:" in terminal.text
    assert "2 ready, 1 failed." in terminal.text
    assert all(len(line) <= 80 for line in terminal.text.splitlines())


def test_a_screen_lists_documents_in_eighty_columns(person: Person) -> None:
    write(person, lease=LEASE, **{"a-very-long-name-" * 6: RECIPE})
    person.run("docs", "add", "papers")

    with person.sit_at("docs", "list") as terminal:
        assert terminal.wait_for_end() == 0

    assert "state" in terminal.text.splitlines()[0]
    assert "lease.txt" in terminal.text
    assert "a-very-long-name-" in terminal.text


def test_a_screen_shows_the_words_that_were_searched_for(person: Person) -> None:
    write(person, lease=LEASE)
    person.run("docs", "add", "papers")

    with person.sit_at("search", "pets") as terminal:
        assert terminal.wait_for_end() == 0

    assert "1  lease.txt · " in terminal.text
    assert b"\x1b[1;33mPets" in terminal.raw
    assert COLOUR.search(terminal.raw)


def test_ctrl_c_leaves_what_was_sent_to_the_server(person: Person) -> None:
    go = person.folder / "go"
    write(person, slow=f"{LEASE} wait for {go}")

    with person.sit_at("docs", "add", "papers") as terminal:
        until(lambda: states(person).get("slow.txt") in ("reading", "embedding"))
        terminal.type("\x03")
        assert terminal.wait_for_end() == 130
    go.touch()
    until(lambda: states(person) == {"slow.txt": "ready"})

    assert "1 sent and not ready yet: the server goes on." in terminal.text
    assert person.run("docs", "add", "papers").stdout.startswith("already there\t")
    assert states(person) == {"slow.txt": "ready"}


def test_a_question_to_a_document_waits_until_it_is_ready(person: Person) -> None:
    go = person.folder / "go"
    write(person, slow=f"{LEASE} wait for {go}")

    with person.sit_at("ask", "--doc", "papers/slow.txt", "Are pets allowed in the garden?") as terminal:
        terminal.wait_for("slow.txt")
        go.touch()
        assert terminal.wait_for_end() == 0

    assert states(person) == {"slow.txt": "ready"}


def test_a_chat_lists_documents_and_answers_from_one(person: Person) -> None:
    write(person, lease=LEASE, recipe=RECIPE)
    person.run("docs", "add", "papers")

    with person.chat() as terminal:
        terminal.say("/docs", then="recipe.txt")
        terminal.say("/docs nothing.txt", then="There is no document 'nothing.txt'")
        terminal.say("/docs recipe.txt", then="It holds from the next message on.")
        terminal.say("What is simmered with the lentils for twenty minutes?", then="tokens:")
        assert "lease.txt" not in terminal.text.split("It holds")[1]


def test_a_watched_folder_is_kept_up_with(person: Person) -> None:
    write(person, lease=LEASE, old=RECIPE)
    watching = subprocess.Popen(
        [*PAI, "docs", "add", "--watch", "papers"],
        cwd=person.folder,
        env=dict(person.environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: states(person) == {"lease.txt": "ready", "old.txt": "ready"})
        write(person, lease=f"Changed. {LEASE}", new=f"{RECIPE} And salt.")
        (person.folder / "papers" / "old.txt").unlink()
        until(lambda: states(person) == {"lease.txt": "ready", "new.txt": "ready"})
        until(lambda: "Changed." in person.run("search", "pets").stdout)
    finally:
        watching.send_signal(signal.SIGINT)
        said = watching.communicate(timeout=PATIENCE_S)[1]
    assert watching.returncode == 130
    assert "− old.txt  removed" in said
    assert "Traceback" not in said


def test_restored_documents_are_found_again(served: Served, person: Person, tmp_path: Path) -> None:
    write(person, lease=LEASE, recipe=RECIPE)
    person.run("docs", "add", "papers")
    saved = person.run("backup", str(tmp_path / "saved.tar.gz"))

    settings = {**person.environment, "PAI_HOME": str(tmp_path / "other")}
    restored = subprocess.run(
        [*PAI, "restore", str(tmp_path / "saved.tar.gz")], env=settings, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert restored.returncode == 0, restored.stderr
    other = Served(tmp_path / "other")
    try:
        there = person_at(other, tmp_path / "elsewhere")
        until(lambda: set(states(there).values()) == {"ready"}, other.said)
        found = there.run("search", "pets")
    finally:
        other.stop()

    assert "2 of them documents" in saved.stdout
    assert "The search index is left out" in saved.stderr
    assert "2 of the documents are to be indexed anew" in restored.stderr
    assert LEASE.strip() in found.stdout


def test_the_welcome_says_how_to_add_documents(served: Served) -> None:
    until(lambda: "docs add" in served.said(), served.said)
