"""A folder as the files: `documents/x.pdf` is `<folder>/documents/x.pdf`, so the owner finds them with any file manager."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from chalicelib.errors import FileNotFound, FilesUnavailable
from chalicelib.platform import Upload
from chalicelib.platform.limits import check_file_key
from chalicelib.platform.local.disk import disk_failures, is_unfinished, replace_file
from chalicelib.platform.local.uploads import Grant, UploadSigner


class FolderFiles:
    """Unlike S3, a folder can't hold both `a` and `a/b`: the second is `FilesUnavailable`."""

    def __init__(self, folder: Path, signer: UploadSigner) -> None:
        self._folder = folder
        self._signer = signer
        self._what = f"The files in {folder}"

    def presign(self, key: str, *, content_type: str, size_bytes: int, expires_s: int) -> Upload:
        return self._signer.presign(Grant(key, content_type, size_bytes, time.time() + expires_s))

    def verify_upload(self, token: str) -> Grant:
        """Return what the address that ends in this token allows just now. Raises `Forbidden`."""
        return self._signer.verify_upload(token, time.time())

    def put(self, key: str, content: BinaryIO, *, content_type: str) -> None:
        path = self._path(key)
        with disk_failures(FilesUnavailable, self._what):
            replace_file(path, content, scratch=self._folder)

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with disk_failures(FilesUnavailable, self._what):
            try:
                return path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise FileNotFound("There is no such file.") from None

    def delete(self, key: str) -> int:
        path = self._path(key)
        with disk_failures(FilesUnavailable, self._what):
            if not path.is_file():
                return 0
            path.unlink(missing_ok=True)
        self._prune(path.parent)
        return 1

    def keys(self, prefix: str) -> Iterator[str]:
        with disk_failures(FilesUnavailable, self._what):
            paths = [Path(folder, name) for folder, _, names in os.walk(self._folder, onerror=_raise) for name in names]
        found = (path.relative_to(self._folder).as_posix() for path in paths if path.is_file() and not is_unfinished(path))
        yield from sorted(key for key in found if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        return self._folder.joinpath(*check_file_key(key).split("/"))

    def _prune(self, folder: Path) -> None:
        """Remove folders that hold nothing any more: their names may say something too."""
        with suppress(OSError):
            while folder != self._folder:
                folder.rmdir()
                folder = folder.parent


def _raise(error: OSError) -> None:
    """Have a folder that can't be read be an error; one that is not there is empty."""
    if not isinstance(error, FileNotFoundError):
        raise error
