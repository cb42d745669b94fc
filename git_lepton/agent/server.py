"""The agent's web server: numbers for Prometheus, answers for probes, and an ear for webhooks.

    GET  /metrics   the metrics of docs/metrics.md
    GET  /healthz   200: the process answers
    GET  /readyz    200: every model has a release in place; else 503. Either way a line for each model
    POST /poke      202: the remote is asked soon, at most once a second however often this is called

It can change nothing but the moment of the next poll, and it reads only what `Metrics` keeps for it, so it neither
waits for the engine nor keeps it waiting. Few connections at a time, each with a time limit; with a certificate it
speaks TLS 1.2 or later, and takes a renewed certificate up by itself; with a file of users everything but /healthz
and /readyz asks for a password.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from git_lepton.agent.metrics import Metrics
from git_lepton.agent.passwords import Users
from git_lepton.agent.settings import Http
from git_lepton.errors import UsageError

_CONNECTIONS: Final = 16
_SECONDS: Final = 10.0
_CLOSING: Final = 0.2
_POKE_DISTANCE: Final = 1.0
_MAX_BODY: Final = 32 << 20
_TEXT: Final = "text/plain; charset=utf-8"
_OPEN: Final = frozenset({"/healthz", "/readyz"})
_METHODS: Final = {"/metrics": "GET", "/healthz": "GET", "/readyz": "GET", "/poke": "POST"}


class WebServer:
    """Serves until it is closed."""

    def __init__(self, http: Http, metrics: Metrics, poke: Callable[[], None]) -> None:
        """Read certificate and users.

        Args:
            http: what agent.toml says; with a `listen`.
            metrics: what is shown.
            poke: makes the agent ask the remote; called on other threads.

        Raises:
            UsageError: a file that cannot be used.
        """
        assert http.listen
        self._address = _address(http.listen)
        self._metrics = metrics
        self._users = Users(http.users) if http.users else None
        self._certificate = _Certificate(http.certificate, http.key) if http.certificate and http.key else None
        self._poker = Poker(poke) if http.poke else None
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """Where it listens, once it was started."""
        assert self._server
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, in a thread. Raises UsageError when the address cannot be had."""
        host, port = self._address
        try:
            self._server = _Server(host, port, self._answer, self._certificate)
        except OSError as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        threading.Thread(target=self._server.serve_forever, args=(_CLOSING,), name="web", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, request: _Request) -> None:
        path = urlsplit(request.path).path
        method = _METHODS.get(path)
        if method is None or (path == "/poke" and self._poker is None):
            request.answer(HTTPStatus.NOT_FOUND, "/metrics /healthz /readyz" + " /poke" * (self._poker is not None))
        elif self._users and path not in _OPEN and not self._users.allow(request.headers.get("Authorization")):
            request.answer(HTTPStatus.UNAUTHORIZED, "who are you?", ("WWW-Authenticate", 'Basic realm="git-lepton"'))
        elif request.command not in {method, "HEAD" if method == "GET" else method}:
            request.answer(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} only", ("Allow", method))
        elif path == "/metrics":
            data, kind = self._metrics.expose(request.headers.get("Accept", ""))
            request.send(HTTPStatus.OK, data, kind)
        elif path == "/healthz":
            request.answer(HTTPStatus.OK, "it runs")
        elif path == "/readyz":
            self._answer_ready(request)
        elif self._poker:
            self._poker.poke()
            request.answer(HTTPStatus.ACCEPTED, "the remote is asked")

    def _answer_ready(self, request: _Request) -> None:
        """What serves is told without sentences, which may have addresses in them: probes have no password."""
        models = self._metrics.status.models
        lines = [f"{m.name} {m.release.version or m.release.bundle if m.release else '-'} {m.state}" for m in models]
        whole = all(model.release for model in models)
        request.answer(HTTPStatus.OK if whole else HTTPStatus.SERVICE_UNAVAILABLE, "\n".join(lines))


class Poker:
    """Passes pokes on, at most one in `distance` seconds. None is lost: one that comes too soon waits for its time."""

    def __init__(self, poke: Callable[[], None], distance: float = _POKE_DISTANCE) -> None:
        self._poke = poke
        self._distance = distance
        self._lock = threading.Lock()
        self._waiting = False
        self._next = 0.0

    def poke(self) -> None:
        """From any thread; returns at once."""
        with self._lock:
            if self._waiting:
                return
            self._waiting = True
            timer = threading.Timer(max(0.0, self._next - time.monotonic()), self._pass_on)
            timer.daemon = True
            timer.start()

    def _pass_on(self) -> None:
        with self._lock:
            self._waiting = False
            self._next = time.monotonic() + self._distance
        self._poke()


class _Certificate:
    """A certificate and its key, loaded again when the files change."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen: tuple[int, ...] = ()
        try:
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"{certificate}, {key}: {error.strerror or error}") from error

    def _load(self) -> None:
        seen = tuple(path.stat().st_mtime_ns for path in self._files)
        if seen != self._seen:
            self._context.load_cert_chain(*self._files)
            self._seen = seen

    def wrap(self, plain: socket.socket) -> ssl.SSLSocket:
        """A connection in which nothing was said yet."""
        with contextlib.suppress(OSError, ssl.SSLError):  # half renewed: the old one holds until both files fit
            self._load()
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)


class _Server(ThreadingHTTPServer):
    """Few threads, no waiting for slow clients, and nothing of theirs on our standard error."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, respond: Callable[[_Request], None], certificate: _Certificate | None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.respond = respond
        self._certificate = certificate
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__((host, port), _Request)

    def server_bind(self) -> None:
        """Bind. The base class asks the resolver for our name here, which can take seconds and is of no use."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept a connection; a handshake is left to its thread."""
        plain, client = self.socket.accept()
        plain.settimeout(_SECONDS)
        return (self._certificate.wrap(plain) if self._certificate else plain), client

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread of its own, or hang up when all are taken."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """The thread."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up, is slow or does not speak TLS is no event; anything else is our fault."""
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Request(BaseHTTPRequestHandler):
    """One request; the connection ends with it."""

    server: _Server
    server_version = "git-lepton"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        """Shake hands, on this thread."""
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        """Any method: the table of paths knows which."""
        self.close_connection = True
        if self._read_body():
            self.server.respond(self)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the base class looks for these names

    def _read_body(self) -> bool:
        """Read what a webhook sends, and forget it: an unread body would reset the connection under our answer."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY or self.headers.get("Transfer-Encoding"):
            self.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "nobody reads this")
            return False
        left = int(length)
        while left and (piece := self.rfile.read(min(left, 1 << 16))):
            left -= len(piece)
        return True

    def answer(self, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> None:
        """Send a line or more of text."""
        self.send(status, f"{text}\n".encode(), _TEXT, *headers)

    def send(self, status: HTTPStatus, data: bytes, kind: str, *headers: tuple[str, str]) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the journal is for what happens to models."""


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if int(port) > 65535:
        raise UsageError(f"http.listen: there is no port {port}")
    return host.removeprefix("[").removesuffix("]"), int(port)
