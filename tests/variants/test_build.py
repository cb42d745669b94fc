"""A build as callers see it: another process, files that appear whole or not at all, and the same bytes every time."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from git_lepton import atomic
from git_lepton.errors import UsageError
from git_lepton.values import Hash
from git_lepton.variants import worker
from git_lepton.variants.build import build, recipe_key
from git_lepton.variants.values import Built, FileChange, ModelFolder, Skipped
from tests.support import safetensors_bytes
from tests.variants.kit import folder_of, inline, mlp, onnx_folder, random, safetensors_folder

A, B = Hash("a" * 64), Hash("b" * 64)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_build_gives_files_sizes_versions_and_the_same_bytes(tmp_path: Path) -> None:
    model = onnx_folder(tmp_path / "model", mlp())
    (model.path / "labels.json").write_text("[1, 2]")
    model = folder_of(model.path, "model.onnx")
    before = content(model.path)
    exclude = ("nothing*", "w[23]", "labels.json")
    first = build("prune50+int8", model, tmp_path / "first", exclude=exclude)
    second = build("prune50+int8", model, tmp_path / "deep" / "second", exclude=exclude, timeout=100)
    assert isinstance(first, Built), first
    assert first == second
    assert content(tmp_path / "first") == content(tmp_path / "deep" / "second")
    assert content(model.path) == before
    size = (tmp_path / "first" / "model.onnx").stat().st_size
    assert first.files == (FileChange("model.onnx", "replaced", size),)
    assert first.size_before == sum(map(len, before.values()))
    assert first.size_after == size + 6
    assert first.unmatched == exclude
    assert first.tools.keys() == {"numpy", "onnx", "onnxruntime"}
    assert [error.name for error in first.tensor_errors] == ["w0", "w1"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "first", "model"]


def test_a_variant_that_is_not_smaller_leaves_nothing(tmp_path: Path) -> None:
    model = onnx_folder(tmp_path / "model", mlp((4, 4)))
    skipped = build("int8", model, tmp_path / "out")
    assert isinstance(skipped, Skipped)
    assert skipped.reason.startswith("it is not smaller: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_pruning_may_keep_the_size_and_config_is_added_where_there_is_none(tmp_path: Path) -> None:
    model = safetensors_folder(tmp_path / "model")
    pruned = build("prune50", model, tmp_path / "pruned")
    assert isinstance(pruned, Built), pruned
    # The other writer may space its header otherwise; the weights take what they took.
    assert abs(pruned.size_after - pruned.size_before) < 200
    big = {"a.weight": ("F32", (256, 64), random(1, 256, 64).tobytes())}
    model = safetensors_folder(tmp_path / "big", big)
    packed = build("int8", model, tmp_path / "packed")
    assert isinstance(packed, Built), packed
    assert [(f.path, f.change) for f in packed.files] == [("config.json", "added"), ("model.safetensors", "replaced")]
    assert packed.tools.keys() == {"numpy"}


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    skipped = build("int8", onnx_folder(tmp_path / "model", mlp()), tmp_path / "out", timeout=0.01)
    assert skipped == Skipped("int8", "it did not end within 0.01 seconds", passing=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_build_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    values = np.tile(random(1, 1 << 20), 48)  # about a second of work
    (tmp_path / "model").mkdir()
    data = safetensors_bytes({"a.weight": ("F32", (48, 1 << 20), values.tobytes())})
    (tmp_path / "model" / "model.safetensors").write_bytes(data)
    code = (
        "import sys; from pathlib import Path\n"
        "from git_lepton.variants.build import ModelFolder, build\n"
        "if __name__ == '__main__':\n"
        "    model = ModelFolder(Path(sys.argv[1]), 'model.safetensors', ('model.safetensors',))\n"
        "    build('prune50+bf16', model, Path(sys.argv[2]))\n"
    )
    out = tmp_path / "variants" / "x"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "model"), str(out)], cwd=Path.cwd())
    deadline = time.monotonic() + 30
    while not list(out.parent.glob("variant~*/new/model.safetensors")):
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.005)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while list(out.parent.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_dead_build_left_is_swept_by_the_next(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    token = atomic.owned_name().replace(str(os.getpid()), str(dead.pid), 1)
    (tmp_path / f"variant~{token}" / "new").mkdir(parents=True)
    living = tmp_path / f"variant~{atomic.owned_name()}"
    living.mkdir()
    skipped = build("ort", safetensors_folder(tmp_path / "model"), tmp_path / "out")
    assert isinstance(skipped, Skipped)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", living.name]


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    model = onnx_folder(tmp_path / "model", mlp((4, 4)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="no step of a recipe"):
        build("int7", model, tmp_path / "out")
    with pytest.raises(UsageError, match="not an empty folder"):
        build("int8", model, tmp_path / "full")
    with pytest.raises(UsageError, match=r"other.onnx is not in"):
        build("int8", ModelFolder(model.path, "other.onnx", model.files), tmp_path / "out")
    with pytest.raises(UsageError, match="no path inside the model's folder"):
        build("int8", ModelFolder(model.path, "model.onnx", ("../x", "model.onnx")), tmp_path / "out")
    with pytest.raises(UsageError, match=r"calibration data .* is not there"):
        build("int8", model, tmp_path / "out", calibration=tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"rubbish")
    with pytest.raises(UsageError, match=r"bad.npz cannot be read as examples"):
        build("int8-static", model, tmp_path / "out", calibration=tmp_path / "bad.npz")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process maps")
def test_a_build_without_memory_is_skipped_for_now(tmp_path: Path) -> None:
    big = {"a.weight": ("F32", (4096, 4096), bytes(64 << 20))}
    model = safetensors_folder(tmp_path / "model", big)
    skipped = build("prune50", model, tmp_path / "out", memory=130 << 20)
    assert skipped == Skipped("prune50", "there was not enough memory", passing=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_a_full_disk_is_no_reason_to_skip(tmp_path: Path) -> None:
    """The limit is met as a full disk is, in the middle of a write."""
    model = safetensors_folder(tmp_path / "model", {"a.weight": ("F32", (256, 256), bytes(256 << 10))})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match="no room on the disk to build fp16") as caught:
            build("fp16", model, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "out").exists()


def test_what_a_tool_says_on_a_full_disk_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was cut short looks like a model that cannot be quantized."""
    model = onnx_folder(tmp_path / "model", mlp((4, 4)))
    (model.path / "model.onnx").write_bytes(b"cut")
    assert "not a valid onnx file" in str(inline("int8", model, tmp_path / "enough"))
    monkeypatch.setattr(worker, "_COPIES", 1 << 60)
    assert str(inline("int8", model, tmp_path / "full")) == "True"


def test_other_formats_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pt").write_bytes(b"x")
    skipped = build("fp16", folder_of(tmp_path / "model", "model.pt"), tmp_path / "out")
    assert isinstance(skipped, Skipped)
    assert "of ONNX and safetensors models" in skipped.reason


def test_a_key_names_everything_that_decides_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    key = recipe_key("int8", A, None, ["x", "y"])
    assert key == recipe_key("int8", A, B, ["y", "x", "y"])
    others = {
        recipe_key("fp16", A, None, ["x", "y"]),
        recipe_key("int8", B, None, ["x", "y"]),
        recipe_key("int8", A, None, ["x"]),
        recipe_key("int8-static", A, None, ["x", "y"]),
        recipe_key("int8-static", A, B, ["x", "y"]),
    }
    monkeypatch.setattr("git_lepton.variants.build.RECIPE_VERSION", 999)
    others.add(recipe_key("int8", A, None, ["x", "y"]))
    monkeypatch.undo()
    monkeypatch.setattr("git_lepton.variants.quantizers._version", lambda package: "0")
    others.add(recipe_key("int8", A, None, ["x", "y"]))
    assert len(others | {key}) == 8
