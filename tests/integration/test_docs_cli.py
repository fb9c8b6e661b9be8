"""`pai docs`, `pai search` and `pai ask --doc` against a server: what is sent, what comes of it, and what is said of it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from chalicelib import wiring
from chalicelib.ingest.arrival import Arrival
from chalicelib.settings import Settings
from chalicelib.wiring import Parts
from pai.cli import main
from pai.client.errors import ClientError
from pai.client.wire import Place
from pai.documents.sending import Sender, Stopped
from pai.local.gateway import Gateway
from tests.contract.aws_standin import Answer, Request, refusing, serving
from tests.integration.conftest import SCRIPTED, Api, served
from tests.standins.processes import ROOT

LIBRARY = {**SCRIPTED, "PAI_RETRIEVER": "memory", "PAI_EMBEDDER": "hashed", "PAI_UPLOAD_BYTES": "100000"}
LEASE = "Pets are allowed in the garden, and nowhere else, said the lease of 2023.\n"
RECIPE = "Simmer the lentils for twenty minutes with cumin and a bay leaf.\n"


@dataclass
class Person:
    """Somebody at a shell, with an API key and a folder of files."""

    api: Api
    token: str
    folder: Path

    def run(self, *arguments: str, stdin: str = "") -> Result:
        environment = {
            "PAI_URL": self.api.url,
            "PAI_API_KEY": self.token,
            "PAI_CONFIG_HOME": str(self.folder / "settings"),
        }
        return CliRunner().invoke(main, list(arguments), env=environment, input=stdin)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def documents(self) -> list[dict[str, Any]]:
        return list(self.json("docs", "list")["items"])

    def results(self, *arguments: str) -> list[str]:
        return [file["result"] for file in json.loads(self.run("docs", "add", *arguments, "--json").stdout)["files"]]


@pytest.fixture
def library(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The product in memory, with documents and upload addresses that lead to it."""
    with served(gateway, LIBRARY, monkeypatch) as api:
        monkeypatch.setenv("PAI_PUBLIC_URL", api.url)
        yield Api(api.url, wiring.here())


@pytest.fixture
def person(library: Api, tmp_path: Path) -> Person:
    return Person(library, library.key("me")[1], tmp_path)


# Adding


def test_an_added_file_is_ready_and_can_be_searched(person: Person) -> None:
    added = person.run("docs", "add", person.file("lease.txt", LEASE))
    found = person.run("search", "are", "pets", "allowed")

    assert added.exit_code == 0, added.output
    assert added.stdout.split("\t")[0::2] == ["ready", "lease.txt"]
    assert added.stderr == "1 ready.\n"
    assert "lease.txt" in found.stdout
    assert LEASE.strip() in found.stdout


def test_a_folder_is_added_with_all_that_is_in_it(person: Person) -> None:
    person.file("papers/lease.txt", LEASE)
    person.file("papers/deep/recipe.md", RECIPE)
    person.file("papers/.hidden.txt", "hidden")
    person.file("papers/program.exe", "x")

    added = person.run("docs", "add", str(person.folder / "papers"))

    assert sorted(item["name"] for item in person.documents()) == ["lease.txt", "recipe.md"]
    assert "2 ready. Passed over: 1 hidden, 1 of a kind that PAI does not read (.exe)." in added.stderr


def test_a_file_is_sent_once(person: Person) -> None:
    path = person.file("lease.txt", LEASE)

    assert person.results(path) == ["ready"]
    assert person.results(path) == ["there"]
    os.utime(path, (1, 1))
    assert person.results(path) == ["there"]
    assert len(person.documents()) == 1


def test_the_same_file_sent_from_elsewhere_is_there_already(person: Person) -> None:
    first = person.file("lease.txt", LEASE)
    second = person.file("copy/lease.txt", LEASE)

    assert person.results(first) == ["ready"]
    assert person.results(second) == ["there"]
    assert len(person.documents()) == 1
    assert person.results(second) == ["there"]


def test_the_same_bytes_under_another_name_say_so(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    added = person.run("docs", "add", person.file("contract.txt", LEASE))

    assert "the same bytes as lease.txt" in added.stdout
    assert {item["name"]: bool(item["same_as"]) for item in person.documents()} == {"lease.txt": False, "contract.txt": True}


def test_a_changed_file_takes_the_place_of_its_earlier_self(person: Person) -> None:
    path = person.file("notes.txt", LEASE)
    person.run("docs", "add", path)
    [before] = person.documents()

    person.file("notes.txt", RECIPE)
    assert person.results(path) == ["ready"]

    [after] = person.documents()
    assert after["document_id"] != before["document_id"]
    assert [passage["text"] for passage in person.json("search", "lentils")["passages"]] == [RECIPE.strip()]


def test_a_changed_file_that_can_not_be_read_leaves_its_earlier_self(person: Person) -> None:
    path = person.file("notes.txt", LEASE)
    person.run("docs", "add", path)

    person.file("notes.txt", "%PDF-1.4 not one\n" * 10)
    failed = person.run("docs", "add", path)
    person.file("notes.txt", RECIPE)
    mended = person.results(path)

    assert failed.exit_code == 1
    assert "The earlier version stays." in failed.stdout
    assert mended == ["ready"]
    assert [item["state"] for item in person.documents()] == ["ready"]


def test_a_changed_file_that_lies_in_two_places_changes_in_one(person: Person) -> None:
    first, second = person.file("lease.txt", LEASE), person.file("copy/lease.txt", LEASE)
    person.results(first, second)

    person.file("copy/lease.txt", RECIPE)
    person.results(second)

    assert len(person.documents()) == 2
    assert LEASE.strip() in person.run("search", "pets").stdout


def test_a_file_that_fails_says_why_and_the_others_go_on(person: Person) -> None:
    broken = person.file("broken.pdf", "%PDF-1.4 not one\n" * 10)

    added = person.run("docs", "add", broken, person.file("lease.txt", LEASE))

    lines = {line.split("\t")[2]: line.split("\t") for line in added.stdout.splitlines()}
    assert added.exit_code == 1
    assert lines["lease.txt"][0] == "ready"
    assert lines["broken.pdf"][0] == "failed"
    assert lines["broken.pdf"][3].endswith(".")


def test_a_file_that_failed_is_tried_again_without_being_sent(person: Person) -> None:
    broken = person.file("broken.pdf", "%PDF-1.4 not one\n" * 10)

    assert person.results(broken) == ["failed"]
    assert person.results(broken) == ["failed"]
    assert len(person.documents()) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.txt", "", "is empty"),
        ("big.txt", "x" * 100_001, "100,000"),
        ("program", "a\0b", "does not read files of this kind"),
    ],
)
def test_what_can_not_become_a_document_is_not_sent(person: Person, name: str, text: str, words: str) -> None:
    added = person.run("docs", "add", person.file(name, text))

    assert added.exit_code == 1
    assert added.stdout.startswith("not sent\t")
    assert words in added.stdout
    assert person.documents() == []


def test_what_is_not_there_adds_nothing(person: Person) -> None:
    added = person.run("docs", "add", person.file("lease.txt", LEASE), str(person.folder / "nothing.pdf"))

    assert added.exit_code == 2
    assert "There is no file or folder" in added.stderr
    assert person.documents() == []


def test_a_link_that_leads_nowhere_is_told_and_the_others_go_on(person: Person) -> None:
    person.file("papers/lease.txt", LEASE)
    (person.folder / "papers" / "gone.txt").symlink_to(person.folder / "nowhere")

    added = person.run("docs", "add", str(person.folder / "papers"))

    assert added.exit_code == 1
    assert added.stdout.startswith("ready\t")
    assert "1 unreadable" in added.stderr


def test_nobody_need_wait(person: Person) -> None:
    added = person.run("docs", "add", "--no-wait", person.file("lease.txt", LEASE))

    assert (added.exit_code, added.stdout.split("\t")[0]) == (0, "sent")


def test_a_document_that_was_deleted_is_sent_again(person: Person) -> None:
    path = person.file("lease.txt", LEASE)
    person.run("docs", "add", path)
    person.run("docs", "rm", "--yes", "lease.txt")

    assert person.results(path) == ["ready"]


def test_many_files_at_once_are_all_there(person: Person) -> None:
    for number in range(30):
        person.file(f"many/{number}.txt", f"{LEASE} Number {number}.")

    assert person.results(str(person.folder / "many")) == ["ready"] * 30
    assert len(person.documents()) == 30


def test_a_deployment_without_documents_says_so(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served(gateway, SCRIPTED, monkeypatch) as api:
        person = Person(api, api.key("me")[1], tmp_path)
        for command in (["add", person.file("lease.txt", LEASE)], ["list"]):
            refused = person.run("docs", *command)
            assert refused.exit_code == 4
            assert "keeps no documents" in refused.stderr


# Looking


def test_the_list_in_a_pipe_has_everything_for_programs(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))
    [document] = person.documents()

    cells = person.run("docs", "list").stdout.rstrip("\n").split("\t")

    assert cells[:2] == [document["document_id"], "ready"]
    assert (cells[4], cells[-1]) == (str(len(LEASE)), "lease.txt")


def test_a_long_list_goes_on_where_it_ended(person: Person) -> None:
    for number in range(3):
        person.file(f"many/{number}.txt", f"{LEASE} Number {number}.")
    person.results(str(person.folder / "many"))

    first = person.json("docs", "list", "--limit", "2")
    rest = person.json("docs", "list", "--cursor", first["next_cursor"])

    assert (len(first["items"]), len(rest["items"])) == (2, 1)
    assert "--cursor" in person.run("docs", "list", "--limit", "2").stderr


@pytest.mark.parametrize("word", ["lease.txt", "LEASE.txt"])
def test_a_document_is_shown_by_its_name(person: Person, word: str) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    shown = person.run("docs", "show", word).stdout

    assert "name\tlease.txt" in shown
    assert "state\tready" in shown


def test_a_name_that_two_documents_have_is_refused_with_their_ids(person: Person) -> None:
    person.results(person.file("lease.txt", LEASE), person.file("other/lease.txt", RECIPE))

    refused = person.run("docs", "show", "lease.txt")

    assert refused.exit_code == 2
    for document in person.documents():
        assert document["document_id"] in refused.stderr
        assert person.run("docs", "show", document["document_id"]).exit_code == 0


def test_a_mistyped_name_is_guessed(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    refused = person.run("docs", "show", "laese.txt")

    assert refused.exit_code == 4
    assert "Did you mean 'lease.txt'" in refused.stderr


def test_another_owners_documents_are_not_there(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))
    [document] = person.documents()
    other = Person(person.api, person.api.key("anna")[1], person.folder / "anna")

    assert other.documents() == []
    for command in (["show"], ["rm", "--yes"], ["retry"]):
        assert other.run("docs", *command, document["document_id"]).exit_code == 4
    assert other.run("search", "pets").stdout == ""
    assert other.run("ask", "--doc", document["document_id"], "Pets?").exit_code == 4
    assert len(person.documents()) == 1


# Deleting and trying again


def test_deleting_gives_a_receipt_and_nothing_is_found_any_more(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    deleted = person.run("docs", "rm", "--yes", "lease.txt")

    assert deleted.exit_code == 0
    assert "1 version, 1 passage" in deleted.stderr
    assert "nothing is left" in deleted.stderr
    assert person.run("search", "pets").stdout == ""
    assert list(person.api.parts.platform.files.keys("")) == []


def test_deleting_asks_first(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    refused = person.run("docs", "rm", "lease.txt", stdin="y\n")

    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert len(person.documents()) == 1


def test_one_wrong_name_deletes_nothing(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    assert person.run("docs", "rm", "--yes", "lease.txt", "nothing").exit_code == 4
    assert len(person.documents()) == 1


def test_what_failed_is_tried_again(person: Person) -> None:
    person.run("docs", "add", person.file("broken.pdf", "%PDF-1.4 not one\n" * 10))

    named, failed = person.json("docs", "retry", "broken.pdf"), person.run("docs", "retry")

    assert [document["name"] for document in named] == ["broken.pdf"]
    assert failed.exit_code == 2


# Asking


def test_a_search_may_be_of_one_document(person: Person) -> None:
    person.results(person.file("lease.txt", LEASE), person.file("recipe.txt", RECIPE))

    found = person.json("search", "--doc", "recipe.txt", "--top-k", "1", "pets")

    assert [passage["name"] for passage in found["passages"]] == ["recipe.txt"]


def test_a_search_that_finds_nothing_says_whether_there_is_anything(person: Person) -> None:
    assert "There are no documents yet" in person.run("search", "pets").stderr

    person.results(person.file("empty.pdf", "%PDF-1.4 not one\n" * 10))

    assert "Nothing in the documents fits." in person.run("search", "pets").stderr


def test_a_question_to_a_document_that_failed_says_why(person: Person) -> None:
    person.run("docs", "add", person.file("broken.pdf", "%PDF-1.4 not one\n" * 10))
    [document] = person.documents()

    refused = person.run("ask", "--doc", document["document_id"], "Are pets allowed?")

    assert refused.exit_code != 0
    assert document["error"]["Message"] in refused.stderr


def test_a_question_to_a_file_brings_the_file_first(person: Person) -> None:
    path = person.file("lease.txt", LEASE)

    for _ in range(2):
        answer = person.run("ask", "--doc", path, "Are pets allowed?")
        assert answer.exit_code == 0, answer.output
        assert LEASE.strip() in str(person.api.llm.requests[-1])

    assert len(person.documents()) == 1


def test_a_question_to_a_file_that_can_not_be_read_is_not_asked(person: Person) -> None:
    refused = person.run("ask", "--doc", person.file("broken.pdf", "%PDF-1.4 not one\n" * 10), "Are pets allowed?")

    assert refused.exit_code == 1
    assert "broken.pdf" in refused.stderr
    assert person.api.llm.requests == []


def test_a_question_may_do_without_documents(person: Person) -> None:
    person.run("docs", "add", person.file("lease.txt", LEASE))

    reply = person.json("ask", "--no-docs", "Are pets allowed?")

    assert reply["retrieval"]["status"] == "off"
    assert person.run("ask", "--no-docs", "--doc", "lease.txt", "Pets?").exit_code == 2


def test_an_answer_is_followed_by_the_words_that_bear_it_out(person: Person) -> None:
    from tests.standins.scripted import says

    person.run("docs", "add", person.file("lease.txt", LEASE))
    person.api.llm.acts = [says("Pets are allowed in the garden, and nowhere else [1].")]

    answer = person.run("ask", "Are pets allowed in the garden?")

    assert answer.stdout.startswith("Pets are allowed in the garden, and nowhere else [1].\n\n[1] lease.txt: “")


# Backups, and the stage's own commands


@pytest.fixture
def home(tmp_path: Path) -> Parts:
    """A home on this machine with one document that is ready."""
    ours = Parts(on_disk(tmp_path / "home"))
    document = ours.documents.create("me", "lease.txt", content_type="text/plain", size_bytes=len(LEASE))
    ours.platform.files.put(document.key, io.BytesIO(LEASE.encode()), content_type="text/plain")
    ours.ingestion.arrived(Arrival(document.key, len(LEASE), "01"))
    assert ours.documents.row("me", document.id).state == "ready"
    return ours


def on_disk(home: Path) -> Settings:
    return Settings(store="sqlite", platform="local", retriever="memory", embedder="hashed", home=str(home))


def pai(home: Path | str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own: this one has the server's functions, and would do what is queued."""
    ours = {"PAI_HOME": str(home), "PAI_RETRIEVER": "memory", "PAI_EMBEDDER": "hashed", "PAI_LLM": "echo"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PAI_")}
    command = [sys.executable, "-m", "pai", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**kept, **ours, **variables}, capture_output=True, text=True, timeout=60, check=False
    )


def test_restored_documents_are_queued_to_be_indexed(home: Parts, tmp_path: Path) -> None:
    saved = pai(home.settings.home, "backup", str(tmp_path / "saved.tar.gz"), "--json")
    restored = pai(tmp_path / "other", "restore", str(tmp_path / "saved.tar.gz"), "--json")

    assert (saved.returncode, restored.returncode) == (0, 0), restored.stderr
    assert json.loads(saved.stdout)["documents"] == 1
    assert json.loads(restored.stdout)["documents_queued"] == 1
    there = Parts(on_disk(tmp_path / "other"))
    assert [row.state for row in there.documents.all("me")] == ["waiting"]
    assert there.platform.queue.waiting() == 1


def test_restoring_says_what_is_missing_where_documents_are_off(home: Parts, tmp_path: Path) -> None:
    pai(home.settings.home, "backup", str(tmp_path / "saved.tar.gz"))

    restored = pai(tmp_path / "other", "restore", str(tmp_path / "saved.tar.gz"), PAI_RETRIEVER="none")

    assert restored.returncode == 0
    assert "PAI_RETRIEVER is none" in restored.stderr
    assert "pai docs reindex" in restored.stderr


def test_restoring_succeeds_although_the_index_can_not_be_begun(home: Parts, tmp_path: Path) -> None:
    pai(home.settings.home, "backup", str(tmp_path / "saved.tar.gz"))

    restored = pai(tmp_path / "other", "restore", str(tmp_path / "saved.tar.gz"), PAI_EMBEDDER="nowhere")

    assert restored.returncode == 0
    assert "PAI_EMBEDDER is 'nowhere'" in restored.stderr


def test_a_home_is_indexed_anew_by_one_command(home: Parts) -> None:
    # The command is another process's: its index in memory is empty, as one that was lost.
    done = pai(home.settings.home, "docs", "reindex", "--json")

    assert json.loads(done.stdout) == {"emptied": False, "queued": 1}
    assert home.platform.queue.waiting() == 1


def test_the_doctor_lists_strays_and_puts_them_right(home: Parts) -> None:
    home.platform.files.put("documents/stray.txt", io.BytesIO(b"x"), content_type="text/plain")

    seen = pai(home.settings.home, "doctor", "--orphans")
    refused = pai(home.settings.home, "doctor", "--orphans", "--fix")
    fixed = pai(home.settings.home, "doctor", "--orphans", "--fix", "--yes")
    again = pai(home.settings.home, "doctor", "--orphans", "--json")

    assert (seen.returncode, refused.returncode, fixed.returncode) == (1, 2, 0)
    assert "documents/stray.txt\tdelete the file" in seen.stdout
    assert "--yes" in refused.stderr
    assert "documents/stray.txt" not in again.stdout


def test_the_doctor_looks_for_strays_only_where_there_are_documents(home: Parts) -> None:
    seen = pai(home.settings.home, "doctor", "--orphans", PAI_RETRIEVER="none")

    assert seen.returncode == 1
    assert "keeps no documents" in seen.stderr


def test_the_doctor_counts_what_is_indexed(home: Parts) -> None:
    findings = {finding["name"]: finding for finding in json.loads(pai(home.settings.home, "doctor", "--json").stdout)}

    assert findings["embedder"]["detail"] == "hashed, 256 dimensions"
    assert findings["documents"]["detail"].endswith("passages")


# Sending, over HTTP, where files really go


AWS = Settings(platform="aws", bucket="pai-dev-documents-123456789012")


def place(upload: Any) -> Place:
    return {"url": upload.url, "method": upload.method, "fields": dict(upload.fields), "headers": dict(upload.headers)}


def test_a_file_goes_to_s3_as_its_signed_form_wants(aws: str) -> None:
    files = Parts(AWS).platform.files
    upload = files.presign("documents/me/a.pdf", content_type="application/pdf", size_bytes=600_000, expires_s=60)
    progress: list[int] = []

    Sender().send(place(upload), "application/pdf", io.BytesIO(b"x" * 600_000), progress.append)

    stored = boto3.client("s3").get_object(Bucket=AWS.bucket, Key="documents/me/a.pdf")
    assert (stored["Body"].read(), stored["ContentType"]) == (b"x" * 600_000, "application/pdf")
    assert progress[-1] == 600_000
    assert progress == sorted(progress)


def sent_to(answer: Callable[[Request], Answer], method: str = "PUT") -> tuple[list[Request], ClientError | None]:
    """Send a file to a place that answers so; return what came there, and how it ended."""
    requests: list[Request] = []

    def keep(request: Request) -> Answer:
        requests.append(request)
        return answer(request)

    with serving(keep) as url:
        there: Place = {"url": f"{url}/x", "method": method, "headers": {"Content-Type": "text/plain"}}
        try:
            Sender().send(there, "text/plain", io.BytesIO(b"content"), lambda done_bytes: None)
        except ClientError as error:
            return requests, error
    return requests, None


def test_no_key_goes_with_a_file_and_its_length_is_told() -> None:
    requests, error = sent_to(lambda request: Answer(200))

    assert error is None
    [request] = requests
    assert request.body == b"content"
    assert request.headers["Content-Length"] == "7"
    assert "Authorization" not in request.headers
    assert "Transfer-Encoding" not in request.headers


def test_a_refusal_of_s3_is_a_sentence_and_not_tried_again() -> None:
    requests, error = sent_to(refusing("EntityTooLarge", 400))

    assert error is not None
    assert error.message == "The file is larger than it was announced."
    assert len(requests) == 1


def test_a_place_that_fails_is_tried_again() -> None:
    answers = [Answer(503), Answer(200)]

    requests, error = sent_to(lambda request: answers.pop(0))

    assert error is None
    assert [request.body for request in requests] == [b"content"] * 2


def test_sending_stops_when_it_is_told_to() -> None:
    sender = Sender()
    with serving(lambda request: Answer(200)) as url:
        there: Place = {"url": url, "method": "PUT"}
        with pytest.raises(Stopped):
            sender.send(there, "text/plain", io.BytesIO(b"x" * 10**6), lambda done_bytes: sender.stop())
