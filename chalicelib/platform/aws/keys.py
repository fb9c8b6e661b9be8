"""Secrets Manager as the key ring: one secret, of which only the version labelled AWSCURRENT counts.

The previous version would bring a disabled key back, so nothing here reads it.
"""

import uuid
from typing import Any

from chalicelib import keyring
from chalicelib.errors import KeyRingChanged, KeysUnavailable, TooLarge
from chalicelib.platform.aws.failures import Meanings, aws_failures
from chalicelib.records import KeyRing

_SERVICE = "Secrets Manager"
_SECRET_BYTES = 65_536
_CURRENT = "AWSCURRENT"

# A new ring waits under this label until AWSCURRENT moves to it.
_WAITING = "PAIWAITING"


class SecretKeys:
    """`secret` is the secret's name or ARN; `kms_key` encrypts it when it has to be created (empty: AWS's own key)."""

    def __init__(self, client: Any, secret: str, kms_key: str) -> None:
        self._client = client
        self._secret = secret
        self._kms_key = kms_key
        self._meanings = _meanings(secret)

    def load(self) -> KeyRing:
        with aws_failures(KeysUnavailable, _SERVICE, self._meanings):
            answer = self._current()
        if answer is None:
            return KeyRing()
        try:
            return keyring.decode(answer.get("SecretString", ""), answer["VersionId"])
        except ValueError as error:
            raise KeysUnavailable(
                f"The secret {self._secret!r} does not hold a key ring ({error}). Put AWSCURRENT back on a version that does."
            ) from error

    def save(self, ring: KeyRing) -> None:
        text = keyring.encode(ring)
        if len(text) > _SECRET_BYTES:
            raise TooLarge(
                "keys",
                f"the key ring would be {len(text)} bytes and a secret holds {_SECRET_BYTES}. "
                f"Take keys that have ended out of the secret {self._secret!r}.",
            )
        with aws_failures(KeysUnavailable, _SERVICE, self._meanings):
            # Asked before as well as compared in the change itself: the first version of all becomes current unasked.
            if self._current_version() != ring.version:
                raise _changed()
            self._replace(text, ring.version)

    def _current(self) -> Any:
        """Return the secret as it is; None when there is none, or one that the deployment made and nobody has written to."""
        try:
            return self._client.get_secret_value(SecretId=self._secret, VersionStage=_CURRENT)
        except self._client.exceptions.ResourceNotFoundException:
            return None

    def _current_version(self) -> str:
        answer = self._current()
        return "" if answer is None else str(answer["VersionId"])

    def _replace(self, text: str, version: str) -> None:
        try:
            self._make_current(self._store(text), version)
        except self._client.exceptions.ResourceNotFoundException:
            self._create(text)

    def _store(self, text: str) -> str:
        """Add a version that is not current yet (but the first one is at once); return its id."""
        version = str(uuid.uuid4())
        self._client.put_secret_value(
            SecretId=self._secret, SecretString=text, ClientRequestToken=version, VersionStages=[_WAITING]
        )
        return version

    def _make_current(self, new: str, old: str) -> None:
        """Move AWSCURRENT from `old` to `new`. AWS refuses when it is not on `old`: that is the compare-and-set."""
        move = {"MoveToVersionId": new, **({"RemoveFromVersionId": old} if old else {})}
        errors = self._client.exceptions
        try:
            self._client.update_secret_version_stage(SecretId=self._secret, VersionStage=_CURRENT, **move)
        except (errors.InvalidParameterException, errors.InvalidRequestException):
            # Also what a second try gets when the answer to a first one, that did move it, was lost.
            if self._current_version() != new:
                raise _changed() from None

    def _create(self, text: str) -> None:
        kms = {"KmsKeyId": self._kms_key} if self._kms_key else {}
        try:
            self._client.create_secret(Name=self._secret, SecretString=text, ClientRequestToken=str(uuid.uuid4()), **kms)
        except self._client.exceptions.ResourceExistsException:
            raise _changed() from None


def _changed() -> KeyRingChanged:
    return KeyRingChanged("Somebody else changed the API keys at the same time. Look at them again, then repeat your change.")


def _meanings(secret: str) -> Meanings:
    return {
        "InvalidRequestException": (
            KeysUnavailable,
            f"The secret {secret!r} is marked for deletion. Bring it back: aws secretsmanager restore-secret.",
        ),
        "LimitExceededException": (
            KeysUnavailable,
            f"The secret {secret!r} has too many versions: its keys were changed too often today. Try again tomorrow.",
        ),
        "DecryptionFailure": (KeysUnavailable, f"KMS does not open the secret {secret!r}. Check the state of its key."),
        "EncryptionFailure": (KeysUnavailable, f"KMS does not seal the secret {secret!r}. Check the state of its key."),
    }
