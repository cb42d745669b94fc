"""The CI files of examples/ci do what they say: their shell parts are run as a runner runs them, in a real clone.

What only a host can do (checking out, keeping artifacts) is left out, and so are the lines that install packages, since
no registry is asked here. `gh` is played by a small program that keeps comments in a file; GitLab by a small server.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
import yaml

from git_lepton.report.review_md import MARKER
from tests.support import clean_environment, git, model_bytes

CI = Path(__file__).parents[2] / "examples" / "ci"
GITHUB = CI / "github" / "model-review.yml"
GITLAB = CI / "gitlab" / ".gitlab-ci.yml"
JENKINS = CI / "jenkins" / "Jenkinsfile"
EVERY = (GITHUB, GITLAB, JENKINS)

_EXPRESSION = re.compile(r"\$\{\{ *(.*?) *\}\}")
_PACKAGES = re.compile(r"-m (pip|venv) ")

GH = r"""#!{python}
import json, subprocess, sys
arguments, state = sys.argv[2:], {state!r}
comments = json.load(open(state))
def option(name):
    return arguments[arguments.index(name) + 1] if name in arguments else None
method, path = option("--method") or "GET", next(a for a in arguments if a.startswith("repos/"))
if method == "GET":
    assert path == "repos/o/r/issues/7/comments"
    subprocess.run(["jq", "--raw-output", option("--jq")], input=json.dumps(comments).encode(), check=True)
else:
    body = open(option("--field").removeprefix("body=@")).read()
    if method == "POST":
        assert path == "repos/o/r/issues/7/comments"
        comments.append({{"id": len(comments) + 1, "user": {{"type": "Bot"}}, "body": body}})
    else:
        number = int(path.removeprefix("repos/o/r/issues/comments/"))
        next(c for c in comments if c["id"] == number)["body"] = body
    json.dump(comments, open(state, "w"))
"""


@dataclass(frozen=True)
class Scene:
    """A clone as a runner makes it: manifests only, a branch checked out, the commits of the pull request."""

    clone: Path
    server: Path
    env: Mapping[str, str]
    base: str
    head: str

    def run(self, script: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the lines as runners do, but those that install packages."""
        lines = "\n".join(line for line in script.splitlines() if not _PACKAGES.search(line))
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines],
            cwd=self.clone,
            env={**self.env, **more},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server to which a developer pushed `main`, and a branch that tunes one layer of one of two models."""
    folder = tmp_path_factory.mktemp("pushed")
    home, dev, server = folder / "home", folder / "dev", folder / "server.git"
    home.mkdir()
    env = environment(home)
    git(folder, "init", "-q", "--bare", "-b", "main", str(server), env=env)
    git(folder, "init", "-q", "-b", "main", str(dev), env=env)
    git(dev, "remote", "add", "origin", str(server), env=env)
    git(dev, "lepton", "init", env=env)
    git(dev, "lepton", "track", "*.safetensors", env=env)
    for name in ("a", "b"):
        (dev / f"{name}.safetensors").write_bytes(model_bytes(ord(name), rows=256))
    git(dev, "add", "-A", env=env)
    git(dev, "commit", "-q", "-m", "models", env=env)
    git(dev, "checkout", "-q", "-b", "feature", env=env)
    (dev / "a.safetensors").write_bytes(model_bytes(ord("a"), rows=256, layer_1=99))
    git(dev, "commit", "-q", "-a", "-m", "tune layer 1", env=env)
    git(dev, "checkout", "-q", "-b", "docs", "main", env=env)
    (dev / "README").write_text("words\n")
    git(dev, "add", "README", env=env)
    git(dev, "commit", "-q", "-m", "words only", env=env)
    git(dev, "push", "-q", "origin", "main", "feature", "docs", env=env)
    return server


@pytest.fixture
def scene(pushed: Path, tmp_path: Path) -> Scene:
    """A runner's clone: where the host's own step checks the work tree out, there is no filter yet."""
    home, server, clone = tmp_path / "home", tmp_path / "server.git", tmp_path / "clone"
    home.mkdir()
    env = environment(home)
    shutil.copytree(pushed, server)
    git(tmp_path, "clone", "-q", "-b", "feature", f"file://{server}", str(clone), env=env)
    base, head = (git(server, "rev-parse", rev, env=env) for rev in ("main", "feature"))
    return Scene(clone, server, env, base, head)


def environment(home: Path) -> dict[str, str]:
    """Nothing of this machine but the programs."""
    env = clean_environment(home)
    return env | {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}


def is_manifest(path: Path) -> bool:
    return path.read_bytes().startswith(b"git-lepton 1 ")


def check_report(scene: Scene) -> None:
    """The report is there and says what happened, and only the weights that changed were written."""
    comment = (scene.clone / "report.md").read_text(encoding="utf-8")
    assert comment.startswith(MARKER)
    assert "| `a.safetensors` | 1 changed, 2 the same |" in comment
    assert "| `layer_1` | ██████████" in comment
    assert "b.safetensors" not in comment
    assert "[Full report](<https://" in comment
    assert "<h2" in (scene.clone / "report.html").read_text(encoding="utf-8")
    assert not is_manifest(scene.clone / "a.safetensors")
    assert is_manifest(scene.clone / "b.safetensors")


# GitHub


def github_context(scene: Scene, *, fork: bool = False) -> dict[str, str]:
    return {
        "github.event.pull_request.number": "7",
        "github.event.pull_request.base.sha": scene.base,
        "github.event.pull_request.head.sha": scene.head,
        "github.event.pull_request.head.repo.full_name": "fork/r" if fork else "o/r",
        "github.event.pull_request.head.repo.clone_url": f"file://{scene.server}",
        "github.repository": "o/r",
        "github.server_url": "https://github.example",
        "github.run_id": "11",
        "github.token": "secret",
    }


def holds(condition: str | None, context: Mapping[str, str]) -> bool:
    """Whether an `if:` of the form `a == b` or `a != b` holds."""
    if condition is None:
        return True
    left, sign, right = condition.split(" ")
    return (context[left] == context[right]) == (sign == "==")


def run_job(scene: Scene, name: str, *, fork: bool = False, **more: str) -> subprocess.CompletedProcess[str] | None:
    """Run the steps of a job until one fails; returns the last, or None when the job is left out."""
    workflow = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))
    context = github_context(scene, fork=fork)
    filled: dict[str, str] = {"GITHUB_REPOSITORY": "o/r", **more}
    job = workflow["jobs"][name]
    if not holds(job.get("if"), context):
        return None
    done = None
    for step in (step for step in job["steps"] if "run" in step and holds(step.get("if"), context)):
        env = {**workflow["env"], **step.get("env", {})}
        filled |= {key: _EXPRESSION.sub(lambda m: context[m[1]], value) for key, value in env.items()}
        done = scene.run(step["run"], **filled)
        if done.returncode:
            break
    return done


def test_github_reports(scene: Scene, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    done = run_job(scene, "report", GITHUB_STEP_SUMMARY=str(summary))
    assert done
    assert done.returncode == 0, done.stderr
    check_report(scene)
    assert summary.read_text(encoding="utf-8") == (scene.clone / "report.md").read_text(encoding="utf-8")


def test_github_reports_on_a_change_of_words_only(scene: Scene, tmp_path: Path) -> None:
    git(scene.clone, "checkout", "-q", "origin/docs", env=scene.env)
    head = git(scene.clone, "rev-parse", "HEAD", env=scene.env)
    done = run_job(replace(scene, head=head), "report", GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert done is not None
    assert done.returncode == 0, done.stderr
    assert "**nothing changed**" in (scene.clone / "report.md").read_text(encoding="utf-8")
    assert is_manifest(scene.clone / "a.safetensors")


def test_github_checks_that_weights_are_there(scene: Scene) -> None:
    done = run_job(scene, "weights-are-here")
    assert done
    assert done.returncode == 0, done.stderr
    for ref in git(scene.server, "for-each-ref", "--format=%(refname)", "refs/lepton/models").splitlines():
        git(scene.server, "update-ref", "-d", ref)
    done = run_job(scene, "weights-are-here")
    assert done
    assert done.returncode == 8
    assert "a.safetensors" in done.stdout


def test_github_takes_the_weights_of_a_fork_from_the_fork(scene: Scene, tmp_path: Path) -> None:
    """A host's fork has the commits; here the server's weights of the branch are taken away, and the fork has all."""
    fork = tmp_path / "fork.git"
    shutil.copytree(scene.server, fork)
    for ref in git(scene.server, "for-each-ref", "--format=%(refname)", "refs/lepton").splitlines():
        git(scene.server, "update-ref", "-d", ref)
    context = Scene(scene.clone, fork, scene.env, scene.base, scene.head)
    done = run_job(context, "report", fork=True, GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert done
    assert done.returncode == 0, done.stderr
    check_report(scene)
    assert run_job(context, "comment", fork=True) is None, "a fork's token cannot write"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq plays a part of gh (Debian: apt-get install jq)")
def test_github_updates_one_comment(scene: Scene, tmp_path: Path) -> None:
    state, program = tmp_path / "comments.json", tmp_path / "bin" / "gh"
    others = [{"id": 1, "user": {"type": "User"}, "body": f"{MARKER} not mine"}]
    state.write_text(json.dumps(others))
    program.parent.mkdir()
    program.write_text(GH.format(python=sys.executable, state=str(state)))
    program.chmod(0o755)
    path = f"{program.parent}:{scene.env['PATH']}"
    for body in ("first", "second", "x" * 60_000):
        (scene.clone / "report.md").write_text(f"{MARKER}\n{body}", encoding="utf-8")
        done = run_job(scene, "comment", PATH=path)
        assert done
        assert done.returncode == 0, done.stderr
        comments = json.loads(state.read_text())
        assert comments[:1] == others
        assert [comment["body"] for comment in comments[1:]] == [f"{MARKER}\n{body}"]


def test_github_is_safe_for_forks() -> None:
    text = GITHUB.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert list(workflow[True]) == ["pull_request"], "YAML 1.1 reads `on` as true"
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for name, job in workflow["jobs"].items():
        assert ("permissions" in job) == (name == "comment")
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "an expression in a script is an injection: pass it by env"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["fetch-depth"] == 0
                assert name != "comment", "what can write must not have the code of the pull request"


# GitLab


class Notes(BaseHTTPRequestHandler):
    """The notes of one merge request, as GitLab's API serves them."""

    notes: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self._answer({"id": 3} if path == "/api/v4/user" else self.notes)

    def do_POST(self) -> None:
        assert self.path == "/api/v4/projects/1/merge_requests/7/notes"
        self.notes.append({"id": len(self.notes) + 1, "author": {"id": 3}, "body": self._body()})
        self._answer(self.notes[-1])

    def do_PUT(self) -> None:
        number = int(self.path.removeprefix("/api/v4/projects/1/merge_requests/7/notes/"))
        self.notes[number - 1]["body"] = self._body()
        self._answer(self.notes[number - 1])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Be quiet."""

    def _body(self) -> str:
        assert self.headers["PRIVATE-TOKEN"] == "secret"
        (body,) = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["body"]
        return body

    def _answer(self, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def gitlab() -> Iterator[str]:
    """The address of a GitLab with one note that somebody else wrote."""
    Notes.notes[:] = [{"id": 1, "author": {"id": 9}, "body": f"{MARKER} not mine"}]
    with ThreadingHTTPServer(("127.0.0.1", 0), Notes) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/v4"
        server.shutdown()


def gitlab_script(name: str) -> str:
    """The lines of a job in the order in which a runner runs them, in one shell."""
    jobs = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
    job = {**jobs.get(jobs[name].get("extends"), {}), **jobs[name]}
    return "\n".join([*job.get("before_script", []), *job["script"]])


def gitlab_env(scene: Scene, **more: str) -> dict[str, str]:
    return {
        "CI_COMMIT_SHA": scene.head,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": scene.base,
        "CI_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_JOB_URL": "https://gitlab.example/o/r/-/jobs/5",
        **more,
    }


@pytest.mark.parametrize("name", ["model-report", "weights-are-here"])
def test_gitlab(scene: Scene, name: str) -> None:
    done = scene.run(gitlab_script(name), **gitlab_env(scene))
    assert done.returncode == 0, done.stderr
    if name == "model-report":
        check_report(scene)


def test_gitlab_updates_one_note(scene: Scene, gitlab: str) -> None:
    for body in ("first\n% & +", "second"):
        (scene.clone / "report.md").write_text(f"{MARKER}\n{body}", encoding="utf-8")
        done = scene.run(
            gitlab_script("model-note"), **gitlab_env(scene, CI_API_V4_URL=gitlab, MODEL_REVIEW_TOKEN="secret")
        )
        assert done.returncode == 0, done.stderr
        assert [note["body"] for note in Notes.notes] == [f"{MARKER} not mine", f"{MARKER}\n{body}"]


def test_gitlab_has_the_whole_history() -> None:
    jobs = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
    assert jobs[".model-review"]["variables"]["GIT_DEPTH"] == "0"
    assert "$MODEL_REVIEW_TOKEN" in jobs["model-note"]["rules"][0]["if"]


# Jenkins


def test_jenkins(scene: Scene) -> None:
    text = JENKINS.read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    assert "shallow: false" in text
    scripts = re.findall(r"^ *sh '''\n(.*?)'''", text, re.MULTILINE | re.DOTALL)
    assert len(scripts) == 3
    for script in scripts:
        done = scene.run(script, CHANGE_TARGET="main", BUILD_URL="https://jenkins.example/job/r/7/")
        assert done.returncode == 0, done.stderr
    check_report(scene)


# All


@pytest.mark.parametrize("file", EVERY, ids=lambda path: path.name)
def test_every_file_has_the_whole_story(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for part in (
        "pip install git-lepton",
        "git lepton install",
        "git lepton pull --",
        "git lepton fsck --remote origin",
        "git lepton gate --range",
    ):
        assert part in text
    assert MARKER in text or file == JENKINS
