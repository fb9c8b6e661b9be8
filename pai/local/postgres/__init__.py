"""A PostgreSQL of PAI's own, with pgvector, on this machine: nothing to install or to run beside PAI.

It lives in `<home>/postgres`, whoever runs PAI; see server.py. Consistent backups are made by `dump`.
"""

import atexit
import threading
from pathlib import Path

from chalicelib.retriever.pgvector.database import Database
from chalicelib.retriever.pgvector.direct import DirectDatabase
from chalicelib.settings import Settings
from pai.local.postgres.server import Server


def build(settings: Settings) -> Database:
    server = server_of(Path(settings.home))
    return DirectDatabase(lambda: server.connect(settings.database_name))


_servers: dict[Path, Server] = {}
_finding = threading.Lock()


def server_of(home: Path) -> Server:
    """Return the server of a home: one for each in this process. It is not started by this."""
    with _finding:
        return _servers.setdefault(home.absolute(), Server(home))


@atexit.register
def close_servers() -> None:
    """Leave every server. Those that nobody else uses stop; who asks again starts them again."""
    for server in list(_servers.values()):
        server.close()
