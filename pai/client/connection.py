"""Requests to one deployment. What goes wrong is a ClientError, and what answers must answer as PAI does.

The key goes into one header and nowhere else: not into errors, not into a repr.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar, cast

import httpx

from pai.client.errors import error_of, interrupted, not_pai, timed_out, unreachable, unsendable
from pai.client.wire import Page, given, has_all, parsed
from pai.config import is_this_machine, normalise_address

CONNECT_S = 10.0
ANSWER_S = 180.0
"""How long an answer may take to come. The server ends its own by then; this is for networks that swallow packets."""
PAGE = 100
"""What the server lists at once, at most."""

Shape = TypeVar("Shape")


class Connection:
    """A connection with one address, under one key. Close it, or use it in a `with` statement."""

    def __init__(self, address: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.address = normalise_address(address)
        local = is_this_machine(self.address)
        self._http = httpx.Client(
            base_url=self.address,
            headers={"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            verify=self.address.startswith("https:"),  # reading certificates takes 50 ms that http does not need
            trust_env=not local,  # a proxy has no way back to this machine, and no business with the key
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _list(self, path: str, limit: int, cursor: str | None, **query: str | None) -> Page[Any]:
        """Return up to `limit` items of a list, in as many requests as needed.

        A page of the wire may be empty with more to come, when looking took too long.
        """
        found: list[Any] = []
        while True:
            asked = given({**query, "limit": min(limit - len(found), PAGE), "cursor": cursor})
            page = self._json(Page, "GET", path, params=asked)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or len(found) >= limit:
                return {"items": found, "next_cursor": cursor}

    def _json(self, shape: type[Shape], method: str, path: str, **options: Any) -> Shape:
        """Send a request and return its JSON object, which must have what `shape` requires."""
        return self._shaped(shape, self._send(method, path, **options))

    def _shaped(self, shape: type[Shape], response: httpx.Response) -> Shape:
        body = parsed(response.content)
        if body is None or not has_all(shape, body):
            raise not_pai(self.address, response)
        return cast(Shape, body)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        with self._explained():
            response = self._http.request(method, path, **options)
        if not response.is_success:
            raise error_of(response)
        return response

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what goes wrong with a connection as a ClientError."""
        try:
            yield
        except ValueError:
            raise unsendable() from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise unreachable(self.address, error) from None
        except httpx.TimeoutException:
            raise timed_out(self.address) from None
        except httpx.RequestError:  # not as the cause: some of these quote the header with the key
            raise interrupted(self.address) from None
