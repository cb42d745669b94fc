"""`git lepton gate` and `variants` by hand: judged, explained, tried, recorded, exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from git_lepton.record import locating
from tests.drivers.conftest import Work, make, program, work
from tests.drivers.gatekit import ACCURACY, RECORD, SIZE_ONLY, begin, holds, onnx_bytes, seen, templates

__all__ = ["make", "program", "templates", "work"]

MODEL = "models/m/m.onnx"
RULES = ACCURACY.replace(b'main = "m.onnx"\n', b'main = "m.onnx"\nvariants = ["fp16"]\n')


@pytest.fixture
def judged(work: Work, templates: Path) -> Work:
    """A repository with a judged model and one variant."""
    return begin(templates, work, RULES)


def test_what_was_judged_is_only_read_by_the_commit(judged: Work) -> None:
    judged.write(MODEL, onnx_bytes(1))
    judged.git("add", MODEL)
    explained = judged.git("lepton", "gate", "--explain")
    assert "judged at the next commit: it is about other files (m.onnx)" in explained
    assert "variant fp16: to be built" in explained
    done = judged.run("lepton", "gate", "--json")
    assert re.search(rb"judging against .*; needs \d+ MiB of disk; last time \d+\.\d s", done.stderr)
    found = json.loads(done.stdout)
    assert (done.returncode, found["schema"], found["models"][0]["verdict"]) == (0, "git-lepton.gate/1", "pass")
    assert judged.git("diff", "--name-only") == ""
    done = judged.run("commit", "-qm", "two")
    assert b"found before" in done.stderr
    assert b"building" not in done.stderr
    assert holds(judged)
    again = judged.run("lepton", "gate", "--measure")
    assert b"found before" not in again.stdout
    assert judged.run("lepton", "gate", "nomodel").returncode == 2


def test_a_worse_model_by_hand(judged: Work) -> None:
    judged.write(MODEL, onnx_bytes(2, noise=2.0))
    judged.git("add", MODEL)
    done = judged.run("lepton", "gate", "m", "--record")
    assert done.returncode == 1
    assert b"m is refused" in done.stdout
    assert judged.git("diff", "--cached", "--name-only") == MODEL
    explained = judged.git("lepton", "gate", "m", "--explain")
    assert "class" in explained
    assert "FAIL" in explained


def test_what_is_not_staged_is_told_of(judged: Work) -> None:
    judged.write("models/m/notes.txt", b"no file of the model\n")
    assert b"not: git add" not in judged.run("lepton", "gate", "--explain").stderr
    judged.write(MODEL, onnx_bytes(2, noise=2.0))
    done = judged.run("lepton", "gate")
    assert (done.returncode, b"what is staged is judged; models/m/m.onnx is not: git add it" in done.stderr) == (
        0,
        True,
    )
    judged.write("lepton.toml", SIZE_ONLY)
    assert b"lepton.toml and 1 more is not: git add" in judged.run("lepton", "gate", "--explain").stderr


def test_a_record_made_late(judged: Work) -> None:
    judged.write(MODEL, onnx_bytes(1))
    judged.git("commit", "-qnam", "past the hooks")
    assert not holds(judged)
    done = judged.run("lepton", "gate", "--record")
    assert (done.returncode, done.stderr.count(b"staged: the record of m")) == (0, 1)
    assert judged.git("diff", "--cached", "--name-only") == RECORD
    judged.git("commit", "-qm", "the record")
    assert holds(judged)


def test_variants_are_built_listed_and_exported(judged: Work, tmp_path: Path) -> None:
    found = json.loads(judged.git("lepton", "variants", "list", "--json"))["models"][0]
    variant = found["variants"][0]
    assert (found["model"], variant["recipe"]) == ("m", "fp16")
    assert variant["size"] < found["bytes"]
    out = tmp_path / "out"
    judged.git("lepton", "variants", "export", "m", "fp16", "-o", str(out))
    assert locating.of_folder(out).hash == seen(judged).record.variant[0].bundle
    assert judged.run("lepton", "variants", "export", "m", "fp16", "-o", str(out)).returncode == 2
    done = judged.run("lepton", "variants", "export", "m", "int4", "-o", str(tmp_path / "none"))
    assert (done.returncode, b"it has: fp16" in done.stderr) == (2, True)
    assert "int8" in judged.git("lepton", "variants", "build", "m", "--recipe", "int8")
    assert judged.run("lepton", "variants", "build", "m", "--recipe", "int9").returncode == 2


@pytest.mark.slow
def test_trying_without_a_tensor_changes_nothing(judged: Work) -> None:
    before = judged.read(RECORD)
    done = judged.run("lepton", "gate", "m", "--exclude", "fp16=weight")
    assert done.returncode == 0
    assert b"fp16: skipped" in done.stdout or b"building fp16" in done.stderr
    assert judged.read(RECORD) == before
    assert judged.run("lepton", "gate", "m", "--exclude", "fp16").returncode == 2
    assert judged.run("lepton", "gate", "m", "--exclude", "fp16=x", "--record").returncode == 2


def test_a_repository_without_models(work: Work) -> None:
    work.commit("one", {"code.py": b"\n"})
    assert "docs/gate.md" in work.git("lepton", "gate")
    assert "docs/gate.md" in work.git("lepton", "gate", "--explain")
    assert work.run("lepton", "gate", "m").returncode == 2
    work.write("lepton.toml", SIZE_ONLY)
    work.git("add", "-A")
    done = work.run("lepton", "gate", "m")
    assert (done.returncode, b"no file of model m" in done.stderr) == (2, True)
    # A misspelled root must not look like a model that passed.
    assert b"model m has no file under models/m" in work.run("lepton", "gate").stderr
    work.write("lepton.toml", b"[model.m\n")
    work.git("add", "-A")
    assert work.run("lepton", "gate").returncode == 2
