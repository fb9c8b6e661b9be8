"""`pai run` and what surrounds it, as a person at a shell meets them: real processes, real signals, a folder of their own."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.standins.processes import ROOT

LAST_WORDS = "Ctrl-C stops it."
STOPS_WITHIN_S = 10
"""Far more than it takes; only a server that does not stop at all needs it."""

Start = Callable[..., "Running"]
Pai = Callable[..., "subprocess.CompletedProcess[str]"]


class Running:
    """A `pai run` of its own process group, ready to answer; `said` is what it printed until then."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.home = Path(environment["PAI_HOME"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pai", "run", "--port", "0", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.said = ""
        while LAST_WORDS not in self.said:
            line = self.process.stdout.readline()
            assert line, f"pai run ended before it was ready:\n{self.said}"
            self.said += line

    @property
    def url(self) -> str:
        return str(re.findall(r"PAI answers at (http://\S+)", self.said)[0])

    def chat(self, message: str, conversation_id: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {(self.home / 'api-key').read_text().strip()}"}
        body = {"message": message, **({"conversation_id": conversation_id} if conversation_id else {})}
        return httpx.post(f"{self.url}/chat", json=body, headers=headers, timeout=30).raise_for_status().json()

    def wait_for_messages(self, number: int) -> None:
        """Wait until the server has stored so many messages: then it is at work on the last one."""
        with closing(sqlite3.connect(f"file:{self.home / 'pai.sqlite3'}?mode=ro", uri=True)) as store:
            for _ in range(1000):
                if store.execute("SELECT count(*) FROM items WHERE sk LIKE 'M#%'").fetchone()[0] >= number:
                    return
                time.sleep(0.01)
        raise AssertionError(f"There were not {number} messages within 10 seconds.")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end and return the exit status; nothing of the process may be left."""
        status = self.process.wait(STOPS_WITHIN_S)
        with pytest.raises(ProcessLookupError):
            os.killpg(self.process.pid, 0)
        return status

    def rest(self) -> str:
        """What it printed after it was ready; it must have ended."""
        assert self.process.stdout
        with self.process.stdout as output:
            return output.read()


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a person whose home is in this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAI_", "AWS_"))}
    ours = {"PAI_HOME": str(folder / "home"), "PAI_CONFIG_HOME": str(folder / "config"), "PAI_LLM": "tests.e2e.obedient"}
    return {**kept, **ours}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return surroundings(tmp_path)


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has been served; to be copied, not changed."""
    running = Running((), surroundings(tmp_path_factory.mktemp("used")))
    running.chat("hello")
    running.stop()
    running.rest()
    return running.home


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start servers, with further arguments or variables; those still running at the end are killed."""
    started: list[Running] = []

    def start(*arguments: str, **variables: str) -> Running:
        started.append(Running(arguments, {**environment, **variables}))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()
        running.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def pai(environment: dict[str, str]) -> Pai:
    """Run a command to its end."""

    def pai(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "pai", *arguments],
            cwd=ROOT,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return pai


# Starting


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_printed_curl_line_gets_an_answer(start: Start) -> None:
    running = start()
    line = next(line for line in running.said.splitlines() if line.strip().startswith("curl "))

    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=30)

    assert json.loads(answer.stdout)["message"].startswith("You said: Hello")


def test_first_key_is_for_its_owner_alone_and_never_printed(start: Start) -> None:
    running = start()
    running.chat("hello")
    running.stop()

    key = running.home / "api-key"
    assert str(key) in running.said
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() not in running.said + running.rest()


def test_everything_in_the_home_is_for_its_owner_alone(start: Start) -> None:
    running = start()
    running.chat("hello")

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (running.home, *running.home.rglob("*"))}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_the_key_file_is_warned_of_once(start: Start) -> None:
    first = start()
    first.stop()
    second = start()

    assert "loses every conversation" in first.said
    assert "loses every conversation" not in second.said


def test_a_first_key_that_was_disabled_is_replaced(start: Start, pai: Pai) -> None:
    first = start()
    old = (first.home / "api-key").read_text()
    first.stop()
    assert pai("keys", "disable", "first").returncode == 0

    second = start()

    assert (second.home / "api-key").read_text() != old
    assert second.chat("hello")["message"] == "You said: hello"


def test_serving_other_machines_is_warned_of(start: Start, tmp_path: Path) -> None:
    open_to_all = start("--host", "0.0.0.0")
    private = start(PAI_HOME=str(tmp_path / "private"))

    assert "plain HTTP" in open_to_all.said
    assert "plain HTTP" not in private.said
    assert open_to_all.chat("hello")["message"] == "You said: hello"


def test_port_in_use_is_a_sentence_that_names_it(pai: Pai) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = pai("run", "--port", str(port))

    assert refused.returncode == 1
    assert f"Port {port} is in use" in refused.stderr
    assert f"PORT={port + 1}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_host_that_does_not_exist_is_a_sentence(pai: Pai) -> None:
    refused = pai("run", "--host", "no.such.host.invalid", "--port", "0")

    assert refused.returncode == 2
    assert "no address of this machine" in refused.stderr


def test_two_servers_on_one_home_are_refused(start: Start, pai: Pai) -> None:
    running = start()

    refused = pai("run", "--port", "0")

    assert refused.returncode == 1
    assert f"at {running.url} (process {running.process.pid})" in refused.stderr


def test_home_of_a_newer_pai_is_refused(pai: Pai, environment: dict[str, str]) -> None:
    home = Path(environment["PAI_HOME"])
    home.mkdir()
    (home / "home.json").write_text('{"format": 99}')

    refused = pai("run", "--port", "0")

    assert refused.returncode == 1
    assert "newer PAI" in refused.stderr


def test_lost_master_key_is_said_before_anyone_asks(used_home: Path, pai: Pai, environment: dict[str, str]) -> None:
    home = Path(environment["PAI_HOME"])
    shutil.copytree(used_home, home)
    (home / "master.key").unlink()

    refused = pai("run", "--port", "0")

    assert refused.returncode == 1
    assert "pai restore" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_backend_that_is_not_there_is_a_sentence(pai: Pai) -> None:
    refused = pai("run", "--port", "0", PAI_STORE="nowhere")

    assert refused.returncode == 1
    assert "PAI_STORE is 'nowhere'" in refused.stderr


# Stopping


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_signal_stops_everything(start: Start, number: int, status: int) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and so in what we start
    try:
        running = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    running.chat("hello")

    assert running.stop(number) == status
    assert "Traceback" not in running.rest()
    assert [path.name for path in running.home.glob("pai.sqlite3-*")] == []  # closed, so that the log is folded in


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a signal be given to one thread from outside")
def test_a_signal_that_another_thread_takes_stops_it_too(start: Start) -> None:
    running = start()
    threads = {int(entry.name) for entry in Path(f"/proc/{running.process.pid}/task").iterdir()} - {running.process.pid}
    os.kill(max(threads), signal.SIGTERM)
    assert running.ended() == 0


def test_interrupt_stops_a_background_job_that_was_told_to_ignore_it(start: Start) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running = start()
    finally:
        signal.signal(signal.SIGINT, before)

    assert (running.stop(signal.SIGINT), running.rest()) == (130, "")


def test_request_under_way_is_answered_before_it_stops(start: Start, tmp_path: Path) -> None:
    running = start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.chat, f"wait for {tmp_path / 'go'}")
        running.wait_for_messages(1)
        for _ in range(2):  # as `timeout` and make do
            running.process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()

        assert answer.result()["message"].startswith("You said: wait for")
    assert running.ended() == 0


def test_request_that_does_not_end_does_not_hold_it_up(start: Start, tmp_path: Path) -> None:
    running = start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(running.chat, f"wait for {tmp_path / 'never'}")
        running.wait_for_messages(1)

        assert running.stop(signal.SIGINT) == 130
        assert isinstance(answer.exception(), httpx.HTTPError)
    assert [path.name for path in running.home.glob("pai.sqlite3-*")] == []  # closed all the same


def test_conversation_goes_on_after_a_kill(start: Start) -> None:
    first = start()
    conversation_id = first.chat("remember me")["conversation_id"]
    first.process.kill()
    first.process.wait()

    second = start()

    answer = second.chat("who am I?", conversation_id)
    assert answer["usage"]["input_tokens"] == 3  # the stand-in counts the messages it was shown


# Backups


def test_conversation_is_readable_from_a_backup_in_another_home(start: Start, pai: Pai, tmp_path: Path) -> None:
    running = start()
    conversation_id = running.chat("remember me")["conversation_id"]

    saved = pai("backup", str(tmp_path / "saved.tar.gz"))
    running.chat("too late for the backup", conversation_id)
    restored = pai("restore", str(tmp_path / "saved.tar.gz"), PAI_HOME=str(tmp_path / "other"))

    assert (saved.returncode, restored.returncode) == (0, 0), saved.stderr + restored.stderr
    elsewhere = start(PAI_HOME=str(tmp_path / "other"))
    assert elsewhere.chat("who am I?", conversation_id)["usage"]["input_tokens"] == 3


def test_restore_over_a_running_server_is_refused(start: Start, pai: Pai, tmp_path: Path) -> None:
    running = start()
    pai("backup", str(tmp_path / "saved.tar.gz"))

    refused = pai("restore", str(tmp_path / "saved.tar.gz"), "--replace")

    assert refused.returncode == 1
    assert running.url in refused.stderr
    assert running.chat("still there?")["message"] == "You said: still there?"


def test_restore_says_where_the_old_home_went(start: Start, pai: Pai, tmp_path: Path) -> None:
    start().stop()
    pai("backup", str(tmp_path / "saved.tar.gz"))

    kept = pai("restore", str(tmp_path / "saved.tar.gz"))
    replaced = pai("restore", str(tmp_path / "saved.tar.gz"), "--replace", "--json")

    assert (kept.returncode, replaced.returncode) == (1, 0)
    assert "--replace" in kept.stderr
    assert (Path(json.loads(replaced.stdout)["moved_aside"]) / "master.key").exists()


# The doctor


def test_doctor_finds_nothing_wrong_with_a_running_server(start: Start, pai: Pai) -> None:
    running = start()

    seen = pai("doctor", "--json")

    findings = {finding["name"]: finding for finding in json.loads(seen.stdout)}
    assert {name for name, finding in findings.items() if not finding["ok"]} == set()
    assert seen.returncode == 0
    assert findings["server"]["detail"] == f"answers at {running.url}"


def test_doctor_looks_and_touches_nothing(pai: Pai, environment: dict[str, str]) -> None:
    pai("doctor")

    assert not Path(environment["PAI_HOME"]).exists()


@pytest.mark.parametrize(
    ("harm", "name", "words"),
    [
        (lambda home: home.chmod(0o755), "home", "chmod 700"),
        (lambda home: (home / "master.key").chmod(0o644), "home", "chmod 600"),
        (lambda home: (home / "master.key").write_text("not a key"), "master key", "pai restore"),
        (lambda home: (home / "pai.sqlite3").write_bytes(b"junk" * 4096), "store", "pai restore"),
        (lambda home: (home / "keys.json").write_text("{"), "api key", "pai restore"),
        (lambda home: (home / "api-key").write_text("pai_another"), "api key", "pai run"),
        (lambda home: (home / "home.json").write_text('{"format": 99}'), "home", "Update PAI"),
    ],
)
def test_doctor_names_what_is_wrong_and_what_to_do(
    used_home: Path, pai: Pai, environment: dict[str, str], harm: Callable[[Path], object], name: str, words: str
) -> None:
    home = Path(environment["PAI_HOME"])
    shutil.copytree(used_home, home)
    harm(home)

    seen = pai("doctor", "--json")

    wrong = [finding for finding in json.loads(seen.stdout) if not finding["ok"]]
    assert [finding["name"] for finding in wrong] == [name]
    assert words in wrong[0]["detail"] + wrong[0]["fix"]
    assert seen.returncode == 1


def test_doctor_notices_a_misspelt_variable_and_a_port_in_use(pai: Pai) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        seen = pai("doctor", "--port", str(other.getsockname()[1]), PAI_LMM="echo")

    assert "Nothing reads PAI_LMM" in seen.stdout
    assert re.search(r"✘ server: .*can't be had", seen.stdout)
    assert seen.returncode == 1
