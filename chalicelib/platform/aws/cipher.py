"""KMS as the cipher: the master key never leaves it."""

from collections.abc import Mapping
from typing import Any

from chalicelib.errors import CipherUnavailable, SealBroken
from chalicelib.platform.aws.failures import Meanings, aws_failures

_SERVICE = "KMS"

# What Encrypt gives for 32 bytes has some 180; Decrypt takes at most 6,144.
_WRAPPED_BYTES = 6144


class KmsCipher:
    """`key` is the KMS key's id, ARN or alias."""

    def __init__(self, client: Any, key: str) -> None:
        self._client = client
        self._key = key
        self._meanings = _meanings(key)

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        with aws_failures(CipherUnavailable, _SERVICE, self._meanings):
            answer = self._client.encrypt(KeyId=self._key, Plaintext=key, EncryptionContext=dict(context))
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if not 0 < len(wrapped) <= _WRAPPED_BYTES:
            raise SealBroken("A wrapped key has a length that KMS never gave it: it was changed or cut off.")
        with aws_failures(CipherUnavailable, _SERVICE, self._meanings):
            answer = self._client.decrypt(KeyId=self._key, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        return bytes(answer["Plaintext"])


def _meanings(key: str) -> Meanings:
    return {
        "InvalidCiphertextException": (
            SealBroken,
            "A wrapped key does not open: it was changed, or moved from another owner or deployment.",
        ),
        "IncorrectKeyException": (
            SealBroken,
            f"A wrapped key belongs to another KMS key than {key!r}. Set PAI_KMS_KEY to the one it was wrapped under.",
        ),
        "DisabledException": (
            CipherUnavailable,
            f"The KMS key {key!r} is disabled. Enable it: aws kms enable-key --key-id <id>.",
        ),
        "KMSInvalidStateException": (
            CipherUnavailable,
            f"The KMS key {key!r} is pending deletion or not ready. Before its last day, aws kms cancel-key-deletion "
            "and aws kms enable-key bring it back; after it, everything sealed is lost.",
        ),
        "NotFoundException": (
            CipherUnavailable,
            f"There is no KMS key {key!r} in this account and region. Check PAI_KMS_KEY, AWS_REGION and the deployment.",
        ),
        "KeyUnavailableException": (CipherUnavailable, "KMS can't reach the key just now. Try again in a moment."),
        "DependencyTimeoutException": (CipherUnavailable, "KMS takes too long just now. Try again in a moment."),
    }
