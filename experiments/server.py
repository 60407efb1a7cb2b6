"""A page and the functions that it calls, served over HTTP to people at this machine alone.

Listening on 127.0.0.1 keeps other machines out. Other pages in the same browser are kept out by checking what they
can't forge: the Host header (which betrays a foreign name that resolves to 127.0.0.1), the headers Origin and
Sec-Fetch-Site, and a content type that a form can't send. Nothing is read from disk.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from unienv.errors import named, said

ADDRESS = "127.0.0.1"
LONGEST = 1 << 16  # bytes of a request's body
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Answer = dict[str, Any]


class PageServer(ThreadingHTTPServer):
    """Serves until `serve_forever` is interrupted; the functions are called one at a time.

    A function's ValueError is answered with status 400, any other exception with 500: as {"error": one line}.

    Args:
        page: HTML of GET /.
        looks: path -> function of GET.
        acts: path -> function of the JSON object that was POSTed.
        port: where to listen; 0 for any free port.

    Raises:
        ValueError: one line, when the port can't be had.
    """

    def __init__(
        self,
        page: str,
        looks: Mapping[str, Callable[[], Answer]],
        acts: Mapping[str, Callable[[Answer], Answer]],
        port: int = 0,
    ) -> None:
        self.page, self.looks, self.acts = page.encode(), looks, acts
        self.lock = threading.Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            told = getattr(error, "strerror", None) or "expected a number from 0 to 65535"
            raise ValueError(f"can't listen on port {port}: {told}; port=0 takes any that is free") from None
        self.hosts = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        if self.server_port == 80:  # which browsers leave out
            self.hosts |= {ADDRESS, "localhost"}

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{ADDRESS}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent where the browser hung up, which it may."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """A request that is answered with an error: status, one line."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "unienv", ""
    timeout = 30  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        """The page, or what a function tells."""
        self._respond(self._look)

    def do_POST(self) -> None:
        """What a function answers to a JSON object."""
        self._respond(self._act)

    def _respond(self, answer: Callable[[], bytes | Answer]) -> None:
        status, told = HTTPStatus.OK, None
        try:
            self._check_sender()
            told = answer()
        except _Refused as refused:
            status, told = refused.args[0], {"error": refused.args[1]}
        except ValueError as error:
            status, told = HTTPStatus.BAD_REQUEST, {"error": said(error)}
        except Exception as error:  # an environment of the user's own may raise anything
            status, told = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": named(error)}
        self._send(status, told)

    def _check_sender(self) -> None:
        """_Refused, unless the request comes from this server's own page or from no page at all."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            raise _Refused(HTTPStatus.FORBIDDEN, f"expected a request to {self.server.url}, check the Host header")
        if not {*self.headers.get_all("Origin", [])} <= {f"http://{host}" for host in self.server.hosts}:
            raise _Refused(HTTPStatus.FORBIDDEN, "other pages may not ask, check the Origin header")
        # The page itself may be reached by a link from anywhere; it tells nothing before its own script asks.
        if self.path != "/" and not {*self.headers.get_all("Sec-Fetch-Site", [])} <= {"same-origin", "none"}:
            raise _Refused(HTTPStatus.FORBIDDEN, "other pages may not ask, check the Sec-Fetch-Site header")

    def _look(self) -> bytes | Answer:
        if self.path == "/":
            return self.server.page
        look = self._function(self.server.looks)
        with self.server.lock:
            return look()

    def _act(self) -> Answer:
        act, request = self._function(self.server.acts), self._read()
        with self.server.lock:
            return act(request)

    def _function(self, functions: Mapping[str, Callable]) -> Callable:
        if self.path not in functions:
            raise _Refused(HTTPStatus.NOT_FOUND, f"{self.command} knows / and {', '.join(functions)}")
        return functions[self.path]

    def _read(self) -> Answer:
        """The JSON object of a request."""
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected the content type application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if int(length) > LONGEST:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LONGEST} bytes")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            raise ValueError("expected a JSON object")
        return request

    def _send(self, status: int, told: Any) -> None:
        kind = "text/html" if isinstance(told, bytes) else "application/json"
        body = told if isinstance(told, bytes) else json.dumps(told).encode() + b"\n"
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses, in the form of all other answers."""
        del explain
        self._send(code, {"error": message or HTTPStatus(code).phrase})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is for what concerns the person at it."""
