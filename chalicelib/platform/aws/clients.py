"""AWS clients, made one way: short timeouts, three tries, and everything of the environment taken when they are made."""

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader
from botocore.session import Session

from chalicelib.errors import Misconfigured

# Service models are where a client's memory and time go, and nothing in them depends on the environment: a second set
# costs 60-200 ms and some 4 MB for each client, so the process has one. Sessions are not shared: one keeps the
# environment and the credentials it first saw, and may not make clients in two threads at once. It costs 11 ms of CPU,
# once for each client, because whoever builds a part keeps the client for as long as the part lives.
_MODELS = create_loader()

_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 3},
    "tcp_keepalive": True,
    # What CloudTrail shows. botocore puts its own together anew for each request, at a tenth of the request's CPU time.
    "user_agent": "PAI",
}


def client(service: str, **config: Any) -> Any:
    """Return a new client for this environment's account, region and `AWS_ENDPOINT_URL*`; all threads may use it.

    `config` are fields of botocore's Config, in place of the defaults: timeouts in seconds, `retries`, and the like.
    Raises `Misconfigured` when the environment names no region, or a profile that is not there.
    """
    session = Session()
    session.register_component("data_loader", _MODELS)
    try:
        return session.create_client(service, config=Config(**{**_DEFAULTS, **config}))
    except (BotoCoreError, ValueError) as error:
        raise Misconfigured(
            f"No AWS client for {service}: {error} Set AWS_REGION, or AWS_PROFILE, or run `aws configure`."
        ) from None
