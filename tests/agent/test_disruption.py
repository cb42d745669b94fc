"""What happens to agents: killed at any moment, remotes that hang or lie, full disks, servers that do not follow."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from git_lepton.agent.daemon import JITTER, MAX_WAIT, pause
from git_lepton.agent.engine import Engine
from git_lepton.agent.events import Watched
from git_lepton.agent.memory import MemoryFile
from git_lepton.agent.web import request
from git_lepton.errors import MissingError
from git_lepton.record.locating import of_folder
from tests.agent.world import Recorder, World, files, one
from tests.support import git

TOKENIZER = "tokenizer.json"
AGENT = [sys.executable, "-m", "git_lepton", "agent"]
HERE = Path(__file__).parent.parent.parent


def write_config(world: World, **options: object) -> Path:
    path = world.top / "agent.toml"
    path.write_bytes(world.settings(**options))  # type: ignore[arg-type]
    return path


@contextmanager
def running(config: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`git lepton agent run`; killed in the end if it still is there."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), **env}
    argv = [*AGENT, "run", "-c", str(config)]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def agent(config: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    argv = [*AGENT, *args, "-c", str(config)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def eventually(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_invariants(world: World, floor: int) -> int:
    """`current` leads to a whole release, and the floor is not lower than it was; returns the floor."""
    folder = world.served()
    assert of_folder(folder).hash == folder.name
    memory = MemoryFile(world.top / "state" / "models" / "digits" / "memory.json").load()
    assert memory.floor >= floor
    return memory.floor


def _kill_many(world: World, count: int) -> None:
    """Kill an agent at random moments of following moves, again and again."""
    chance = random.Random(7)
    config = write_config(world)
    floor = check_invariants(world, 1)
    for number in range(count):
        world.release(2 + number % 2, f"2.{number}.0")
        with running(config) as process:
            time.sleep(0.35 + chance.random() * 0.6)
            process.send_signal(signal.SIGKILL)
            process.wait()
        floor = check_invariants(world, floor)
    engine, _ = world.engine()
    engine.poll()
    assert one(engine).ready
    assert world.tokenizer() == files(2 + (count - 1) % 2)[TOKENIZER]
    assert not list((world.top / "srv" / "digits" / ".staging").iterdir())
    engine.close()


def test_killed_at_any_moment(serving: World) -> None:
    _kill_many(serving, 3)


@pytest.mark.slow
def test_killed_at_any_moment_hundreds_of_times(serving: World) -> None:
    _kill_many(serving, 200)


def test_killed_between_the_link_and_the_memory(serving: World) -> None:
    """The two sides of the one moment at which link and memory differ."""
    serving.release(2, "2.0.0")
    engine, _ = serving.engine()
    engine.poll()
    follower = engine.follower("digits")
    new, (old,) = follower.memory.active, follower.memory.kept
    assert new is not None
    follower._save(replace(follower.memory, pending=old))
    engine.close()
    engine, _ = serving.engine()  # the link has not moved: nothing happened
    assert serving.served().name == new.bundle
    follower = engine.follower("digits")
    assert follower.memory.pending is None
    follower._save(replace(follower.memory, pending=old))
    follower.releases.point(old.bundle)
    engine.close()
    engine, _ = serving.engine()  # the link has moved: the swap is brought to its end
    release = one(engine).release
    assert release is not None
    assert serving.served().name == old.bundle == release.bundle
    engine.close()


def test_sigterm_ends_it_cleanly(serving: World) -> None:
    config = write_config(serving)
    with running(config) as process:
        eventually((serving.top / "state" / "control.sock").exists)
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.readline() == "digits: 1.0.0 serves, move 1, as it did before\n"
    assert not (serving.top / "state" / "control.sock").exists()


def test_administration_of_a_running_agent(serving: World) -> None:
    serving.release(2, "2.0.0")
    config = write_config(serving)
    with running(config):
        eventually(lambda: serving.tokenizer() == files(2)[TOKENIZER])
        status = json.loads(agent(config, "status", "--json").stdout)
        assert status["running"]
        assert status["models"][0]["release"]["version"] == "2.0.0"
        second = agent(config, "run")
        assert (second.returncode, "git lepton agent status" in second.stderr) == (4, True), second.stderr
        done = agent(config, "rollback", "digits")
        assert done.stdout == "digits: 1.0.0 serves\n"
        assert serving.tokenizer() == files(1)[TOKENIZER]
        assert agent(config, "status").returncode == 1
        assert agent(config, "retry", "digits").returncode == 0
        eventually(lambda: serving.tokenizer() == files(2)[TOKENIZER])
        assert agent(config, "rollback", "digit").returncode == 2
    shown = agent(config, "suspend", "digits")
    assert (shown.returncode, shown.stdout) == (0, "digits is left as it is\n")
    assert "suspended" in agent(config, "status").stdout


def test_once_ends_with_what_happened(serving: World) -> None:
    config = write_config(serving)
    assert agent(config, "once").returncode == 0
    serving.release(2, "2.0.0", sign=True, expires="2020-01-01T00:00:00Z")
    assert agent(config, "once").returncode == 5
    serving.remote.rename(serving.top / "gone")
    assert agent(config, "once").returncode == 8


def test_a_remote_that_hangs_is_given_up(serving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "sleep 60 #")
    engine, seen = serving.engine(remote="ssh://git@localhost/x.git", top="timeout = 0.3")
    began = time.monotonic()
    assert not engine.poll()
    assert time.monotonic() - began < 20
    assert seen.polls_failed() == ["unreachable"]
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine.close()


def test_a_remote_that_lost_objects(serving: World) -> None:
    at = serving.commit(files(2))
    serving.move(at, "2.0.0")
    for pack in (serving.remote / "objects").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            data = pack.read_bytes()
            pack.write_bytes(data[: len(data) // 2])
    engine, seen = serving.engine()
    engine.poll()
    assert seen.polls_failed() or seen.failures()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    assert one(engine).state == "serving"
    engine.close()


def test_a_full_disk(serving: World) -> None:
    """No file may grow beyond 16 KiB: weights of 64 KiB arrive nowhere, and what serves is not touched."""
    big = {"weights.bin": os.urandom(1 << 16), TOKENIZER: b"{}"}
    serving.move(serving.commit(big, main="weights.bin"), "2.0.0")
    config = write_config(serving)
    code = (
        "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from git_lepton.__main__ import main; sys.argv[1:] = ['agent', 'once', '-c', sys.argv[1]]; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    argv = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in {1, 8}, done.stderr
    assert "Errno" not in done.stderr
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine, _ = serving.engine()
    engine.poll()
    assert serving.tokenizer() == b"{}", "with space again, it goes on"
    engine.close()


# The server beside it


def with_release_2(world: World, extra: str) -> tuple[Engine, Recorder]:
    world.release(2, "2.0.0")
    engine, seen = world.engine(extra=extra)
    engine.poll()
    return engine, seen


def test_a_command_is_told(serving: World) -> None:
    said = serving.top / "said"
    script = f"echo $LEPTON_NAME $LEPTON_VERSION $(readlink $LEPTON_CURRENT) >> {said}"
    engine, _ = with_release_2(serving, f"notify = {{ command = ['sh', '-c', '{script}'] }}")
    assert said.read_text() == f"digits 2.0.0 releases/{serving.served().name}\n"
    engine.close()


def test_a_server_that_does_not_take_it_keeps_the_old_one(serving: World) -> None:
    command = "notify = { command = ['sh', '-c', 'test $LEPTON_VERSION = 1.0.0'] }"
    engine, seen = with_release_2(serving, command)
    assert seen.failures() == ["notify"]
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine.poll()
    assert seen.failures() == ["notify"], "not again"
    engine.close()


def test_a_signal_is_sent(serving: World) -> None:
    pidfile = serving.top / "pid"
    with subprocess.Popen(["sleep", "60"]) as server:
        pidfile.write_text(f"{server.pid}\n")
        engine, _ = with_release_2(serving, f'notify = {{ signal = "USR1", pidfile = "{pidfile}" }}')
        assert server.wait(10) == -signal.SIGUSR1
    engine.close()


def test_a_signal_that_cannot_be_sent_says_to_whom(serving: World) -> None:
    pidfile = serving.top / "pid"
    engine, seen = with_release_2(serving, f'notify = {{ signal = "USR1", pidfile = "{pidfile}" }}')
    assert seen.failures() == ["notify", "notify"], "nor that it goes back"
    assert f"USR1 to {pidfile}: No such file" in one(engine).problem
    engine.close()


class Web(BaseHTTPRequestHandler):
    """Answers with what the test has put in `answers` by path, and notes what was asked."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        if self.path == "/drops":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b".")
                    time.sleep(0.02)
            return
        status, body = self.answers.get(self.path.partition("?")[0], (404, b""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    Web.answers.clear()
    Web.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_triton_is_asked_to_load(serving: World, web: str) -> None:
    Web.answers["/v2/repository/models/digits/load"] = (200, b"")
    engine, seen = with_release_2(serving, f'notify = {{ triton = "{web}" }}')
    assert Web.asked == ["POST /v2/repository/models/digits/load"]
    assert seen.failures() == []
    Web.answers["/v2/repository/models/digits/load"] = (400, b'{"error": "no"}')
    serving.release(3, "3.0.0")
    engine.poll()
    assert seen.failures() == ["notify", "notify"], "the old one is told again, and refused as well"
    assert serving.tokenizer() == files(2)[TOKENIZER]
    engine.close()


def vector(*values: str) -> bytes:
    result = [{"metric": {}, "value": [0, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


@pytest.mark.parametrize(
    ("answer", "verdict", "version"),
    [
        ((200, vector("0.01")), "pass", "2.0.0"),
        ((200, vector("0.01", "0.5")), "fail", "1.0.0"),
        ((200, vector("NaN")), "inconclusive", "2.0.0"),
        ((200, vector()), "inconclusive", "2.0.0"),
        ((503, b"busy"), "inconclusive", "2.0.0"),
        ((200, b'{"status": "success", "data": {"resultType": "scalar", "result": [0, "0.02"]}}'), "pass", "2.0.0"),
    ],
    ids=["good", "bad", "nan", "no data", "down", "scalar"],
)
def test_a_watch_by_prometheus(serving: World, web: str, answer: tuple[int, bytes], verdict: str, version: str) -> None:
    Web.answers["/api/v1/query"] = answer
    watch = f'watch = {{ prometheus = "{web}", query = "errors", max = 0.1, duration = 0.1, interval = 0.05 }}'
    engine, seen = with_release_2(serving, watch)
    assert one(engine).state == "watching"
    watch_to_the_end(engine)
    assert [e.verdict for e in seen.events if isinstance(e, Watched)] == [verdict]
    release = one(engine).release
    assert release is not None
    assert release.version == version
    engine.poll()
    assert one(engine).ready == (version == "2.0.0")
    assert one(engine).release == release, "a release that failed is not tried again"
    engine.close()


def watch_to_the_end(engine: Engine) -> None:
    while (due := engine.due()) is not None:
        time.sleep(max(0.0, due - time.monotonic()))
        engine.tick()


@pytest.mark.parametrize(
    ("command", "extra", "verdict", "version"),
    [
        ("true", "", "pass", "2.0.0"),
        ("echo it is bad >&2; exit 1", "", "fail", "1.0.0"),
        ("exit 3", "", "inconclusive", "2.0.0"),
        ("exit 3", 'on_inconclusive = "fallback"', "inconclusive", "1.0.0"),
        ("test -e again && exit 0; touch again; exit 1", "failures = 1", "pass", "2.0.0"),
    ],
    ids=["good", "bad", "undecided", "undecided is bad", "one failure is allowed"],
)
def test_a_watch_by_a_command(serving: World, command: str, extra: str, verdict: str, version: str) -> None:
    command = command.replace("again", str(serving.top / "again"))
    lines = ["[model.digits.watch]", f"command = ['sh', '-c', '{command}']", "duration = 0.1", "interval = 0.05", extra]
    engine, seen = with_release_2(serving, "\n".join(lines))
    watch_to_the_end(engine)
    assert [e.verdict for e in seen.events if isinstance(e, Watched)] == [verdict]
    assert serving.tokenizer() == files(2 if version == "2.0.0" else 1)[TOKENIZER]
    assert seen.failures() == (["watch"] if version == "1.0.0" else [])
    engine.close()


@pytest.mark.parametrize(("status", "verdict"), [(200, "pass"), (204, "pass"), (404, "fail"), (503, "fail")])
def test_a_watch_by_a_probe(serving: World, web: str, status: int, verdict: str) -> None:
    Web.answers["/health"] = (status, b"")
    engine, seen = with_release_2(serving, f'watch = {{ url = "{web}/health", duration = 0.1, interval = 0.05 }}')
    watch_to_the_end(engine)
    assert [e.verdict for e in seen.events if isinstance(e, Watched)] == [verdict]
    engine.close()


def test_a_first_release_that_failed_its_watch_is_watched_again_when_it_is_retried(world: World) -> None:
    world.release(1, "1.0.0")
    healthy = world.top / "healthy"
    engine, _ = world.engine(
        extra=f'watch = {{ command = ["test", "-e", "{healthy}"], duration = 0.1, interval = 0.05 }}'
    )
    engine.poll()
    watch_to_the_end(engine)
    assert (one(engine).ready, world.tokenizer()) == (False, files(1)[TOKENIZER]), "there is nothing to go back to"
    for works in (False, True):
        if works:
            healthy.touch()
        engine.follower("digits").retry()
        engine.poll()
        assert one(engine).state == "watching"
        watch_to_the_end(engine)
        assert one(engine).ready == works
    engine.close()


def test_an_answer_that_does_not_end_keeps_nobody_waiting(web: str) -> None:
    with pytest.raises(MissingError, match="does not end"):
        request(f"{web}/drops", timeout=0.2)


def test_a_watch_goes_on_after_a_restart(serving: World, web: str) -> None:
    watch = f'watch = {{ url = "{web}/health", duration = 0.1, interval = 0.05, failures = 0 }}'
    engine, _ = with_release_2(serving, watch)
    engine.close()
    engine, seen = serving.engine(extra=watch)
    assert one(engine).state == "watching"
    watch_to_the_end(engine)  # /health answers 404
    assert seen.failures() == ["watch"]
    assert [s.trigger for s in seen.swaps()] == ["fallback"]
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine.close()


def test_polls_are_spread_and_a_silent_remote_is_asked_less_and_less() -> None:
    for failures, seconds in ((0, 60), (1, 120), (3, 480), (10, MAX_WAIT), (10_000, MAX_WAIT)):
        pauses = [pause(60, failures) for _ in range(200)]
        assert min(pauses) >= seconds * (1 - JITTER)
        assert max(pauses) <= seconds * (1 + JITTER)
        assert max(pauses) - min(pauses) > seconds * JITTER
    assert pause(7200, 5) >= 7200 * (1 - JITTER), "never more often than asked for"


def test_an_idle_poll_is_one_question_for_all_models(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ("a", "b", "c")
    for name in models:
        world.move(world.commit(files(1), model=name), "1.0.0")
    engine, _ = world.engine(models=models)
    engine.poll()
    trace = world.top / "trace"
    monkeypatch.setenv("GIT_TRACE", str(trace))
    engine.poll()
    engine.close()
    asked = [line for line in trace.read_text().splitlines() if "trace: built-in: git " in line]
    assert ["ls-remote" in asked[0], "upload-pack" in asked[1], len(asked)] == [True, True, 2], asked
    assert engine.mirror.ask(()) == {}, "nor everything where all are suspended"


def test_importing_the_agent_loads_nothing_heavy() -> None:
    heavy = "numpy onnx onnxruntime sklearn scipy pygit2 rich prometheus_client"
    code = f"import sys, git_lepton.cli.agent; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE)
    assert done.stdout == "[]\n"


def test_the_mirror_has_no_branches_and_no_code(serving: World) -> None:
    mirror = serving.top / "state" / "mirror.git"
    refs = git(mirror, "for-each-ref", "--format=%(refname)").splitlines()
    assert all(ref.startswith(("refs/lepton/", "refs/lepton-agent/")) for ref in refs)
