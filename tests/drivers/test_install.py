"""Setting up and taking out again, for a user and for a repository."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.drivers import hookfiles, install
from git_lepton.git.repo import discover
from tests.drivers.conftest import Work
from tests.support import git, model_bytes, without_program

NAME = "m.safetensors"
LINE = "*.safetensors filter=lepton diff=lepton merge=lepton -text\n"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything below a folder by name, modes included."""
    return {
        str(p.relative_to(folder)): b"%o " % p.lstat().st_mode + (p.read_bytes() if p.is_file() else b"")
        for p in sorted(folder.rglob("*"))
    }


def git_settings(work: Work) -> tuple[str, dict[str, bytes], dict[str, bytes]]:
    common = work.folder / ".git"
    return work.git("config", "--local", "--list"), snapshot(common / "hooks"), snapshot(common / "info")


def test_init_is_idempotent_and_can_be_undone(work: Work) -> None:
    work.git("config", "--global", "--remove-section", "filter.lepton")
    before = git_settings(work)
    first = install.init(work.repo)
    assert any("hooks installed" in line for line in first.done)
    after = git_settings(work)
    assert install.init(work.repo).done == ()
    assert git_settings(work) == after
    install.deinit(work.repo)
    assert git_settings(work) == before


def test_init_sets_what_the_repository_needs(work: Work) -> None:
    work.git("config", "--global", "--remove-section", "filter.lepton")
    install.init(work.repo)
    command = work.git("config", "lepton.command")
    assert Path(shlex.split(command)[0]).is_absolute()
    assert work.git("config", "filter.lepton.process").endswith('exec "$@" filter-process')
    assert work.git("config", "--type=bool", "filter.lepton.required") == "true"
    assert work.git("config", "gc.cruftPacks") == "true"
    assert (work.folder / ".git/info/attributes").read_bytes() == b"".join(install.ATTRIBUTE_LINES)
    for name in hookfiles.NAMES:
        assert (work.folder / ".git/hooks" / name).stat().st_mode & 0o111


def test_a_filter_installed_for_the_user_is_not_repeated(work: Work) -> None:
    install.init(work.repo)
    assert work.run("config", "--local", "filter.lepton.process").returncode == 1


def test_the_repository_works_with_nothing_installed_for_the_user(
    work: Work, model: bytes, make: Callable[..., Work]
) -> None:
    work.git("config", "--global", "--remove-section", "filter.lepton")
    install.init(work.repo)
    env = dict(work.env)
    env["PATH"] = without_program(env["PATH"])
    bare = Work(work.folder, env)
    assert shutil.which("git-lepton", path=env["PATH"]) is None
    bare.commit("one", {NAME: model})
    (work.folder / NAME).unlink()
    bare.git("checkout", NAME)
    assert work.read(NAME) == model


@pytest.fixture
def outside(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A clone on a machine where git-lepton was installed, and is not on PATH."""
    work.git("config", "--global", "--remove-section", "filter.lepton")
    install.install()
    monkeypatch.setenv("PATH", without_program(work.env["PATH"]))
    return Work(work.folder, work.env | {"PATH": without_program(work.env["PATH"])})


def test_an_installed_filter_works_outside_of_its_environment(outside: Work, model: bytes, tmp_path: Path) -> None:
    outside.commit("one", {NAME: model, ".gitattributes": LINE.encode()})
    outside.git("clone", "-q", ".", str(tmp_path / "a copy"))
    assert (tmp_path / "a copy" / NAME).read_bytes() == model
    outside.git("checkout", "-q", "-b", "side")
    outside.commit("two", {NAME: model_bytes(layer_1=4)})
    outside.git("checkout", "-q", "-")
    outside.commit("three", {NAME: model_bytes(layer_0=5)})
    outside.git("merge", "-q", "side", "-m", "merged")
    assert outside.read(NAME) == model_bytes(layer_0=5, layer_1=4)
    assert outside.run("config", "--local", "lepton.command").returncode == 1


def test_without_any_program_nothing_is_added_and_the_repair_is_told(outside: Work, model: bytes) -> None:
    outside.git("config", "lepton.command", "'/no where/git-lepton'")
    outside.write(NAME, model)
    done = outside.run("add", NAME)
    assert done.returncode != 0
    assert "git-lepton:     pip install git-lepton && git lepton install" in done.stderr.decode()
    assert outside.git("ls-files") == ""
    driver = outside.git("config", "merge.lepton.driver").partition("%O")[0]
    assert subprocess.run(["sh", "-c", driver], cwd=outside.folder, env=outside.env, check=False).returncode == 129


@pytest.mark.parametrize("spoil", [("lepton.process", ""), ("lepton.required", "false")])
def test_init_repairs_a_filter_that_this_repository_switched_off(work: Work, spoil: tuple[str, str]) -> None:
    install.install()
    work.git("config", f"filter.{spoil[0]}", spoil[1])
    install.init(work.repo)
    assert work.git("config", "filter.lepton.process")
    assert work.git("config", "filter.lepton.required") == "true"


def test_init_notes_its_program_where_the_one_installed_for_the_user_is_gone(work: Work) -> None:
    for gone in ("/nowhere/git-lepton", "'/not closed"):
        work.git("config", "--global", "lepton.command", gone)
        install.init(work.repo)
        assert install.runs(work.git("config", "lepton.command"))
        work.git("config", "--unset", "lepton.command")


def test_init_in_a_clone_pulls(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model})
    work.git("config", "--global", "--remove-section", "filter.lepton")
    copy = make("copy", clone=work.folder)
    assert copy.read(NAME) == work.blob(NAME)
    with copy.store() as store:
        report = install.init(copy.repo, store)
    assert report.written is not None
    assert report.written.written == (NAME,)
    assert copy.read(NAME) == model
    assert copy.is_clean()


def test_hooks_of_others_come_first_and_come_back(work: Work, model: bytes) -> None:
    hooks = work.folder / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-commit").write_text("#!/bin/sh\necho mine >> ran\n[ ! -e refuse ]\n")
    (hooks / "pre-commit").chmod(0o755)
    (hooks / "real-post-merge").write_text("#!/bin/sh\n")
    (hooks / "post-merge").symlink_to("real-post-merge")
    before = snapshot(hooks)
    done = install.init(work.repo).done
    assert any("your hook pre-commit is now pre-commit.before-lepton" in line for line in done)
    work.write("code.py", b"\n")
    work.git("add", "-A")
    work.git("commit", "-qm", "one")
    assert work.read("ran") == b"mine\n"
    work.write("refuse", b"")
    work.git("add", "-A")
    assert work.run("commit", "-qm", "two").returncode != 0
    (work.folder / "refuse").unlink()
    install.deinit(work.repo)
    assert snapshot(hooks) == before


def test_a_hook_that_replaced_ours_is_not_overwritten(work: Work) -> None:
    hooks = work.folder / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "pre-push").write_text("#!/bin/sh\n# first\n")
    install.init(work.repo)
    (hooks / "pre-push").write_text("#!/bin/sh\n# second\n")
    done = install.init(work.repo).done
    assert any("left alone" in line and "git-lepton hook pre-push" in line for line in done)
    assert (hooks / "pre-push").read_text() == "#!/bin/sh\n# second\n"
    assert (hooks / "pre-push.before-lepton").read_text() == "#!/bin/sh\n# first\n"


def test_hooks_chained_by_the_pre_commit_framework_or_by_hand_count(work: Work) -> None:
    install.init(work.repo)
    hooks = work.folder / ".git/hooks"
    (hooks / "pre-push").rename(hooks / "pre-push.legacy")
    (hooks / "pre-push").write_text("#!/bin/sh\n# runs pre-push.legacy\n")
    assert hookfiles.is_active(work.repo, "pre-push")
    (hooks / "pre-commit").write_text('#!/bin/sh\ngit lepton hook pre-commit "$@"\n')
    assert hookfiles.is_active(work.repo, "pre-commit")
    before = snapshot(hooks)
    install.init(work.repo)
    assert snapshot(hooks) == before


def test_a_hooks_path_of_somebody_else_is_left_alone_and_the_line_is_told(work: Work, tmp_path: Path) -> None:
    shared = tmp_path / "shared hooks"
    shared.mkdir()
    work.git("config", "core.hooksPath", str(shared))
    done = install.init(work.repo).done
    assert any('git-lepton hook pre-push "$@"' in line for line in done)
    assert list(shared.iterdir()) == []
    for name in hookfiles.NAMES:
        (shared / name).write_text(f"#!/bin/sh\n{hookfiles.line_for(name)}\n")
    assert not any("hooks" in line for line in install.init(work.repo).done)


def test_a_hooks_path_inside_the_repository_is_ours_to_use(work: Work) -> None:
    work.git("config", "core.hooksPath", ".git/my-hooks")
    install.init(work.repo)
    assert (work.folder / ".git/my-hooks/pre-push").exists()


def test_the_filter_sets_up_a_repository_without_hooks_and_says_so_once(work: Work, model: bytes) -> None:
    work.write(NAME, model)
    done = work.run("add", NAME)
    assert done.stderr.decode().count("git-lepton: ") == 1
    assert "git lepton init" in done.stderr.decode()
    assert (work.folder / ".git/hooks/pre-push").exists()
    work.write(NAME, model_bytes(layer_1=4))
    assert work.run("add", NAME).stderr == b""


def test_the_filter_warns_once_a_process_where_it_may_not_add_hooks(work: Work, model: bytes, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    work.git("config", "core.hooksPath", str(tmp_path / "shared"))
    work.write(NAME, model)
    work.write("b.safetensors", model)
    for _ in range(2):
        done = work.run("add", "--renormalize", ".") if work.git("ls-files") else work.run("add", ".")
        assert done.stderr.decode().count("core.hooksPath") == 1


def test_hooks_that_were_taken_out_stay_out(work: Work, model: bytes) -> None:
    install.init(work.repo)
    assert any("lepton.hooks=false" in line for line in install.deinit(work.repo))
    work.commit("one", {NAME: model})
    assert not (work.folder / ".git/hooks/pre-push").exists()
    install.init(work.repo)
    assert (work.folder / ".git/hooks/pre-push").exists()
    assert work.run("config", "lepton.hooks").returncode == 1


def test_attributes_of_others_are_kept(work: Work) -> None:
    path = work.folder / ".git/info/attributes"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"*.txt text")
    install.init(work.repo)
    assert path.read_bytes() == b"".join((b"*.txt text\n", *install.ATTRIBUTE_LINES))
    install.deinit(work.repo)
    assert path.read_bytes() == b"*.txt text\n"


def test_install_and_uninstall_for_the_user(program: dict[str, str], tmp_path: Path) -> None:
    git(tmp_path, "config", "--global", "--remove-section", "filter.lepton", env=program)
    before = git(tmp_path, "config", "--global", "--list", env=program)
    install.install()
    install.install()
    assert git(tmp_path, "config", "--global", "--get-all", "filter.lepton.process", env=program).count("\n") == 0
    install.uninstall()
    assert git(tmp_path, "config", "--global", "--list", env=program) == before
    assert install.uninstall() == ["there was nothing to undo"]


def test_a_git_with_hooks_in_its_configuration_gets_them() -> None:
    assert install.config_hooks((2, 53, 9)) == {}
    settings = install.config_hooks((2, 54))
    assert settings["hook.lepton-pre-push.event"] == "pre-push"
    assert settings["hook.lepton-pre-push.command"].endswith("git-lepton hook pre-push")
    assert len(settings) == 2 * len(hookfiles.NAMES)


def test_changed_lines_are_shown_with_their_module(work: Work, model: bytes) -> None:
    install.install()
    work.commit("one", {NAME: model_bytes(layers=12)})
    work.write(NAME, model_bytes(layers=12, layer_9=77))
    text = work.git("diff", "-U0")
    assert "@@ layer_8" in text


def test_worktrees_share_the_hooks_and_settings(work: Work) -> None:
    work.commit("one", {"code.py": b"\n"})
    work.git("worktree", "add", "-q", "-b", "side", "../side")
    install.init(discover(work.folder.parent / "side"))
    assert (work.folder / ".git/hooks/pre-push").exists()
    assert work.git("config", "--local", "lepton.command")


@pytest.mark.parametrize("name", hookfiles.NAMES)
def test_every_hook_is_small_posix_shell_with_our_mark(name: str) -> None:
    text = (hookfiles.source_folder() / name).read_bytes()
    assert text.startswith(b"#!/bin/sh\n" + hookfiles.MARK)
    assert text.count(b"\n") < 60
