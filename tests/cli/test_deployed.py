"""`git lepton deployed`: what runs where, told by agents and by Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from git_lepton.release import status
from git_lepton.release.status import Ran, StatusReport
from git_lepton.values import Hash
from tests.cli.team import Team
from tests.support import git


def test_deployed_reads_what_agents_report(team: Team) -> None:
    team.release(1, "staging", "prod")
    bundle = Hash("b" * 64)
    ran = (Ran(2000.0, 2, "1.0.0", bundle, "promote"), Ran(1000.0, 1, "0.9.0", bundle, "promote", "int8"))
    report = StatusReport("eu-1", "digits", "prod", 3000.0, True, seq=2, version="0.9.0", bundle=bundle, history=ran)
    status.publish(team.ada.repo, "origin", report)
    blob = git(team.remote, "hash-object", "-w", "--stdin", data=b"{}")
    git(team.remote, "update-ref", "refs/lepton/status/digits@prod/bad", blob)
    done = team.run(team.bob, "deployed", "digits")
    assert done.status == 5
    assert "eu-1   digits  prod     0.9.0    1970-01-01 00:33 UTC  1970-01-01 00:50 UTC  wanted: 1.0.0" in done.out
    assert "not a report: digits@prod/bad" in done.out
    then = team.run(team.bob, "deployed", "--at", "1970-01-01T00:20:00Z", "--json").json
    assert [(one["agent"], one["version"], one["variant"]) for one in then["agents"]] == [("eu-1", "0.9.0", "int8")]


class _Prometheus(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - one server a test session

    def do_GET(self) -> None:
        self.asked.append(self.path)
        labels = {"instance": "a:1", "model": "digits", "channel": "prod", "version": "1.0.0", "digest": "b" * 64}
        result = [{"metric": labels, "value": [1000.5, "1"]}, {"metric": labels, "value": [1000.5, "0"]}]
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
        self.send_response(200 if "api" in self.path else 404)
        self.end_headers()
        self.wfile.write(body if "broken" not in self.path else b"<html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has there
        """Print nothing."""


@pytest.fixture
def prometheus() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Prometheus)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_deployed_asks_prometheus(team: Team, prometheus: str) -> None:
    team.release(1, "staging", "prod")
    shown = team.must(team.bob, "deployed", "digits", "--prometheus", prometheus).out
    assert "a:1    digits  prod     1.0.0" in shown
    assert "query=lepton_model_info%7Bmodel%3D%22digits%22%7D" in _Prometheus.asked[-1]
    team.must(team.bob, "deployed", "--prometheus", prometheus, "--at", "1970-01-01T01:00:00Z")
    assert _Prometheus.asked[-1].endswith("time=3600.000")
    assert team.run(team.bob, "deployed", "--prometheus", prometheus + "/broken").status == 5
    assert team.run(team.bob, "deployed", "--prometheus", "file:///etc/passwd").status == 2
    assert team.run(team.bob, "deployed", "--prometheus", "http://127.0.0.1:1").status == 8
