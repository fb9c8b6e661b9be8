"""A stand-in for Amazon Bedrock, over real HTTP: ConverseStream's binary events, Converse's JSON, InvokeModel of the
embedding models, and the two lists.

Requests are checked against botocore's own service model. Answers are an echo unless scripted: in this process by
`script()`, from another one by `POST /standin/script`. A tool that must be called is called with `{"echo": …}`.
botocore comes here by AWS_ENDPOINT_URL_BEDROCK_RUNTIME and AWS_ENDPOINT_URL_BEDROCK. In a process of its own:
`python -m tests.standins.bedrock --port 0`, which prints its address.
"""

import argparse
import json
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from tests.standins import eventstream, invoke_model
from tests.standins.bedrock_models import MODELS, PROFILES, Json
from tests.standins.converse_checks import problem

_STREAM_EXCEPTIONS = (
    "internalServerException",
    "modelStreamErrorException",
    "serviceUnavailableException",
    "throttlingException",
    "validationException",
)
"""The exceptions that ConverseStream's model has for the middle of a stream."""


@dataclass(frozen=True)
class Behaviour:
    """How some requests are answered: those to a model whose id contains `model`, with `having` among their members."""

    model: str = ""
    having: str = ""
    times: int | None = None
    """How many requests; None is all."""
    reply: str | None = None
    """None is an echo of the last message."""
    deltas: int = 4
    stop_reason: str = "end_turn"
    usage: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    """Events in place of the reply's."""
    error: str = ""
    """Refuses the request with this code, as ThrottlingException, and `message`."""
    status: int = 0
    """HTTP status of `error`; 0 is the one in the service's model."""
    message: str = "Injected by the test."
    exception: str = ""
    """Breaks the stream off with this event, as throttlingException. One that the model does not have goes as `error`."""
    at: int = 0
    """Number of the event that `exception` replaces, or that `stall_s` comes before; -1 is the response's head."""
    stall_s: float = 0.0
    delay_s: float = 0.0
    """A silence before each event."""
    cut_at: int | None = None
    """How many bytes of the stream are sent."""
    cut: Literal["close", "reset", "end"] = "close"
    """What happens then: the connection is closed, or reset, or the HTTP body ends as if all were well."""
    corrupt_at: int | None = None
    """Which byte of the stream is spoiled."""


@dataclass
class Recorded:
    """A request that came; `aborted` once nobody takes its answer any more. `connection` is the caller's port."""

    operation: str
    members: Json
    connection: int
    aborted: threading.Event = field(default_factory=threading.Event)


class BedrockStandIn:
    """The server, in threads of this process. `url` is its address; close it, or use it as a context manager."""

    def __init__(self, port: int = 0, default: Behaviour | None = None) -> None:
        self.default = default or Behaviour()
        self.answer: Callable[[str], str] = lambda last: last
        self.models: Sequence[Json] = MODELS
        self.profiles: Sequence[Json] = PROFILES
        self.page_size = 1000
        self.requests: list[Recorded] = []
        self.stopping = threading.Event()
        self._behaviours: list[tuple[Behaviour, list[None]]] = []
        self._lock = threading.Lock()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *behaviours: Behaviour) -> None:
        """Add behaviours. The first that fits a request and is not used up answers it."""
        with self._lock:
            self._behaviours.extend((behaviour, []) for behaviour in behaviours)

    def clear(self) -> None:
        """Forget the script and the requests."""
        with self._lock:
            self._behaviours.clear()
            self.requests.clear()

    def behaviour_for(self, model: str, members: Json) -> Behaviour:
        text = json.dumps(members)
        with self._lock:
            for behaviour, used in self._behaviours:
                free = behaviour.times is None or len(used) < behaviour.times
                if free and behaviour.model in model and (not behaviour.having or f'"{behaviour.having}"' in text):
                    used.append(None)
                    return behaviour
        return self.default

    def record(self, request: Recorded) -> Recorded:
        with self._lock:
            self.requests.append(request)
        return request

    def asked(self, operation: str) -> list[Json]:
        """Return the members of each request for this operation, in the order they came."""
        return [request.members for request in self.requests if request.operation == operation]

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "BedrockStandIn":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, standin: BedrockStandIn, port: int) -> None:
        self.standin = standin
        self.reset_on_close: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers who hang up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; without a farewell (FIN) where a reset is wanted."""
        self._open.discard(request)
        if request in self.reset_on_close:
            self.reset_on_close.discard(request)
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
        else:
            super().shutdown_request(request)

    def server_close(self) -> None:
        """Hang up on whoever is still connected, so that no thread stays behind."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # hung up already
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        standin = self.server.standin
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/standin/requests":
            self._json(200, [{"operation": each.operation, "members": each.members} for each in standin.requests])
        elif not self._signed():
            self._refuse("MissingAuthenticationToken", 403, "Missing Authentication Token")
        elif url.path == "/foundation-models":
            self._list("ListFoundationModels", query, lambda: {"modelSummaries": standin.models})
        elif url.path == "/inference-profiles":
            self._list("ListInferenceProfiles", query, lambda: self._page_of_profiles(query))
        else:
            self._refuse("UnknownOperationException", 404, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path).path.split("/")
        if parts[1:] == ["standin", "script"]:
            self._script(json.loads(body))
        elif not self._signed():
            self._refuse("MissingAuthenticationToken", 403, "Missing Authentication Token")
        elif len(parts) == 4 and parts[1] == "model" and parts[3] in ("converse", "converse-stream"):
            self._converse("ConverseStream" if parts[3] == "converse-stream" else "Converse", unquote(parts[2]), body)
        elif len(parts) == 4 and parts[1] == "model" and parts[3] == "invoke":
            self._invoke(unquote(parts[2]), json.loads(body))
        else:
            self._refuse("UnknownOperationException", 404, "")

    def do_DELETE(self) -> None:
        self.server.standin.clear()
        self._json(200, {})

    def _script(self, wanted: Json) -> None:
        """Take `{"behaviours": […], "default": {…}, "models": […], "profiles": […]}` from another process."""
        standin = self.server.standin
        standin.script(*(Behaviour(**behaviour) for behaviour in wanted.get("behaviours", ())))
        standin.default = Behaviour(**wanted["default"]) if "default" in wanted else standin.default
        standin.models = wanted.get("models", standin.models)
        standin.profiles = wanted.get("profiles", standin.profiles)
        self._json(200, {})

    def _signed(self) -> bool:
        proof = self.headers.get("Authorization", "")
        return proof.startswith("AWS4-HMAC-SHA256 ") and "/bedrock/aws4_request" in proof

    def _list(self, operation: str, query: Json, answer: Callable[[], Json]) -> None:
        standin = self.server.standin
        standin.record(Recorded(operation, query, self._connection()))
        behaviour = standin.behaviour_for(operation, query)
        if behaviour.error:
            self._refuse(behaviour.error, behaviour.status or 400, behaviour.message)
        else:
            self._json(200, answer())

    def _page_of_profiles(self, query: Json) -> Json:
        standin = self.server.standin
        wanted = [profile for profile in standin.profiles if query.get("type", profile["type"]) == profile["type"]]
        start = int(query.get("nextToken", 0))
        end = start + min(standin.page_size, int(query.get("maxResults", 1000)))
        page: Json = {"inferenceProfileSummaries": wanted[start:end]}
        return {**page, "nextToken": str(end)} if end < len(wanted) else page

    def _converse(self, operation: str, model: str, body: bytes) -> None:
        operation_model = _operation(operation)
        try:
            members = {"modelId": model, **json.loads(body or b"{}")}
        except (ValueError, TypeError):
            self._refuse("SerializationException", 400, "The request body is not JSON.")
            return
        request = self.server.standin.record(Recorded(operation, members, self._connection()))
        wrong = problem(members, operation_model.input_shape)
        behaviour = self.server.standin.behaviour_for(model, members)
        if wrong:
            self._refuse("ValidationException", 400, wrong)
        elif behaviour.error:
            self._refuse(behaviour.error, behaviour.status or _status(operation_model, behaviour.error), behaviour.message)
        elif operation == "Converse":
            self._json(200, self._whole(members, behaviour))
        else:
            self._stream(request, behaviour)

    def _invoke(self, model: str, members: Json) -> None:
        """Make vectors. A scripted `reply` is the body as it stands; `cut_at` closes the connection after so many bytes."""
        self.server.standin.record(Recorded("InvokeModel", {"modelId": model, **members}, self._connection()))
        behaviour = self.server.standin.behaviour_for(model, members)
        self._wait(behaviour.stall_s)
        if behaviour.error:
            status = behaviour.status or _status(_operation("InvokeModel"), behaviour.error)
            self._refuse(behaviour.error, status, behaviour.message)
        elif wrong := invoke_model.refusal(model, members):
            self._refuse("ValidationException", 400, wrong)
        elif behaviour.cut_at is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(behaviour.cut_at + 1))
            self.end_headers()
            self.wfile.write(b"{" * behaviour.cut_at)
            self.close_connection = True
        else:
            self._json(200, invoke_model.answer(model, members) if behaviour.reply is None else json.loads(behaviour.reply))

    def _whole(self, members: Json, behaviour: Behaviour) -> Json:
        reply, behaviour = self._answer(members, behaviour)
        name = forced_tool(members)
        content = (
            {"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": json.loads(reply)}} if name else {"text": reply}
        )
        return {
            "output": {"message": {"role": "assistant", "content": [content]}},
            "stopReason": behaviour.stop_reason,
            "usage": _usage(members, reply, behaviour),
            "metrics": {"latencyMs": 1},
        }

    def _stream(self, request: Recorded, behaviour: Behaviour) -> None:
        self._wait(behaviour.stall_s if behaviour.at < 0 else 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.amazon.eventstream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.end_headers()
        try:
            reply, behaviour = self._answer(request.members, behaviour)
            self._send_events(messages_of(request.members, reply, behaviour), behaviour)
        except ConnectionError:
            self.close_connection = True
            request.aborted.set()

    def _send_events(self, messages: Iterator[bytes], behaviour: Behaviour) -> None:
        """Send each message as a chunk, up to the cut."""
        sent = 0
        for number, message in enumerate(messages):
            self._wait(behaviour.delay_s + (behaviour.stall_s if number == behaviour.at else 0))
            sound = _corrupted(message, behaviour.corrupt_at, sent)
            if behaviour.cut_at is not None and sent + len(message) > behaviour.cut_at:
                self._cut(sound, behaviour.cut_at - sent, behaviour.cut)
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(sound), sound))
            sent += len(message)
        self.wfile.write(b"0\r\n\r\n")

    def _cut(self, message: bytes, length: int, how: str) -> None:
        """Send this much of a message, then end the connection, or only the body."""
        if how == "end":
            head = b"%x\r\n%b\r\n" % (length, message[:length]) if length else b""
            self.wfile.write(head + b"0\r\n\r\n")
            return
        self.wfile.write(b"%x\r\n%b" % (len(message), message[:length]))
        self.close_connection = True
        if how == "reset":
            self.server.reset_on_close.add(self.connection)

    def _wait(self, seconds: float) -> None:
        """Be silent, but not longer than the server lives or the caller stays."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.standin.stopping.is_set():
            self.server.standin.stopping.wait(min(0.05, max(0.0, end - time.monotonic())))

    def _answer(self, members: Json, behaviour: Behaviour) -> tuple[str, Behaviour]:
        """Return the reply, of as many words as it may have tokens, and the behaviour with the reason for its end."""
        said = self.server.standin.answer(_text(members["messages"][-1])) if behaviour.reply is None else behaviour.reply
        if behaviour.reply is None and (forced_tool(members) or "outputConfig" in members):
            said = json.dumps({"echo": said})
        if forced_tool(members):
            return said, replace(behaviour, stop_reason="tool_use")
        stops = members.get("inferenceConfig", {}).get("stopSequences", ())
        if found := [at for at in map(said.find, stops) if at >= 0]:
            said, behaviour = said[: min(found)], replace(behaviour, stop_reason="stop_sequence")
        words = re.findall(r"\s*\S+\s*$|\s*\S+", said)
        longest = members.get("inferenceConfig", {}).get("maxTokens", len(words))
        if len(words) <= longest:
            return said, behaviour
        return "".join(words[:longest]), replace(behaviour, stop_reason="max_tokens")

    def _refuse(self, code: str, status: int, message: str) -> None:
        self._json(
            status, {"message": message}, {"x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/com.amazon.bedrock/"}
        )

    def _json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), "x-amzn-RequestId": str(uuid.uuid4())}
        for name, value in {**sent, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _connection(self) -> int:
        return int(self.client_address[1])


@cache
def _operation(name: str) -> OperationModel:
    model = Loader().load_service_model("bedrock-runtime", "service-2")
    return ServiceModel(model, "bedrock-runtime").operation_model(name)


def _status(operation: OperationModel, error: str) -> int:
    """Return the HTTP status that the service's model gives an error, 400 for one it does not have."""
    statuses = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in operation.error_shapes}
    return int(statuses.get(error, 400))


def messages_of(members: Json, reply: str, behaviour: Behaviour) -> Iterator[bytes]:
    """Yield the encoded events of an answer, with the injected exception in its place."""
    events = list(behaviour.events) or _events(members, reply, behaviour)
    for number, each in enumerate(events):
        if behaviour.exception and number == behaviour.at:
            kind = eventstream.exception if behaviour.exception in _STREAM_EXCEPTIONS else eventstream.error
            yield kind(behaviour.exception, behaviour.message)
            return
        [(kind_of_event, payload)] = each.items()
        yield eventstream.event(kind_of_event, payload)


def _text(message: Json) -> str:
    texts = "".join(block.get("text", "") for block in message["content"])
    results = (block["toolResult"]["content"] for block in message["content"] if "toolResult" in block)
    return texts or "\n".join(part.get("text", "") for content in results for part in content)


def forced_tool(members: Json) -> str:
    """Return the name of the tool that must be called, empty for none."""
    config = members.get("toolConfig", {})
    choice = config.get("toolChoice", {})
    if "any" in choice:
        return str(config["tools"][0]["toolSpec"]["name"])
    return str(choice["tool"]["name"]) if "tool" in choice else ""


def _events(members: Json, reply: str, behaviour: Behaviour) -> list[Json]:
    size = max(1, -(-len(reply) // max(1, behaviour.deltas)))
    pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
    name = forced_tool(members)
    start: Json = {"toolUse": {"toolUseId": "tooluse_1", "name": name}}
    deltas: list[Json] = [{"toolUse": {"input": piece}} if name else {"text": piece} for piece in pieces]
    return [
        {"messageStart": {"p": "abcd", "role": "assistant"}},
        *([{"contentBlockStart": {"contentBlockIndex": 0, "start": start, "p": "ab"}}] if name else []),
        *({"contentBlockDelta": {"contentBlockIndex": 0, "delta": delta, "p": "abcdef"}} for delta in deltas),
        {"contentBlockStop": {"contentBlockIndex": 0, "p": "abc"}},
        {"messageStop": {"p": "abcde", "stopReason": behaviour.stop_reason}},
        {"metadata": {"usage": _usage(members, reply, behaviour), "metrics": {"latencyMs": 1}, "p": "ab"}},
    ]


def _usage(members: Json, reply: str, behaviour: Behaviour) -> Json:
    """Return tokens as words, unless the script says how many."""
    asked = sum(len(_text(message).split()) for message in members["messages"])
    usage = {"inputTokens": asked, "outputTokens": len(reply.split()), **behaviour.usage}
    return {"totalTokens": usage["inputTokens"] + usage["outputTokens"], **usage}


def _corrupted(message: bytes, corrupt_at: int | None, start: int) -> bytes:
    if corrupt_at is None or not start <= corrupt_at < start + len(message):
        return message
    spoiled = bytearray(message)
    spoiled[corrupt_at - start] ^= 0x01
    return bytes(spoiled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--deltas", type=int, default=4, help="pieces of each answer")
    arguments = parser.parse_args()
    with BedrockStandIn(arguments.port, Behaviour(deltas=arguments.deltas)) as standin:
        print(standin.url, flush=True)
        standin.stopping.wait()


if __name__ == "__main__":
    main()
