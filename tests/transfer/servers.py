"""Real git servers on loopback, each as a context manager: http, ssh, git daemon, and plain folders.

A server serves every bare repository below one folder. `Server.url` spells the address of one of them and
`Server.env` is what a client needs in its environment. `TRANSPORTS` names them all for parametrised tests;
`transport(name, root)` opens one, or skips the test where the program is missing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support import git


@dataclass(frozen=True, slots=True)
class Server:
    """`root` is served at `prefix`; `by_object` tells whether a client can get single objects from it."""

    root: Path
    prefix: str
    env: dict[str, str] = field(default_factory=dict)
    by_object: bool = True

    def url(self, repository: Path) -> str:
        """The address of a repository below `root`."""
        return self.prefix + str(repository.relative_to(self.root))


def make_bare(folder: Path, *, object_format: str = "sha1") -> Path:
    """A bare repository that checks each push, keeps it as the pack that was sent, and lets anyone push over http."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(folder.parent, "init", "-q", "--bare", f"--object-format={object_format}", "-b", "main", str(folder))
    for key, value in (
        ("receive.unpackLimit", "1"),
        ("receive.fsckObjects", "true"),
        ("gc.auto", "0"),
        ("http.receivepack", "true"),
        ("daemon.receivepack", "true"),
        ("receive.autogc", "false"),
    ):
        git(folder, "config", key, value)
    return folder


def packs(repository: Path) -> set[Path]:
    """The packs in a bare repository."""
    return set((repository / "objects" / "pack").glob("pack-*.pack"))


def objects_in(pack: Path) -> int:
    """How many objects a pack holds (bases that receive-pack added to a thin pack included)."""
    return len(git(pack.parent, "show-index", data=pack.with_suffix(".idx").read_bytes()).splitlines())


def hook(repository: Path, name: str, script: str) -> None:
    """Install a server hook."""
    path = repository / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


HEADS_AND_TAGS_ONLY = 'case "$1" in refs/heads/*|refs/tags/*) exit 0;; esac\necho "only heads and tags" >&2\nexit 1\n'
"""An `update` hook that behaves like hosts that accept nothing else."""


@contextmanager
def file_server(root: Path) -> Iterator[Server]:
    """Plain file:// addresses."""
    yield Server(root, f"file://{root}/")


class _Handler(BaseHTTPRequestHandler):
    """Runs `git http-backend` as CGI (RFC 3875) for every request."""

    protocol_version = "HTTP/1.1"
    root: Path
    forward_protocol = True

    def _run(self) -> None:
        path, _, query = self.path.partition("?")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": str(self.root),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": "tester",
        }
        if self.forward_protocol and "Git-Protocol" in self.headers:
            environment["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        if "Content-Encoding" in self.headers:
            environment["HTTP_CONTENT_ENCODING"] = self.headers["Content-Encoding"]
        body = self._body()
        environment["CONTENT_LENGTH"] = str(len(body))
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [line.decode().partition(": ") for line in head.split(b"\r\n") if line]
        status = next((int(v.split()[0]) for k, _, v in headers if k.lower() == "status"), 200)
        self.send_response(status)
        for key, _, value in headers:
            if key.lower() != "status":
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = _run

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Say nothing."""


@contextmanager
def http_server(root: Path, *, forward_protocol: bool = True) -> Iterator[Server]:
    """Smart http by `git http-backend`; without `forward_protocol` it only ever speaks version 0."""
    handler = type("Handler", (_Handler,), {"root": root, "forward_protocol": forward_protocol})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Server(root, f"http://127.0.0.1:{server.server_address[1]}/", by_object=forward_protocol)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.skip(f"{process.args!r} does not start here")


@contextmanager
def ssh_server(root: Path, *, accept_protocol: bool = True) -> Iterator[Server]:
    """An OpenSSH server for this user; without `accept_protocol` it is as shipped: git speaks version 0 over it."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists() or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("OpenSSH is not installed")
    folder = root / ".ssh-server"
    folder.mkdir(exist_ok=True)
    for name in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, stdin=subprocess.DEVNULL
        )
    shutil.copy(folder / "client.pub", folder / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    port = _free_port()
    settings = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'authorized'}",
        f"PidFile {folder / 'pid'}",
        "StrictModes no",
        "UsePAM no",
        "UseDNS no",
        "PasswordAuthentication no",
        "PermitRootLogin yes",
        "KexAlgorithms curve25519-sha256",  # the default is slow, and the tests connect often
        "MaxStartups 100",
        *(["AcceptEnv GIT_PROTOCOL"] if accept_protocol else []),
    ]
    (folder / "config").write_text("\n".join(settings) + "\n")
    process = subprocess.Popen([sshd, "-D", "-f", folder / "config", "-E", folder / "log"], stdin=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        command = (
            f"ssh -F /dev/null -i {folder / 'client'} -p {port} -o StrictHostKeyChecking=no"
            f" -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes -o BatchMode=yes"
        )
        yield Server(root, f"ssh://127.0.0.1:{port}{root}/", {"GIT_SSH_COMMAND": command})
    finally:
        process.terminate()
        process.wait()


@contextmanager
def git_daemon(root: Path) -> Iterator[Server]:
    """`git daemon`, pushes allowed."""
    port = _free_port()
    process = subprocess.Popen(
        [
            *("git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}"),
            *("--export-all", "--enable=receive-pack", f"--base-path={root}", str(root)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        yield Server(root, f"git://127.0.0.1:{port}/")
    finally:
        process.terminate()
        process.wait()


_OPENERS: dict[str, Callable[[Path], AbstractContextManager[Server]]] = {
    "file": file_server,
    "http": http_server,
    "http-v0": lambda root: http_server(root, forward_protocol=False),
    "ssh": ssh_server,
    "ssh-v0": lambda root: ssh_server(root, accept_protocol=False),
    "daemon": git_daemon,
}
TRANSPORTS = tuple(_OPENERS)


def transport(name: str, root: Path) -> AbstractContextManager[Server]:
    """Open the server `name` of `TRANSPORTS` over `root`."""
    root.mkdir(parents=True, exist_ok=True)
    return _OPENERS[name](root)
