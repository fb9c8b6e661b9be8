"""PAI's HTTP API as methods. Replies are the wire's JSON as it came, so that what a newer server adds is passed on.

following      asks, and follows a turn      turns        what is asked, and what happens until the answer is there
conversations  what was said                 documents    the library
connection     one request and its reply     patience     when it is made again
wire           the shapes of replies         paths        where things are      errors   what goes wrong
"""

from typing import Any

from pai.client.conversations import Conversations
from pai.client.documents import Documents
from pai.client.errors import ClientError
from pai.client.following import Following
from pai.client.wire import Model, Models, given


class Client(Following, Conversations, Documents):
    """One deployment of PAI, as one key may use it. Close it, or use it in a `with` statement."""

    def usage(self, month: str | None = None) -> dict[str, Any]:
        """Return what was used in a month, such as 2026-01, or in this one: tokens, and dollars where the price is known."""
        return self._json(dict, "GET", "/usage", params=given({"month": month}))

    def health(self) -> dict[str, Any]:
        return self._json(dict, "GET", "/health")

    def health_deep(self) -> dict[str, Any]:
        """Return what each part says of itself, also when one of them fails."""
        try:
            return self._json(dict, "GET", "/health/deep")
        except ClientError as error:
            if "parts" in error.details:
                return dict(error.details)
            raise

    def models(self) -> list[Model]:
        """Return the models that a question may name, the default first."""
        return self._json(Models, "GET", "/models")["items"]
