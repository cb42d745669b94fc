"""The agent's web server, over real sockets: what it answers, to whom, and that nothing keeps it busy."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from git_lepton.agent.metrics import Metrics
from git_lepton.agent.passwords import Users, make_line
from git_lepton.agent.server import Poker, WebServer
from git_lepton.agent.settings import Http
from git_lepton.errors import UsageError
from tests.agent.test_metrics import AGENT, NOTHING, RELEASE, Agent

SERVING = replace(NOTHING, state="serving", release=RELEASE)


@dataclass
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]


class Client:
    """Asks one server."""

    def __init__(self, server: WebServer, agent: Agent, pokes: list[float]) -> None:
        self.server = server
        self.agent = agent
        self.pokes = pokes
        self.scheme = "http"
        self.context: ssl.SSLContext | None = None

    def ask(
        self, path: str, method: str = "GET", *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        url = f"{self.scheme}://localhost:{self.server.port}{path}"
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
                return Answer(answer.status, answer.read().decode(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(), dict(error.headers))

    def show(self, *models: object) -> None:
        self.agent.status = replace(AGENT, models=models)  # type: ignore[arg-type]
        self.agent.metrics.refresh()


@contextmanager
def serving(http: Http) -> Iterator[Client]:
    agent, pokes = Agent(), list[float]()
    server = WebServer(http, agent.metrics, lambda: pokes.append(time.monotonic()))
    server.start()
    try:
        yield Client(server, agent, pokes)
    finally:
        server.close()


@pytest.fixture
def client() -> Iterator[Client]:
    with serving(Http(listen="127.0.0.1:0")) as found:
        yield found


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_metrics_and_probes(client: Client) -> None:
    answer = client.ask("/metrics?from=somewhere")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "lepton_polls_total 0.0" in answer.text
    assert client.ask("/metrics", headers={"Accept": "application/openmetrics-text"}).text.endswith("# EOF\n")
    assert client.ask("/healthz").text == "it runs\n"
    assert client.ask("/metrics", "HEAD").text == ""


def test_ready_when_every_model_has_a_release(client: Client) -> None:
    assert (client.ask("/readyz").status, client.ask("/readyz").text) == (503, "digits - idle\n")
    client.show(SERVING)
    assert (client.ask("/readyz").status, client.ask("/readyz").text) == (200, "digits 1.2.0 serving\n")
    client.show(SERVING, replace(NOTHING, name="other"))
    assert client.ask("/readyz").status == 503


def test_a24_it_reads_and_nothing_else(client: Client) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        for method in ("POST", "PUT", "DELETE"):
            answer = client.ask(path, method, body=b"{}")
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert client.ask("/poke").status == 405
    for path in ("/", "/rollback", "/status", "/metrics/", "/../metrics", "/%2e/metrics"):
        assert client.ask(path).status == 404


def test_a_poke_asks_the_remote(client: Client) -> None:
    payload = json.dumps({"ref": "refs/tags/digits@prod", "pad": "x" * 300_000}).encode()
    assert client.ask("/poke", "POST", body=payload).status == 202
    wait_for(lambda: len(client.pokes) == 1)


def test_pokes_come_at_most_once_in_a_while_and_none_is_lost() -> None:
    pokes: list[float] = []
    poker = Poker(lambda: pokes.append(time.monotonic()), distance=0.2)
    for _ in range(50):
        poker.poke()
    wait_for(lambda: len(pokes) == 1)
    for _ in range(50):
        poker.poke()
    wait_for(lambda: len(pokes) == 2)
    time.sleep(0.3)
    assert len(pokes) == 2
    assert pokes[1] - pokes[0] >= 0.19


def test_no_poke_where_it_is_switched_off() -> None:
    with serving(Http(listen="127.0.0.1:0", poke=False)) as client:
        assert client.ask("/poke", "POST", body=b"").status == 404


def test_a_body_without_end_is_not_read(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.server.port), timeout=10) as plain:
        plain.sendall(b"POST /poke HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 413")
    assert not client.pokes


def test_slow_clients_keep_nobody_waiting(client: Client) -> None:
    slow = [socket.create_connection(("127.0.0.1", client.server.port), timeout=10) for _ in range(15)]
    for each in slow:
        each.sendall(b"GET /metrics HT")
    assert client.ask("/metrics").status == 200
    more = [socket.create_connection(("127.0.0.1", client.server.port), timeout=10) for _ in range(5)]
    wait_for(lambda: _hung_up(more[-1]))
    for each in (*slow, *more):
        each.close()
    wait_for(lambda: _answers(client))


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def _answers(client: Client) -> bool:
    try:
        return client.ask("/metrics").status == 200
    except OSError:
        return False


def test_questions_while_the_engine_is_busy() -> None:
    """The engine may be in a fetch for an hour: what was last known is shown meanwhile."""
    busy = threading.Event()
    metrics = Metrics(lambda: AGENT)
    metrics._ask = lambda: (busy.wait(10), AGENT)[1]
    server = WebServer(Http(listen="127.0.0.1:0"), metrics, lambda: None)
    server.start()
    engine = threading.Thread(target=metrics.refresh)
    engine.start()
    try:
        assert Client(server, Agent(), []).ask("/metrics").status == 200
        assert not busy.is_set()
    finally:
        busy.set()
        engine.join()
        server.close()


def test_two_servers_cannot_have_one_port(client: Client) -> None:
    with (
        pytest.raises(UsageError, match="cannot listen on"),
        serving(Http(listen=f"127.0.0.1:{client.server.port}")),
    ):
        pass


# Passwords


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"# who may look\n{make_line('ada', 'pass:word')}\n")
    with serving(Http(listen="127.0.0.1:0", users=users)) as client:
        refused = client.ask("/metrics")
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="git-lepton"')
        assert client.ask("/metrics", headers=basic("ada", "pass:word")).status == 200
        assert client.ask("/metrics", headers=basic("ada", "pass:word")).status == 200
        for name, password in (("ada", "wrong"), ("bob", "pass:word"), ("nobody", ""), ("", "")):
            assert client.ask("/metrics", headers=basic(name, password)).status == 401
        assert client.ask("/metrics", headers={"Authorization": "Basic %%%"}).status == 401
        assert client.ask("/poke", "POST", body=b"").status == 401
        assert client.ask("/healthz").status == 200
        assert client.ask("/readyz").status == 503
        users.write_text(make_line("bob", "other") + "\n")
        assert client.ask("/metrics", headers=basic("ada", "pass:word")).status == 401
        assert client.ask("/metrics", headers=basic("bob", "other")).status == 200


@pytest.mark.parametrize(
    "line",
    [
        "ada:secret",
        "ada",
        f"ada:scrypt:16384:8:1:{'0' * 32}:{'0' * 63}",
        f"ada:scrypt:999999:8:1:{'0' * 32}:{'0' * 64}",
        f"ada:scrypt:16384:99:1:{'0' * 32}:{'0' * 64}",
    ],
)
def test_a_file_of_users_with_a_mistake_is_refused_at_the_start(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users"
    path.write_text(f"{line}\n")
    with pytest.raises(UsageError, match="users:1: not a line"):
        Users(path)
    with pytest.raises(UsageError, match="No such file"):
        Users(tmp_path / "absent")


def test_a_name_that_no_line_can_have() -> None:
    with pytest.raises(UsageError, match="is no name"):
        make_line("a:b", "x")


# TLS


def certificate(folder: Path, serial: int) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    crt, key = folder / "a.crt", folder / "a.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    options = f"-addext subjectAltName=DNS:localhost -set_serial {serial} -keyout a.key -out a.crt"
    subprocess.run([*command.split(), *options.split()], cwd=folder, check=True, capture_output=True)
    return crt, key


def test_tls_and_a_renewed_certificate(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, 1)
    with serving(Http(listen="127.0.0.1:0", certificate=crt, key=key)) as client:
        client.scheme, client.context = "https", ssl.create_default_context(cafile=str(crt))
        assert client.ask("/metrics").status == 200
        with socket.create_connection(("127.0.0.1", client.server.port), timeout=10) as plain:
            plain.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert b"lepton_polls" not in plain.recv(1000)
        certificate(tmp_path, 2)
        client.context = ssl.create_default_context(cafile=str(crt))
        assert client.ask("/metrics").status == 200
        key.write_text("damaged while it is renewed")
        assert client.ask("/metrics").status == 200


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    for name in ("a.crt", "a.key"):
        (tmp_path / name).write_text("no")
    with pytest.raises(UsageError, match=r"a\.crt"):
        WebServer(Http("127.0.0.1:0", tmp_path / "a.crt", tmp_path / "a.key"), Agent().metrics, lambda: None)
