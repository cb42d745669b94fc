"""Whole stories through ordinary git commands: two people, every transport, and repositories of odd shapes.

The one over ssh runs the installed program, the others one that starts fast (tests/quick/server.py).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.scenarios.world import PROGRAM, Person, bare, new_repository, person
from tests.support import git, model_bytes
from tests.transfer.servers import TRANSPORTS, transport


def commit(who: Person, repo: Path, data: bytes, message: str = "model", name: str = "m.safetensors") -> None:
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    (repo / name).write_bytes(data)
    who.git(repo, "add", "-A")
    who.git(repo, "commit", "-q", "-m", message)


def clean(who: Person, repo: Path) -> None:
    assert who.git(repo, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name.endswith(("-v0", "daemon")) else name for name in TRANSPORTS],
)
def test_two_people_and_a_server(name: str, tmp_path: Path, quick_program: Path) -> None:
    root = tmp_path / "srv"
    root.mkdir()
    program = PROGRAM if name == "ssh" else quick_program
    ann, bob = person(tmp_path, "ann", program), person(tmp_path, "bob", program)
    hub = bare(ann, root / "model.git")
    with transport(name, root) as server:
        url = server.url(hub)
        for who in (ann, bob):
            for key, value in server.env.items():
                if key == "GIT_SSH_COMMAND":
                    who.git(who.home, "config", "--global", "core.sshCommand", value)
        here = new_repository(ann, tmp_path / "here")
        ann.git(here, "remote", "add", "origin", url)
        first = model_bytes(layers=4, rows=256)
        commit(ann, here, first)
        ann.git(here, "push", "-q", "-u", "origin", "main", env=server.env)
        bob.git(tmp_path, "clone", "-q", url, "there", env=server.env)
        there = tmp_path / "there"
        assert (there / "m.safetensors").read_bytes() == first
        clean(bob, there)
        second = model_bytes(layers=4, rows=256, layer_1=5)
        commit(bob, there, second, "retrain layer 1")
        bob.git(there, "push", "-q", env=server.env)
        ann.git(here, "pull", "-q", env=server.env)
        assert (here / "m.safetensors").read_bytes() == second
        clean(ann, here)
    for folder in (here, there, hub):
        git(folder, "gc", "-q", "--prune=now")
        git(folder, "fsck", "--strict")
    assert ann.lepton(here, "fsck").status == 0
    ann.git(here, "checkout", "-q", "HEAD~1")
    assert (here / "m.safetensors").read_bytes() == first


def test_a_clone_without_git_lepton_sees_manifests_and_does_no_harm(tmp_path: Path, quick_program: Path) -> None:
    ann, zoe = person(tmp_path, "ann", quick_program), person(tmp_path, "zoe", installed=False)
    hub = bare(ann, tmp_path / "hub.git")
    here = new_repository(ann, tmp_path / "here")
    ann.git(here, "remote", "add", "origin", str(hub))
    data = model_bytes()
    commit(ann, here, data)
    ann.git(here, "push", "-q", "-u", "origin", "main")
    zoe.git(tmp_path, "clone", "-q", str(hub), "plain")
    plain = tmp_path / "plain"
    assert (plain / "m.safetensors").read_bytes().startswith(b"git-lepton 1 weights are elsewhere: pip install")
    (plain / "notes.txt").write_text("from somebody without git-lepton\n")
    zoe.git(plain, "mv", "m.safetensors", "renamed.safetensors")
    zoe.git(plain, "add", "-A")
    zoe.git(plain, "commit", "-q", "-m", "rename")
    zoe.git(plain, "push", "-q")
    ann.git(here, "pull", "-q")
    assert (here / "renamed.safetensors").read_bytes() == data
    clean(ann, here)


def test_weights_that_were_never_pushed_are_healed_from_elsewhere(tmp_path: Path, quick_program: Path) -> None:
    ann, bob = person(tmp_path, "ann", quick_program), person(tmp_path, "bob", quick_program)
    hub = bare(ann, tmp_path / "hub.git")
    here = new_repository(ann, tmp_path / "here")
    ann.git(here, "remote", "add", "origin", str(hub))
    data = model_bytes()
    commit(ann, here, data)
    ann.git(here, "push", "-q", "--no-verify", "-u", "origin", "main")
    cloned = bob.run(tmp_path, "git", "clone", "-q", str(hub), "there")
    there = tmp_path / "there"
    assert (there / "m.safetensors").read_bytes().startswith(b"git-lepton 1 ")
    assert "git lepton pull" in cloned.err
    clean(bob, there)
    assert ann.lepton(here, "fsck", "--remote", "origin", check=False).status == 8
    missing = bob.lepton(there, "pull", check=False)
    assert missing.status == 8
    assert "m.safetensors" in missing.err
    ann.lepton(here, "push", "origin")
    assert ann.lepton(here, "fsck", "--remote", "origin").status == 0
    bob.lepton(there, "pull")
    assert (there / "m.safetensors").read_bytes() == data
    clean(bob, there)


def test_two_clones_push_at_once(tmp_path: Path, quick_program: Path) -> None:
    ann, bob = person(tmp_path, "ann", quick_program), person(tmp_path, "bob", quick_program)
    hub = bare(ann, tmp_path / "hub.git")
    here = new_repository(ann, tmp_path / "here")
    ann.git(here, "remote", "add", "origin", str(hub))
    commit(ann, here, model_bytes())
    ann.git(here, "push", "-q", "-u", "origin", "main")
    bob.git(tmp_path, "clone", "-q", str(hub), "there")
    there = tmp_path / "there"
    same = model_bytes(seed=9)
    for who, repo, branch in ((ann, here, "a"), (bob, there, "b")):
        who.git(repo, "checkout", "-q", "-b", branch)
        commit(who, repo, same, f"the same model on {branch}")
        commit(who, repo, model_bytes(seed=9, layer_0=ord(branch)), f"another on {branch}")
    with ThreadPoolExecutor(2) as pool:
        pushes = [
            pool.submit(who.git, repo, "push", "-q", "origin", branch)
            for who, repo, branch in ((ann, here, "a"), (bob, there, "b"))
        ]
        for push in pushes:
            push.result()
    for who, repo in ((ann, here), (bob, there)):
        who.git(repo, "fetch", "-q")
        for branch in "ab":
            who.git(repo, "checkout", "-q", f"origin/{branch}")
            assert (repo / "m.safetensors").read_bytes() == model_bytes(seed=9, layer_0=ord(branch))
            who.git(repo, "checkout", "-q", f"origin/{branch}~1")
            assert (repo / "m.safetensors").read_bytes() == same
    git(hub, "fsck", "--strict")


@pytest.mark.parametrize(
    "options",
    [
        ("--depth=1",),
        pytest.param(("--single-branch",), marks=pytest.mark.slow),
        ("--filter=blob:none",),
        pytest.param(("--filter=tree:0",), marks=pytest.mark.slow),
        pytest.param(("--filter=blob:limit=1k",), marks=pytest.mark.slow),
        ("--no-checkout",),
        ("--mirror",),
        ("--bare",),
    ],
    ids=" ".join,
)
def test_odd_clones(options: tuple[str, ...], tmp_path: Path, quick_program: Path) -> None:
    ann = person(tmp_path, "ann", quick_program)
    hub = bare(ann, tmp_path / "hub.git")
    ann.git(hub, "config", "uploadpack.allowFilter", "true")
    here = new_repository(ann, tmp_path / "here")
    ann.git(here, "remote", "add", "origin", str(hub))
    first, second = model_bytes(layers=4), model_bytes(layers=4, layer_2=8)
    commit(ann, here, first)
    commit(ann, here, second)
    ann.git(here, "push", "-q", "-u", "origin", "main")
    there = tmp_path / "there"
    ann.git(tmp_path, "clone", "-q", *options, f"file://{hub}", str(there))
    if "--mirror" in options or "--bare" in options:
        out = tmp_path / "out.safetensors"
        ann.lepton(there, "export", "main", "m.safetensors", "-o", str(out))
        assert out.read_bytes() == second
        return
    if "--no-checkout" in options:
        ann.git(there, "checkout", "-q", "main")
    assert (there / "m.safetensors").read_bytes() == second
    clean(ann, there)
    if "--depth=1" not in options:
        ann.git(there, "checkout", "-q", "HEAD~1")
        assert (there / "m.safetensors").read_bytes() == first
        ann.git(there, "checkout", "-q", "main")
    third = model_bytes(layers=4, layer_2=8, layer_3=9)
    commit(ann, there, third)
    ann.git(there, "push", "-q")
    ann.git(here, "pull", "-q")
    assert (here / "m.safetensors").read_bytes() == third
    git(there, "gc", "-q", "--prune=now")
    ann.lepton(here, "fsck")


def test_submodules(tmp_path: Path, quick_program: Path) -> None:
    ann = person(tmp_path, "ann", quick_program)
    ann.git(ann.home, "config", "--global", "protocol.file.allow", "always")
    hub = bare(ann, tmp_path / "weights.git")
    inner = new_repository(ann, tmp_path / "weights")
    ann.git(inner, "remote", "add", "origin", str(hub))
    commit(ann, inner, model_bytes())
    ann.git(inner, "push", "-q", "-u", "origin", "main")
    app = tmp_path / "app"
    ann.git(tmp_path, "init", "-q", "-b", "main", str(app))
    ann.git(app, "submodule", "add", "-q", str(hub), "weights")
    ann.git(app, "commit", "-q", "-m", "use the weights")
    assert (app / "weights/m.safetensors").read_bytes() == model_bytes()
    ann.git(tmp_path, "clone", "-q", "--recurse-submodules", str(app), "copy")
    sub = tmp_path / "copy/weights"
    assert (sub / "m.safetensors").read_bytes() == model_bytes()
    clean(ann, tmp_path / "copy")
    ann.git(sub, "checkout", "-q", "main")
    commit(ann, sub, model_bytes(layer_1=4))
    ann.git(sub, "push", "-q", "origin", "main")  # the hook came with the first filter run
    ann.git(inner, "pull", "-q")
    assert (inner / "m.safetensors").read_bytes() == model_bytes(layer_1=4)


@pytest.mark.parametrize("init", [("--object-format=sha256",), ("--ref-format=reftable",)], ids=["sha256", "reftable"])
def test_other_repository_formats(init: tuple[str, ...], tmp_path: Path, quick_program: Path) -> None:
    ann = person(tmp_path, "ann", quick_program)
    if ann.run(tmp_path, "git", "init", "-q", *init, "probe", check=False).status:
        pytest.skip("this git cannot make one")
    hub = bare(ann, tmp_path / "hub.git", *init)
    here = new_repository(ann, tmp_path / "here", *init)
    ann.git(here, "remote", "add", "origin", str(hub))
    commit(ann, here, model_bytes())
    commit(ann, here, model_bytes(layer_0=3))
    ann.git(here, "push", "-q", "-u", "origin", "main")
    ann.git(tmp_path, "clone", "-q", str(hub), "there")
    assert (tmp_path / "there/m.safetensors").read_bytes() == model_bytes(layer_0=3)
    ann.git(tmp_path / "there", "gc", "-q", "--prune=now")
    ann.git(tmp_path / "there", "checkout", "-q", "HEAD~1")
    assert (tmp_path / "there/m.safetensors").read_bytes() == model_bytes()


def test_history_is_walked_rewritten_and_searched(tmp_path: Path, quick_program: Path) -> None:
    """bisect, rebase, cherry-pick, revert, stash, worktree and archive, one after another."""
    ann = person(tmp_path, "ann", quick_program)
    repo = new_repository(ann, tmp_path / "repo")
    models = [model_bytes(layer_0=100 + n) for n in range(4)]
    for number, data in enumerate(models):
        commit(ann, repo, data, f"model {number}")
    ann.git(repo, "bisect", "start", "HEAD", "HEAD~3")
    while "is the first bad commit" not in (step := ann.git(repo, "bisect", "good")):
        assert (repo / "m.safetensors").read_bytes() in models, step
    ann.git(repo, "bisect", "reset")
    clean(ann, repo)
    ann.git(repo, "checkout", "-q", "-b", "side", "HEAD~2")
    commit(ann, repo, model_bytes(seed=7), "another file", "sub folder/größe.safetensors")
    ann.git(repo, "rebase", "-q", "main")
    assert (repo / "m.safetensors").read_bytes() == models[3]
    assert (repo / "sub folder/größe.safetensors").read_bytes() == model_bytes(seed=7)
    ann.git(repo, "checkout", "-q", "main")
    ann.git(repo, "cherry-pick", "side")
    ann.git(repo, "revert", "--no-edit", "HEAD~1")
    assert (repo / "m.safetensors").read_bytes() == models[2]
    (repo / "m.safetensors").write_bytes(models[0])
    ann.git(repo, "stash", "-q")
    assert (repo / "m.safetensors").read_bytes() == models[2]
    ann.git(repo, "gc", "-q", "--prune=now")
    ann.lepton(repo, "prune", "--yes")
    ann.git(repo, "stash", "pop", "-q")
    assert (repo / "m.safetensors").read_bytes() == models[0]
    ann.git(repo, "checkout", "-q", "--", ".")
    tree = tmp_path / "tree"
    ann.git(repo, "worktree", "add", "-q", str(tree), "side")
    assert (tree / "m.safetensors").read_bytes() == models[3]
    clean(ann, tree)
    archive = tmp_path / "a.tar"
    ann.git(repo, "archive", "-o", str(archive), "HEAD")
    ann.run(tmp_path, "tar", "xf", str(archive))
    assert (tmp_path / "m.safetensors").read_bytes() == models[2]
    clean(ann, repo)
