"""examples/monitoring against a real Prometheus that scrapes a real agent through a swap, a refusal and a rollback."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from git_lepton.agent.metrics import METRICS
from git_lepton.agent.passwords import make_line
from git_lepton.release.deployed import from_prometheus
from tests.agent.test_server import basic, certificate
from tests.agent.world import World, files

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "monitoring"
RULES = MONITORING / "rules.yml"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None, reason="prometheus is not installed"
)

_SERIES = {
    name + suffix
    for metric in METRICS
    for name in [metric.name]
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}
_WORD = re.compile(r"\b(?:\w+:)?lepton_\w+(?::\w+)?")
_VARIABLES = {"$instance": ".*", "$model": ".*", "$channel": ".*", "$__rate_interval": "1m"}
_WEB_FILES = {"certificate": "a.crt", "key": "a.key", "users": "users"}
_WATCH = """
[model.digits.watch]
command = ["sh", "-c", "! grep -q bad tokenizer.json"]
duration = 1
interval = 0.3
"""


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return found


def of_dashboard() -> list[str]:
    board = dashboard()
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [note["expr"] for note in board["annotations"]["list"]]
    for variable, value in _VARIABLES.items():
        found = [expr.replace(variable, value) for expr in found]
    return found


def of_documents() -> list[str]:
    text = (ROOT / "docs" / "metrics.md").read_text()
    return [line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]


def expressions() -> list[str]:
    return [*(rule["expr"] for rule in rules()), *of_dashboard(), *of_documents()]


def test_every_expression_names_a_metric_that_is_exported() -> None:
    known = _SERIES | {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        named = set(_WORD.findall(re.sub(r'"[^"]*"', '""', expression)))
        assert named <= known, expression
        assert named or expression == 'up{job="lepton"} == 0', expression


def test_every_alert_says_what_to_do_and_has_a_test() -> None:
    tested = {
        alert["alertname"]
        for test in yaml.safe_load((MONITORING / "rules-test.yml").read_text())["tests"]
        for alert in test.get("alert_rule_test", ())
        if alert["exp_alerts"]
    }
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {rule["alert"] for rule in alerts} == tested
    for rule in alerts:
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboard_can_be_provisioned() -> None:
    board = dashboard()
    text = json.dumps(board)
    assert "__inputs" not in board
    assert "DS_PROMETHEUS" not in text
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    assert board["uid"]
    assert board["templating"]["list"][0]["type"] == "datasource"
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(_WORD.findall(" ".join(of_dashboard())))
    missing = {m.name for m in METRICS if not any(name.startswith(m.name) for name in shown)}
    assert missing == {"lepton_agent_last_poll_timestamp_seconds", "lepton_agent_poll_interval_seconds"}


@needs_prometheus
@pytest.mark.parametrize("arguments", [("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml")])
def test_promtool_checks(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)


@needs_prometheus
def test_promtool_tests_the_rules() -> None:
    promtool("test", "rules", "rules-test.yml")


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """One that runs, at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            data = json.load(answer)["data"]
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def wait(self, expression: str) -> dict[str, str]:
        """Until the expression has a series; its labels."""
        found: list[tuple[dict[str, str], float]] = []

        def has_series() -> bool:
            nonlocal found
            found = self.query(expression)
            return bool(found)

        eventually(has_series, expression)
        return found[0][0]


def eventually(condition: Callable[[], bool], what: str) -> None:
    for _ in range(150):
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"it did not happen: {what}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(*argv: str | Path, log: Path) -> Iterator[None]:
    with log.open("wb") as stream, subprocess.Popen(argv, stdout=stream, stderr=stream) as process:
        try:
            yield
        except Exception as error:
            raise AssertionError(log.read_text()[-3000:]) from error
        finally:
            process.terminate()


def prometheus_settings(folder: Path, agent: int) -> Path:
    """The example with its lines for TLS and a password, with short intervals and the address of our agent."""
    text = (MONITORING / "prometheus.yml").read_text()
    text, count = re.subn(r"^    #   ", "    ", text, flags=re.MULTILINE)
    assert count == 3
    config = yaml.safe_load(text.replace("/etc/prometheus/agents-ca.crt", str(folder / "a.crt")))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(RULES)]
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"][0]["targets"] = [f"localhost:{agent}"]
    scrape["basic_auth"]["password_file"] = str(folder / "password")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def web_settings(folder: Path, port: int) -> str:
    """`[http]` with TLS and one user, as `prometheus_settings` asks."""
    certificate(folder, 1)
    (folder / "password").write_text("open sesame")
    (folder / "users").write_text(make_line("prometheus", "open sesame"))
    lines = "\n".join(f'{key} = "{folder}/{name}"' for key, name in _WEB_FILES.items())
    return f'[http]\nlisten = "127.0.0.1:{port}"\n{lines}'


@needs_prometheus
def test_prometheus_sees_a_swap_a_refusal_a_fall_back_and_a_rollback(world: World) -> None:
    port, prometheus_port = free_port(), free_port()
    config = world.top / "agent.toml"
    config.write_bytes(world.settings(top=web_settings(world.top, port), extra=_WATCH))
    tls = ssl.create_default_context(cafile=str(world.top / "a.crt"))
    web = f"127.0.0.1:{prometheus_port}"
    prometheus = Prometheus(f"http://{web}")
    agent = (sys.executable, "-m", "git_lepton", "agent", "run", "--config", config)
    command = ("prometheus", f"--config.file={prometheus_settings(world.top, port)}", f"--web.listen-address={web}")
    first = world.commit(files(1))
    world.move(first, "1.0.0")
    with (
        running(*agent, log=world.top / "agent.log"),
        running(*command, f"--storage.tsdb.path={world.top / 'tsdb'}", log=world.top / "prometheus.log"),
    ):
        labels = prometheus.wait('lepton_model_info{version="1.0.0"}')
        assert (labels["model"], labels["channel"], labels["digest"]) == ("digits", "prod", first[1].bundle)
        assert labels["revision"] == first[0]
        world.release(2, "1.1.0")
        user = basic("prometheus", "open sesame")
        poke = urllib.request.Request(f"https://localhost:{port}/poke", data=b"{}", method="POST", headers=user)
        with urllib.request.urlopen(poke, timeout=5, context=tls) as answer:
            assert answer.status == 202
        prometheus.wait('lepton_model_info{version="1.1.0"}')
        prometheus.wait('increase(lepton_swaps_total{trigger="promote"}[5m]) > 0')
        assert not prometheus.query('lepton_model_info{version="1.0.0"}')

        world.move(world.commit({**files(3), "tokenizer.json": b"bad"}), "1.2.0")
        alert = prometheus.wait('ALERTS{alertname="LeptonFellBack", alertstate="firing"}')
        assert alert["severity"] == "critical"
        prometheus.wait('lepton_model_info{version="1.1.0"}')
        prometheus.wait("lepton_channel_ready == 0")

        world.move(first, "1.0.0", action="rollback")
        prometheus.wait('lepton_model_info{version="1.0.0"} and on (model, channel) lepton_channel_ready == 1')
        prometheus.wait('lepton_swaps_total{trigger="rollback"} == 1')

        world.sign_as(world.key("mallory", allowed=False))
        world.release(4, "6.6.6")
        alert = prometheus.wait('ALERTS{alertname="LeptonChannelTampered", alertstate="firing"}')
        assert alert["reason"] == "signer"
        prometheus.wait('lepton_verification_failures_total{reason="signer"} > 0')

        (ran,) = from_prometheus(prometheus.url, "digits")
        assert (ran.version, ran.variant) == ("1.0.0", "")
        for expression in expressions():
            prometheus.query(expression)
        with urllib.request.urlopen(f"https://localhost:{port}/readyz", timeout=5, context=tls) as ready:
            assert ready.read() in {b"digits 1.0.0 serving\n", b"digits 1.0.0 verifying\n"}, "it looks at it again"
