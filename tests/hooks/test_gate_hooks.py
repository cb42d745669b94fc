"""The gate under every way in which git makes a commit: record, index and work tree are right after each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.drivers.conftest import Work
from tests.drivers.gatekit import (
    ACCURACY,
    RECORD,
    SIZE_ONLY,
    begin,
    examples,
    holds,
    onnx_bytes,
    seen,
    start,
    templates,
)
from tests.hooks.test_hooks import starts

MODEL, LABELS = "models/m/m.onnx", "models/m/labels.json"


__all__ = ["templates"]


@pytest.fixture
def gated(work: Work, templates: Path) -> Work:
    """A repository whose model may not grow beyond 8,000 bytes."""
    return begin(templates, work)


def assert_right(work: Work, *, clean: bool = True) -> None:
    """The record of HEAD is that of HEAD's files, and nothing brings another one back."""
    found = seen(work)
    assert (found.in_index, found.in_tree, found.clean) == (True, True, clean)
    assert holds(work)


def test_the_first_commit_gets_its_record(gated: Work) -> None:
    assert_right(gated)
    record = seen(gated).record
    assert record.anchor is None
    assert [(b.kind, b.verdict) for b in record.budget] == [("size_bytes", "pass")]
    assert {file.path for file in record.files} == {"m.onnx", "labels.json"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("commit", "-qm", "staged"),
        ("commit", "-qam", "all"),
        ("commit", "-qm", "path", MODEL),
        pytest.param(("commit", "-qm", "only", "--only", MODEL), marks=pytest.mark.slow),
        pytest.param(("commit", "-qim", "include", MODEL), marks=pytest.mark.slow),
        pytest.param(("commit", "-q", "--amend", "--no-edit"), marks=pytest.mark.slow),
        ("commit", "-q", "--amend", "--no-edit", MODEL),
    ],
    ids=lambda arguments: " ".join(arguments[1:-1]),
)
def test_every_way_to_commit(gated: Work, arguments: tuple[str, ...]) -> None:
    before = seen(gated).record
    gated.write(MODEL, onnx_bytes(1))
    if not {"-qam", MODEL} & set(arguments):
        gated.git("add", MODEL)
    gated.git(*arguments)
    assert_right(gated)
    assert seen(gated).record.bundle != before.bundle
    # The next commit takes nothing back.
    gated.write("code.py", b"a = 1\n")
    gated.git("commit", "-qam", "code")
    assert_right(gated)


def test_what_is_staged_is_judged_and_not_what_lies_in_the_work_tree(gated: Work) -> None:
    gated.write(MODEL, onnx_bytes(1))
    gated.git("add", MODEL)
    gated.write(MODEL, onnx_bytes(2, padding=9000))
    gated.write(LABELS, b"[1]\n")
    gated.git("commit", "-qm", "good is staged")
    assert_right(gated, clean=False)
    assert gated.read(MODEL) == onnx_bytes(2, padding=9000)
    gated.git("add", MODEL)
    gated.write(MODEL, onnx_bytes(1))
    assert gated.run("commit", "-qm", "bad is staged").returncode == 1
    # commit PATH takes that file of the work tree, and leaves what else is staged.
    gated.git("commit", "-qm", "labels", LABELS)
    assert_right(gated, clean=False)
    assert gated.run("commit", "-qm", "bad is still staged").returncode == 1


def test_a_refusal_writes_nothing_and_says_why(gated: Work) -> None:
    record, head = gated.read(RECORD), gated.git("rev-parse", "HEAD")
    gated.write(MODEL, onnx_bytes(1, padding=9000))
    gated.git("add", MODEL)
    index = gated.git("ls-files", "--stage")
    done = gated.run("commit", "-qm", "too large")
    text = done.stderr.decode()
    assert done.returncode == 1
    assert "m is refused; nothing was written" in text
    assert "size_bytes" in text
    assert "git lepton gate m --explain" in text
    assert "git add -u" not in text
    assert (gated.read(RECORD), gated.git("rev-parse", "HEAD")) == (record, head)
    assert gated.git("ls-files", "--stage") == index
    assert not (gated.folder / ".git/lepton-staged").exists()
    # What -a and PATH stage is taken back by git, so that there would be nothing to explain.
    gated.git("reset", "-q")
    for words in (("-a",), (MODEL,)):
        assert b"first: git add -u" in gated.run("commit", "-qm", "too large", *words).stderr
    gated.git("add", "-u")
    assert "FAIL" in gated.git("lepton", "gate", "m", "--explain")
    gated.git("commit", "-qm", "all the same", "--no-verify")
    assert not holds(gated)


def test_subdirectories_and_work_trees(gated: Work) -> None:
    gated.write(MODEL, onnx_bytes(1))
    inside = Work(gated.folder / "models/m", gated.env)
    inside.git("commit", "-qm", "from below", "m.onnx")
    assert_right(gated)
    gated.git("worktree", "add", "-q", "-b", "side", "../side")
    side = Work(gated.folder.parent / "side", gated.env)
    side.write(MODEL, onnx_bytes(2))
    side.git("commit", "-qm", "path in a work tree", MODEL)
    assert_right(side)
    assert_right(gated)


def test_a_commit_that_touches_no_model_starts_no_python(gated: Work) -> None:
    gated.write("code.py", b"a = 1\n")
    gated.write("notes/models.md", b"x\n")
    gated.git("add", "-A")
    assert starts(gated, "commit", "-qm", "code") == 0
    # A plain file of the model, its rules and its record are looked at.
    gated.write(LABELS, b"[2]\n")
    assert starts(gated, "commit", "-qam", "labels") == 1
    gated.write("lepton.toml", SIZE_ONLY + b"# a remark\n")
    assert starts(gated, "commit", "-qam", "a remark changes no rule") == 1
    assert_right(gated)


def test_a_model_that_is_recorded_is_not_judged_again(gated: Work) -> None:
    gated.write("lepton.toml", SIZE_ONLY + b"# a remark\n")
    done = gated.run("commit", "-qam", "two")
    assert b"judg" not in done.stderr


def test_a_record_that_a_person_wrote_is_replaced(gated: Work) -> None:
    text = gated.read(RECORD)
    gated.write(RECORD, text.replace(b'verdict = "pass"', b'verdict = "recorded"'))
    gated.git("add", RECORD)
    gated.write("code.py", b"a = 2\n")
    done = gated.run("commit", "-qam", "edited")
    assert done.returncode == 0
    assert gated.blob(RECORD, "HEAD") == text
    assert_right(gated)
    # A record that the work tree has otherwise is committed as it was made, and left there as it is.
    gated.write(RECORD, b"mine\n")
    gated.write(LABELS, b"[3]\n")
    done = gated.run("commit", "-qm", "labels", LABELS)
    assert b"left as it is there" in done.stderr
    assert gated.read(RECORD) == b"mine\n"
    assert holds(gated)


def test_merges_are_judged_and_conflicts_of_records_settled(gated: Work) -> None:
    gated.git("checkout", "-qb", "side")
    gated.write(MODEL, onnx_bytes(1))
    gated.git("commit", "-qam", "side")
    gated.git("checkout", "-q", "main")
    gated.commit("code", {"code.py": b"a = 3\n"})
    done = gated.run("merge", "-q", "-m", "merge", "side")
    assert done.returncode == 0
    assert_right(gated)
    # Two sides that both changed the model's files: the record is made anew, and the merge has it.
    gated.git("checkout", "-qb", "other", "HEAD~1")
    gated.commit("labels", {LABELS: b"[4]\n"})
    done = gated.run("merge", "-q", "-m", "both", "main")
    assert done.returncode == 0, done.stderr
    assert b"the merge commit has its record now" in done.stderr
    assert gated.git("log", "-1", "--format=%s %P").split()[0] == "both"
    assert len(gated.git("log", "-1", "--format=%P").split()) == 2
    assert_right(gated)
    # A clone that was not set up merges records as text, and conflicts; one command makes the record anew.
    gated.git("reset", "-q", "--hard", "HEAD^1")
    gated.git("config", "--remove-section", "merge.lepton-record")
    assert gated.run("merge", "-q", "-m", "merge", "main").returncode == 1
    assert gated.git("diff", "--name-only", "--diff-filter=U") == RECORD
    done = gated.run("lepton", "gate", "--record")
    assert done.returncode == 0
    gated.git("commit", "-qm", "merged")
    assert_right(gated)


def test_a_merge_that_brings_a_worse_model_is_stopped(gated: Work) -> None:
    gated.git("checkout", "-qb", "side")
    gated.write(MODEL, onnx_bytes(1, padding=9000))
    gated.git("commit", "-qam", "side", "--no-verify")
    gated.git("checkout", "-q", "main")
    gated.commit("code", {"code.py": b"a = 4\n"})
    head = gated.git("rev-parse", "HEAD")
    done = gated.run("merge", "-q", "-m", "merge", "side")
    assert done.returncode != 0
    assert b"is refused" in done.stderr
    assert gated.git("rev-parse", "HEAD") == head
    gated.git("merge", "--abort")
    # A fast-forward runs no hook before: it is told after.
    gated.git("checkout", "-q", "-B", "late", "side~1")
    done = gated.run("merge", "-q", "--ff-only", "side")
    assert b"model m was merged and never judged" in done.stderr
    assert b"git lepton gate m --record" in done.stderr


def test_a_record_in_a_repository_without_room_for_it_is_not_in_the_way(gated: Work) -> None:
    """Sparse: the record is committed and does not appear in the work tree."""
    gated.git("add", "-u")
    gated.git("sparse-checkout", "set", "--no-cone", "/*", "!/.lepton/")
    assert not (gated.folder / RECORD).exists()
    gated.write(MODEL, onnx_bytes(1))
    gated.git("commit", "-qam", "sparse")
    assert not (gated.folder / RECORD).exists()
    assert gated.is_clean()
    assert holds(gated)


def test_an_interrupt_leaves_nothing_behind(gated: Work) -> None:
    work = gated
    gate = b'[[model.m.gate]]\nname = "slow"\ncommand = "touch ran; exec sleep 60"\nmetric = "x"\n'
    slow = SIZE_ONLY + gate + b'direction = "higher"\n'
    work.write("lepton.toml", slow)
    work.write(MODEL, onnx_bytes(1))
    work.git("add", "-A")
    assert work.run("commit", "-qm", "not allowed").returncode == 1
    assert not (work.folder / "ran").exists()
    work.git("lepton", "trust", "--yes")
    index = work.git("ls-files", "--stage")
    process = subprocess.Popen(
        ["git", "commit", "-qm", "slow"],
        cwd=work.folder,
        env=work.env,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(200):
        if (work.folder / "ran").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert work.git("ls-files", "--stage") == index
    assert work.git("log", "--oneline").count("\n") == 0
    left = [p for p in (work.folder / ".git/lepton/gate").iterdir() if p.is_dir()]
    assert left == []


def test_a_killed_run_is_tidied_by_the_next(gated: Work) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from git_lepton import atomic; print(atomic.owned_name())"],
        env=gated.env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = gated.folder / ".git/lepton/gate" / dead
    (folder / "model").mkdir(parents=True)
    gated.write(MODEL, onnx_bytes(1))
    gated.git("commit", "-qam", "two")
    assert not folder.exists()


def test_the_program_must_be_there_to_change_a_model(gated: Work) -> None:
    gated.write(LABELS, b"[5]\n")
    gated.git("add", LABELS)
    gated.git("config", "lepton.command", "/nowhere/git-lepton")
    env = dict(gated.env)
    env["PATH"] = os.pathsep.join(p for p in env["PATH"].split(os.pathsep) if not (Path(p) / "git-lepton").exists())
    done = Work(gated.folder, env).run(
        "-c", "filter.lepton.process=", "-c", "filter.lepton.required=false", "commit", "-qm", "labels"
    )
    assert done.returncode == 1
    assert b"pip install git-lepton" in done.stderr


@pytest.mark.slow
def test_under_the_pre_commit_framework(gated: Work, tmp_path: Path) -> None:
    pytest.importorskip("pre_commit")
    hooks = gated.folder / ".git/hooks"
    for path in hooks.iterdir():
        path.unlink()
    entries = "".join(
        f"      - {{id: {stage}, name: {stage}, entry: git-lepton hook {stage}, language: system,"
        f" pass_filenames: false, always_run: true, stages: [{stage}]}}\n"
        for stage in ("pre-commit", "post-commit")
    )
    gated.write(".pre-commit-config.yaml", f"repos:\n  - repo: local\n    hooks:\n{entries}".encode())
    env = gated.env | {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit")}
    framework = Work(gated.folder, env)
    framework.git("add", ".pre-commit-config.yaml")
    for stage in ("pre-commit", "post-commit"):
        subprocess.run(
            [sys.executable, "-m", "pre_commit", "install", "-t", stage],
            cwd=gated.folder,
            env=env,
            check=True,
            capture_output=True,
        )
    framework.git("commit", "-qm", "framework")
    gated.write(MODEL, onnx_bytes(1))
    framework.git("add", MODEL)
    gated.write("code.py", b"a = 6  # not staged\n")
    framework.git("commit", "-qm", "model")
    assert_right(gated, clean=False)
    gated.write(MODEL, onnx_bytes(2))
    framework.git("commit", "-qm", "path", MODEL)
    assert_right(gated, clean=False)
    gated.write(MODEL, onnx_bytes(1, padding=9000))
    assert framework.run("commit", "-qm", "large", MODEL).returncode == 1


def test_examples_that_are_not_there_stop_a_commit(work: Work) -> None:
    start(work, ACCURACY)
    figure = seen(work).record.outcome[0].figure
    assert figure is not None
    assert (figure.value, figure.n) == (1.0, 400)
    work.write("eval/test.npz", examples(300, seed=3))
    work.git("rm", "-q", "--cached", "eval/test.npz")
    done = work.run("commit", "-qm", "no examples")
    assert done.returncode == 1
    assert b"eval/test.npz" in done.stderr
    assert b"git add it" in done.stderr
    work.git("add", "eval/test.npz")
    work.git("commit", "-qm", "other examples")
    assert seen(work).record.data.keys() == {"eval/test.npz"}
    assert_right(work)
