"""The HTTP server of one machine, met by raw sockets and by clients that do not behave."""

import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from chalice.app import AuthRequest, AuthResponse, Chalice, CORSConfig, Response
from chalice.config import Config

from chalicelib import logs
from chalicelib.http import BODY_BYTES
from pai.local.gateway import Gateway
from pai.local.server import HttpServer

ENTERED, LEAVE = threading.Event(), threading.Event()


def small_app() -> Chalice:
    """An app with one route of each kind that a server can be asked for."""
    app = Chalice(app_name="small", configure_logs=False)

    @app.authorizer()
    def door(auth_request: AuthRequest) -> AuthResponse:
        if auth_request.token == "Bearer break":
            raise RuntimeError("the authorizer is broken")
        return AuthResponse(routes=["*"] if auth_request.token == "Bearer sesame" else [], principal_id="me")

    @app.route("/echo", methods=["POST"], content_types=["application/json", "text/plain"])
    def echo() -> Response:
        return Response(app.current_request.raw_body, {"Content-Type": "text/plain"})  # type: ignore[union-attr]

    @app.route("/guarded", cors=CORSConfig(allow_origin="*"), authorizer=door)
    def guarded() -> dict[str, str]:
        return {"who": app.current_request.context["authorizer"]["principalId"]}  # type: ignore[union-attr]

    @app.route("/id/{name}")
    def name_and_id(name: str) -> dict[str, str]:
        """Answer what the request is called, after letting the others overtake."""
        threading.Event().wait(0.01)
        return {"name": app.current_request.uri_params["name"], "id": app.lambda_context.aws_request_id}  # type: ignore

    @app.route("/slow")
    def slow() -> str:
        ENTERED.set()
        LEAVE.wait(10)
        return "done"

    @app.route("/header")
    def header() -> Response:
        value = app.current_request.headers["x-odd"]  # type: ignore[union-attr]
        return Response(value.encode("latin-1").hex(), {"X-Name": "Grüße", "Content-Type": "text/plain"})

    return app


@pytest.fixture
def server() -> Iterator[HttpServer]:
    ENTERED.clear()
    LEAVE.clear()
    server = HttpServer("127.0.0.1", 0)
    server.open(Gateway(small_app(), Config(chalice_stage="local")))
    yield server
    LEAVE.set()
    server.stop(grace_s=5)


@pytest.fixture
def client(server: HttpServer) -> Iterator[httpx.Client]:
    # Loading the certificates that nobody needs here would take longer than most of these tests.
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", verify=False) as client:
        yield client


@pytest.fixture
def wire(server: HttpServer) -> Callable[[bytes], bytes]:
    """Send these bytes on a new connection, and return everything that comes back until it closes."""

    def send(data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    return send


def code_of(response: bytes) -> tuple[int, str]:
    """Return status and Code of the last response in these bytes."""
    head, _, body = response[response.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["Code"]


def test_unknown_address_is_404_with_the_products_error_body(client: httpx.Client) -> None:
    refused = client.get("/nowhere")

    assert refused.status_code == 404
    assert refused.json().keys() == {"Code", "Message", "RequestId"}
    assert refused.json()["Code"] == "RouteNotFound"


@pytest.mark.parametrize(
    "target", ["/nowhere", "//guarded//", "/%2e%2e/echo", "/ech%6f", "/id/a/b", "*", "/\xff".encode("latin-1")]
)
def test_odd_addresses_are_refused_and_never_crash(wire: Callable[[bytes], bytes], target: str | bytes) -> None:
    path = target if isinstance(target, bytes) else target.encode()

    answer = wire(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert code_of(answer) in {(404, "RouteNotFound"), (400, "BadRequest"), (401, "Unauthorized")}


def test_whole_url_as_target_reaches_the_route(wire: Callable[[bytes], bytes]) -> None:
    answer = wire(b"GET http://anywhere/id/me?x=1 HTTP/1.1\r\nHost: anywhere\r\n\r\n")

    assert b'"name":"me"' in answer


def test_slashes_too_many_are_no_host_name(client: httpx.Client, wire: Callable[[bytes], bytes]) -> None:
    answer = wire(b"GET //id/me HTTP/1.1\r\nHost: x\r\n\r\n")

    assert b'"name":"me"' in answer


def test_wrong_method_is_405_and_names_the_right_ones(client: httpx.Client) -> None:
    refused = client.put("/echo")

    assert (refused.status_code, refused.json()["Code"], refused.headers["allow"]) == (405, "MethodNotAllowed", "POST")


def test_missing_key_is_401_and_says_how_to_send_one(client: httpx.Client) -> None:
    refused = client.get("/guarded")

    assert (refused.status_code, refused.json()["Code"]) == (401, "Unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"


def test_refused_key_is_403(client: httpx.Client) -> None:
    refused = client.get("/guarded", headers={"Authorization": "Bearer other"})

    assert (refused.status_code, refused.json()["Code"]) == (403, "Forbidden")


def test_key_that_is_not_ascii_is_403(wire: Callable[[bytes], bytes]) -> None:
    answer = wire(b"GET /guarded HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xe9\xff\r\n\r\n")

    assert code_of(answer) == (403, "Forbidden")


def test_broken_authorizer_is_a_500_without_its_words(client: httpx.Client) -> None:
    failed = client.get("/guarded", headers={"Authorization": "Bearer break"})

    assert (failed.status_code, failed.json()["Code"]) == (500, "InternalError")
    assert "broken" not in failed.text


def test_key_that_is_admitted_reaches_the_route(client: httpx.Client) -> None:
    assert client.get("/guarded", headers={"Authorization": "Bearer sesame"}).json() == {"who": "me"}


def test_preflight_is_answered_without_a_key(client: httpx.Client) -> None:
    answer = client.options("/guarded")

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-methods"] == "GET,OPTIONS"


def test_head_is_get_without_the_body(client: httpx.Client) -> None:
    got, head = client.get("/id/me"), client.head("/id/me")

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_connection_is_kept_for_the_next_request(server: HttpServer) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as client:
        sockets = []
        for _ in range(2):
            client.request("POST", "/echo", body=b"again", headers={"Content-Type": "text/plain"})
            assert client.getresponse().read() == b"again"
            sockets.append(client.sock)

    assert sockets[0] is sockets[1]


def test_requests_sent_in_one_go_are_answered_in_order(wire: Callable[[bytes], bytes]) -> None:
    answers = wire(b"".join(b"GET /id/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(3)))

    assert [answers.index(b'"name":"%d"' % number) for number in range(3)] == sorted(
        answers.index(b'"name":"%d"' % number) for number in range(3)
    )


def test_fifty_requests_at_once_are_all_answered_each_with_its_own(client: httpx.Client) -> None:
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: client.get(f"/id/{number}").json(), range(50)))

    assert [answer["name"] for answer in answers] == [str(number) for number in range(50)]
    assert len({answer["id"] for answer in answers}) == 50


def test_chunked_body_reaches_the_app_whole(client: httpx.Client) -> None:
    answer = client.post("/echo", content=iter([b"one ", b"two"]), headers={"Content-Type": "text/plain"})

    assert answer.text == "one two"


def test_body_at_the_limit_is_taken(client: httpx.Client) -> None:
    answer = client.post("/echo", content=b"x" * BODY_BYTES, headers={"Content-Type": "text/plain"})

    assert len(answer.content) == BODY_BYTES


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit_is_413_even_while_it_is_being_sent(client: httpx.Client, chunked: bool) -> None:
    body = b"x" * (5 * BODY_BYTES)

    refused = client.post("/echo", content=iter([body]) if chunked else body)

    assert (refused.status_code, refused.json()["Code"], refused.json()["field"]) == (413, "TooLarge", "body")


def test_client_that_sends_all_of_a_giant_first_can_still_read_the_refusal(wire: Callable[[bytes], bytes]) -> None:
    size = 5 * BODY_BYTES

    answer = wire(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    assert code_of(answer) == (413, "TooLarge")


def test_announced_giant_is_refused_before_it_is_sent(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        answer = connection.recv(65536)

    assert code_of(answer) == (413, "TooLarge")


def test_client_that_waits_for_100_continue_gets_it(server: HttpServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hi")
        assert connection.recv(65536).endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /echo HTTP/1.1\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /echo HTTP/1.1\r\nHost: x",
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_not_http_is_400(wire: Callable[[bytes], bytes], request_bytes: bytes) -> None:
    assert code_of(wire(request_bytes)) == (400, "BadRequest")


def test_address_that_is_too_long_is_414(client: httpx.Client) -> None:
    refused = client.get(f"/id/{'x' * 9000}")

    assert (refused.status_code, refused.json()["Code"]) == (414, "AddressTooLong")


def test_headers_that_are_too_large_are_431(wire: Callable[[bytes], bytes]) -> None:
    answer = wire(b"GET /id/me HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 200_000 + b"\r\n\r\n")

    assert code_of(answer) == (431, "HeadersTooLarge")


def test_headers_beyond_ascii_arrive_and_leave_as_their_bytes(wire: Callable[[bytes], bytes]) -> None:
    answer = wire(b"GET /header HTTP/1.1\r\nHost: x\r\nX-Odd: \xe9\xff\r\n\r\n")

    assert answer.endswith(b"\r\n\r\ne9ff")
    assert "X-Name: Grüße".encode() in answer


def test_request_that_does_not_end_is_408(server: HttpServer) -> None:
    server.request_s = 0.05
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nand then nothing")
        answer = connection.recv(65536)

    assert code_of(answer) == (408, "RequestTimeout")


def test_connection_without_a_request_is_closed(server: HttpServer) -> None:
    server.idle_s = 0.05
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        assert connection.recv(65536) == b""


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages of PAI's log."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    keep = Keep()
    logs.log.addHandler(keep)
    yield messages
    logs.log.removeHandler(keep)


def test_client_that_leaves_disturbs_nobody(server: HttpServer, client: httpx.Client, logged: list[str]) -> None:
    for part in (b"", b"POST /echo HTTP/1.1\r\n", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # leave by RST
            connection.sendall(part)

    assert client.get("/id/me").status_code == 200
    server.stop(grace_s=5)
    assert "defect" not in logged


def test_client_that_leaves_before_its_answer_disturbs_nobody(
    server: HttpServer, client: httpx.Client, logged: list[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ENTERED.wait(5)
    LEAVE.set()

    assert client.get("/id/me").status_code == 200
    server.stop(grace_s=5)
    assert "defect" not in logged


def test_request_under_way_is_answered_when_the_server_stops(server: HttpServer, client: httpx.Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(client.get, "/slow")
        assert ENTERED.wait(5)
        stopped = pool.submit(server.stop, 5)
        LEAVE.set()

        assert answer.result().text == "done"
        assert stopped.result() is True
        assert answer.result().headers["connection"] == "close"


def test_server_that_stops_does_not_wait_for_ever(server: HttpServer, client: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(client.get, "/slow")
        assert ENTERED.wait(5)

        assert server.stop(grace_s=0) is False
        LEAVE.set()


def test_server_that_is_not_open_yet_refuses_connections() -> None:
    with HttpServer("127.0.0.1", 0) as server, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_second_server_on_a_port_fails(server: HttpServer) -> None:
    with pytest.raises(OSError, match="in use"):
        HttpServer("127.0.0.1", server.port)


def test_server_listens_on_ipv6() -> None:
    try:
        server = HttpServer("::1", 0)
    except OSError:
        pytest.skip("This machine has no IPv6.")
    server.open(Gateway(small_app(), Config(chalice_stage="local")))

    assert httpx.get(f"http://[::1]:{server.port}/id/me").status_code == 200
    server.stop(grace_s=1)
