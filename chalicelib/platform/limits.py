"""What every platform refuses alike, so that what works on one machine works on AWS."""

import json
from collections.abc import Mapping

from chalicelib.errors import BadRequest, TooLarge

# S3 takes 1,024 bytes for a whole key, file systems 255 for a name.
_KEY_BYTES = 1024
_NAME_BYTES = 255

# Lambda's limit for asynchronous events was 256 KB for years and is 1 MB in some regions: the smaller holds everywhere.
_JOB_BYTES = 256 * 1024

# SQS took 256 KB for years and takes 1 MB now: the smaller holds everywhere. It delays by 15 minutes at most.
_MESSAGE_BYTES = 256 * 1024
LONGEST_DELAY_S = 900


def check_file_key(key: str) -> str:
    """Return the key if every platform can hold it, else raise `BadRequest`, which never repeats it: it may say much."""
    if problem := _key_problem(key):
        raise BadRequest("key", problem)
    return key


def _key_problem(key: str) -> str:
    try:
        names = key.encode().split(b"/")
    except UnicodeEncodeError:
        return "a file's key must be valid Unicode."
    if len(key.encode()) > _KEY_BYTES or any(len(name) > _NAME_BYTES for name in names):
        return f"a file's key may have {_KEY_BYTES} bytes, and {_NAME_BYTES} between two slashes."
    if any(name in (b"", b".", b"..") for name in names):
        return "a file's key is a path with single slashes inside it, and without `.` and `..`."
    # A presigned POST takes a key that ends so as a prefix, with a file name of the sender's choice.
    if key.endswith("${filename}") or any(ord(character) < 32 or character in "\\\x7f" for character in key):
        return "a file's key may not hold a backslash or a control character, nor end in a placeholder."
    return ""


def encode_job(payload: Mapping[str, object]) -> bytes:
    """Return a job's payload as JSON. Raises `TooLarge`, and TypeError or ValueError for what JSON can't say."""
    encoded = json.dumps(dict(payload), allow_nan=False, separators=(",", ":")).encode()
    if len(encoded) > _JOB_BYTES:
        raise TooLarge("payload", f"a job's payload is {len(encoded)} bytes; at most {_JOB_BYTES} fit.")
    return encoded


def check_message(body: str, delay_s: int) -> None:
    """Raise `TooLarge` or `BadRequest` for a message that not every queue takes."""
    size = len(body.encode())
    if size > _MESSAGE_BYTES:
        raise TooLarge("message", f"a queue's message is {size} bytes; at most {_MESSAGE_BYTES} fit.")
    if not body:
        raise BadRequest("message", "a queue's message can't be empty.")
    if not 0 <= delay_s <= LONGEST_DELAY_S:
        raise BadRequest("delay_s", f"must be from 0 to {LONGEST_DELAY_S}")
