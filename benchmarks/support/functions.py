"""Lambda in a process of its own, 30 ms away: it takes events for the product's worker and runs it in a thread.

`python -m benchmarks.support.functions`, on the stage of the environment; it prints its address.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.support.slow_aws import AWAY_S
from chalicelib.turns import WORKER
from pai.stage import enter_stage


def main() -> None:
    enter_stage("dev")
    # Imported when the stage's environment is there, as in a Lambda function.
    import app
    from chalicelib.wiring import here

    _ = here().turns  # which warms it

    class Lambda(BaseHTTPRequestHandler):
        """Invoke, of functions `…-worker`, with the invocation type Event."""

        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(AWAY_S)
            known = self.path.endswith(f"-{WORKER}/invocations") and self.headers["X-Amz-Invocation-Type"] == "Event"
            if known:
                threading.Thread(target=app.worker, args=(event, None), daemon=True).start()
            self.send_response(202 if known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lambda)
    print(f"Functions at http://127.0.0.1:{server.server_port} .", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
