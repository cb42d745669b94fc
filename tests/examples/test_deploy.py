"""examples/deploy: a unit, an image, a deployment and a hook that do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from git_lepton.agent.reading import parse
from git_lepton.errors import LeptonError
from tests.agent.world import World, files, new_world
from tests.support import git

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"
UNIT = DEPLOY / "git-lepton-agent.service"
EXPOSURE = re.compile(r"Overall exposure level for \S+: ([0-9.]+)")

# The unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_finds_little_to_attack(tmp_path: Path) -> None:
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/git-lepton/bin/git-lepton", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", path], capture_output=True, text=True, check=False
    )
    exposure = EXPOSURE.search(shown.stdout)
    if exposure is None:
        pytest.skip("this systemd-analyze does not look at files")
    assert float(exposure[1]) <= 2.0


# The image and the deployment


def test_the_image_has_the_packages_of_an_agent_and_no_others() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    installs = re.findall(r"pip install ([^&\n]+)", text)
    assert [install.split()[-1] for install in installs] == ["/tmp/agent-requirements.txt", "/src"]
    assert "--no-deps" in installs[1]
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_kubernetes_takes_the_deployment() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for document in documents():
        kubernetes.validate(document, "1.29", strict=True)


def test_the_deployment_fits_the_agent() -> None:
    config, deployment = documents()
    settings = parse(config["data"]["agent.toml"].replace("/etc/lepton/allowed_signers", "/dev/null").encode())
    pod = deployment["spec"]["template"]["spec"]
    (agent,) = pod["initContainers"]
    (server,) = pod["containers"]
    assert agent["restartPolicy"] == "Always"
    assert settings.http.listen == f"0.0.0.0:{agent['ports'][0]['containerPort']}"
    mounts = {mount["mountPath"] for mount in agent["volumeMounts"]}
    assert {str(settings.state), "/etc/lepton"} <= mounts
    follow = settings.follows["digits"]
    assert str(follow.folder.parent) in mounts
    assert server["env"][0]["value"] == str(follow.current)
    for container in (agent, server):
        limits = container["securityContext"]
        assert limits["readOnlyRootFilesystem"]
        assert limits["capabilities"]["drop"] == ["ALL"]
    assert {probe["httpGet"]["path"] for probe in (agent["startupProbe"], agent["livenessProbe"])} == {
        "/readyz",
        "/healthz",
    }
    assert next(m for m in server["volumeMounts"] if m["name"] == "models")["readOnly"]


# The hook


@pytest.fixture
def guarded(tmp_path: Path, env: dict[str, str]) -> World:
    """A remote with the hook, and with a version 1.0.0 on prod."""
    world = new_world(tmp_path)
    shutil.copy(DEPLOY / "pre-receive", world.remote / "hooks" / "pre-receive")
    git(world.remote, "config", "lepton.allowedSigners", str(world.signers))
    world.release(1, "1.0.0")
    return world


def refused(world: World, *arguments: str) -> str:
    """What the remote says to a push that it must refuse."""
    done = subprocess.run(
        ["git", "push", "origin", *arguments], cwd=world.top / "dev", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, done.stderr
    return "\n".join(re.findall(r"remote: (refused: .*?) *$", done.stderr, re.MULTILINE))


def test_moves_pass(guarded: World) -> None:
    guarded.release(2, "1.1.0")
    guarded.move(guarded.commit(files(1)), "1.0.0", action="rollback")
    git(guarded.top / "dev", "tag", "-a", "-m", "v", "digits@v1.1.0")
    git(guarded.top / "dev", "push", "-q", "origin", "digits@v1.1.0")


def test_a_move_by_somebody_else_is_refused(guarded: World) -> None:
    guarded.sign_as(guarded.key("mallory", allowed=False))
    with pytest.raises(LeptonError):
        guarded.release(2, "1.1.0")
    with pytest.raises(LeptonError):
        guarded.release(2, "1.1.0", sign=False)


def test_an_old_move_is_refused(guarded: World) -> None:
    old = git(guarded.remote, "rev-parse", "refs/tags/digits@prod")
    guarded.release(2, "1.1.0")
    assert "move 1 is not newer than move 2" in refused(guarded, "--force", f"{old}:refs/tags/digits@prod")
    assert "made under another name" in refused(guarded, f"{old}:refs/tags/digits@staging")


def test_a_plain_tag_is_no_move(guarded: World) -> None:
    assert "not an annotated tag" in refused(guarded, "--force", "HEAD:refs/tags/digits@prod")
    git(guarded.top / "dev", "tag", "-s", "-f", "-m", "by hand", "digits@prod")
    assert "of another channel" in refused(guarded, "--force", "refs/tags/digits@prod")


def test_what_is_there_stays(guarded: World) -> None:
    dev = guarded.top / "dev"
    assert "channels are not deleted" in refused(guarded, ":refs/tags/digits@prod")
    assert "the log only grows" in refused(guarded, ":refs/lepton/log/digits@prod")
    assert "the log only grows" in refused(guarded, "+HEAD:refs/lepton/log/digits@prod")
    weights = git(guarded.remote, "for-each-ref", "--count=1", "--format=%(refname)", "refs/lepton/models")
    assert "weights are not deleted" in refused(guarded, f":{weights}")
    git(dev, "tag", "-m", "v", "digits@v1.0.0")
    git(dev, "push", "-q", "origin", "digits@v1.0.0")
    assert "a version never changes" in refused(guarded, "--force", "HEAD:refs/tags/digits@v1.0.0")
    assert "a version never changes" in refused(guarded, ":refs/tags/digits@v1.0.0")
