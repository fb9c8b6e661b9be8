"""The platform on one machine: a key file, a folder, files and threads, all under PAI_HOME and for its owner alone."""

from functools import cached_property
from pathlib import Path

from chalicelib.platform import JOBS, QUEUES
from chalicelib.platform.local.cipher import KeyCipher
from chalicelib.platform.local.files import FolderFiles
from chalicelib.platform.local.jobs import ThreadJobs
from chalicelib.platform.local.keys import FileKeys
from chalicelib.platform.local.master_key import derived, master_key
from chalicelib.platform.local.messages import Messages
from chalicelib.platform.local.queue import LocalQueue
from chalicelib.platform.local.uploads import UploadSigner
from chalicelib.settings import Settings


def build(settings: Settings) -> "LocalPlatform":
    return LocalPlatform(settings)


class LocalPlatform:
    def __init__(self, settings: Settings) -> None:
        self._home = Path(settings.home).expanduser().absolute()
        self._public_url = settings.public_url

    @cached_property
    def cipher(self) -> KeyCipher:
        return KeyCipher(self._master_key)

    @cached_property
    def files(self) -> FolderFiles:
        signer = UploadSigner(derived(self._master_key, "upload addresses"), self._public_url)
        return FolderFiles(self._home / "files", signer)

    @cached_property
    def keys(self) -> FileKeys:
        return FileKeys(self._home / "keys.json")

    @cached_property
    def jobs(self) -> ThreadJobs:
        return ThreadJobs(JOBS)

    @cached_property
    def queue(self) -> LocalQueue:
        return LocalQueue(Messages(self._home / "queue.sqlite3"), QUEUES, self._home / "queue.lock")

    @cached_property
    def _master_key(self) -> bytes:
        return master_key(self._home)
