"""The binary event stream, written: botocore only reads it.

A message is a prelude (total length, headers' length, CRC of both), headers, payload and the CRC of all that, big-endian.
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
"""

import json
import struct
from binascii import crc32
from collections.abc import Mapping

_STRING = 7


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message. Header values are strings, which are all that Bedrock sends."""
    packed = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack("!II", len(packed) + len(payload) + 16, len(packed))
    message = lengths + struct.pack("!I", crc32(lengths)) + packed + payload
    return message + struct.pack("!I", crc32(message))


def event(kind: str, members: Mapping[str, object]) -> bytes:
    return encode({":event-type": kind, **_JSON, ":message-type": "event"}, json.dumps(members).encode())


def exception(kind: str, message: str) -> bytes:
    """Return an error that the service's model has, in mid-stream: `kind` as in throttlingException."""
    payload = json.dumps({"message": message}).encode()
    return encode({":exception-type": kind, **_JSON, ":message-type": "exception"}, payload)


def error(code: str, message: str) -> bytes:
    """Return an error that the service's model does not have."""
    return encode({":error-code": code, ":error-message": message, ":message-type": "error"}, b"")


_JSON = {":content-type": "application/json"}


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text
