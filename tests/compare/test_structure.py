"""Structure: what every kind of change is called, in any order, and never more work than the manifests cost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton.compare.sides import FileOnDisk, Side, StoredFile
from git_lepton.compare.structure import compare, wanted_facts, wanted_streams
from git_lepton.compare.values import Comparison, TensorChange
from git_lepton.store.manifest import Manifest, TensorLine
from git_lepton.values import Hash
from tests.compare.models import compared, onnx_model, saved, side, tensor, transformer

OPPOSITE = {"added": "removed", "removed": "added"}


def tensors(comparison: Comparison) -> dict[str, TensorChange]:
    return {change.name: change for file in comparison.files for change in file.tensors}


def one(tmp_path: Path, before: bytes, after: bytes) -> Comparison:
    return compared(tmp_path, {"m.safetensors": before}, {"m.safetensors": after})


def test_every_kind(tmp_path: Path) -> None:
    before = {
        "same": tensor(1, 4, 4),
        "changed": tensor(2, 4, 4),
        "removed": tensor(3, 2, 4),
        "old_name": tensor(4, 4, 5),
        "reshaped": tensor(5, 4, 4),
        "retyped": tensor(6, 4, 4),
        "both": tensor(7, 4, 4),
    }
    after = {
        "same": tensor(1, 4, 4),
        "changed": tensor(12, 4, 4),
        "added": tensor(13, 3, 4),
        "new_name": tensor(4, 4, 5),
        "reshaped": tensor(5, 5, 4),
        "retyped": tensor(6, 4, 4, dtype="BF16"),
        "both": tensor(7, 2, 4, dtype="F16"),
    }
    found = one(tmp_path, saved(before), saved(after))
    assert {name: change.kind for name, change in tensors(found).items()} == {
        "changed": "changed",
        "removed": "removed",
        "new_name": "renamed",
        "reshaped": "reshaped",
        "retyped": "retyped",
        "both": "retyped",
        "added": "added",
    }
    (file,) = found.files
    assert (file.kind, file.same, file.opaque, file.facts) == ("changed", 1, False, ())
    assert tensors(found)["new_name"].before is not None
    assert [change.name for change in file.tensors][-1] == "removed"


def test_a_layer_that_goes_leaves_those_after_it_renamed(tmp_path: Path) -> None:
    before = {f"h.{n}.{part}": tensor(n * 2 + len(part), 4, 4) for n in range(5) for part in ("w", "wo")}
    after = {f"h.{n - (n > 1)}.{part}": before[f"h.{n}.{part}"] for n in (0, 2, 3, 4) for part in ("w", "wo")}
    (file,) = one(tmp_path, saved(before), saved(after)).files
    assert Counter(change.kind for change in file.tensors) == {"renamed": 6, "removed": 2}
    assert [change.name for change in file.tensors if change.kind == "removed"] == ["h.1.w", "h.1.wo"]


def test_equal_bytes_everywhere_do_not_part_namesakes(tmp_path: Path) -> None:
    zeros = ("F32", (16,), bytes(64))
    before = {"h.0.b": zeros, "h.1.b": tensor(1, 16)}
    after = {"h.0.b": tensor(2, 16), "h.1.b": zeros, "h.2.b": zeros}
    found = tensors(one(tmp_path, saved(before), saved(after)))
    assert {name: change.kind for name, change in found.items()} == {
        "h.0.b": "changed",
        "h.1.b": "changed",
        "h.2.b": "added",
    }


def test_a_release_that_renames_everything_is_paired_by_order(tmp_path: Path) -> None:
    before = {f"val_{n}": tensor(n, 4, 4) for n in (3, 7, 9)} | {"scale_1": tensor(20, 5)}
    after = {f"weight_{n}_fused": tensor(n + 50, 4, 4) for n in (4, 8, 10)} | {"scale_2": tensor(21, 5)}
    found = tensors(one(tmp_path, saved(before), saved(after)))
    assert {name: (c.kind, c.before and c.before.name) for name, c in found.items()} == {
        "weight_4_fused": ("changed", "val_3"),
        "weight_8_fused": ("changed", "val_7"),
        "weight_10_fused": ("changed", "val_9"),
        "scale_2": ("changed", "scale_1"),
    }


def test_one_tensor_replaced_is_not_paired_by_order(tmp_path: Path) -> None:
    before = {f"w{x}": tensor(n, 4, 4) for n, x in enumerate("abcde")}
    after = dict(before)
    del after["wa"]
    after["head"] = tensor(9, 4, 4)
    found = tensors(one(tmp_path, saved(before), saved(after)))
    assert {name: change.kind for name, change in found.items()} == {"wa": "removed", "head": "added"}


def test_the_names_of_quantized_weights(tmp_path: Path) -> None:
    before = {"a.weight": tensor(1, 4, 4), "b.weight": tensor(2, 4, 4)}
    after = {
        "a.weight_quantized": ("I8", (4, 4), bytes(range(16))),
        "b.weight_Q4": ("U8", (4, 2), bytes(range(8))),
        "a.weight_scale": tensor(3, 4),
    }
    found = tensors(one(tmp_path, saved(before), saved(after)))
    assert {name: (c.kind, c.before and c.before.name) for name, c in found.items()} == {
        "a.weight_quantized": ("retyped", "a.weight"),
        "b.weight_Q4": ("retyped", "b.weight"),
        "a.weight_scale": ("added", None),
    }


def test_a_file_that_is_renamed_and_changed_is_one_file(tmp_path: Path) -> None:
    after = {"new/n.safetensors": saved(transformer(layer_1=9)), "z.safetensors": saved({"z": tensor(1, 4)})}
    found = compared(tmp_path, {"m.safetensors": saved(transformer())}, after)
    assert [(file.kind, file.before, file.after) for file in found.files] == [
        ("changed", "m.safetensors", "new/n.safetensors"),
        ("added", None, "z.safetensors"),
    ]
    assert {change.kind for change in found.files[0].tensors} == {"changed"}


def test_resharded_with_a_change(tmp_path: Path) -> None:
    whole = transformer(layer_2=5)
    names = list(whole)
    shards = {
        f"model-0000{n + 1}-of-00002.safetensors": saved({k: whole[k] for k in names[n * 20 : n * 20 + 20]})
        for n in range(2)
    }
    found = compared(tmp_path, {"model.safetensors": saved(transformer())}, shards)
    assert {file.kind for file in found.files} == {"added", "removed"}
    moved = tensors(found).values()
    assert {change.kind for change in moved} == {"moved"}
    assert sum(c.before is not None and c.after is not None and c.before.hash != c.after.hash for c in moved) == 6


def test_a_tensor_that_went_to_another_shard_explains_both_headers(tmp_path: Path) -> None:
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    before = {one: saved({"a": tensor(1, 8), "b": tensor(2, 8)}), two: saved({"c": tensor(3, 8)})}
    after = {one: saved({"a": tensor(1, 8)}), two: saved({"b": tensor(2, 8), "c": tensor(3, 8)})}
    found = compared(tmp_path, before, after)
    assert [file.opaque for file in found.files] == [False, False]
    assert found.summary == "resharded into 2 files: no value changed"


def test_only_unrelated_files_keep_their_tensors_apart(tmp_path: Path) -> None:
    """The same bytes that leave one model and come to another in another folder did not move."""
    shared = tensor(1, 8)
    before = {"a/m.safetensors": saved({"x": tensor(2, 8), "y": shared}), "b/m.safetensors": saved({"z": tensor(3, 8)})}
    after = {
        "a/m.safetensors": saved({"x": tensor(2, 8)}),
        "b/m.safetensors": saved({"z": tensor(3, 8), "new": shared}),
    }
    assert {name: c.kind for name, c in tensors(compared(tmp_path, before, after)).items()} == {
        "y": "removed",
        "new": "added",
    }


def test_what_has_to_be_brought(tmp_path: Path) -> None:
    before = side(tmp_path / "a", {"m.onnx": onnx_model(), "same.onnx": onnx_model(), "raw.bin": b"1"})
    after = side(tmp_path / "b", {"m.onnx": onnx_model(relus=2, seed=1), "same.onnx": onnx_model(), "raw.bin": b"2"})
    old, new = before.files["m.onnx"].manifest, after.files["m.onnx"].manifest
    assert wanted_facts(before, after) == {old.blake3: {old.other_hash}, new.blake3: {new.other_hash}}
    found = compare(before, after)
    assert wanted_streams(found, before, after) == {
        old.blake3: {line.hash for line in old.tensors},
        new.blake3: {line.hash for line in new.tensors},
    }


def test_without_other_bytes_there_is_structure_all_the_same(tmp_path: Path) -> None:
    sides = []
    for name, model in (("a", onnx_model()), ("b", onnx_model(relus=2))):
        (tmp_path / name).write_bytes(model)
        sides.append(Side(name, {"m.onnx": StoredFile(None, FileOnDisk(tmp_path / name, "m.onnx").manifest, "m.onnx")}))
    (file,) = compare(*sides).files
    assert (file.opaque, file.facts, file.tensors, file.same) == (True, (), (), 2)


HASHES = st.integers(0, 6).map(lambda n: Hash(f"{n:064x}"))
LINES = st.lists(
    st.builds(
        TensorLine,
        st.sampled_from(["F32", "BF16"]),
        st.sampled_from([(4,), (2, 2), ()]),
        HASHES,
        st.sampled_from([f"{stack}.{n}.{part}" for stack in ("h", "enc") for n in range(4) for part in ("w", "b_Q4")]),
    ),
    max_size=8,
    unique_by=lambda line: line.name,
)
FILES = st.dictionaries(
    st.sampled_from(["a.bin", "b.bin", "f/a.bin", "f/m-00001-of-00002.bin", "f/m-00002-of-00002.bin"]),
    st.builds(
        Manifest,
        format=st.sampled_from(["safetensors", "onnx", "raw"]),
        size=st.just(10**6),
        blake3=HASHES,
        other_hash=HASHES,
        other_size=st.just(10),
        tensors=LINES.map(tuple),
    ),
    max_size=4,
)


def made(name: str, files: dict[str, Manifest]) -> Side:
    # The hash of a file tells its content: what is drawn has to keep to that.
    fixed = {}
    for path, drawn in files.items():
        identity = Hash(f"{hash((drawn.format, drawn.other_hash, drawn.tensors)) & (2**64 - 1):064x}")
        fixed[path] = StoredFile(
            None, Manifest(drawn.format, drawn.size, identity, drawn.other_hash, drawn.other_size, drawn.tensors), path
        )
    return Side(name, fixed)


@given(FILES)
@settings(max_examples=50, deadline=None)
def test_nothing_differs_from_itself(files: dict[str, Manifest]) -> None:
    found = compare(made("x", files), made("y", files))
    assert (found.files, found.same_files, found.summary) == ((), len(files), "nothing changed")


@given(FILES, FILES)
@settings(max_examples=50, deadline=None)
def test_every_tensor_is_told_once_and_the_way_back_is_the_mirror(
    old: dict[str, Manifest], new: dict[str, Manifest]
) -> None:
    sides = made("x", old), made("y", new)
    found, back = compare(*sides), compare(*reversed(sides))
    changes = [change for file in found.files for change in file.tensors]
    for which, files in (("before", old), ("after", new)):
        told = Counter((ref.file, ref.name) for c in changes if (ref := getattr(c, which)) is not None)
        assert set(told.values()) <= {1}
        assert told.keys() <= {(path, line.name) for path, manifest in files.items() for line in manifest.tensors}
    assert found.summary
    assert found == compare(*sides)
    kinds = Counter((OPPOSITE.get(file.kind, file.kind)) for file in found.files)
    assert kinds == Counter(file.kind for file in back.files)
    total = {side.name: sum(len(f.manifest.tensors) for f in side.files.values()) for side in sides}
    assert sum(c.before is not None for c in changes) <= total["x"]
    assert sum(c.after is not None for c in changes) <= total["y"]
    for change in changes:
        if change.kind == "changed":
            assert change.before is not None
            assert change.after is not None
            assert change.before.hash != change.after.hash


LARGE = """
import hashlib, sys
from git_lepton.compare.sides import Side, StoredFile
from git_lepton.compare.structure import compare
from git_lepton.store.manifest import Manifest, TensorLine, parse

def digest(*of):
    return hashlib.sha256(repr(of).encode()).hexdigest()

def manifest(seed, part):
    lines = (
        TensorLine("BF16", (4096, 64), digest(n, seed if n % 3 == 0 else 0), f"model.layers.{n // 20}.{n % 20}.{part}")
        for n in range(20_000)
    )
    return parse(Manifest("safetensors", 10**10, digest(seed), digest(1, seed), 10**6, tuple(lines)).to_bytes())

def side(*of):
    return Side("x", {"m": StoredFile(None, manifest(*of), "m")})

renamed = compare(side(1, "up"), side(2, "down"))
print(len(renamed.files[0].tensors), renamed.summary)
print([m for m in ("numpy", "onnx", "pygit2", "zstandard.numpy") if m in sys.modules])
"""


def test_twenty_thousand_tensors_need_no_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "20000 all 1000 layers changed, renamed",
        "[]",
    ]
