"""The routes of documents as their users meet them: a file is announced, sent, read, found, tried again and deleted."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest

import app as product
from chalicelib import wiring
from chalicelib.clock import seconds
from chalicelib.embedder import Purpose, Vector
from chalicelib.embedder.hashed import HashedEmbedder
from chalicelib.platform.local.queue import LocalQueue
from chalicelib.settings import Settings
from pai.local.gateway import Gateway
from tests.integration.conftest import DEPLOYMENTS, Api, served

LEASE = "Pets are allowed in the garden, and nowhere else, said the lease of 2023."
RECIPE = "Simmer the lentils for twenty minutes with cumin and a bay leaf."
BROKEN_PDF = b"%PDF-1.4 not one\n" * 10
UNKNOWN_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LONGEST_S = 20
LIBRARY = {"PAI_RETRIEVER": "memory", "PAI_EMBEDDER": __name__, "PAI_UPLOAD_BYTES": "100000"}

Json = dict[str, Any]


class PatientEmbedder(HashedEmbedder):
    """Waits with passages while a test wants it to: so long a document is being read."""

    def __init__(self) -> None:
        super().__init__(256)
        self.passages = 0
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def embed(self, texts: Sequence[str], purpose: Purpose) -> "Sequence[Vector[float]]":
        if purpose == "passage":
            self.passages += len(texts)
            self.begun.set()
            assert self.may_go_on.wait(LONGEST_S)
        return super().embed(texts, purpose)


def build(settings: Settings) -> PatientEmbedder:
    """Be the embedder that LIBRARY names."""
    return PatientEmbedder()


@dataclass
class Person:
    """Somebody with an API key of a deployment that keeps documents."""

    api: Api
    http: httpx.Client

    @property
    def embedder(self) -> PatientEmbedder:
        embedder = self.api.parts.embedder
        assert isinstance(embedder, PatientEmbedder)
        return embedder

    def announce(self, name: str = "lease.txt", size: int = len(LEASE), content_type: str = "text/plain") -> Json:
        return ok(self.http.post("/upload", json={"filename": name, "content_type": content_type, "bytes": size}), 201)

    def upload(self, content: str | bytes = LEASE, name: str = "lease.txt") -> str:
        """Announce a file and send it; return the document's id."""
        data = content.encode() if isinstance(content, str) else content
        announced = self.announce(name, len(data))
        assert send(announced, data).status_code == 201
        return str(announced["document_id"])

    def add(self, content: str | bytes = LEASE, name: str = "lease.txt") -> Json:
        """Upload a file, and return the document when it has been read."""
        return self.ended(self.upload(content, name))

    def get(self, document_id: str) -> Json:
        return ok(self.http.get(f"/documents/{document_id}"))

    def ended(self, document_id: str) -> Json:
        """Return a document that is ready or has failed, as it will be before long."""
        deadline = time.monotonic() + LONGEST_S
        while (document := self.get(document_id))["state"] not in ("ready", "failed"):
            assert time.monotonic() < deadline, document
            time.sleep(0.01)
        return document

    def listed(self) -> list[Json]:
        return list(ok(self.http.get("/documents"))["items"])

    def search(self, query: str, **members: Any) -> list[Json]:
        return list(ok(self.http.post("/search", json={"query": query, **members}))["passages"])

    def begin_reading(self) -> str:
        """Upload a file and return when it is being read, which goes on when `embedder.may_go_on` is set."""
        self.embedder.may_go_on.clear()
        self.embedder.begun.clear()
        document_id = self.upload("It is being read just now.", "long.txt")
        assert self.embedder.begun.wait(LONGEST_S)
        return document_id

    def settle(self) -> None:
        """Wait until nothing is left to do."""
        deadline = time.monotonic() + LONGEST_S
        while self.api.parts.platform.queue.waiting():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def files(self) -> list[str]:
        return [*self.api.parts.platform.files.keys("")]


def ok(reply: httpx.Response, status: int = 200) -> Json:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert isinstance(body, dict)
    return body


def send(announced: Json, content: Any, **headers: str) -> httpx.Response:
    """Send a file where its announcement says, without any key."""
    upload = announced["upload"]
    return httpx.request(upload["method"], upload["url"], headers={**upload["headers"], **headers}, content=content)


def refusal(reply: httpx.Response) -> tuple[int, str, str | None]:
    """Return status, code and the field that is wrong of a refusal, which says more in a sentence."""
    body = reply.json()
    assert body["RequestId"]
    assert body["Message"].endswith(".") or "field" in body
    return reply.status_code, body["Code"], body.get("field")


@pytest.fixture(params=["memory", "one machine"])
def api(request: pytest.FixtureRequest, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """The product with documents, and with upload addresses that lead to it."""
    environment = {**DEPLOYMENTS[request.param], **LIBRARY, "PAI_HOME": str(tmp_path / "home")}
    with served(gateway, environment, monkeypatch) as api:
        monkeypatch.setenv("PAI_PUBLIC_URL", api.url)
        parts = wiring.here()
        yield Api(api.url, parts)
        assert isinstance(parts.embedder, PatientEmbedder)
        parts.embedder.may_go_on.set()
        assert isinstance(parts.platform.queue, LocalQueue)
        parts.platform.queue.stop(grace_s=LONGEST_S)


@pytest.fixture
def person(api: Api) -> Iterator[Person]:
    with api.client("me") as http:
        yield Person(api, http)


@pytest.fixture
def anna(api: Api) -> Iterator[Person]:
    with api.client("anna") as http:
        yield Person(api, http)


@pytest.fixture
def in_memory(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Somebody of the product in memory, for what does not depend on the parts."""
    with served(gateway, {**DEPLOYMENTS["memory"], **LIBRARY}, monkeypatch) as first:
        monkeypatch.setenv("PAI_PUBLIC_URL", first.url)
        api = Api(first.url, wiring.here())
        with api.client("me") as http:
            yield Person(api, http)
        assert isinstance(api.parts.platform.queue, LocalQueue)
        api.parts.platform.queue.stop(grace_s=LONGEST_S)


# Announcing a file


def test_an_announced_file_is_given_a_place_to_go_to(person: Person) -> None:
    announced = person.announce("lease.txt", 73, "text/plain; charset=utf-8")

    assert announced.keys() == {"document_id", "upload", "expires_at"}
    assert announced["upload"].keys() == {"url", "method", "headers"}
    assert announced["upload"]["url"].startswith(f"{person.api.url}/uploads/")
    assert announced["upload"]["method"] == "PUT"
    assert announced["upload"]["headers"] == {"Content-Type": "text/plain; charset=utf-8"}
    assert 3000 < seconds(announced["expires_at"]) - time.time() <= 3600
    waiting = person.get(announced["document_id"])
    assert [waiting[name] for name in ("name", "state", "bytes", "content_type")] == [
        "lease.txt",
        "waiting",
        73,
        "text/plain; charset=utf-8",
    ]


def test_a_file_without_a_type_is_bytes(person: Person) -> None:
    announced = ok(person.http.post("/upload", json={"filename": "lease.txt", "bytes": 3}), 201)
    assert announced["upload"]["headers"] == {"Content-Type": "application/octet-stream"}


NAMES = {
    "C:\\Users\\me\\lease.txt": "lease.txt",
    "../../etc/passwd.txt": "passwd.txt",
    " März 🐈.txt ": "März 🐈.txt",
    "Scan 9.41\u202fAM.pdf": "Scan 9.41\u202fAM.pdf",  # as macOS names it
    "👩\u200d🔬.txt": "👩\u200d🔬.txt",
    "a" * 251 + ".txt": "a" * 251 + ".txt",
    ".txt": ".txt",
}


def test_a_document_has_the_name_of_its_file_without_the_way_to_it(in_memory: Person, subtests: pytest.Subtests) -> None:
    for given, name in NAMES.items():
        with subtests.test(given=given):
            assert in_memory.get(in_memory.announce(given)["document_id"])["name"] == name


def announcement(**members: Any) -> Json:
    return {"filename": "a.txt", "content_type": "text/plain", "bytes": 3} | members


BAD_ANNOUNCEMENTS: list[tuple[Json, int, str]] = [
    ({"filename": None}, 400, "filename"),
    ({"filename": ""}, 400, "filename"),
    ({"filename": " \t"}, 400, "filename"),
    ({"filename": 7}, 400, "filename"),
    ({"filename": ["a.txt"]}, 400, "filename"),
    ({"filename": "/"}, 400, "filename"),
    ({"filename": ".."}, 400, "filename"),
    ({"filename": "a\nb.txt"}, 400, "filename"),
    ({"filename": "a\0b.txt"}, 400, "filename"),
    ({"filename": "a\u202etxt.exe"}, 400, "filename"),
    ({"filename": "\ud800.txt"}, 400, "filename"),
    ({"filename": "a" * 252 + ".txt"}, 413, "filename"),
    ({"filename": "🐈" * 251}, 413, "filename"),
    ({"content_type": 7}, 400, "content_type"),
    ({"content_type": ""}, 400, "content_type"),
    ({"content_type": "pdf"}, 400, "content_type"),
    ({"content_type": "text/plain\r\nX-Evil: 1"}, 400, "content_type"),
    ({"content_type": "text/ä"}, 400, "content_type"),
    ({"content_type": "image/png"}, 400, "content_type"),
    ({"content_type": "IMAGE/PNG"}, 400, "content_type"),
    ({"content_type": "video/mp4"}, 400, "content_type"),
    ({"content_type": f"text/{'x' * 300}"}, 413, "content_type"),
    ({"bytes": None}, 400, "bytes"),
    ({"bytes": 0}, 400, "bytes"),
    ({"bytes": -1}, 400, "bytes"),
    ({"bytes": 1.5}, 400, "bytes"),
    ({"bytes": "3"}, 400, "bytes"),
    ({"bytes": True}, 400, "bytes"),
    ({"bytes": 100_001}, 413, "bytes"),
    ({"bytes": 2**70}, 400, "bytes"),
]


def test_a_bad_announcement_names_the_field_and_leaves_nothing(in_memory: Person, subtests: pytest.Subtests) -> None:
    for members, status, field in BAD_ANNOUNCEMENTS:
        with subtests.test(members=members):
            reply = in_memory.http.post("/upload", content=json.dumps(announcement(**members)))
            assert refusal(reply) == (status, "TooLarge" if status == 413 else "BadRequest", field)
            assert field in reply.json()["Message"]
    assert in_memory.listed() == []


def test_what_is_no_announcement_is_refused(in_memory: Person, subtests: pytest.Subtests) -> None:
    for body in (b"", b"{", b"[]", b'"lease.txt"', b"\xff"):
        with subtests.test(body=body):
            assert refusal(in_memory.http.post("/upload", content=body))[:2] == (400, "BadRequest")


def test_a_file_of_just_the_largest_size_may_come(in_memory: Person) -> None:
    text = (LEASE + "\n") * 2000
    assert in_memory.add(text[:100_000])["state"] == "ready"


# Sending it


def test_a_file_that_is_sent_becomes_a_document(person: Person) -> None:
    document = person.add(LEASE, "lease.txt")

    created, updated = document.pop("created_at"), document.pop("updated_at")
    assert seconds(created) < seconds(updated)
    assert document == {
        "document_id": document["document_id"],
        "name": "lease.txt",
        "state": "ready",
        "content_type": "text/plain",
        "bytes": len(LEASE),
        "pages": None,
        "chunks": 1,
        "characters": len(LEASE),
        "skipped_pages": [],
        "language": "en",
        "title": document["title"],
        "progress": {"parts_done": 1, "parts": 1},
        "error": None,
        "same_as": None,
    }
    assert [passage["text"] for passage in person.search("pets")] == [LEASE]


def test_an_answer_to_a_file_says_it_was_received(person: Person) -> None:
    reply = send(person.announce(), LEASE.encode())
    assert (reply.status_code, reply.json()) == (201, {"status": "received"})


def test_a_file_may_be_smaller_than_announced_and_come_in_pieces(person: Person) -> None:
    announced = person.announce("lease.txt", 1000)
    assert send(announced, iter([LEASE[:10].encode(), LEASE[10:].encode()])).status_code == 201
    assert person.ended(announced["document_id"])["state"] == "ready"
    assert person.search("pets")[0]["text"] == LEASE


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_file_larger_than_announced_is_refused_and_not_kept(person: Person, in_pieces: bool) -> None:
    announced = person.announce("lease.txt", 10)
    content: Any = iter([b"x" * 6, b"x" * 5]) if in_pieces else b"x" * 11
    assert refusal(send(announced, content)) == (413, "TooLarge", "body")
    assert (person.files(), person.get(announced["document_id"])["state"]) == ([], "waiting")


def test_a_file_of_another_type_than_announced_is_refused_and_not_kept(person: Person) -> None:
    announced = person.announce("lease.txt")
    for content_type in ("text/html", "text/plain; charset=utf-8", "application/octet-stream", ""):
        refused = send(announced, LEASE.encode(), **{"Content-Type": content_type})
        assert refusal(refused) == (400, "BadRequest", "Content-Type"), content_type
    assert (person.files(), person.get(announced["document_id"])["state"]) == ([], "waiting")


def test_an_empty_file_is_refused(person: Person) -> None:
    assert refusal(send(person.announce(), b"")) == (400, "BadRequest", "body")
    assert person.files() == []


def raw(announced: Json, length: int, content: str) -> bytes:
    """Say how long a file is, send this much of it and nothing more; return the answer."""
    address = urlsplit(announced["upload"]["url"])
    head = f"PUT {address.path} HTTP/1.1\r\nHost: pai\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=LONGEST_S) as line:
        line.sendall((head + content).encode())
        line.shutdown(socket.SHUT_WR)
        return line.makefile("rb").read()


def test_a_file_that_breaks_off_half_way_is_not_kept_and_can_be_sent_again(person: Person) -> None:
    announced = person.announce("lease.txt")

    assert raw(announced, len(LEASE), LEASE[:20]).startswith(b"HTTP/1.1 400 ")

    assert (person.files(), person.get(announced["document_id"])["state"]) == ([], "waiting")
    assert send(announced, LEASE.encode()).status_code == 201
    assert person.ended(announced["document_id"])["state"] == "ready"


def test_a_file_that_says_it_is_larger_than_announced_is_refused_before_it_comes(in_memory: Person) -> None:
    assert raw(in_memory.announce("lease.txt", 10), 11, "").startswith(b"HTTP/1.1 413 ")


def changed(token: str, **claims: Any) -> str:
    """Return a token that says something else under the same signature."""
    said, _, signature = token.partition(".")
    grant = json.loads(base64.urlsafe_b64decode(said + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(grant | claims).encode()).decode().rstrip("=")
    return f"{forged}.{signature}"


def test_a_forged_address_is_refused(person: Person) -> None:
    announced = person.announce()
    place, _, token = announced["upload"]["url"].rpartition("/")
    other = person.announce()["upload"]["url"].rpartition(".")[2]
    forged = [
        changed(token, size_bytes=10**6),
        changed(token, expires_s=time.time() + 10**6),
        changed(token, key=f"documents/anna/{UNKNOWN_ID}.txt"),
        changed(token, content_type="text/html"),
        f"{token.partition('.')[0]}.{other}",
        f"{token.partition('.')[0]}.",
        token[:-4],
        f".{token}",
        "x",
        "%C3%A4.%00",
    ]
    for address in forged:
        reply = httpx.put(f"{place}/{address}", headers=announced["upload"]["headers"], content=LEASE.encode())
        assert refusal(reply) == (403, "Forbidden", None), address
    assert person.files() == []


def test_an_address_that_has_expired_is_refused(person: Person) -> None:
    key = f"documents/me/{UNKNOWN_ID}.txt"
    late = person.api.parts.platform.files.presign(key, content_type="text/plain", size_bytes=100, expires_s=0)
    reply = httpx.put(late.url, headers=dict(late.headers), content=LEASE.encode())
    assert refusal(reply) == (403, "Forbidden", None)
    assert "expired" in reply.json()["Message"]
    assert person.files() == []


def test_an_address_takes_nothing_but_a_file(person: Person) -> None:
    url = person.announce()["upload"]["url"]
    for method in ("GET", "POST", "DELETE"):
        assert refusal(person.http.request(method, url)) == (405, "MethodNotAllowed", None)


def test_a_file_that_is_sent_twice_is_read_once(person: Person) -> None:
    announced = person.announce()
    for _ in range(2):
        assert send(announced, LEASE.encode()).status_code == 201
        assert person.ended(announced["document_id"])["state"] == "ready"
    person.settle()
    assert person.embedder.passages == 1
    assert len(person.listed()) == 1
    assert person.get(announced["document_id"])["state"] == "ready"


def test_another_file_sent_to_the_same_address_takes_the_place_of_the_first(person: Person) -> None:
    announced = person.announce("notes.txt", 100)
    for text in (LEASE, RECIPE):
        assert send(announced, text.encode()).status_code == 201
        person.settle()
    assert person.ended(announced["document_id"])["state"] == "ready"
    assert [passage["text"] for passage in person.search("pets")] == [RECIPE]


def test_a_file_that_comes_after_its_document_was_deleted_is_not_kept(person: Person) -> None:
    announced = person.announce()
    ok(person.http.delete(f"/documents/{announced['document_id']}"))
    send(announced, LEASE.encode())
    person.settle()
    assert (person.listed(), person.files()) == ([], [])


def test_a_file_that_can_not_be_read_says_why(person: Person) -> None:
    failed = person.add(BROKEN_PDF, "broken.pdf")
    assert (failed["state"], failed["chunks"]) == ("failed", 0)
    assert failed["error"]["Code"] == "DocumentCorrupt"
    assert failed["error"]["Message"].endswith(".")
    assert failed["error"].keys() == {"Code", "Message", "page"}
    assert person.search("not one") == []


def test_a_file_of_an_unknown_kind_says_so(person: Person) -> None:
    failed = person.add(b"\x7fELF\0\1\2\3" * 20, "program.bin")
    assert (failed["state"], failed["error"]["Code"]) == ("failed", "DocumentUnsupported")
    assert failed["error"]["Message"].endswith(".")


def test_ten_uploads_of_the_same_bytes_at_once_are_read_once(person: Person) -> None:
    names = [f"copy {number}.txt" for number in range(10)]
    with ThreadPoolExecutor(10) as threads:
        ids = list(threads.map(lambda name: person.upload(LEASE, name), names))

    documents = [person.ended(document_id) for document_id in ids]

    assert [document["name"] for document in documents] == names
    assert {(document["state"], document["chunks"]) for document in documents} == {("ready", 1)}
    [original] = [document["document_id"] for document in documents if not document["same_as"]]
    assert [document["same_as"] for document in documents if document["same_as"]] == [original] * 9
    assert person.embedder.passages == 1
    assert [passage["document_id"] for passage in person.search("pets")] == [original]


# Looking


def test_the_list_shows_every_document_newest_first_page_by_page(person: Person) -> None:
    for number in range(5):
        person.announce(f"{number}.txt")
    pages: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        pages.append(ok(person.http.get("/documents", params={"limit": "2", **({"cursor": cursor} if cursor else {})})))
        cursor = pages[-1]["next_cursor"]

    assert [[item["name"] for item in page["items"]] for page in pages] == [["4.txt", "3.txt"], ["2.txt", "1.txt"], ["0.txt"]]
    listed = [item for page in pages for item in page["items"]]
    assert listed == person.listed()
    assert listed == [person.get(item["document_id"]) for item in listed]


def test_a_list_that_just_fits_has_no_next_page(person: Person) -> None:
    assert ok(person.http.get("/documents")) == {"items": [], "next_cursor": None}
    person.announce()
    assert ok(person.http.get("/documents?limit=1"))["next_cursor"] is None


def test_a_page_goes_on_behind_a_document_that_was_deleted_meanwhile(person: Person) -> None:
    for number in range(3):
        person.announce(f"{number}.txt")
    page = ok(person.http.get("/documents?limit=2"))
    ok(person.http.delete(f"/documents/{page['items'][1]['document_id']}"))
    rest = ok(person.http.get("/documents", params={"cursor": page["next_cursor"]}))
    assert [item["name"] for item in rest["items"]] == ["0.txt"]


def test_a_bad_page_is_refused_by_its_name(in_memory: Person, subtests: pytest.Subtests) -> None:
    limits, cursors = ("0", "-1", "101", "1.5", "many", "", "１", "9" * 30), ("ä", "!", "x", "gICA", "A" * 5)
    for parameter, value in [*(("limit", limit) for limit in limits), *(("cursor", cursor) for cursor in cursors)]:
        with subtests.test(parameter=parameter, value=value):
            reply = in_memory.http.get("/documents", params={parameter: value})
            assert refusal(reply) == (400, "BadRequest", parameter)


def test_a_document_that_is_being_read_shows_so(person: Person) -> None:
    document_id = person.begin_reading()
    shown = person.get(document_id)
    assert (shown["state"], shown["progress"], shown["chunks"]) == ("embedding", {"parts_done": 0, "parts": 1}, 0)
    person.embedder.may_go_on.set()
    assert person.ended(document_id)["progress"] == {"parts_done": 1, "parts": 1}


# Deleting


def test_deleting_gives_a_receipt_and_nothing_is_left(person: Person) -> None:
    document_id = person.add()["document_id"]

    receipt = ok(person.http.delete(f"/documents/{document_id}"))

    assert seconds(receipt.pop("deleted_at"))
    assert receipt.pop("postings") > 5
    assert receipt == {
        "document_id": document_id,
        "name": "lease.txt",
        "deleted": True,
        "versions": 1,
        "chunks": 1,
        "aliases": 0,
        "verified": True,
    }
    assert (person.listed(), person.search("pets"), person.files()) == ([], [], [])


def test_what_was_deleted_can_not_be_deleted_again(person: Person) -> None:
    document_id = person.announce()["document_id"]
    ok(person.http.delete(f"/documents/{document_id}"))
    assert refusal(person.http.delete(f"/documents/{document_id}")) == (404, "DocumentNotFound", None)


def test_a_document_may_be_deleted_while_it_is_read(person: Person) -> None:
    document_id = person.begin_reading()

    assert ok(person.http.delete(f"/documents/{document_id}"))["deleted"]
    person.embedder.may_go_on.set()
    person.settle()

    assert (person.listed(), person.search("read"), person.files()) == ([], [], [])
    assert list(person.api.parts.retriever.inventory()) == []


def test_deleting_the_one_that_was_read_leaves_its_copies_to_be_found(person: Person) -> None:
    original, copy = person.add(LEASE, "lease.txt"), person.add(LEASE, "copy.txt")
    assert copy["same_as"] == original["document_id"]

    assert ok(person.http.delete(f"/documents/{original['document_id']}"))["aliases"] == 1
    person.settle()

    assert person.ended(copy["document_id"])["same_as"] is None
    assert [passage["name"] for passage in person.search("pets")] == ["copy.txt"]


# Trying again


def test_a_document_that_failed_is_read_again(person: Person) -> None:
    document_id = person.add(BROKEN_PDF, "broken.pdf")["document_id"]
    [key] = person.files()

    waiting = ok(person.http.post(f"/documents/{document_id}/retry"), 202)
    assert (waiting["document_id"], waiting["state"], waiting["error"]) == (document_id, "waiting", None)
    assert person.ended(document_id)["error"]["Code"] == "DocumentCorrupt"

    person.api.parts.platform.files.delete(key)
    ok(person.http.post(f"/documents/{document_id}/retry"), 202)
    assert person.ended(document_id)["error"]["Code"] == "DocumentLost"


def test_a_document_that_is_ready_is_not_read_again(person: Person) -> None:
    before = person.add()
    assert ok(person.http.post(f"/documents/{before['document_id']}/retry"), 202) == before
    person.settle()
    assert person.get(before["document_id"]) == before
    assert person.embedder.passages == 1


def test_a_document_that_is_being_read_can_not_be_tried_again(person: Person) -> None:
    document_id = person.begin_reading()
    reply = person.http.post(f"/documents/{document_id}/retry")
    assert refusal(reply) == (409, "DocumentBusy", None)
    assert int(reply.headers["Retry-After"]) > 0
    person.embedder.may_go_on.set()
    assert person.ended(document_id)["state"] == "ready"


def test_trying_a_file_again_that_never_came_says_that_it_is_not_there(person: Person) -> None:
    document_id = person.announce()["document_id"]
    ok(person.http.post(f"/documents/{document_id}/retry"), 202)
    assert person.ended(document_id)["error"]["Code"] == "DocumentLost"


# Passages


def test_a_passage_shows_where_the_quote_stands(person: Person) -> None:
    text = "🐈 Äpfel sind erlaubt.  Pets are allowed\nin the garden, and nowhere else."
    person.add(text, "lease.txt")
    [found] = person.search("pets")

    shown = ok(
        person.http.get(
            f"/documents/{found['document_id']}/passages/{found['passage_id']}", params={"quote": "allowed in the garden"}
        )
    )

    quote = shown.pop("quote")
    assert " ".join(shown["text"][quote["start"] : quote["end"]].split()) == "allowed in the garden"
    assert shown == {name: found[name] for name in ("passage_id", "document_id", "name", "page", "context", "text")}


def test_a_passage_without_a_quote_of_it_has_no_place(in_memory: Person, subtests: pytest.Subtests) -> None:
    in_memory.add()
    [found] = in_memory.search("pets")
    address = f"/documents/{found['document_id']}/passages/{found['passage_id']}"
    for parameters in ({}, {"quote": ""}, {"quote": "words that stand nowhere"}, {"quote": "x" * 5000}):
        with subtests.test(parameters=parameters):
            assert ok(in_memory.http.get(address, params=parameters))["quote"] is None


def test_a_passage_is_found_under_the_id_of_a_copy_too(person: Person) -> None:
    person.add(LEASE, "lease.txt")
    copy = person.add(LEASE, "copy.txt")
    [found] = person.search("pets")
    shown = ok(person.http.get(f"/documents/{copy['document_id']}/passages/{found['passage_id']}"))
    assert (shown["name"], shown["document_id"], shown["text"]) == ("copy.txt", copy["document_id"], LEASE)


def test_a_passage_that_is_not_there_is_not_found(in_memory: Person, subtests: pytest.Subtests) -> None:
    document_id = in_memory.add()["document_id"]
    for passage_id in ("x", "1", "-1", "0-", "3-1", "0-50", "0-0-0", "²", "9" * 10, "0%20", "0x0"):
        with subtests.test(passage_id=passage_id):
            reply = in_memory.http.get(f"/documents/{document_id}/passages/{passage_id}")
            assert refusal(reply) == (404, "PassageNotFound", None)


# Searching


def test_a_search_gives_passages_best_first_and_asks_no_model(person: Person) -> None:
    lease, recipe = person.add(LEASE, "lease.txt"), person.add(RECIPE, "recipe.txt")

    found = person.search("simmer the lentils with cumin", top_k=20)

    assert [passage["document_id"] for passage in found] == [recipe["document_id"], lease["document_id"]]
    assert found[0].keys() == {"passage_id", "document_id", "name", "page", "context", "text", "score"}
    assert (found[0]["name"], found[0]["text"], found[0]["page"]) == ("recipe.txt", RECIPE, None)
    assert 1 >= found[0]["score"] > found[1]["score"] >= 0
    assert person.api.llm.requests == []


def test_a_search_gives_as_many_as_were_asked_for_from_the_documents_that_were_named(person: Person) -> None:
    lease, recipe = person.add(LEASE, "lease.txt"), person.add(RECIPE, "recipe.txt")
    assert len(person.search("lentils and pets", top_k=1)) == 1
    only = person.search("lentils", documents=[lease["document_id"], lease["document_id"]])
    assert {passage["name"] for passage in only} == {"lease.txt"}
    both = person.search("lentils", documents=[lease["document_id"], recipe["document_id"]])
    assert {passage["name"] for passage in both} == {"lease.txt", "recipe.txt"}


def test_a_search_of_an_empty_library_finds_nothing(person: Person) -> None:
    assert ok(person.http.post("/search", json={"query": "pets"})) == {"passages": []}


BAD_SEARCHES: list[tuple[Json, int, str]] = [
    ({"query": None}, 400, "query"),
    ({"query": ""}, 400, "query"),
    ({"query": " \n"}, 400, "query"),
    ({"query": 7}, 400, "query"),
    ({"query": "\ud800"}, 400, "query"),
    ({"query": "x" * 10_001}, 413, "query"),
    ({"query": "🐈" * 7501}, 413, "query"),
    ({"top_k": 0}, 400, "top_k"),
    ({"top_k": 21}, 400, "top_k"),
    ({"top_k": 2.5}, 400, "top_k"),
    ({"top_k": "3"}, 400, "top_k"),
    ({"top_k": True}, 400, "top_k"),
    ({"documents": "a"}, 400, "documents"),
    ({"documents": [1]}, 400, "documents"),
    ({"documents": [""]}, 400, "documents"),
    ({"documents": ["x" * 65]}, 400, "documents"),
    ({"documents": {}}, 400, "documents"),
    ({"documents": ["x"] * 101}, 400, "documents"),
]


def test_a_bad_search_names_the_field(in_memory: Person, subtests: pytest.Subtests) -> None:
    for members, status, field in BAD_SEARCHES:
        with subtests.test(members=repr(members)[:40]):
            reply = in_memory.http.post("/search", content=json.dumps({"query": "pets", **members}))
            assert refusal(reply) == (status, "TooLarge" if status == 413 else "BadRequest", field)


def test_a_search_in_what_can_not_be_searched_says_why(person: Person) -> None:
    failed = person.add(BROKEN_PDF, "broken.pdf")["document_id"]
    reading = person.begin_reading()
    answers = {
        failed: (400, "BadRequest", "documents"),
        reading: (409, "DocumentBusy", None),
        UNKNOWN_ID: (404, "DocumentNotFound", None),
    }
    for document_id, answer in answers.items():
        assert refusal(person.http.post("/search", json={"query": "x", "documents": [document_id]})) == answer


# Who may


def routes(document_id: str) -> dict[str, tuple[str, str, Json | None]]:
    """Every route that names a document, and how to call it."""
    return {
        "show": ("GET", f"/documents/{document_id}", None),
        "delete": ("DELETE", f"/documents/{document_id}", None),
        "retry": ("POST", f"/documents/{document_id}/retry", None),
        "passage": ("GET", f"/documents/{document_id}/passages/0", None),
        "search": ("POST", "/search", {"query": "pets", "documents": [document_id]}),
    }


OTHERS: dict[str, tuple[str, str, Json | None]] = {
    "upload": ("POST", "/upload", announcement()),
    "list": ("GET", "/documents", None),
    "search all": ("POST", "/search", {"query": "pets"}),
}
EVERY_ROUTE = routes(UNKNOWN_ID) | OTHERS


def test_another_owners_document_is_not_there(person: Person, anna: Person) -> None:
    mine = person.add()
    for name, (method, path, body) in routes(mine["document_id"]).items():
        assert refusal(anna.http.request(method, path, json=body)) == (404, "DocumentNotFound", None), name
    assert (anna.listed(), anna.search("pets")) == ([], [])
    assert person.listed() == [mine]
    assert len(person.search("pets")) == 1


def test_the_same_bytes_of_two_owners_have_nothing_to_do_with_each_other(person: Person, anna: Person) -> None:
    mine, hers = person.add(LEASE), anna.add(LEASE)
    assert (mine["same_as"], hers["same_as"]) == (None, None)
    ok(person.http.delete(f"/documents/{mine['document_id']}"))
    assert [passage["document_id"] for passage in anna.search("pets")] == [hers["document_id"]]


def test_an_id_that_is_nobodys_is_not_there(in_memory: Person, subtests: pytest.Subtests) -> None:
    for document_id in (UNKNOWN_ID, UNKNOWN_ID.lower(), "x", "%00", "%F0%9F%90%88", "a" * 3000):
        for name, (method, path, _) in routes(document_id).items():
            if name != "search":
                with subtests.test(name, document_id=document_id[:30]):
                    assert refusal(in_memory.http.request(method, path)) == (404, "DocumentNotFound", None)


def test_nobody_gets_in_without_a_key(in_memory: Person, subtests: pytest.Subtests) -> None:
    strange = {"Authorization": "Bearer pai_nobody"}
    with httpx.Client(base_url=in_memory.api.url) as nobody:
        for name, (method, path, body) in EVERY_ROUTE.items():
            with subtests.test(name):
                assert refusal(nobody.request(method, path, json=body)) == (401, "Unauthorized", None)
                assert refusal(nobody.request(method, path, json=body, headers=strange)) == (403, "Forbidden", None)


def test_a_deployment_without_documents_says_so(memory_api: Api, subtests: pytest.Subtests) -> None:
    with memory_api.client("me") as http:
        for name, (method, path, body) in EVERY_ROUTE.items():
            with subtests.test(name):
                assert refusal(http.request(method, path, json=body)) == (404, "LibraryOff", None)


def test_a_deployment_without_documents_takes_no_files(memory_api: Api) -> None:
    assert refusal(httpx.put(f"{memory_api.url}/uploads/x.y", content=b"x")) == (404, "LibraryOff", None)


# On AWS


@pytest.fixture
def on_aws(aws: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """Somebody of a deployment whose files are in S3 and whose queue is SQS."""
    boto3.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    queue = boto3.client("sqs").create_queue(QueueName="PAI-documents-dev")["QueueUrl"]
    with (
        served(gateway, {**DEPLOYMENTS["aws"], **LIBRARY, "PAI_QUEUE_URL": queue}, monkeypatch) as api,
        api.client("me") as http,
    ):
        yield Person(api, http)


BUCKET = DEPLOYMENTS["aws"]["PAI_BUCKET"]


def test_s3_takes_a_file_under_a_policy_that_binds_what_was_announced(on_aws: Person) -> None:
    announced = on_aws.announce("My Lease.PDF", 600, "application/pdf")
    upload, key = announced["upload"], f"documents/me/{announced['document_id']}.pdf"

    assert (upload.keys(), upload["method"]) == ({"url", "method", "fields"}, "POST")
    assert BUCKET in upload["url"]
    policy = json.loads(base64.b64decode(upload["fields"]["policy"]))
    bound = {name: value for entry in policy["conditions"] if isinstance(entry, dict) for name, value in entry.items()}
    assert {"bucket": BUCKET, "key": key, "Content-Type": "application/pdf"}.items() <= bound.items()
    assert ["content-length-range", 1, 600] in policy["conditions"]
    assert not [entry for entry in policy["conditions"] if isinstance(entry, list) and entry[0] == "starts-with"]
    assert (upload["fields"]["key"], upload["fields"]["Content-Type"]) == (key, "application/pdf")
    assert seconds(policy["expiration"]) == seconds(announced["expires_at"])


def test_a_file_that_is_in_s3_is_read_and_deleted_with_all_its_versions(on_aws: Person) -> None:
    announced = on_aws.announce("lease.txt", 200)
    upload = announced["upload"]
    for text in ("An earlier version.", LEASE):
        httpx.post(upload["url"], data=upload["fields"], files={"file": text.encode()}).raise_for_status()
    [key] = on_aws.files()
    news = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Post", "s3": {"object": {"key": key, "size": len(LEASE)}}}

    arrive(news)

    assert on_aws.get(announced["document_id"])["state"] == "ready"
    assert on_aws.search("pets")[0]["text"] == LEASE
    assert ok(on_aws.http.delete(f"/documents/{announced['document_id']}"))["versions"] == 2
    assert (on_aws.listed(), on_aws.files()) == ([], [])


def arrive(news: Json) -> None:
    """Have the function of the queue called, as Lambda would with this news."""
    message = {"messageId": "1", "receiptHandle": "1", "body": json.dumps({"Records": [news]}), "attributes": {}}
    assert product.documents({"Records": [message]}, None) == {"batchItemFailures": []}


def test_pai_itself_takes_no_files_where_s3_does(on_aws: Person) -> None:
    reply = httpx.put(f"{on_aws.api.url}/uploads/x.y", content=b"x")
    assert refusal(reply) == (404, "RouteNotFound", None)
    assert "POST /upload" in reply.json()["Message"]


def test_an_id_that_no_table_can_hold_is_nobodys(on_aws: Person) -> None:
    for method in ("GET", "DELETE"):
        assert refusal(on_aws.http.request(method, f"/documents/{'a' * 3000}")) == (404, "DocumentNotFound", None)


# Health


def test_deep_health_touches_the_parts_of_documents_too(me: httpx.Client) -> None:
    deep = me.get("/health/deep").json()

    assert {"files", "queue", "embedder", "retriever"} < deep["parts"].keys()
    assert deep["status"] == "ok"
