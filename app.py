"""PAI: a personal AI chatbot that its owner runs. This file is the product's table of contents.

Every route, the authorizer and the functions are declared here, each a few lines over chalicelib. A route's function takes
the checked request and returns a Reply; `route` turns errors into {"Code", "Message", "RequestId"} and writes the log line.
"""

from collections.abc import Callable
from functools import wraps

from chalice.app import AuthRequest, AuthResponse, Chalice, CORSConfig, Response, SQSEvent

from chalicelib import description, http, logs, v1, wire, wire_documents
from chalicelib.auth import admitted
from chalicelib.health import VERSION, checked
from chalicelib.http import Reply, Request
from chalicelib.ingest.trigger import Answer, FileEvent, bury, dispatch, on_note, on_object
from chalicelib.metering.report import usage_reply
from chalicelib.patience import REQUEST_S, patience
from chalicelib.platform import DEAD_LETTERS, DOCUMENTS, JOBS, QUEUES
from chalicelib.settings import read_settings
from chalicelib.turns import WORKER
from chalicelib.wiring import here

app = Chalice(app_name="pai")
logs.configure()
CORS = CORSConfig("*", http.HEADERS_SENT, max_age=600, expose_headers=http.HEADERS_READ)


# ---- Who is asking ----
@app.authorizer(ttl_seconds=60, name="authorizer")
def api_key(auth_request: AuthRequest) -> AuthResponse:
    """Admit a known API key. A refusal is an empty list of routes: raising would be a 500, or a dropped connection."""
    who = admitted(lambda: here().authenticator, auth_request.token)
    if who is None:
        return AuthResponse(routes=[], principal_id="nobody")
    return AuthResponse(routes=["*"], principal_id=who.owner, context={"key_id": who.key_id})


def route(path: str, method: str = "GET", *, public: bool = False) -> Callable[[Callable[..., Reply]], Callable[..., Reply]]:
    """Declare a route for a function of (request, **path parameters)."""

    def declare(handle: Callable[..., Reply]) -> Callable[..., Reply]:
        # Bodies are read as JSON whatever they are called: `curl -d` calls them a form.
        @app.route(path, methods=[method], cors=CORS, authorizer=None if public else api_key, content_types=["*/*"])
        @wraps(handle)
        def view(**parameters: str) -> Response:
            with patience(min(read_settings().deadline_s, REQUEST_S)):  # who waits for a database is told
                reply = http.answer(handle, http.request_of(app.current_request, f"{method} {path}"), parameters)
            return Response(http.body_of(reply), {"Content-Type": reply.content_type, **reply.headers}, reply.status)

        return handle

    return declare


# ---- Chat ----
@route("/chat", "POST")
def chat(request: Request) -> Reply:
    """Ask, and wait for the answer, or be told where to follow it."""
    return here().turns.ask(request)


@route("/conversations/{conversation_id}/regenerate", "POST")
def regenerate(request: Request, conversation_id: str) -> Reply:
    """Have the last question answered again."""
    return here().turns.regenerate(request, conversation_id)


@route("/conversations/{conversation_id}/turns/{turn_id}")
def get_turn(request: Request, conversation_id: str, turn_id: str) -> Reply:
    """Show what has become of a question."""
    return here().following.show(request.owner, conversation_id, turn_id)


@route("/conversations/{conversation_id}/turns/{turn_id}", "DELETE")
def stop_turn(request: Request, conversation_id: str, turn_id: str) -> Reply:
    """Have an answer end with what there is of it."""
    return here().following.stop(request.owner, conversation_id, turn_id)


@route("/conversations/{conversation_id}/turns/{turn_id}/events")
def follow_turn(request: Request, conversation_id: str, turn_id: str) -> Reply:
    """Follow an answer while it is made, as server-sent events."""
    return here().following.events(request, conversation_id, turn_id)


@app.lambda_function(name=WORKER)
def worker(event: dict[str, object], context: object) -> None:
    """Answer a turn in the background."""
    here().turns.work(event)


# ---- Conversations ----
@route("/conversations", "POST")
def create_conversation(request: Request) -> Reply:
    """Start a conversation, perhaps with a first message that the next /chat answers too."""
    return wire.created(here().questions.open_conversation(*wire.new_conversation(request)))


@route("/conversations")
def list_conversations(request: Request) -> Reply:
    """List the owner's conversations, or search them."""
    return here().browser.list(request.owner, request.parameters)


@route("/conversations/{conversation_id}")
def get_conversation(request: Request, conversation_id: str) -> Reply:
    """Show a conversation, oldest message first."""
    return here().browser.show(request.owner, conversation_id, request.parameters)


@route("/conversations/{conversation_id}", "PATCH")
def change_conversation(request: Request, conversation_id: str) -> Reply:
    """Rename a conversation, or go on from another of its messages."""
    return here().browser.change(request.owner, conversation_id, request.fields)


@route("/conversations/{conversation_id}", "DELETE")
def delete_conversation(request: Request, conversation_id: str) -> Reply:
    """Delete a conversation for good, with a receipt."""
    return wire.receipt(here().conversations.delete(request.owner, conversation_id))


@route("/conversations/{conversation_id}/export")
def export_conversation(request: Request, conversation_id: str) -> Reply:
    """Give out everything that was said, readable elsewhere."""
    return here().browser.export(request.owner, conversation_id, request.parameters)


# ---- Documents ----
@route("/upload", "POST")
def announce_upload(request: Request) -> Reply:
    """Say where to send a file; its arrival makes it a document."""
    return here().shelf.announce(request)


@route("/uploads/{token}", "PUT", public=True)
def receive_upload(request: Request, token: str) -> Reply:
    """Take a file in, on one machine; whoever has the address may. In the cloud S3 does."""
    here().uploads.receive(token, request.headers.get("content-type", ""), request.body)
    return Reply({"status": "received"}, status=201)


@route("/documents")
def list_documents(request: Request) -> Reply:
    """List the owner's documents, newest first, with how far each has come."""
    return here().shelf.list(request)


@route("/documents/{document_id}")
def get_document(request: Request, document_id: str) -> Reply:
    """Show how far a document has come, and why it failed."""
    return Reply(wire_documents.document(here().documents.get(request.owner, document_id)))


@route("/documents/{document_id}", "DELETE")
def delete_document(request: Request, document_id: str) -> Reply:
    """Delete a document for good, with a receipt."""
    return wire_documents.erased(here().ingestion.delete(request.owner, document_id))


@route("/documents/{document_id}/retry", "POST")
def retry_document(request: Request, document_id: str) -> Reply:
    """Have a document that failed read again."""
    return Reply(wire_documents.document(here().ingestion.retry(request.owner, document_id)), status=202)


@route("/documents/{document_id}/passages/{passage_id}")
def get_passage(request: Request, document_id: str, passage_id: str) -> Reply:
    """Show a citation's passage, and where in it the quote stands."""
    return here().shelf.passage(request, document_id, passage_id)


@route("/search", "POST")
def search(request: Request) -> Reply:
    """Find passages, without asking a model."""
    return here().shelf.search(request)


# What becomes of files. Not @app.on_s3_event: Chalice can't package it, and a queue brings retries and dead letters.


@on_object(prefix="documents/")
def file_came(event: FileEvent) -> None:
    """Read and index it."""
    here().ingestion.arrived(event.arrival)


@on_object(prefix="documents/", removed=True)
def file_went(event: FileEvent) -> None:
    """Take it out of the index."""
    here().ingestion.removed(event.arrival)


@on_note("continue")
def go_on(owner: str, document_id: str, generation: str) -> None:
    """Go on with a document whose last range ended."""
    here().ingestion.resume(owner, document_id, generation)


@app.on_sqs_message(queue=f"PAI-documents-{read_settings().stage}", batch_size=1)
def documents(event: SQSEvent) -> Answer:
    """Handle what happened to files, one at a time: a file that kills its function takes no other's down."""
    return dispatch(event.to_dict(), event.context, here().platform.queue, here().settings)


@app.on_sqs_message(queue=f"PAI-documents-dead-{read_settings().stage}", batch_size=1)
def documents_dead(event: SQSEvent) -> Answer:
    """Say at their documents why messages were given up."""
    return bury(event.to_dict(), lambda: here().ingestion, here().settings)


QUEUES.update({DOCUMENTS: documents, DEAD_LETTERS: documents_dead})
JOBS[WORKER] = lambda job: worker(job, None)


# OpenAI's API
route("/v1/chat/completions", "POST")(v1.complete)
route("/v1/models")(v1.list_models)
route("/v1/models/{model}")(v1.show_model)
route("/v1/embeddings", "POST")(v1.embed)


# ---- The deployment ----
@route("/models")
def list_models(request: Request) -> Reply:
    """List the models that a request may name."""
    return wire.models(here().llm.models())


@route("/usage")
def get_usage(request: Request) -> Reply:
    """Show what the owner's answers used and cost, and what is left to spend."""
    return usage_reply(here().meter, request)


@route("/health", public=True)
def health(request: Request) -> Reply:
    """Say that this process answers."""
    return Reply({"status": "ok", "version": VERSION})


@route("/health/deep")
def deep_health(request: Request) -> Reply:
    """Touch every part, and say which fails and why."""
    return checked(here())


route("/openapi.json", public=True)(description.show)
