"""A request to /chat as API Gateway hands it to the function, after the authorizer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

OWNER = "bench"

Event = dict[str, Any]
App = Callable[[Event, Any], dict[str, Any]]

_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Authorization": "Bearer pai_0123456789012345678901234567890123456789012",
    "Content-Type": "application/json",
    "Host": "abcdefghij.execute-api.us-east-1.amazonaws.com",
    "User-Agent": "python-httpx/0.28.1",
    "X-Amzn-Trace-Id": "Root=1-00000000-000000000000000000000000",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
}


@dataclass(frozen=True)
class Context:
    """What Lambda gives beside the event, as far as the product looks at it."""

    aws_request_id: str = "00000000-0000-4000-8000-000000000000"


def chat_event(body: Mapping[str, object]) -> Event:
    """Return the event of POST /chat (AWS_PROXY integration, REST API)."""
    return {
        "resource": "/chat",
        "path": "/chat",
        "httpMethod": "POST",
        "headers": _HEADERS,
        "multiValueHeaders": {name: [value] for name, value in _HEADERS.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/chat",
            "httpMethod": "POST",
            "path": "/api/chat",
            "stage": "api",
            "identity": {"sourceIp": "192.0.2.1"},
            "authorizer": {"principalId": OWNER, "key_id": "k_bench"},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def ask(app: App, event: Event) -> dict[str, Any]:
    """Return the JSON of the reply; whatever is not a 200 is the benchmark's end."""
    reply = app(event, Context())
    if reply["statusCode"] != 200:
        raise RuntimeError(f"/chat answered {reply['statusCode']}: {reply['body']}")
    answer: dict[str, Any] = json.loads(reply["body"])
    return answer
