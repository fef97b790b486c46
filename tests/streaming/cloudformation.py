"""CloudFormation as a custom resource's function sees it: an event, and an address that takes the answer."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from streaming.runtime.servers import LOOPBACK


class CloudFormation:
    """Remembers the answers it was sent; refuses one with a content type, for which its address is not signed."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                answer = json.loads(self.rfile.read(int(self.headers["content-length"])))
                is_signed_for = not self.headers.get("content-type")
                if is_signed_for:
                    stand_in.answers.append(answer)
                self.send_response(200 if is_signed_for else 403)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._http = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def event(self, request_type: str, properties: Mapping[str, str], **more: str) -> dict[str, Any]:
        """What the function is called with."""
        return {
            "RequestType": request_type,
            "ResponseURL": f"http://{LOOPBACK}:{self._http.server_port}/answer?signature=x",
            "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/clickstream/1",
            "RequestId": "request-1",
            "LogicalResourceId": "Customers",
            "ResourceProperties": dict(properties),
            **more,
        }

    def close(self) -> None:
        """Answer no more."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
