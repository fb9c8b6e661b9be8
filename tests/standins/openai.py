"""A stand-in for a server of OpenAI's protocol, over real HTTP: /models, and /chat/completions with server-sent events.

It says the last message again, word by word, and counts words as tokens; as `{"echo": …}` where JSON is asked for. A tool that
must be called is called with that. `acts` makes its next answers something else.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Json = dict[str, Any]
MODELS = ("standin-large", "standin-small")
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Refuse:
    """An answer of this status. `content` is sent as JSON, a string as it stands."""

    status: int
    content: Json | str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """An answer in these pieces, each one chunk of HTTP; then it ends, drops the connection, hangs, or goes on with `more`."""

    pieces: Sequence[bytes]
    then: Literal["end", "drop", "hang", "endless"] = "end"
    more: bytes = b""


Act = Refuse | Stream


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Json


def event(value: Json | str) -> bytes:
    """Return one server-sent event, of a JSON value or of raw text."""
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def delta(text: str, finish_reason: str | None = None, **members: Any) -> Json:
    """Return a `chat.completion.chunk`."""
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish_reason}
    return {"object": "chat.completion.chunk", "model": MODELS[0], "choices": [choice], **members}


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> Json:
    """Return the chunk that counts, after the last choice."""
    counted = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    return {"object": "chat.completion.chunk", "model": MODELS[0], "choices": [], "usage": counted}


def error(code: str, message: str = "Injected by the test.", **members: Any) -> Json:
    return {"error": {"message": message, "type": "standin_error", "code": code, **members}}


DONE = event("[DONE]")


@dataclass
class OpenAIStandin:
    """What the server does and has seen. `left` is set when a client closed the connection before the end."""

    url: str = ""
    api_key: str = ""
    models: Sequence[str] = MODELS
    acts: list[Act] = field(default_factory=list)
    refused_members: Mapping[str, str] = field(default_factory=dict)
    """Members of a request that are refused, with the sentence that says so."""
    seen: list[Seen] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)

    def act_on(self, request: Seen) -> Act:
        """Decide on the answer to a chat request."""
        if self.acts:
            return self.acts.pop(0)
        body = request.body
        for name, sentence in self.refused_members.items():
            if name in body:
                return Refuse(400, error("unsupported_parameter", sentence, param=name))
        if body["model"] not in self.models:
            return Refuse(404, error("model_not_found", f"The model `{body['model']}` does not exist."))
        return _echo(body)


def call_delta(index: int, arguments: str = "", *, id: str = "", name: str = "") -> Json:
    """Return a chunk with a piece of a tool call: the first one of a call has its id and name."""
    head = {"id": id, "type": "function"} if id else {}
    call = {"index": index, **head, "function": {**({"name": name} if name else {}), "arguments": arguments}}
    chunk = delta("")
    chunk["choices"][0]["delta"] = {"content": None, "tool_calls": [call]}
    return chunk


def wrong(body: Json) -> Refuse | None:
    """Return the refusal of a request that OpenAI would refuse for its tools or its form."""
    messages, tools = body["messages"], [tool["function"]["name"] for tool in body.get("tools", ())]
    choice, form = body.get("tool_choice"), body.get("response_format", {})
    called = {call["id"] for message in messages for call in message.get("tool_calls") or ()}
    answered = {message["tool_call_id"] for message in messages if message["role"] == "tool"}
    if called != answered:
        return _invalid(
            "messages", "An assistant message with 'tool_calls' must be followed by tool messages responding to it."
        )
    if choice is not None and not tools:
        return _invalid("tool_choice", "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are.")
    if isinstance(choice, dict) and choice["function"]["name"] not in tools:
        return _invalid("tool_choice", "Invalid value for 'tool_choice': no such tool among 'tools'.")
    if form.get("type") == "json_object" and "json" not in json.dumps(messages).lower():
        return _invalid("messages", "'messages' must contain the word 'json' in some form, to use 'response_format'.")
    if not 0 < len(body.get("stop", ["?"])) <= 4:
        return _invalid("stop", "Invalid 'stop': array too long. Expected an array with maximum length 4.")
    return None


def _invalid(param: str, sentence: str) -> Refuse:
    return Refuse(400, {"error": {"message": sentence, "type": "invalid_request_error", "param": param, "code": None}})


def _echo(body: Json) -> Refuse | Stream:
    if refusal := wrong(body):
        return refusal
    last = body["messages"][-1]["content"] or ""
    if name := _forced(body):
        arguments = json.dumps({"echo": last})
        pieces = [call_delta(0, id="call_1", name=name), *(call_delta(0, piece) for piece in (arguments[:5], arguments[5:]))]
        # OpenAI ends a call that was asked for by name with "stop".
        end = delta("", "tool_calls" if body["tool_choice"] == "required" else "stop")
        return _counted(body, [*pieces, end], 1)
    whole = json.dumps({"echo": last}) if "response_format" in body else last
    text = whole[: min((at for at in map(whole.find, body.get("stop", ())) if at >= 0), default=len(whole))]
    words = text.split(" ")
    limit = body.get("max_tokens", body.get("max_completion_tokens"))
    said = [word if number == 0 else f" {word}" for number, word in enumerate(words)][:limit]
    chunks = [delta(""), *map(delta, said), delta("", "stop" if len(said) == len(words) else "length")]
    return _counted(body, chunks, len(said))


def _forced(body: Json) -> str:
    """Return the name of the tool that must be called, empty for none."""
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    return str(body["tools"][0]["function"]["name"]) if choice == "required" else ""


def _counted(body: Json, chunks: Sequence[Json], said: int) -> Stream:
    counted: list[Json] = []
    if body.get("stream_options", {}).get("include_usage"):
        counted = [usage(sum(len((message["content"] or "").split(" ")) for message in body["messages"]), said)]
    return Stream([*(event({**chunk, "model": body["model"]}) for chunk in [*chunks, *counted]), DONE])


@contextmanager
def openai_standin(**members: Any) -> Iterator[OpenAIStandin]:
    """Serve on a free port, until this block is left."""
    standin = OpenAIStandin(**members)

    class Handler(_Handler):
        owner = standin

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        standin.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield standin
        finally:
            standin.left.set()  # ends what is endless
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: OpenAIStandin
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._authorized(self._see()):
            return
        if self.path == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in self.owner.models]
            act = self.owner.acts.pop(0) if self.owner.acts else Refuse(200, {"object": "list", "data": listed})
            assert isinstance(act, Refuse)
            self._answer(act)
        else:
            self._answer(Refuse(404, "404 page not found"))

    def do_POST(self) -> None:
        request = self._see()
        if not self._authorized(request):
            return
        if self.path != "/v1/chat/completions":
            self._answer(Refuse(404, "404 page not found"))
            return
        act = self.owner.act_on(request)
        if isinstance(act, Refuse):
            self._answer(act)
        else:
            self._stream(act)

    def _see(self) -> Seen:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Seen(self.command, self.path, dict(self.headers), json.loads(content or "{}"))
        self.owner.seen.append(request)
        return request

    def _authorized(self, request: Seen) -> bool:
        if self.owner.api_key and request.headers.get("Authorization") != f"Bearer {self.owner.api_key}":
            self._answer(Refuse(401, error("invalid_api_key")))
            return False
        return True

    def _answer(self, act: Refuse) -> None:
        content = (act.content if isinstance(act.content, str) else json.dumps(act.content)).encode()
        self.send_response(act.status)
        for name, value in {"Content-Type": "application/json", **act.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, act: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = act.then != "end"
        try:
            for piece in act.pieces:
                self._piece(piece)
            if act.then == "end":
                self._piece(b"")
            elif act.then != "drop":
                self._go_on(act.more)
        except OSError:
            self.owner.left.set()

    def _go_on(self, more: bytes) -> None:
        """Send more, or nothing, until the client leaves or the stand-in is stopped."""
        self.connection.settimeout(PATIENCE_S)
        while more and not self.owner.left.is_set():
            self._piece(more)
        if self.rfile.read(1) == b"":
            self.owner.left.set()

    def _piece(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output to itself."""
