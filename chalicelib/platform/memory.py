"""The platform in memory: all of it is gone with the process. For trials and tests."""

import io
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from chalicelib.errors import FileNotFound, KeyRingChanged
from chalicelib.platform import JOBS, QUEUES, Upload
from chalicelib.platform.limits import check_file_key
from chalicelib.platform.local.cipher import KeyCipher
from chalicelib.platform.local.jobs import ThreadJobs
from chalicelib.platform.local.messages import Messages
from chalicelib.platform.local.queue import LocalQueue
from chalicelib.platform.local.uploads import Grant, UploadSigner
from chalicelib.records import KeyRing
from chalicelib.settings import Settings


def build(settings: Settings) -> "MemoryPlatform":
    return MemoryPlatform(settings)


class MemoryPlatform:
    def __init__(self, settings: Settings) -> None:
        self.cipher = KeyCipher(os.urandom(32))
        self.files = MemoryFiles(UploadSigner(os.urandom(32), settings.public_url))
        self.keys = MemoryKeys()
        self.jobs = ThreadJobs(JOBS)
        self.queue = LocalQueue(Messages(None), QUEUES)


class MemoryFiles:
    def __init__(self, signer: UploadSigner) -> None:
        self._signer = signer
        self._files: dict[str, bytes] = {}

    def presign(self, key: str, *, content_type: str, size_bytes: int, expires_s: int) -> Upload:
        return self._signer.presign(Grant(key, content_type, size_bytes, time.time() + expires_s))

    def verify_upload(self, token: str) -> Grant:
        """Return what the address that ends in this token allows just now. Raises `Forbidden`."""
        return self._signer.verify_upload(token, time.time())

    def put(self, key: str, content: BinaryIO, *, content_type: str) -> None:
        self._files[check_file_key(key)] = content.read()

    def open(self, key: str) -> BinaryIO:
        content = self._files.get(check_file_key(key))
        if content is None:
            raise FileNotFound("There is no such file.")
        return io.BytesIO(content)

    def delete(self, key: str) -> int:
        return 0 if self._files.pop(check_file_key(key), None) is None else 1

    def keys(self, prefix: str) -> Iterator[str]:
        yield from sorted(key for key in list(self._files) if key.startswith(prefix))


class MemoryKeys:
    def __init__(self) -> None:
        self._ring = KeyRing()
        self._lock = threading.Lock()

    def load(self) -> KeyRing:
        return self._ring

    def save(self, ring: KeyRing) -> None:
        with self._lock:
            if ring.version != self._ring.version:
                raise KeyRingChanged(
                    "The API keys were changed at the same time. Look at them again, then repeat your change."
                )
            self._ring = replace(ring, version=str(uuid.uuid4()))
