"""Who is asking: an Authorization header → a Principal, by the key ring."""

import hmac
import time
from collections.abc import Callable

from chalicelib import logs
from chalicelib.clock import seconds
from chalicelib.errors import Forbidden, PaiError, Unauthorized
from chalicelib.keyring import digest
from chalicelib.platform import Keys
from chalicelib.records import ApiKey, KeyRing, Principal

RELOAD_S = 2.0
"""An unknown key makes us read a ring older than this again: a new key works soon, and a flood of wrong ones is cheap."""


def admitted(authenticator: Callable[[], "Authenticator"], authorization: str | None) -> Principal | None:
    """Return whose key this is, None for nobody's; whatever happens, and with a line in the log for every refusal."""
    try:
        return authenticator().principal(authorization)
    except PaiError as error:
        logs.refused(error)
    except Exception as error:  # noqa: BLE001 - the outermost place: a defect lets nobody in
        logs.defect(error, request_id="")
    return None


class Authenticator:
    """Checks API keys against the ring, which it reads at most every `cache_s` seconds."""

    def __init__(self, keys: Keys, cache_s: float, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._cache_s = cache_s
        self._now = now
        self._ring = KeyRing()
        self._read_at = float("-inf")

    def principal(self, authorization: str | None) -> Principal:
        """Return whose key this is. Unauthorized without a header, Forbidden for a key that is no good."""
        if not authorization or not authorization.strip():
            raise Unauthorized("Send your API key: `Authorization: Bearer <key>`.")
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip() or not token.isascii():
            raise Forbidden("The Authorization header must read `Bearer <key>`.")
        return self._admitted(token.strip())

    def _admitted(self, token: str) -> Principal:
        sought = digest(token)
        key = _find(self._fresh(self._cache_s), sought) or _find(self._fresh(min(RELOAD_S, self._cache_s)), sought)
        if key is None:
            raise Forbidden("This API key is not known here. `pai keys list` shows the keys there are.")
        if key.disabled:
            raise Forbidden("This API key is disabled. Make a new one with `pai keys create`.")
        if key.expires_at and seconds(key.expires_at) <= self._now():
            raise Forbidden("This API key has expired. Make a new one with `pai keys create`.")
        return Principal(key.owner, key.id)

    def _fresh(self, age_s: float) -> KeyRing:
        """Return the ring, read again if what we have is older than `age_s`, or from the future."""
        if not 0 <= self._now() - self._read_at < age_s:
            self._ring, self._read_at = self._keys.load(), self._now()
        return self._ring


def _find(ring: KeyRing, sought: str) -> ApiKey | None:
    """Compare with every key, each in constant time, so that the time taken tells nothing."""
    found = [key for key in ring.keys if hmac.compare_digest(key.sha256, sought)]
    return found[0] if found else None
