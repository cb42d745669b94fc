"""The record of a merged model: judged before the merge is committed, with how it was merged."""

from __future__ import annotations

import numpy as np

from git_lepton.record.record import parse as parse_record
from git_lepton.store.manifest import parse
from tests.drivers.conftest import Work
from tests.drivers.gatekit import ATTRIBUTES, RECORD, SIZE_ONLY, holds, onnx_bytes, start

PATH = "models/m/m.onnx"
MERGING = SIZE_ONLY + b'\n[merge]\n"*" = { strategy = "average", weight = 0.25 }\n__frame__ = "ours"\n'


def with_bias_of(seed: int, noise: float) -> bytes:
    """A model whose weights are trained, and whose small constants are those of the first one."""
    import onnx

    model = onnx.load_from_string(onnx_bytes(seed, noise=noise))
    first = onnx.load_from_string(onnx_bytes())
    model.graph.initializer[1].CopyFrom(first.graph.initializer[1])
    return model.SerializeToString(deterministic=True)


def test_a_merge_is_judged_and_its_record_says_how_it_was_made(work: Work) -> None:
    start(work, MERGING)
    work.commit("merge", {".gitattributes": ATTRIBUTES.replace(b"diff=lepton", b"diff=lepton merge=lepton")})
    work.git("checkout", "-qb", "theirs")
    work.commit("theirs", {PATH: with_bias_of(1, 0.1)})
    work.git("checkout", "-q", "main")
    work.commit("ours", {PATH: with_bias_of(2, 0.1)})
    done = work.run("merge", "-m", "m", "theirs")
    assert done.returncode in {0, 1}, done.stderr
    if done.returncode:  # both sides wrote a record: git leaves it to the hook of the commit
        assert work.git("ls-files", "-u").split()[-1] == RECORD, done.stderr
        work.run("checkout", "--ours", "--", RECORD)
        work.git("add", RECORD)
        work.git("commit", "-qm", "m")
    manifest = parse(work.blob(PATH, "HEAD"))
    (note,) = parse_record(work.blob(RECORD, "HEAD")).origins.merged
    assert (note.path, note.blake3) == ("m.onnx", manifest.blake3)
    assert note.ours == parse(work.blob(PATH, "HEAD^1")).blake3
    assert note.theirs == parse(work.blob(PATH, "HEAD^2")).blake3
    assert note.base == parse(work.blob(PATH, "HEAD~2")).blake3
    assert dict(note.tensors) == {"average weight=0.25": 1}
    assert holds(work)
    shown = work.run("lepton", "provenance").stdout
    assert b"m.onnx merged of" in shown
    assert b"1 average weight=0.25" in shown
    work.commit("later", {"code.py": b"# nothing to do with it\n"})
    assert parse_record(work.blob(RECORD, "HEAD")).origins.merged == (note,)
    weights = [np.frombuffer(_weight(data), "<f4") for data in (with_bias_of(2, 0.1), with_bias_of(1, 0.1))]
    expected = (0.75 * weights[0].astype("f8") + 0.25 * weights[1].astype("f8")).astype("f4")
    np.testing.assert_array_equal(np.frombuffer(_weight(work.read(PATH)), "<f4"), expected)


def _weight(data: bytes) -> bytes:
    import onnx

    return bytes(onnx.load_from_string(data).graph.initializer[0].raw_data)
