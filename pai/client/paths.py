"""Where things are in the API. An id stays one name there, whatever stands in it."""

from urllib.parse import quote


def conversation_path(conversation_id: str) -> str:
    return f"/conversations/{_name(conversation_id)}"


def turn_path(conversation_id: str, turn_id: str) -> str:
    return f"{conversation_path(conversation_id)}/turns/{_name(turn_id)}"


def document_path(document_id: str) -> str:
    return f"/documents/{_name(document_id)}"


def _name(text: str) -> str:
    return quote(text, safe="").replace(".", "%2E")  # so that ".." stays a name
