"""Mails (eml): who wrote what to whom, the text, the names of what was attached, and mails within."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

from chalicelib.ingest.readers.clean import clean
from chalicelib.ingest.readers.contract import Opened, Task
from chalicelib.ingest.readers.encoding import decode
from chalicelib.ingest.readers.html import read_html
from chalicelib.ingest.readers.paragraphs import paragraphs
from chalicelib.ingest.readers.stretches import parts_of, stretched
from chalicelib.records import Block

HEADERS = ("From", "To", "Cc", "Date")
DEEPEST = 5
"""How deep mails within mails are read."""


def open_document(task: Task) -> Opened:
    mail = message_from_bytes(Path(task.path).read_bytes(), policy=policy.default)
    return Opened.of(parts_of(stretched(_blocks(mail))), _header(mail, "Subject"))


def _blocks(mail: EmailMessage, level: int = 1) -> Iterator[Block]:
    yield Block(_header(mail, "Subject"), level)
    yield Block("\n".join(f"{name}: {_header(mail, name)}" for name in HEADERS if mail[name]))
    yield from _body(mail)
    for attachment in mail.iter_attachments() if mail.is_multipart() else ():
        name = attachment.get_filename()
        if attachment.get_content_type() == "message/rfc822" and level < DEEPEST:
            yield from _blocks(cast(EmailMessage, attachment.get_content()), level + 1)
        elif name:
            yield Block(f"Attachment: {name}")


def _body(mail: EmailMessage) -> Iterator[Block]:
    """Yield the text of a mail: the plain one, unless there is none."""
    for kind in ("plain", "html"):
        body = mail.get_body((kind,))
        text = _content(cast(EmailMessage, body)) if body else ""
        if text.strip():
            yield from read_html(text)[1] if kind == "html" else paragraphs(clean(text))
            return


def _content(body: EmailMessage) -> str:
    data = body.get_payload(decode=True)
    return decode(data, body.get_content_charset() or "") if isinstance(data, bytes) else ""


def _header(mail: EmailMessage, name: str) -> str:
    return str(mail[name] or "")
