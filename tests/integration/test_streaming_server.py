"""Answers in pieces, as they come out of the server of one machine: met by raw sockets, and by clients that leave."""

import http.client
import inspect
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from chalice.app import Chalice, CORSConfig, Response
from chalice.config import Config
from chalice.local import create_local_server

from chalicelib import http as pai_http
from chalicelib import logs
from chalicelib.http import Reply, Request
from pai.local.gateway import Gateway
from pai.local.server import HttpServer

WAIT_S = 10
"""How long to wait for what is to happen at once: only a failing test waits that long."""
LARGE = "x" * 1_000_000

Answers = dict[str, Callable[[Request], Reply]]


def streaming_app(answers: Answers) -> Chalice:
    """An app that gives these answers at addresses of these names, declared as PAI declares its own."""
    app = Chalice(app_name="small", configure_logs=False)

    @app.route("/{name}", cors=CORSConfig(allow_origin="*"))
    def view(name: str) -> Response:
        request_id = app.lambda_context.aws_request_id
        reply = pai_http.answer(answers[name], Request(request_id, "GET /{name}"), {})
        return Response(pai_http.body_of(reply), {"Content-Type": reply.content_type, **reply.headers}, reply.status)

    return app


def events(pieces: Generator[str], headers: dict[str, str] | None = None) -> Reply:
    return Reply(pieces, headers=headers or {}, content_type="text/event-stream")


def said(*pieces: str) -> Generator[str]:
    yield from pieces


class Speaker:
    """Says things for as long as somebody listens, or a test may take; `has_ended` when it was closed."""

    def __init__(self) -> None:
        self.has_ended = threading.Event()

    def says(self, first: str, then: str, every_s: float) -> Callable[[Request], Reply]:
        def pieces() -> Generator[str]:
            until = time.monotonic() + 2 * WAIT_S
            try:
                yield first
                while time.monotonic() < until and not self.has_ended.wait(every_s):
                    yield then
            finally:
                self.has_ended.set()

        return lambda request: events(pieces())


@pytest.fixture
def answers() -> Answers:
    """What there is to ask for; tests add their own."""
    return {"short": lambda request: events(said("one ", "", "zwölf"))}


@pytest.fixture
def server(answers: Answers) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0)
    server.open(Gateway(streaming_app(answers), Config(chalice_stage="local")))
    yield server
    server.stop(grace_s=WAIT_S)


@pytest.fixture
def client(server: HttpServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", verify=False, timeout=WAIT_S) as client:
        yield client


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    speaker = Speaker()
    yield speaker
    speaker.has_ended.set()


@pytest.fixture
def defects(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[dict[str, object]]]]:
    """The mistakes of ours that were logged."""
    logs.log.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logs.log.name):
        yield lambda: [vars(record) for record in caplog.records if record.getMessage() == "defect"]
    logs.log.removeHandler(caplog.handler)


def ask(server: HttpServer, name: str, version: str = "1.1", method: str = "GET") -> socket.socket:
    """Ask for this answer on a new connection, and leave the reading to the test."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
    connection.sendall(f"{method} /{name} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    return connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes until these bytes are in it, or the connection ends."""
    received = b""
    while end not in received and (data := connection.recv(65536)):
        received += data
    return received


def test_words_arrive_as_they_are_made(answers: Answers, client: httpx.Client) -> None:
    first_was_read = threading.Event()

    def words() -> Generator[str]:
        yield "one"
        yield "two" if first_was_read.wait(WAIT_S) else "late"

    answers["words"] = lambda request: events(words())
    with client.stream("GET", "/words") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"one"
        first_was_read.set()
        assert list(pieces) == [b"two"]


def test_head_arrives_before_there_are_words(answers: Answers, client: httpx.Client) -> None:
    head_was_read = threading.Event()

    def words() -> Generator[str]:
        yield "soon" if head_was_read.wait(WAIT_S) else "late"

    answers["words"] = lambda request: events(words())
    with client.stream("GET", "/words") as response:
        assert response.status_code == 200
        head_was_read.set()
        assert response.read() == b"soon"


def test_each_piece_is_a_chunk_and_nothing_is_sent_for_an_empty_one(server: HttpServer) -> None:
    with ask(server, "short") as connection:
        head, _, body = read_until(connection, b"\r\n0\r\n\r\n").partition(b"\r\n\r\n")

    assert b"transfer-encoding: chunked" in head.lower()
    assert b"content-length" not in head.lower()
    assert body == b"4\r\none \r\n6\r\nzw\xc3\xb6lf\r\n0\r\n\r\n"


def test_connection_is_kept_after_a_stream(server: HttpServer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        sockets = []
        for _ in range(3):
            connection.request("GET", "/short")
            assert connection.getresponse().read().decode() == "one zwölf"
            sockets.append(connection.sock)

    assert sockets[0] is sockets[1] is sockets[2]


def test_request_sent_during_a_stream_is_answered_after_it(answers: Answers, server: HttpServer) -> None:
    next_was_sent = threading.Event()

    def words() -> Generator[str]:
        yield "one"
        yield "two" if next_was_sent.wait(WAIT_S) else "late"

    answers["words"] = lambda request: events(words())
    with ask(server, "words") as connection:
        received = read_until(connection, b"one\r\n")
        connection.sendall(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
        next_was_sent.set()
        received += read_until(connection, b"lf\r\n0\r\n\r\n")

    assert [received.count(what) for what in (b"HTTP/1.1 200", b"two\r\n0\r\n\r\n", b"one ")] == [2, 1, 1]


def test_client_of_http_1_0_gets_plain_words_until_the_connection_ends(server: HttpServer) -> None:
    with ask(server, "short", version="1.0") as connection:
        head, _, body = read_until(connection, b"never").partition(b"\r\n\r\n")

    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.decode() == "one zwölf"


def test_head_request_gets_the_headers_and_no_word_is_made(answers: Answers, client: httpx.Client) -> None:
    pieces = said("never")
    answers["words"] = lambda request: events(pieces)

    head, after = client.head("/words"), client.get("/short")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers.keys() == after.headers.keys()
    assert inspect.getgeneratorstate(pieces) == inspect.GEN_CLOSED


def test_caches_and_proxies_are_told_not_to_hold_words_back(answers: Answers, client: httpx.Client) -> None:
    answers["own"] = lambda request: events(said("one"), {"cache-control": "no-store"})

    short, own = client.get("/short"), client.get("/own")

    assert (short.headers["cache-control"], short.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert (own.headers.get_list("cache-control"), own.headers["x-accel-buffering"]) == (["no-store"], "no")
    assert short.headers["content-type"] == "text/event-stream"
    assert short.headers["access-control-allow-origin"] == "*"


def test_client_that_leaves_while_words_come_ends_them(
    answers: Answers, server: HttpServer, client: httpx.Client, speaker: Speaker
) -> None:
    answers["words"] = speaker.says("one", "more", every_s=0)
    with client.stream("GET", "/words") as response:
        next(response.iter_raw())

    assert speaker.has_ended.wait(WAIT_S)
    assert server.stop(grace_s=WAIT_S)


@pytest.mark.parametrize("first", ["one", ""], ids=["between words", "before the first word"])
def test_client_that_leaves_in_a_silence_ends_it(
    answers: Answers, server: HttpServer, client: httpx.Client, speaker: Speaker, first: str
) -> None:
    answers["words"] = speaker.says(first, "", every_s=0.01)
    with client.stream("GET", "/words") as response:
        if first:
            assert next(response.iter_raw()) == b"one"

    assert speaker.has_ended.wait(WAIT_S)
    assert server.stop(grace_s=WAIT_S)


def test_client_that_resets_its_connection_is_no_defect(
    answers: Answers, server: HttpServer, speaker: Speaker, defects: Callable[[], list[dict[str, object]]]
) -> None:
    answers["words"] = speaker.says("one", "", every_s=0.01)
    with ask(server, "words") as connection:
        read_until(connection, b"one\r\n")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    assert speaker.has_ended.wait(WAIT_S)
    assert server.stop(grace_s=WAIT_S)
    assert defects() == []


def test_client_that_does_not_read_is_dropped(answers: Answers, server: HttpServer, speaker: Speaker) -> None:
    server.request_s = 0.05
    answers["words"] = speaker.says("one", LARGE, every_s=0)
    with ask(server, "words"):
        assert speaker.has_ended.wait(WAIT_S)


def test_piece_larger_than_any_buffer_arrives_whole(answers: Answers, client: httpx.Client) -> None:
    answers["large"] = lambda request: events(said(*[LARGE] * 8))

    assert client.get("/large").text == LARGE * 8


def failing(error: Exception) -> Generator[str]:
    yield "one"
    raise error


# An OSError of the generator's own must not be taken for a client that left.
@pytest.mark.parametrize("error", [RuntimeError("my cat"), ConnectionResetError("my cat")], ids=lambda e: type(e).__name__)
def test_defect_in_a_stream_breaks_it_off_and_is_logged(
    answers: Answers, client: httpx.Client, defects: Callable[[], list[dict[str, object]]], error: Exception
) -> None:
    asked: list[str] = []

    def words(request: Request) -> Reply:
        asked.append(request.request_id)
        return events(failing(error))

    answers["words"] = words
    with client.stream("GET", "/words") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"one"
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)

    (defect,) = defects()
    assert (defect["error"], defect["request_id"]) == (type(error).__name__, asked[0])
    assert "cat" not in str(defect)
    assert client.get("/short").text == "one zwölf"


def test_defect_in_a_stream_looks_like_no_good_end_to_http_1_0(answers: Answers, server: HttpServer) -> None:
    answers["words"] = lambda request: events(failing(RuntimeError()))

    with ask(server, "words", version="1.0") as connection, pytest.raises(ConnectionResetError):
        read_until(connection, b"never")


def test_half_a_character_breaks_the_stream_off(
    answers: Answers, client: httpx.Client, defects: Callable[[], list[dict[str, object]]]
) -> None:
    answers["words"] = lambda request: events(said("\ud83d"))

    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/words")

    assert [defect["error"] for defect in defects()] == ["UnicodeEncodeError"]


def test_defect_in_what_ends_a_stream_is_logged(
    answers: Answers, server: HttpServer, client: httpx.Client, defects: Callable[[], list[dict[str, object]]]
) -> None:
    def words() -> Generator[str]:
        try:
            while True:
                yield "word"
        finally:
            raise RuntimeError

    answers["words"] = lambda request: events(words())
    with client.stream("GET", "/words"):
        pass

    assert server.stop(grace_s=WAIT_S)
    assert [defect["error"] for defect in defects()] == ["RuntimeError"]


def test_answer_that_chalice_finds_fault_with_is_an_error_without_words(answers: Answers, client: httpx.Client) -> None:
    answers["words"] = lambda request: events(said("never"), {"X-Odd": "a\nb"})

    failed = client.get("/words")

    assert failed.status_code == 500
    assert "never" not in failed.text


def test_twenty_streams_at_once_take_turns(answers: Answers, client: httpx.Client) -> None:
    all_have_begun = threading.Barrier(20)

    def words() -> Generator[str]:
        for number in range(5):
            yield f"{number} "
            all_have_begun.wait(WAIT_S)

    answers["words"] = lambda request: events(words())
    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda _: client.get("/words").text, range(20)))

    assert texts == ["0 1 2 3 4 "] * 20


def test_stream_may_end_when_the_server_stops(answers: Answers, server: HttpServer, client: httpx.Client) -> None:
    may_end = threading.Event()

    def words() -> Generator[str]:
        yield "one"
        yield "two" if may_end.wait(WAIT_S) else "late"

    answers["words"] = lambda request: events(words())
    with ThreadPoolExecutor(1) as pool, client.stream("GET", "/words") as response:
        pieces = response.iter_raw()
        assert next(pieces) == b"one"
        stopped = pool.submit(server.stop, WAIT_S)
        may_end.set()

        assert list(pieces) == [b"two"]
        assert stopped.result() is True


@pytest.mark.parametrize("then", ["", "more"], ids=["silent", "speaking"])
def test_stream_that_goes_on_after_the_grace_is_cut(
    answers: Answers, server: HttpServer, client: httpx.Client, speaker: Speaker, then: str
) -> None:
    answers["words"] = speaker.says("one", then, every_s=0.01)
    with client.stream("GET", "/words") as response:
        pieces = response.iter_raw()
        next(pieces)

        assert server.stop(grace_s=0) is False
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)

    assert speaker.has_ended.wait(WAIT_S)
    assert server.drain(grace_s=WAIT_S)


def test_client_that_does_not_read_is_cut_too(answers: Answers, server: HttpServer, speaker: Speaker) -> None:
    answers["words"] = speaker.says("one", LARGE, every_s=0)
    with ask(server, "words") as connection:
        read_until(connection, b"one\r\n")
        assert server.stop(grace_s=0) is False
        assert speaker.has_ended.wait(WAIT_S)


def test_stream_that_begins_after_the_grace_is_cut(answers: Answers, server: HttpServer, speaker: Speaker) -> None:
    was_asked, has_stopped = threading.Event(), threading.Event()
    says = speaker.says("one", "", every_s=0.01)

    def late(request: Request) -> Reply:
        was_asked.set()
        has_stopped.wait(WAIT_S)
        return says(request)

    answers["words"] = late
    with ask(server, "words") as connection:
        assert was_asked.wait(WAIT_S)
        assert server.stop(grace_s=0) is False
        has_stopped.set()

        assert not read_until(connection, b"never").endswith(b"0\r\n\r\n")
        assert speaker.has_ended.wait(WAIT_S)
        assert server.drain(grace_s=WAIT_S)


def test_handler_knows_whether_its_answer_can_be_sent_in_pieces(answers: Answers, client: httpx.Client) -> None:
    answers["streams"] = lambda request: Reply(request.streams)

    assert client.get("/streams").json() is True


def test_chalices_own_server_sends_all_words_at_the_end(answers: Answers) -> None:
    answers["streams"] = lambda request: Reply(request.streams)
    local = create_local_server(streaming_app(answers), Config(chalice_stage="local"), "127.0.0.1", 0)
    threading.Thread(target=local.serve_forever, args=()).start()
    url = f"http://127.0.0.1:{local.server.server_address[1]}"
    try:
        with httpx.Client(base_url=url, verify=False, timeout=WAIT_S) as client:
            short, streams = client.get("/short"), client.get("/streams")
    finally:
        local.shutdown()
        local.server.server_close()

    assert (short.text, short.headers["content-length"]) == ("one zwölf", "10")
    assert streams.json() is False
