"""Upload addresses of one machine: what S3's presigned policy says, signed into the address itself."""

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from chalicelib.clock import iso
from chalicelib.errors import Forbidden
from chalicelib.platform import Upload
from chalicelib.platform.limits import check_file_key


@dataclass(frozen=True)
class Grant:
    """What one address allows: a file of this key, exactly this type, 1 to `size_bytes` bytes, before `expires_s`."""

    key: str
    content_type: str
    size_bytes: int
    expires_s: float


class UploadSigner:
    """`secret` signs; `public_url` is where people reach the server, whose route `/uploads/{token}` asks `verify_upload`."""

    def __init__(self, secret: bytes, public_url: str) -> None:
        self._secret = secret
        self._url = public_url.rstrip("/")

    def presign(self, grant: Grant) -> Upload:
        check_file_key(grant.key)
        claims = json.dumps(asdict(grant)).encode()
        token = f"{_text(claims)}.{_text(self._signature(claims))}"
        headers = {"Content-Type": grant.content_type}
        return Upload(f"{self._url}/uploads/{token}", "PUT", {}, headers, expires_at=iso(grant.expires_s))

    def verify_upload(self, token: str, now_s: float) -> Grant:
        """Return what this address allows. Raises `Forbidden` for one that was not signed here, was changed or is over.

        Whoever takes the file in checks its type, and counts its bytes as they come.
        """
        claims, signature = _split(token)
        if not hmac.compare_digest(signature, self._signature(claims)):
            raise Forbidden("This upload address is not valid. Ask for a new one: POST /upload.")
        grant = Grant(**json.loads(claims))
        if now_s >= grant.expires_s:
            raise Forbidden("This upload address has expired. Ask for a new one: POST /upload.")
        return grant

    def _signature(self, claims: bytes) -> bytes:
        return hmac.digest(self._secret, claims, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _split(token: str) -> tuple[bytes, bytes]:
    """Return claims and signature; two empty strings, which nobody signed, for what is no token at all."""
    claims, _, signature = token.partition(".")
    try:
        return _bytes(claims), _bytes(signature)
    except ValueError:
        return b"", b""


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
