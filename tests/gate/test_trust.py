from __future__ import annotations

from pathlib import Path

import pytest

from git_lepton.config.reading import parse
from git_lepton.errors import UntrustedError
from git_lepton.gate import trust
from git_lepton.gate.trust import Runnable
from git_lepton.git.repo import Repo, discover
from tests.support import git

COMMAND = "python tools/eval.py {model} | tail -1"
FUNCTION = "pkg.judge:score"
TOML = f"""
[model.m]
main = "m.onnx"
[[model.m.gate]]
name = "own"
command = "{COMMAND}"
direction = "higher"
[[model.m.gate]]
name = "again"
command = "{COMMAND}"
direction = "higher"
[[model.m.gate]]
name = "function"
data = "d.npz"
metric = "{FUNCTION}"
direction = "higher"
[[model.m.gate]]
name = "plain"
data = "d.npz"
"""
FILES = {
    "tools/eval.py": "import json\nfrom helper import x\nimport pkg.deep.inner\n",
    "tools/helper.py": "x = 1\n",
    "pkg/__init__.py": "",
    "pkg/judge.py": "from . import scores\nfrom .deep import *\ndef score(): ...\n",
    "pkg/scores.py": "",
    "pkg/deep/__init__.py": "",
    "pkg/deep/inner.py": "import numpy\n",
    "unrelated.py": "",
}


@pytest.fixture
def top(repo: Repo) -> Path:
    assert repo.work_tree is not None
    for name, text in FILES.items():
        path = repo.work_tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return repo.work_tree


def found(repo: Repo, toml: str = TOML) -> tuple[Runnable, ...]:
    return trust.runnables(parse(toml.encode()), trust.work_tree_reader(repo))


def paths(runnable: Runnable) -> list[str]:
    return [path for path, _ in runnable.files]


def of(command: str) -> str:
    return f"[model.m]\nmain = 'm'\n[[model.m.gate]]\nname = 'g'\ndirection = 'lower'\ncommand = '''{command}'''\n"


def test_what_would_run(repo: Repo, top: Path) -> None:
    command, function = found(repo)
    assert (command.kind, command.text) == ("command", COMMAND)
    assert command.where == ("model.m.gate.own", "model.m.gate.again")
    deep = ["pkg/__init__.py", "pkg/deep/__init__.py", "pkg/deep/inner.py"]
    assert paths(command) == [*deep, "tools/eval.py", "tools/helper.py"]
    assert (function.kind, function.text, function.where) == ("function", FUNCTION, ("model.m.gate.function",))
    assert paths(function) == ["pkg/__init__.py", "pkg/deep/__init__.py", "pkg/judge.py", "pkg/scores.py"]


@pytest.mark.parametrize(
    ("command", "reached"),
    [
        ("./tools/helper.py", ["tools/helper.py"]),
        ("cd tools;python>log tools/helper.py&&true", ["tools/helper.py"]),
        ("python -m pkg.scores", ["pkg/__init__.py", "pkg/scores.py"]),
        ("X=unrelated.py sh -c 'exec tools/helper.py'", ["unrelated.py"]),
        ("python 'tools/helper.py", []),
        ("python ../repo/unrelated.py .git/config /etc/passwd", []),
        ("tools pkg", []),
    ],
)
def test_files_that_a_command_names(repo: Repo, top: Path, command: str, reached: list[str]) -> None:
    assert paths(found(repo, of(command))[0]) == reached


def test_nothing_to_run_is_trusted(repo: Repo) -> None:
    assert found(repo, '[model.m]\nmain = "m"\n[[model.m.gate]]\nname = "a"\ndata = "d.npz"') == ()
    assert not trust.untrusted(repo, ())
    trust.require(repo, ())
    assert not (repo.lepton_dir / trust.FILE_NAME).exists()


def test_allowed_until_a_file_changes(repo: Repo, top: Path) -> None:
    with pytest.raises(UntrustedError) as caught:
        trust.require(repo, found(repo))
    assert COMMAND in caught.value.message
    assert caught.value.hint is not None
    assert "git lepton trust" in caught.value.hint
    assert caught.value.exit_code == 5
    trust.allow(repo, found(repo))
    trust.require(repo, found(repo))
    for name, text in FILES.items():
        (top / name).write_text(text + "# more\n")
        assert (not trust.untrusted(repo, found(repo))) is (name == "unrelated.py"), name
        (top / name).write_text(text)
    (top / "tools/json.py").write_text("")  # stands before the library's own
    assert trust.untrusted(repo, found(repo))
    (top / "tools/json.py").unlink()
    assert not trust.untrusted(repo, found(repo))
    assert trust.untrusted(repo, found(repo, TOML.replace("tail", "tee")))


def test_what_was_allowed_stays_when_another_gate_comes(repo: Repo, top: Path) -> None:
    trust.allow(repo, found(repo))
    more = found(
        repo,
        TOML.replace(
            "[[model.m.gate]]", "[[model.m.gate]]\nname='n'\ncommand='x'\ndirection='lower'\n[[model.m.gate]]", 1
        ),
    )
    assert [each.text for each in trust.untrusted(repo, more)] == ["x"]


def test_revoke(repo: Repo, top: Path) -> None:
    trust.allow(repo, found(repo))
    assert trust.revoke(repo, found(repo)[:1]) == 1
    assert trust.untrusted(repo, found(repo)) == found(repo)[:1]
    assert (trust.revoke(repo), trust.revoke(repo)) == (1, 0)
    assert trust.untrusted(repo, found(repo))


def test_the_list_is_private_shared_by_work_trees_and_not_cloned(repo: Repo, top: Path, tmp_path: Path) -> None:
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "x")
    trust.allow(repo, found(repo))
    assert (repo.lepton_dir / trust.FILE_NAME).stat().st_mode & 0o777 == 0o600
    git(top, "worktree", "add", "-q", str(tmp_path / "other"))
    other = discover(tmp_path / "other")
    assert not trust.untrusted(other, found(other))
    git(top, "clone", "-q", str(top), str(tmp_path / "clone"))
    clone = discover(tmp_path / "clone")
    assert trust.untrusted(clone, found(clone))


@pytest.mark.parametrize("content", [b"", b"\xff\0\n", b"yes to all\n", b"0" * 64 + b"\n", b"*\n"])
def test_a_damaged_list_allows_nothing(repo: Repo, top: Path, content: bytes) -> None:
    repo.lepton_dir.mkdir(parents=True, exist_ok=True)
    (repo.lepton_dir / trust.FILE_NAME).write_bytes(content)
    assert trust.untrusted(repo, found(repo))
    trust.allow(repo, found(repo))
    assert not trust.untrusted(repo, found(repo))


def test_a_line_end_in_a_command_is_one_line_of_the_list(repo: Repo, top: Path) -> None:
    evil = found(repo, of("x\n" + found(repo)[0].hash + " 2026-01-01 y"))
    trust.allow(repo, evil)
    assert trust.untrusted(repo, found(repo))
    assert (repo.lepton_dir / trust.FILE_NAME).read_text().count("\n") == 1


@pytest.mark.parametrize("link", ["tools/eval.py", "tools"])
def test_symbolic_links_are_refused(repo: Repo, top: Path, tmp_path: Path, link: str) -> None:
    (top / link).rename(tmp_path / "elsewhere")
    (top / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UntrustedError, match="symbolic link"):
        found(repo)


def test_a_module_outside_the_repository_is_an_installed_one(repo: Repo, top: Path) -> None:
    toml = TOML.replace(FUNCTION, "sklearn.metrics:f1_score")
    assert found(repo, toml)[1].files == ()


def test_sources_that_cannot_be_read_as_python(repo: Repo, top: Path) -> None:
    for text in (b"\0", b"(" * 5000, b"\xff", b"from ..... import x\n", b"import " + b"a." * 3000 + b"a\n"):
        (top / "tools/eval.py").write_bytes(text)
        assert "tools/eval.py" in paths(found(repo)[0])
    (top / "tools/eval.py").write_bytes(b"#" * ((1 << 20) + 1))
    assert paths(found(repo)[0]) == ["tools/eval.py"]


def test_a_bare_repository_has_nothing_to_run_in(repo: Repo, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    with pytest.raises(UntrustedError, match="bare"):
        trust.work_tree_reader(discover(tmp_path / "bare.git"))


def test_the_hash_tells_parts_apart() -> None:
    assert Runnable("command", "a", (), ()).hash != Runnable("function", "a", (), ()).hash
    assert Runnable("command", "a", ("x",), ()).hash == Runnable("command", "a", ("y",), ()).hash
    one, two = Runnable("command", "a", (), ()), Runnable("command", "b", (), ())
    assert trust.fingerprint([one, two]) == trust.fingerprint([two, one]) != trust.fingerprint([one])
