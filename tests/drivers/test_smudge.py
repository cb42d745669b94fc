"""What a checkout gives when weights are missing, skipped, too large for git's memory, or somewhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.store import manifest
from tests.drivers.conftest import Work
from tests.support import model_bytes

NAME = "m.safetensors"


@pytest.fixture
def lost(work: Work, make: Callable[..., Work], model: bytes) -> Work:
    """A clone of a repository whose weights are nowhere."""
    work.commit("one", {NAME: model, "b.safetensors": model_bytes(layer_0=3), "code.py": b"a = 1\n"})
    work.forget()
    return make("lost", clone=work.folder)


def test_missing_weights_leave_manifests_and_a_whole_checkout(lost: Work) -> None:
    assert manifest.looks_like(lost.read(NAME))
    assert lost.read("code.py") == b"a = 1\n"
    assert lost.is_clean()


def test_what_is_missing_is_named_with_reason_and_command(lost: Work) -> None:
    (lost.folder / NAME).unlink()
    done = lost.run("checkout", NAME)
    assert done.returncode == 0
    text = done.stderr.decode()
    assert f"git-lepton: {NAME} was left as its manifest: " in text
    assert "origin" in text
    assert "git lepton pull" in text


@pytest.mark.parametrize("limit", ["512m", "1"])
def test_damaged_weights_leave_the_manifest_and_our_checkout_refuses(work: Work, model: bytes, limit: str) -> None:
    work.git("config", "lepton.smudgeLimit", limit)
    work.commit("one", {NAME: model})
    pack = max((work.folder / ".git/objects/pack").glob("*.pack"), key=lambda p: p.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(damaged)
    (work.folder / NAME).unlink()
    done = work.run("checkout", "--", NAME)
    assert (done.returncode, manifest.looks_like(work.read(NAME))) == (0, True)
    assert "is damaged" in done.stderr.decode()
    assert work.is_clean()
    done = work.run("lepton", "checkout")
    assert (done.returncode, b"is damaged" in done.stderr) == (5, True)
    assert manifest.looks_like(work.read(NAME))


def test_many_missing_files_are_named_in_part_and_counted(work: Work, make: Callable[..., Work]) -> None:
    work.commit("one", {f"m{n}.safetensors": model_bytes(seed=n, layers=1, rows=1) for n in range(9)})
    work.forget()
    copy = make("copy", clone=work.folder, options=("--no-checkout",))
    text = copy.run("checkout", "main").stderr.decode()
    assert text.count("was left as its manifest") == 5
    assert "and 4 more files were left as manifests" in text


def test_an_unreachable_remote_is_no_error_and_is_asked_once(lost: Work) -> None:
    lost.git("remote", "set-url", "origin", str(lost.folder.parent / "gone"))
    for name in (NAME, "b.safetensors"):
        (lost.folder / name).unlink()
    done = lost.run("checkout", "--", ".", env={"GIT_TRACE": "1"})
    assert done.returncode == 0
    assert done.stderr.count(b"git ls-remote") <= 1
    assert manifest.looks_like(lost.read(NAME))


def test_weights_that_came_back_are_written_at_the_next_checkout(lost: Work, work: Work, model: bytes) -> None:
    work.git("checkout", "-q", "--", ".")
    for name in (NAME, "b.safetensors"):
        os.utime(work.folder / name, (9, 9))
    work.git("add", "--renormalize", ".")
    work.write(NAME, model)
    work.write("b.safetensors", model_bytes(layer_0=3))
    work.git("add", ".")
    for name in (NAME, "b.safetensors"):
        (lost.folder / name).unlink()
    lost.git("checkout", "--", ".")
    assert lost.read(NAME) == model
    assert lost.is_clean()


def test_a_checkout_asks_the_remote_once_for_all_files(work: Work, make: Callable[..., Work]) -> None:
    files = {f"m{n}.safetensors": model_bytes(seed=n, layers=1) for n in range(12)}
    work.commit("one", files)
    copy = make("copy", clone=work.folder, options=("--no-checkout", "--no-local"))
    trace = copy.folder.parent / "trace"
    copy.git("checkout", "-q", "main", env={"GIT_TRACE": str(trace)})
    assert {name: copy.read(name) for name in files} == files
    text = trace.read_text()
    asked = [line for line in text.splitlines() if "trace: built-in: git ls-remote" in line and "--get-url" not in line]
    assert len(asked) == 1
    assert 1 <= text.count("trace: built-in: git fetch") <= 2  # the indexes, then the chunks


def test_skipping_gives_manifests_that_pull_can_replace(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model})
    copy = make("copy", clone=work.folder, options=("--no-checkout",))
    done = copy.run("checkout", "main", env={"GIT_LEPTON_SKIP_SMUDGE": "1"})
    assert b"left as" not in done.stderr
    assert copy.read(NAME) == work.blob(NAME)
    assert copy.is_clean()
    copy.git("lepton", "pull")
    assert copy.read(NAME) == model
    assert copy.is_clean()


def test_a_merge_and_a_stash_go_through_without_weights(lost: Work) -> None:
    lost.git("checkout", "-qb", "side")
    lost.commit("side", {"code.py": b"a = 2\n"})
    lost.git("checkout", "-q", "main")
    lost.commit("main", {"other.py": b"\n"})
    lost.git("merge", "-q", "-m", "m", "side")
    lost.write("code.py", b"a = 3\n")
    lost.git("stash", "-q")
    lost.git("stash", "pop", "-q")
    assert lost.read("code.py") == b"a = 3\n"


def test_damaged_manifests_and_other_blobs_come_out_as_they_are(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    contents = {
        "damaged.safetensors": work.blob(NAME)[:-30] + b"\n",
        "conflict.safetensors": b"git-lepton 1 x\n<<<<<<< ours\n",
        "raw.safetensors": model,
        "large.safetensors": os.urandom(9 << 20),
    }
    for name, data in contents.items():
        blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=data).stdout.decode().strip()
        work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    done = work.run("checkout", "--", *contents)
    assert done.returncode == 0
    assert {name: work.read(name) for name in contents} == contents


def late(work: Work, limit: str) -> None:
    work.git("config", "lepton.smudgeLimit", limit)


@pytest.mark.parametrize("version", ["2", "4"])
def test_files_above_the_limit_are_written_after_git_and_are_clean(work: Work, model: bytes, version: str) -> None:
    large = model_bytes(layer_0=3, rows=2048)
    work.git("config", "index.version", version)
    first = work.commit("one", {NAME: model, "large.safetensors": large})
    (work.folder / "large.safetensors").chmod(0o755)
    other = model_bytes(layer_0=33, rows=2048)
    work.commit("two", {NAME: model_bytes(layer_1=4), "large.safetensors": other})
    late(work, "200k")
    work.git("checkout", "-q", first)
    assert work.read("large.safetensors") == large
    assert work.read(NAME) == model
    assert "large.safetensors" not in work.cleans("status", "--porcelain")
    assert work.is_clean()
    work.git("reset", "-q", "--hard", "main")
    assert work.read("large.safetensors") == other
    assert "large.safetensors" not in work.cleans("status", "--porcelain")
    assert os.access(work.folder / "large.safetensors", os.X_OK)


def test_a_clone_fetches_and_writes_files_above_the_limit(work: Work, make: Callable[..., Work]) -> None:
    large = model_bytes(layer_0=3, rows=2048)
    work.commit("one", {"large.safetensors": large, "more/large.safetensors": model_bytes(layer_1=3, rows=2048)})
    copy = make("copy", clone=work.folder, options=("-c", "lepton.smudgeLimit=1k"))
    assert copy.read("large.safetensors") == large
    assert copy.cleans("status", "--porcelain") == []
    assert copy.is_clean()


def test_the_hook_does_not_count_what_is_written_right_after_it(work: Work, model: bytes) -> None:
    first = work.commit("one", {NAME: model})
    work.commit("two", {NAME: model_bytes(layer_1=4)})
    late(work, "1k")
    done = work.run("checkout", first)
    assert b"manifests" not in done.stderr
    assert work.read(NAME) == model


def test_stash_with_files_above_the_limit(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    late(work, "1k")
    other = model_bytes(layer_1=4)
    work.write(NAME, other)
    work.git("stash", "-q")
    assert work.read(NAME) == model
    work.git("stash", "pop", "-q")
    assert work.read(NAME) == other
    assert work.git("status", "--porcelain") == f" M {NAME}"


def test_missing_files_above_the_limit_are_named(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model})
    work.forget()
    copy = make("copy", clone=work.folder, options=("--no-checkout", "-c", "lepton.smudgeLimit=1k"))
    done = copy.run("checkout", "main")
    assert done.returncode == 0
    assert f"{NAME} was left as its manifest" in done.stderr.decode()
    assert copy.is_clean()


def test_a_wrong_limit_is_no_error_of_smudge(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    late(work, "lots")
    (work.folder / NAME).unlink()
    done = work.run("checkout", NAME)
    assert done.returncode == 0
    assert b"lepton.smudgeLimit" in done.stderr
    assert manifest.looks_like(work.read(NAME))


def test_time_stamps_of_late_files_lie_in_the_past(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    late(work, "1k")
    path: Path = work.folder / NAME
    path.unlink()
    work.git("checkout", NAME)
    assert path.stat().st_mtime < time.time() - 1
