"""What made a model: kept when its files change, compared with any later commit."""

from __future__ import annotations

import json

import pytest

from git_lepton.config.values import ProvenanceSettings
from git_lepton.record.provenance import compare, origins_at
from git_lepton.record.values import Origins
from git_lepton.store.store import Store
from git_lepton.values import Hash
from tests.drivers.conftest import Work
from tests.drivers.gatekit import SIZE_ONLY, onnx_bytes, seen, start
from tests.support import model_bytes

RULES = SIZE_ONLY.replace(
    b'main = "m.onnx"\n', b'main = "m.onnx"\nprovenance = { code = ["*.py"], data = ["data/**"] }\n'
)


def test_files_of_a_revision_by_glob(work: Work) -> None:
    work.commit(
        "one", {"train.py": b"1\n", "data/a/x.csv": b"x\n", "data/w.safetensors": model_bytes(), "b.txt": b"\n"}
    )
    settings = ProvenanceSettings(data=("data/**",), code=("*.py", "b.txt"))
    with Store(work.repo) as store:
        found = origins_at(work.repo, store.objects, settings, "HEAD")
        assert origins_at(work.repo, store.objects, ProvenanceSettings(), "HEAD") == Origins()
    assert {kind: sorted(getattr(found, kind)) for kind in ("data", "code", "params")} == {
        "data": ["data/a/x.csv", "data/w.safetensors"],
        "code": ["b.txt", "train.py"],
        "params": [],
    }


def test_what_changed_since() -> None:
    one, two = Hash("1" * 64), Hash("2" * 64)
    rows = compare(
        Origins(data={"a": one, "gone": one}, code={"c": one}), Origins(data={"a": two, "new": two}, code={"c": one})
    )
    assert [(row.kind, row.path, row.change) for row in rows] == [
        ("data", "a", "changed"),
        ("data", "gone", "removed"),
        ("data", "new", "added"),
        ("code", "c", "same"),
    ]


@pytest.fixture
def made(work: Work) -> Work:
    """A model with provenance."""
    work.write("data/train.csv", b"1\n")
    return start(work, RULES)


def test_the_record_keeps_what_made_the_model_until_its_files_change(made: Work) -> None:
    first = seen(made).record.origins
    assert sorted(first.code) == ["code.py"]
    made.commit("code", {"code.py": b"a = 1\n"})
    made.commit("rules", {"lepton.toml": RULES.replace(b"8000", b"9000")})
    assert seen(made).record.origins == first
    done = made.run("lepton", "provenance", "--check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["changed"]) == (1, True)
    assert [row["path"] for row in found["models"][0]["inputs"] if row["change"] == "changed"] == ["code.py"]
    made.commit("model", {"models/m/m.onnx": onnx_bytes(1)})
    assert seen(made).record.origins.code != first.code
    assert made.run("lepton", "provenance", "--check").returncode == 0
    assert "1 input changed since" in made.git("lepton", "provenance", "HEAD~1")
    assert made.run("lepton", "provenance", "HEAD", "nomodel").returncode == 2
    made.write("models/m/m.onnx", onnx_bytes(2))
    made.git("commit", "-qam", "no gate", "--no-verify")
    assert "not the model of HEAD, which has no record yet" in made.git("lepton", "provenance")
