"""Messages of the queue → what is done about files: each that can be done is, and no other is lost or said to be done."""

import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import pytest

import app as product
from chalicelib import wiring
from chalicelib.errors import (
    DocumentNotFound,
    EmbedderUnavailable,
    LibraryOff,
    LibraryWaking,
    Misconfigured,
    QueueUnavailable,
    StoreUnavailable,
)
from chalicelib.ingest.index import Ingestion
from chalicelib.ingest.trigger import (
    GIVEN_UP,
    Answer,
    FileEvent,
    MessagesFailed,
    Unreadable,
    bury,
    dispatch,
    on_note,
    on_object,
    read_message,
)
from chalicelib.platform import DOCUMENTS, MOST_RECEIVES
from chalicelib.platform.local.messages import VISIBILITY_S, Messages, Taken
from chalicelib.platform.local.queue import LocalQueue
from chalicelib.records import Document
from chalicelib.settings import Settings
from chalicelib.uploads import arrival_message
from chalicelib.wiring import Parts
from tests.unit.conftest import Clock
from tests.unit.ingest_world import Killed, Library

PARTIAL = Settings(partial_batches=1)
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-31T12:00:00.000Z", "Bucket": "b"}


def entry(key: str, event: str = "ObjectCreated:Put", **file: Any) -> dict[str, Any]:
    """One entry of S3's notification; `key` as S3 says it, encoded for a URL."""
    return {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": event, "s3": {"object": {"key": key, **file}}}


def notification(*entries: Mapping[str, Any]) -> str:
    return json.dumps({"Records": entries})


def came(name: str, **file: Any) -> str:
    """S3's news of a file that the desk of this test sees to."""
    return notification(entry(f"desk/{name}", **file))


@dataclass
class Desk:
    """What is declared for files under `desk/` and for notes of that name: it keeps what it did, and fails where told to."""

    did: list[str] = field(default_factory=list)
    errors: dict[str, BaseException] = field(default_factory=dict)

    def came(self, event: FileEvent) -> None:
        self._do(event.key.removeprefix("desk/"))

    def went(self, event: FileEvent) -> None:
        self._do(f"-{event.key.removeprefix('desk/')}")

    def told(self, owner: str, document_id: str) -> None:
        self._do(f"{owner}:{document_id}")

    def _do(self, what: str) -> None:
        if what in self.errors:
            raise self.errors[what]
        self.did.append(what)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    on_object(prefix="desk/")(desk.came)
    on_object(prefix="desk/", removed=True)(desk.went)
    on_note("desk")(desk.told)
    return desk


@dataclass
class Context:
    """A function that has so much time left, less with each look at it."""

    left_s: list[float]

    def get_remaining_time_in_millis(self) -> int:
        return int(self.left_s.pop(0) * 1000)


class Post:
    """The queue of one machine without its worker: a test takes messages out, and has functions called with them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.messages = Messages(None, self.clock)
        self.queue = LocalQueue(self.messages, {})

    def batch(self, *bodies: str) -> dict[str, Any]:
        """Send messages and take them out, as one batch."""
        for body in bodies:
            self.queue.send(body)
        return {"Records": [record(self.take()) for _ in bodies]}

    def take(self) -> Taken:
        taken = self.messages.take([DOCUMENTS])
        assert taken
        return taken

    def dispatch(self, *bodies: str, context: Context | None = None, settings: Settings = PARTIAL) -> list[str]:
        """Have messages handled as one batch; return the bodies of those that failed."""
        event = self.batch(*bodies)
        return failed(event, dispatch(event, context, self.queue, settings))


def record(taken: Taken) -> dict[str, Any]:
    return {
        "messageId": taken.id,
        "receiptHandle": taken.receipt,
        "body": taken.body,
        "attributes": {"ApproximateReceiveCount": str(taken.receives)},
    }


def failed(event: Mapping[str, Any], answer: Answer) -> list[str]:
    bodies = {record["messageId"]: record["body"] for record in event["Records"]}
    return [bodies[failure["itemIdentifier"]] for failure in answer["batchItemFailures"]]


@pytest.fixture
def post() -> Post:
    return Post()


# What a message says


def test_s3_trying_whether_it_may_send_is_nothing_to_do(desk: Desk, post: Post) -> None:
    assert read_message(json.dumps(TEST_EVENT)) == []
    assert post.dispatch(json.dumps(TEST_EVENT)) == []
    assert desk.did == []


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("desk/lease.pdf", "desk/lease.pdf"),
        ("desk/my+lease+2023.pdf", "desk/my lease 2023.pdf"),
        ("desk/my%20lease.pdf", "desk/my lease.pdf"),
        ("desk/1%2B1.txt", "desk/1+1.txt"),
        ("desk/M%C3%A4rz.txt", "desk/März.txt"),
        ("desk/100%25.txt", "desk/100%.txt"),
        ("desk/%F0%9F%90%88/a%2Fb%0A", "desk/🐈/a/b\n"),
    ],
)
def test_a_key_is_read_as_s3_encodes_it(said: str, key: str) -> None:
    assert read_message(notification(entry(said))) == [FileEvent(key)]


@pytest.mark.parametrize("name", ["lease.pdf", "my lease + 1.pdf", "März 🐈.txt", "100%.txt", "a%20b"])
def test_this_machines_own_news_is_read_as_s3s_is(name: str) -> None:
    [event] = read_message(arrival_message(f"documents/me/{name}", 12, "0A"))
    assert event == FileEvent(f"documents/me/{name}", size_bytes=12, sequencer="0A")


def test_size_and_sequencer_are_told_and_may_be_missing(desk: Desk) -> None:
    [event] = read_message(came("a", size=1024, eTag="d41d8cd98f00b204e9800998ecf8427e", sequencer="0A1B2C3D4E5F678901"))
    assert event == FileEvent("desk/a", size_bytes=1024, sequencer="0A1B2C3D4E5F678901")
    assert read_message(came("a")) == [FileEvent("desk/a", size_bytes=0, sequencer="")]


@pytest.mark.parametrize("kind", ["Put", "Post", "Copy", "CompleteMultipartUpload"])
def test_a_file_that_came_in_any_way_came(desk: Desk, post: Post, kind: str) -> None:
    post.dispatch(notification(entry("desk/a", f"ObjectCreated:{kind}"), entry("desk/b", f"s3:ObjectCreated:{kind}")))
    assert desk.did == ["a", "b"]


@pytest.mark.parametrize("kind", ["Delete", "DeleteMarkerCreated"])
def test_a_file_that_went_in_any_way_went(desk: Desk, post: Post, kind: str) -> None:
    post.dispatch(notification(entry("desk/a", f"ObjectRemoved:{kind}")))
    assert desk.did == ["-a"]


@pytest.mark.parametrize(
    "event", ["ObjectTagging:Put", "ObjectAcl:Put", "ObjectRestore:Post", "ReducedRedundancyLostObject", "ObjectCreatedBy:Us"]
)
def test_what_else_happens_to_files_is_no_concern_and_no_failure(desk: Desk, post: Post, event: str) -> None:
    assert post.dispatch(notification(entry("desk/a", event), entry("desk/b"))) == []
    assert desk.did == ["b"]


def test_a_file_that_nobody_sees_to_is_no_failure(desk: Desk, post: Post) -> None:
    assert post.dispatch(notification(entry("exports/me/a"), entry("elsewhere"))) == []
    assert desk.did == []


def test_a_handler_may_be_for_one_kind_of_file(desk: Desk, post: Post) -> None:
    on_object(prefix="desk/", suffix=".special")(lambda event: desk.did.append("special"))
    post.dispatch(came("a.special"), came("a.plain"))
    assert sorted(desk.did) == ["a.plain", "a.special", "special"]


def test_a_note_calls_its_handler_with_its_members(desk: Desk, post: Post) -> None:
    assert post.dispatch(json.dumps({"pai": "desk", "owner": "me", "document_id": "d"})) == []
    assert desk.did == ["me:d"]


STRANGE = {
    "not JSON": "hello",
    "cut off": came("a")[:-5],
    "a list": "[]",
    "a list of notifications": f"[{came('a')}]",
    "a number": "7",
    "a string": '"s3:TestEvent"',
    "nothing": "null",
    "an empty object": "{}",
    "deep": "[" * 200_000,
    "deep in an object": '{"Records":' * 20_000,
    "records that are none": '{"Records": 7}',
    "records of nothing": '{"Records": [null]}',
    "a record without a source": notification({"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "desk/a"}}}),
    "a record of another service": notification({**entry("desk/a"), "eventSource": "aws:sns"}),
    "a record without an event": notification({"eventSource": "aws:s3", "s3": {"object": {"key": "desk/a"}}}),
    "an event that is a number": notification({**entry("desk/a"), "eventName": 1}),
    "a record without a file": notification({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}),
    "a file without a key": notification({**entry(""), "s3": {"object": {"size": 1}}}),
    "a key that is a number": notification({**entry(""), "s3": {"object": {"key": 1}}}),
    "a key that is not UTF-8": came("%FF"),
    "a key with half a character": came("\ud800"),
    "a size that is none": came("a", size="large"),
    "a size that is a list": came("a", size=[1]),
    "an endless size": came("a").replace('"key"', '"size": 1e999, "key"'),
    "a good record and a bad one": notification(entry("desk/a"), {}),
    "a note of no name": '{"pai": null}',
    "a note that nobody reads": '{"pai": "another version\'s"}',
    "a note of a list": '{"pai": ["desk"]}',
    "a note with a number": '{"pai": "desk", "owner": "me", "document_id": 1}',
    "a note that lacks a member": '{"pai": "desk", "owner": "me"}',
    "a note with one too many": '{"pai": "desk", "owner": "me", "document_id": "d", "page": "1"}',
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_neither_s3_nor_pai_wrote_fails_and_nothing_of_it_is_done(desk: Desk, post: Post, what: str) -> None:
    with pytest.raises(Unreadable):
        read_message(STRANGE[what])
    assert post.dispatch(STRANGE[what]) == [STRANGE[what]]
    assert desk.did == []


@pytest.mark.parametrize("what", STRANGE)
def test_what_neither_s3_nor_pai_wrote_is_dropped_as_a_dead_letter(desk: Desk, post: Post, what: str) -> None:
    event = post.batch(STRANGE[what])
    assert failed(event, bury(event, lambda: Library().ingestion, PARTIAL)) == []


# A batch


def test_just_the_messages_that_failed_are_named_and_the_others_done(desk: Desk, post: Post) -> None:
    desk.errors = {"b": StoreUnavailable("It does not answer."), "d": ZeroDivisionError()}
    bodies = [came(name) for name in "abcde"]

    assert post.dispatch(*bodies) == [bodies[1], bodies[3]]

    assert desk.did == ["a", "c", "e"]


def test_a_batch_without_failures_says_so(desk: Desk, post: Post) -> None:
    assert post.dispatch(came("a"), came("b")) == []


def test_where_no_partial_answer_is_read_a_failure_fails_the_batch(desk: Desk, post: Post) -> None:
    desk.errors = {"a": StoreUnavailable("It does not answer.")}
    with pytest.raises(MessagesFailed):
        post.dispatch(came("a"), came("b"), settings=Settings(partial_batches=0))
    assert desk.did == ["b"]
    assert post.dispatch(came("b"), settings=Settings(partial_batches=0)) == []


@pytest.mark.parametrize("error", [LibraryOff(), DocumentNotFound()])
def test_what_there_is_nothing_to_do_for_any_more_is_done(desk: Desk, post: Post, error: Exception) -> None:
    desk.errors = {"a": error}
    assert post.dispatch(came("a")) == []


@pytest.mark.parametrize("error", [StoreUnavailable("No."), ZeroDivisionError(), DocumentNotFound()])
def test_a_file_that_fails_keeps_no_other_of_its_notification_from_being_done(
    desk: Desk, post: Post, error: Exception
) -> None:
    desk.errors = {"a": error}
    post.dispatch(notification(*(entry(f"desk/{name}") for name in "abc")))
    assert desk.did == ["b", "c"]


def test_a_notification_of_which_one_file_fails_comes_again(desk: Desk, post: Post) -> None:
    desk.errors = {"a": DocumentNotFound(), "b": StoreUnavailable("No.")}
    body = notification(*(entry(f"desk/{name}") for name in "abc"))

    assert post.dispatch(body) == [body]
    desk.errors.clear()
    assert post.dispatch(body) == []

    assert desk.did == ["c", "a", "b", "c"]


def test_a_killed_function_answers_nothing(desk: Desk, post: Post) -> None:
    desk.errors = {"a": Killed()}
    with pytest.raises(Killed):
        post.dispatch(came("a"))


def test_the_log_says_how_a_message_went_and_nothing_of_the_file(
    desk: Desk, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    desk.errors = {"secret b": StoreUnavailable("The table does not answer."), "secret c": ValueError("secret d")}
    with caplog.at_level(logging.INFO):
        post.dispatch(*(came(quote_plus(f"secret {letter}")) for letter in "abc"), "secret e")

    lines = [vars(line) for line in caplog.records if line.getMessage() == "message"]
    assert [line["outcome"] for line in lines] == ["done", "StoreUnavailable", "ValueError", "Unreadable"]
    assert [line["levelname"] for line in lines] == ["INFO", "ERROR", "ERROR", "ERROR"]
    assert lines[1]["reason"] == "The table does not answer."
    assert all(line["receives"] == 1 and line["message_id"] for line in lines)
    assert "secret" not in str([vars(line) for line in caplog.records])


# When a message that failed comes again


def again_after_s(post: Post, desk: Desk, error: Exception, receives: int) -> float:
    """Return how long a message waits that has failed so often."""
    desk.errors = {"a": error}
    post.queue.send(came("a"))
    for _ in range(receives - 1):
        post.messages.let_go(post.take())
        post.clock.time += VISIBILITY_S
    taken = post.take()
    dispatch({"Records": [record(taken)]}, None, post.queue, PARTIAL)
    post.messages.let_go(taken)
    after_s = post.messages.next_due_s([DOCUMENTS])
    assert after_s is not None
    return after_s


@pytest.mark.parametrize(
    ("error", "waits_s"),
    [
        (ZeroDivisionError(), [10, 120, 1]),
        (StoreUnavailable("No."), [10, 120, 1]),
        (LibraryWaking("It was asleep."), [20, 120, 1]),
        (EmbedderUnavailable("Busy.", retry_after_s=300), [300, 300, 1]),
        (Misconfigured("PAI_DATABASE_URL is not set."), [10, 120, 1]),
    ],
)
def test_a_message_that_failed_comes_again_soon_and_the_last_time_to_be_given_up(
    desk: Desk, post: Post, error: Exception, waits_s: list[float]
) -> None:
    assert [again_after_s(Post(), desk, error, receives) for receives in range(1, MOST_RECEIVES + 1)] == waits_s


def test_a_message_that_is_nobodys_comes_again_too(desk: Desk, post: Post) -> None:
    post.queue.send("hello")
    taken = post.take()
    dispatch({"Records": [record(taken)]}, None, post.queue, PARTIAL)
    post.messages.let_go(taken)
    assert post.messages.next_due_s([DOCUMENTS]) == 10


def test_a_failure_is_told_even_if_the_queue_can_not_be(desk: Desk, post: Post) -> None:
    desk.errors = {"a": StoreUnavailable("No.")}
    event = post.batch(came("a"), came("b"))
    for taken in event["Records"]:
        taken["receiptHandle"] = "over"
    with pytest.raises(QueueUnavailable):
        post.queue.retry_in("over", 1)

    assert failed(event, dispatch(event, None, post.queue, PARTIAL)) == [came("a")]

    assert desk.did == ["b"]


# When time runs out


def test_a_function_without_time_for_one_more_leaves_the_rest_for_later(desk: Desk, post: Post) -> None:
    bodies = [came(name) for name in "abc"]
    settings = Settings(partial_batches=1, read_s=180)

    assert post.dispatch(*bodies, context=Context([361, 359]), settings=settings) == [bodies[2]]

    assert desk.did == ["a", "b"]


def test_the_first_message_is_handled_however_little_time_there_is(desk: Desk, post: Post) -> None:
    assert post.dispatch(came("a"), context=Context([])) == []
    assert desk.did == ["a"]


def test_what_was_left_for_lack_of_time_fails_the_batch_where_no_partial_answer_is_read(desk: Desk, post: Post) -> None:
    with pytest.raises(MessagesFailed):
        post.dispatch(came("a"), came("b"), context=Context([1]), settings=Settings(partial_batches=0))
    assert desk.did == ["a"]


# Dead letters


@pytest.fixture
def library() -> Library:
    return Library()


def letters_about(document: Document) -> dict[str, str]:
    """Every message that can be a dead letter of this document."""
    note = {"pai": "continue", "owner": document.owner, "document_id": document.id, "generation": document.generation}
    return {
        "came": notification(entry(document.key, sequencer="FF")),
        "went": notification(entry(document.key, "ObjectRemoved:Delete", sequencer="FF")),
        "continue": json.dumps(note),
    }


@pytest.mark.parametrize("letter", ["came", "continue"])
def test_a_dead_letter_marks_its_document_as_failed_with_the_reason(library: Library, post: Post, letter: str) -> None:
    document, _ = library.upload("Cats sleep.")
    event = post.batch(letters_about(document)[letter])

    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []

    now = library.now(document)
    assert (now.state, now.failure_code, now.failure) == ("failed", "DocumentGivenUp", GIVEN_UP)


def test_a_document_whose_removal_failed_several_times_is_taken_out_once_more(library: Library, post: Post) -> None:
    document, news = library.upload("Cats sleep.")
    library.ingestion.arrived(news)
    library.files.delete(document.key)
    event = post.batch(letters_about(document)["went"])

    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []

    assert list(library.documents.all("me")) == []
    assert not list(library.retriever.inventory())


def test_a_dead_letter_of_an_earlier_try_leaves_a_later_one_alone(library: Library, post: Post) -> None:
    document, news = library.upload("Cats sleep.")
    library.reading.before[1] = EmbedderUnavailable("It is busy.")
    with pytest.raises(EmbedderUnavailable):
        library.ingestion.arrived(news)
    note = {"pai": "continue", "owner": "me", "document_id": document.id, "generation": "an earlier one"}
    event = post.batch(notification(entry(document.key, sequencer="01")), json.dumps(note))

    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []

    assert library.now(document).state == "waiting"


def test_all_documents_of_a_dead_letter_are_marked(library: Library, post: Post) -> None:
    documents = [library.upload(text)[0] for text in ("One.", "Two.")]
    event = post.batch(notification(*(entry(document.key) for document in documents)))
    bury(event, lambda: library.ingestion, PARTIAL)
    assert [library.now(document).state for document in documents] == ["failed", "failed"]


@pytest.mark.parametrize("letter", ["came", "continue"])
def test_a_document_that_is_ready_all_the_same_stays_so(library: Library, post: Post, letter: str) -> None:
    document, news = library.upload("Cats sleep.")
    library.ingestion.arrived(news)
    event = post.batch(letters_about(library.now(document))[letter])
    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []
    assert (library.now(document).state, library.texts(document)) == ("ready", ["Cats sleep."])


@pytest.mark.parametrize("key", ["documents/me/01ARZ3NDEKTSV4RRFFQ69G5FAV.pdf", "exports/me/a", "x"])
def test_a_dead_letter_of_no_document_is_done(library: Library, post: Post, key: str) -> None:
    event = post.batch(notification(entry(key)), json.dumps(TEST_EVENT))
    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []
    assert list(library.documents.all("me")) == []


def test_a_dead_letter_where_documents_were_turned_off_is_done(library: Library, post: Post) -> None:
    def off() -> Ingestion:
        raise LibraryOff

    document, _ = library.upload("Cats sleep.")
    event = post.batch(letters_about(document)["came"])
    assert failed(event, bury(event, off, PARTIAL)) == []


def test_a_dead_letter_that_can_not_be_marked_just_now_stays(library: Library, post: Post) -> None:
    def down() -> Ingestion:
        raise StoreUnavailable("It does not answer.")

    document, _ = library.upload("Cats sleep.")
    event = post.batch(*letters_about(document).values(), "hello")

    assert failed(event, bury(event, down, PARTIAL)) == [*letters_about(document).values()]
    with pytest.raises(MessagesFailed):
        bury(event, down, Settings(partial_batches=0))

    assert library.now(document).state == "waiting"


def test_a_dead_letter_whose_text_can_not_be_taken_out_just_now_stays(post: Post) -> None:
    library = Library(Settings(read_s=10))
    library.reading.meanwhile[1] = lambda: library.clock.forward(11)
    document, news = library.upload("Cats sleep.\fDogs bark.")
    library.ingestion.arrived(news)
    library.retriever.removing.before[1] = LibraryWaking("It was asleep.")
    event = post.batch(letters_about(library.now(document))["continue"])

    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == [event["Records"][0]["body"]]
    assert failed(event, bury(event, lambda: library.ingestion, PARTIAL)) == []

    assert library.now(document).state == "failed"
    assert not list(library.retriever.inventory())


# From S3's words to the documents of a deployment


class Deployment:
    """PAI's own functions over its own parts in memory, and a bucket whose news a test brings when it likes."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._post = Post()

    def put(self, key: str, text: str) -> None:
        self.parts.platform.files.put(key, io.BytesIO(text.encode()), content_type="text/plain")

    def news(self, *entries: Mapping[str, Any], function: Callable[[Any, Any], Answer] = product.documents) -> None:
        """Deliver a message, which must be done."""
        assert function(self._post.batch(notification(*entries)), None) == {"batchItemFailures": []}

    def documents(self) -> list[tuple[str, str]]:
        return sorted((row.name, row.state) for row in self.parts.documents.all("me"))

    def found(self, query: str) -> list[str]:
        return [passage.text for passage in self.parts.library.search("me", query, k=5)]


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    for name in [name for name in os.environ if name.startswith("PAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PAI_RETRIEVER", "memory")
    monkeypatch.setenv("PAI_PARTIAL_BATCHES", "1")
    wiring.parts.cache_clear()
    yield Deployment(wiring.here())
    wiring.parts.cache_clear()


def test_files_of_one_notification_become_documents(deployment: Deployment) -> None:
    deployment.put("documents/me/my lease.txt", "Pets are allowed in the garden.")
    deployment.put("documents/me/März.txt", "It rained all month.")

    deployment.news(entry("documents/me/my+lease.txt", size=31), entry("documents/me/M%C3%A4rz.txt", size=20))

    assert deployment.documents() == [("März.txt", "ready"), ("my lease.txt", "ready")]
    assert deployment.found("pets in the garden")[0] == "Pets are allowed in the garden."


def test_the_same_news_twice_is_one_document_that_is_read_once(deployment: Deployment) -> None:
    deployment.put("documents/me/lease.txt", "Pets are allowed in the garden.")
    news = entry("documents/me/lease.txt", sequencer="0A")
    deployment.news(news)
    [before] = deployment.parts.documents.all("me")

    deployment.news(news)

    assert list(deployment.parts.documents.all("me")) == [before]


def test_late_news_of_an_earlier_file_changes_nothing(deployment: Deployment) -> None:
    key = "documents/me/lease.txt"
    deployment.put(key, "Pets are allowed.")
    deployment.news(entry(key, sequencer="0B"))
    [before] = deployment.parts.documents.all("me")

    deployment.news(entry(key, sequencer="0A"), entry(key, "ObjectRemoved:Delete", sequencer="0A1"))

    assert list(deployment.parts.documents.all("me")) == [before]
    assert deployment.found("pets") == ["Pets are allowed."]


def test_a_file_that_went_is_not_found_any_more_and_late_news_does_not_bring_it_back(deployment: Deployment) -> None:
    key = "documents/me/lease.txt"
    deployment.put(key, "Pets are allowed.")
    deployment.news(entry(key, sequencer="0A"))
    deployment.parts.platform.files.delete(key)

    deployment.news(entry(key, "ObjectRemoved:DeleteMarkerCreated", sequencer="0B"))
    deployment.news(entry(key, sequencer="0A"))

    assert deployment.documents() == []
    assert deployment.found("pets") == []


def test_news_that_a_file_went_before_the_news_that_it_came(deployment: Deployment) -> None:
    key = "documents/me/lease.txt"
    deployment.put(key, "Pets are allowed.")
    deployment.parts.platform.files.delete(key)
    deployment.news(entry(key, "ObjectRemoved:Delete", sequencer="0B"))
    deployment.news(entry(key, sequencer="0A"))
    assert deployment.documents() == []


def test_a_file_that_can_not_be_read_is_a_failed_document_and_not_a_failed_message(deployment: Deployment) -> None:
    deployment.put("documents/me/broken.pdf", "%PDF-1.4 not one")
    deployment.put("documents/me/lease.txt", "Pets are allowed.")
    deployment.news(entry("documents/me/broken.pdf"), entry("documents/me/lease.txt"))
    assert deployment.documents() == [("broken.pdf", "failed"), ("lease.txt", "ready")]


def test_the_function_of_dead_letters_says_so_at_the_document(deployment: Deployment) -> None:
    document = deployment.parts.documents.create("me", "lease.txt")
    deployment.news(entry(document.key), function=product.documents_dead)
    [row] = deployment.parts.documents.all("me")
    assert (row.state, row.failure) == ("failed", GIVEN_UP)
