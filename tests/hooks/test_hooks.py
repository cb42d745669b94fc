"""The hook files under real git: when Python starts, what is refused, what is pushed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.drivers import install
from git_lepton.store import manifest
from tests.drivers.conftest import Work
from tests.support import git, model_bytes, without_program

NAME = "m.safetensors"


@pytest.fixture
def pair(make: Callable[..., Work], program: dict[str, str], tmp_path: Path, model: bytes) -> tuple[Work, Path]:
    """A repository with one commit, and its empty remote."""
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare), env=program)
    work = make("work")
    install.init(work.repo)
    work.git("remote", "add", "origin", str(bare))
    work.commit("one", {NAME: model, "code.py": b"\n"})
    return work, bare


def models(folder: Path, env: dict[str, str]) -> set[str]:
    lines = git(folder, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/lepton/models", env=env)
    return set(lines.split())


def starts(work: Work, *args: str) -> int:
    """How often git-lepton is started by hooks while git runs `args`."""
    log = work.folder.parent / "starts"
    log.unlink(missing_ok=True)
    shim = work.folder.parent / "bin/git-lepton"
    text = shim.read_text()
    shim.write_text(text.replace("exec ", f'[ "$1" = hook ] && echo "$@" >> {log}\nexec '))
    try:
        work.git(*args)
    finally:
        shim.write_text(text)
    return log.read_text().count("\n") if log.exists() else 0


# Commit


def test_a_commit_without_weights_starts_no_python(pair: tuple[Work, Path]) -> None:
    work, _ = pair
    work.write("code.py", b"a = 1\n")
    work.git("add", "-A")
    assert starts(work, "commit", "-qm", "two") == 0
    work.write(NAME, model_bytes(layer_1=5))
    work.git("add", "-A")
    assert starts(work, "commit", "-qm", "three") == 1


def test_weights_that_the_filter_did_not_see_are_refused(pair: tuple[Work, Path], model: bytes) -> None:
    work, _ = pair
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=model).stdout.decode().strip()
    work.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
    done = work.run("commit", "-qm", "raw")
    assert done.returncode == 1
    assert f"{NAME} would be committed without its manifest" in done.stderr.decode()
    assert "git add --renormalize" in done.stderr.decode()
    work.git("add", "--renormalize", NAME)
    assert work.blob(NAME) == work.blob(NAME, "HEAD")


def test_a_damaged_manifest_is_refused_and_an_empty_file_is_not(pair: tuple[Work, Path]) -> None:
    work, _ = pair
    work.commit("empty", {"empty.safetensors": b""})
    text = work.blob(NAME)[:-30] + b"\n"
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=text).stdout.decode().strip()
    work.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
    assert work.run("commit", "-qm", "damaged").returncode == 1


def test_a_manifest_whose_attributes_are_not_staged_is_warned_of(pair: tuple[Work, Path], model: bytes) -> None:
    work, _ = pair
    work.write(".gitattributes", b"*.safetensors filter=lepton -text\n*.pt filter=lepton -text\n")
    work.write("a.pt", model)
    work.git("add", "a.pt")
    done = work.run("commit", "-qm", "two")
    assert done.returncode == 0
    assert "a.pt is tracked by a .gitattributes that is not staged" in done.stderr.decode()


def test_merges_are_checked_too(pair: tuple[Work, Path], model: bytes) -> None:
    work, _ = pair
    work.git("checkout", "-qb", "side")
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=model).stdout.decode().strip()
    work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},raw.safetensors")
    work.git("commit", "-qm", "raw", "--no-verify")
    work.git("checkout", "-qf", "main")
    work.commit("main", {"code.py": b"a = 2\n"})
    assert work.run("merge", "-q", "-m", "m", "side").returncode != 0


def test_without_the_program_commits_of_weights_are_refused_and_others_pass(pair: tuple[Work, Path]) -> None:
    work, _ = pair
    work.write(NAME, model_bytes(layer_1=5))
    work.git("add", NAME)
    work.git("config", "lepton.command", "/nowhere/git-lepton")
    env = dict(work.env)
    env["PATH"] = without_program(env["PATH"])
    alone = Work(work.folder, env)
    # git itself may want to clean a file as young as the index, and would fail before the hook does.
    unfiltered = ("-c", "filter.lepton.process=", "-c", "filter.lepton.required=false")
    done = alone.run(*unfiltered, "commit", "-qm", "two")
    assert done.returncode == 1
    assert b"pip install git-lepton" in done.stderr
    assert b"git lepton install" in done.stderr
    work.git("reset", "-q", "HEAD", NAME)
    alone.git(*unfiltered, "commit", "-qm", "empty", "--allow-empty")
    assert alone.run("push", "-q", "origin", "main").returncode == 0
    done = alone.run("push", "-q", "origin", "main:other")
    assert b"git lepton push origin" in done.stderr


def test_the_program_is_found_where_it_was_noted(pair: tuple[Work, Path]) -> None:
    work, _ = pair
    work.write(NAME, model_bytes(layer_1=5))
    work.git("add", NAME)
    env = dict(work.env)
    env["PATH"] = without_program(env["PATH"])
    done = Work(work.folder, env).run(
        "-c", "filter.lepton.process=", "-c", "filter.lepton.required=false", "commit", "-qm", "x"
    )
    assert (done.returncode, done.stderr) == (0, b"")


# Checkout and merge


def test_files_that_are_still_manifests_are_counted_with_the_command(
    pair: tuple[Work, Path], make: Callable[..., Work]
) -> None:
    work, bare = pair
    work.git("checkout", "-qb", "side")
    work.commit("side", {NAME: model_bytes(layer_1=5), "sub dir/b.safetensors": model_bytes(layer_1=6)})
    work.git("checkout", "-q", "main")
    work.git("push", "-q", "--no-verify", "origin", "main", "side")
    copy = make("copy", clone=bare)
    done = copy.run("checkout", "side")
    assert "weight files that are still manifests: 2" in done.stderr.decode()
    assert "git lepton pull" in done.stderr.decode()
    assert b"still manifests" not in copy.run("checkout", "main", env={"GIT_LEPTON_SKIP_SMUDGE": "1"}).stderr
    assert b"still manifests: 2" in copy.run("merge", "-q", "origin/side").stderr
    assert b"still manifests" not in copy.run("checkout", "--", NAME).stderr
    assert starts(copy, "checkout", "-q", "-b", "third") == 0


def test_a_whole_checkout_says_nothing(pair: tuple[Work, Path]) -> None:
    work, _ = pair
    assert work.run("checkout", "-q", "-b", "side").stderr == b""


@pytest.mark.parametrize(("hook", "args"), [("post-checkout", ("a", "b", "1")), ("post-merge", ("0",))])
def test_the_same_can_be_called_by_name(pair: tuple[Work, Path], hook: str, args: tuple[str, ...]) -> None:
    work, _ = pair
    work.write(NAME, work.blob(NAME))
    done = work.run("lepton", "hook", hook, *args)
    assert (done.returncode, done.stderr.count(b"still manifests: 1")) == (0, 1)
    assert work.run("lepton", "hook", "post-commit").returncode == 0
    assert work.run("lepton", "hook", "post-checkout", "a", "b", "0").stderr == b""


# Push


def test_a_push_takes_the_weights_along(pair: tuple[Work, Path], make: Callable[..., Work], model: bytes) -> None:
    work, bare = pair
    work.git("push", "-q", "origin", "main")
    assert models(bare, work.env) == models(work.folder, work.env) != set()
    copy = make("copy", clone=bare)
    assert copy.read(NAME) == model
    other = model_bytes(layer_2=8)
    copy.commit("two", {NAME: other})
    copy.git("push", "-q")
    work.git("pull", "-q", "origin", "main")
    assert work.read(NAME) == other


def test_a_dry_run_sends_nothing(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    for option in ("--dry-run", "-n", "-fn", "--dry"):
        work.git("push", "-q", option, "origin", "main")
    assert models(bare, work.env) == set()
    work.git("push", "-q", "-f", "-u", "origin", "main")
    assert models(bare, work.env) != set()


def test_only_what_the_pushed_commits_need_is_sent(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    work.git("checkout", "-qb", "private")
    work.commit("private", {NAME: model_bytes(layer_2=8)})
    work.git("push", "-q", "origin", "main")
    wanted = manifest.parse(work.blob(NAME, "main")).blake3
    assert models(bare, work.env) == {wanted}


def test_a_push_without_our_hook_is_healed_by_the_next(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    work.git("push", "-q", "--no-verify", "origin", "main")
    assert models(bare, work.env) == set()
    work.git("lepton", "push", "origin")
    assert models(bare, work.env) != set()


def test_weights_that_are_nowhere_stop_the_push_unless_allowed(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    work.forget()
    done = work.run("push", "-q", "origin", "main")
    assert done.returncode != 0
    text = done.stderr.decode()
    assert NAME in text
    assert "A U Thor" in text
    assert "lepton.allowIncompletePush" in text
    assert git(bare, "for-each-ref", env=work.env) == ""
    work.git("-c", "lepton.allowIncompletePush=true", "push", "-q", "origin", "main")
    assert git(bare, "for-each-ref", "--format=%(refname)", env=work.env) == "refs/heads/main"


def test_a_lazy_clone_pushes_on_to_a_second_remote(
    pair: tuple[Work, Path], make: Callable[..., Work], tmp_path: Path
) -> None:
    work, bare = pair
    work.git("push", "-q", "origin", "main")
    copy = make("copy", clone=bare, options=("--no-checkout",))
    copy.git("checkout", "-q", "main", env={"GIT_LEPTON_SKIP_SMUDGE": "1"})
    second = tmp_path / "second.git"
    git(tmp_path, "init", "-q", "--bare", str(second), env=work.env)
    copy.git("remote", "add", "second", str(second))
    copy.git("push", "-q", "second", "main")
    assert models(second, work.env) == models(bare, work.env)


def test_mirrors_do_not_delete_weights(pair: tuple[Work, Path], make: Callable[..., Work]) -> None:
    work, bare = pair
    work.git("push", "-q", "origin", "main")
    kept = models(bare, work.env)
    copy = make("copy", clone=bare, options=("--no-checkout",))
    install.init(copy.repo)
    done = copy.run("push", "-q", "--mirror", "origin")
    assert done.returncode != 0
    assert b"would delete" in done.stderr
    assert b"GIT_LEPTON_ALLOW_DELETE=1" in done.stderr
    copy.git("config", "remote.origin.mirror", "true")
    assert copy.run("push", "-q", "origin").returncode != 0
    copy.git("config", "--unset", "remote.origin.mirror")
    assert copy.run("push", "-q", "--prune", "origin", "refs/*:refs/*").returncode != 0
    ref = f"refs/lepton/models/{next(iter(kept))}"
    assert copy.run("push", "-q", "origin", f":{ref}").returncode != 0
    assert models(bare, work.env) == kept
    copy.git("push", "-q", "origin", f":{ref}", env={"GIT_LEPTON_ALLOW_DELETE": "1"})
    assert models(bare, work.env) == set()


def test_a_mirror_that_has_all_weights_is_pushed_whole(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    work.git("push", "-q", "--mirror", "origin")
    assert models(bare, work.env) == models(work.folder, work.env) != set()
    work.commit("two", {NAME: model_bytes(layer_1=31)})
    work.git("push", "-q", "--mirror", "origin")
    assert len(models(bare, work.env)) == 2


def test_repositories_without_weights_start_no_python(
    make: Callable[..., Work], program: dict[str, str], tmp_path: Path
) -> None:
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare), env=program)
    work = make("plain")
    (work.folder / ".gitattributes").unlink()
    install.init(work.repo)
    for path in (work.folder / ".git/lepton").iterdir():
        path.unlink()
    (work.folder / ".git/lepton").rmdir()
    work.commit("one", {"code.py": b"\n"})
    assert starts(work, "push", "-q", str(bare), "main") == 0
    assert starts(work, "push", "-q", str(bare), "main:other") == 0
    assert starts(work, "push", "-q", str(bare), ":other") == 0


def test_a_clone_without_weights_still_checks_what_it_pushes(
    pair: tuple[Work, Path], make: Callable[..., Work]
) -> None:
    """Manifests made here by a merge tool or copied from elsewhere, with nothing ever stored here."""
    work, bare = pair
    work.git("push", "-q", "--no-verify", "origin", "main")
    copy = make("copy", clone=bare, options=("--no-checkout",))
    install.init(copy.repo)
    for path in sorted((copy.folder / ".git/lepton").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (copy.folder / ".git/lepton").rmdir()
    assert copy.run("push", "-q", str(work.folder), "main:refs/heads/copy").returncode == 0
    assert copy.run("push", "-q", "origin", "main:refs/heads/copy").returncode == 0
    assert starts(copy, "push", "-q", str(work.folder), "main:refs/heads/again") == 1


def test_the_hook_that_was_there_sees_the_same_and_comes_first(pair: tuple[Work, Path]) -> None:
    work, bare = pair
    install.deinit(work.repo)
    hook = work.folder / ".git/hooks/pre-push"
    hook.write_text('#!/bin/sh\nprintf "%s|" "$@" > seen\ncat >> seen\n[ ! -e refuse ]\n')
    hook.chmod(0o755)
    work.git("config", "--local", "--unset-all", "lepton.hooks")
    install.init(work.repo)
    work.write("refuse", b"")
    assert work.run("push", "-q", "origin", "main").returncode != 0
    assert models(bare, work.env) == set()
    (work.folder / "refuse").unlink()
    work.git("push", "-q", "origin", "main")
    head = work.git("rev-parse", "HEAD")
    assert work.read("seen").decode() == f"origin|{bare}|refs/heads/main {head} refs/heads/main {'0' * 40}\n"
    assert models(bare, work.env) != set()


def test_submodule_and_worktree_pushes_find_their_hooks(pair: tuple[Work, Path], tmp_path: Path) -> None:
    work, bare = pair
    work.git("worktree", "add", "-q", "-b", "side", "../side")
    side = Work(work.folder.parent / "side", work.env)
    side.commit("two", {NAME: model_bytes(layer_0=21)})
    side.git("push", "-q", "origin", "side")
    assert len(models(bare, work.env)) == 2


def test_the_hooks_are_posix_shell() -> None:
    folder = Path(__file__).parents[2] / "hooks"
    shells = [s for s in ("dash", "bash --posix") if subprocess.run(["sh", "-c", f"command -v {s.split()[0]}"], capture_output=True).returncode == 0]  # fmt: skip # noqa: E501, PLW1510
    for shell in shells:
        for path in folder.iterdir():
            subprocess.run([*shell.split(), "-n", str(path)], check=True)
    assert os.access(folder / "pre-push", os.X_OK)
