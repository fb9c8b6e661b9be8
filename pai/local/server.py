"""The HTTP/1.1 server of one machine: a thread for each connection, h11 for the protocol, a gateway for the answers.

Requests are bounded before they reach the app: their head, their body and the time they take to arrive.

Answers may come in pieces, which are drawn in the connection's own thread and sent at once. Whether the client is still
there is looked at after each. So who has nothing to say for a while gives empty pieces, about one a second: nothing is sent
for them, but they let an answer end whose client has gone. Nothing else could end it: no thread can close another's generator.
"""

import http.client
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate
from typing import Any

import h11

from chalicelib import logs
from chalicelib.errors import AddressTooLong, BadRequest, HeadersTooLarge, PaiError, RequestTimeout, TooLarge
from chalicelib.http import BODY_BYTES
from pai.local.gateway import Gateway, HttpReply, HttpRequest, refusal

TARGET_BYTES = 8 * 1024
HEAD_BYTES = 32 * 1024
POLL_S = 0.1
"""How soon the server notices that it is to stop."""
SLOWEST_BYTES_S = 100_000
"""How slowly a file may come: what it is larger than other bodies is added to the time that a request may take."""
LINGER_S = 2.0
LINGER_BYTES = 32 * 1024 * 1024
"""How much of a refused request is read and dropped: closing on unread bytes would take the answer from the client."""


class BrokenOff(ConnectionError):
    """The answer ends before its end: its client has gone or does not take it, or there is a defect in what makes it."""


class Connection(socketserver.BaseRequestHandler):
    """One client's connection: request after request until either side ends it."""

    request: socket.socket
    server: "HttpServer"

    def handle(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._wait_for_request() and not self.server.stopping:
                with self.server.working():
                    self._answer_request()
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    self._linger()
                    return
                self._http.start_next_cycle()
        except OSError:
            self._break_off()  # The client has gone, or does not take its answer: there is nobody to tell.

    def _wait_for_request(self) -> bool:
        """Wait for the first byte of a request; False when the client ends the connection, or leaves it idle for too long."""
        if self._http.trailing_data[0]:
            return True
        self.request.settimeout(self.server.idle_s)
        data = self.request.recv(HEAD_BYTES)
        self._http.receive_data(data)
        return bool(data)

    def _answer_request(self) -> None:
        self._is_head, self._target = False, ""
        try:
            request = self._read_request()
        except PaiError as error:
            self._send(refusal(error, self._target), last=True)
        else:
            self._send(self.server.gateway.answer(request), last=self.server.stopping)

    def _read_request(self) -> HttpRequest:
        """Return the next request, whole; a `PaiError` says what is wrong with it."""
        deadline = time.monotonic() + self.server.request_s
        try:
            head = self._next_event(deadline)
            self._is_head = head.method == b"HEAD"
            if len(head.target) > TARGET_BYTES:
                raise AddressTooLong(f"is longer than {TARGET_BYTES:,} bytes")
            headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
            method, target = head.method.decode("ascii"), head.target.decode("ascii")
            self._target = target
            most_bytes = self.server.gateway.body_bytes(method, target)
            deadline += max(most_bytes - BODY_BYTES, 0) / SLOWEST_BYTES_S
            body = self._read_body(int(headers.get("content-length", 0)), most_bytes, deadline)
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HeadersTooLarge.status:
                raise HeadersTooLarge(f"are larger than {HEAD_BYTES:,} bytes") from None
            raise BadRequest("request", "is not valid HTTP/1.1") from None
        except TimeoutError:
            raise RequestTimeout("The request did not arrive in time. Send it again.") from None
        return HttpRequest(method, target, headers, body)

    def _read_body(self, announced_bytes: int, most_bytes: int, deadline: float) -> bytes:
        """Read up to the limit and no further, whatever length was announced."""
        body = bytearray()
        too_large = TooLarge("body", f"is larger than {most_bytes:,} bytes")
        if announced_bytes > most_bytes:
            raise too_large
        while isinstance(event := self._next_event(deadline), h11.Data):
            body += event.data
            if len(body) > most_bytes:
                raise too_large
        return bytes(body)

    def _next_event(self, deadline: float) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self.request.sendall(self._bytes(h11.InformationalResponse(status_code=100, headers=[])))
            self.request.settimeout(max(deadline - time.monotonic(), 0.001))
            self._http.receive_data(self.request.recv(HEAD_BYTES))
        return event

    def _send(self, reply: HttpReply, *, last: bool) -> None:
        """Send the answer; with `last` the client is told that the connection ends with it."""
        head = self._head(reply, last)
        if reply.pieces is not None:
            self._send_bytes(head)
            self._send_pieces(reply.pieces, reply.request_id)
            self._send_bytes(self._bytes(h11.EndOfMessage()))
        else:
            body = b"" if self._is_head else self._bytes(h11.Data(data=reply.body))
            self._send_bytes(head + body + self._bytes(h11.EndOfMessage()))

    def _head(self, reply: HttpReply, last: bool) -> bytes:
        """Return the head. Without a length h11 makes chunks, or to HTTP/1.0 what the end of the connection ends."""
        headers = [(name.encode(), value.encode()) for name, value in reply.headers]
        headers.append((b"Date", formatdate(usegmt=True).encode()))
        if reply.pieces is None:
            headers.append((b"Content-Length", str(len(reply.body)).encode()))
        if last:
            headers.append((b"Connection", b"close"))
        reason = http.client.responses.get(reply.status, "").encode()
        return self._bytes(h11.Response(status_code=reply.status, reason=reason, headers=headers))

    def _send_pieces(self, pieces: Generator[str], request_id: str) -> None:
        """Send each piece as it comes, while somebody is there to take it, and close the generator. Raises `BrokenOff`."""
        try:
            with closing(pieces), self.server.cuttable(self.request):
                for piece in () if self._is_head else pieces:
                    self._pass_on(self._bytes(h11.Data(data=piece.encode())))
        except BrokenOff:
            raise
        except Exception as error:
            logs.defect(error, request_id)
            raise BrokenOff from error

    def _pass_on(self, data: bytes) -> None:
        """Send this, if it is anything, and look whether the client is still there. Raises `BrokenOff`.

        A client that has closed only its own side has gone, too: what it meant can't be told from here.
        """
        try:
            if data:
                self._send_bytes(data)
            self.request.settimeout(0)
            has_gone = self.request.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return
        except OSError as error:
            raise BrokenOff from error
        if has_gone:
            raise BrokenOff

    def _send_bytes(self, data: bytes) -> None:
        self.request.settimeout(self.server.request_s)
        self.request.sendall(data)

    def _break_off(self) -> None:
        """Let no answer that was broken off look whole: HTTP/1.0 takes a connection's end for the answer's, unless by RST."""
        if self._http.our_state is h11.SEND_BODY and self._http.their_http_version == b"1.0":
            with suppress(OSError):
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()

    def _bytes(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    def _linger(self) -> None:
        """Let the client read the answer before the connection closes: take in what it is still sending, and drop it."""
        deadline, rest = time.monotonic() + LINGER_S, LINGER_BYTES
        self.request.shutdown(socket.SHUT_WR)
        while rest > 0 and (left_s := deadline - time.monotonic()) > 0:
            self.request.settimeout(left_s)
            dropped = len(self.request.recv(64 * 1024))
            if not dropped:
                return
            rest -= dropped


class HttpServer(socketserver.ThreadingTCPServer):
    """Has its address from the moment it is made (`OSError` if it can't be had), and clients once it is opened."""

    allow_reuse_address = True
    allow_reuse_port = False
    daemon_threads = True
    request_queue_size = 256
    gateway: Gateway
    idle_s = 75.0
    """How long a connection may wait for its next request."""
    request_s = 30.0
    """How long the head of a request may take to arrive, and a client to take its answer."""

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        self.stopping = False
        self._working = 0
        self._streams: set[socket.socket] = set()
        self._cut = False
        self._idle = threading.Condition()
        super().__init__((host, port), Connection, bind_and_activate=False)
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def open(self, gateway: Gateway) -> None:
        """Answer clients with this gateway from now on, in threads of our own. `OSError` when another server was faster."""
        self.gateway = gateway
        self.server_activate()
        threading.Thread(target=self.serve_forever, args=(POLL_S,), name="pai-server", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request in, so that `stop` can wait for it."""
        with self._idle:
            self._working += 1
        try:
            yield
        finally:
            with self._idle:
                self._working -= 1
                self._idle.notify_all()

    @contextmanager
    def cuttable(self, client: socket.socket) -> Iterator[None]:
        """Have `stop` cut this client off if it is still being served then."""
        with self._idle:
            self._streams.add(client)
            if self._cut:
                _shut(client)
        try:
            yield
        finally:
            with self._idle:
                self._streams.remove(client)

    def drain(self, grace_s: float) -> bool:
        """Take no more connections; return whether all requests under way were answered within the grace."""
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._idle:
            return self._idle.wait_for(lambda: self._working == 0, timeout=grace_s)

    def stop(self, grace_s: float) -> bool:
        """Drain, and cut off the answers in pieces that go on after the grace: they may be minutes long."""
        all_answered = self.drain(grace_s)
        with self._idle:
            self._cut = True
            for client in self._streams:
                _shut(client)
        return all_answered

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if error:
            logs.defect(error, request_id="")


def _shut(client: socket.socket) -> None:
    """End a connection that another thread is using: what that sends or reads next fails."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
