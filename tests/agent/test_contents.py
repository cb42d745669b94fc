"""The attacks of test_attacks.py go on: code in files, hostile models, configuration, keys and sockets."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_lepton.agent.control import SOCKET, ControlServer, ask
from git_lepton.agent.events import Refused
from git_lepton.agent.journal import Journal
from git_lepton.agent.reading import parse
from git_lepton.errors import UsageError
from tests.agent.world import Start, World, files, one, still_old
from tests.support import git, model_bytes


def _archive(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


def _objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"weights": [1.0]}),
        _archive("archive/data.pkl", pickle.dumps([1])),
        _archive("x.npy", _objects()),
        _objects(),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        b"cos\nsystem\n(S'true'\ntR.",
    ],
    ids=["pickle", "torch", "npz", "npy", "hdf5", "old pickle"],
)
def test_a14_code_under_any_name(world: World, tmp_path: Path, data: bytes) -> None:
    world.move(world.commit({**files(2), "weights.safetensors": data}), "2.0.0")
    engine, seen = world.engine(extra="warmup = { enabled = false }")
    engine.poll()
    assert seen.refusals() == ["format"]
    assert not (world.top / "srv" / "digits" / "current").exists()
    engine.close()


def test_a14_unless_it_is_allowed(world: World) -> None:
    world.move(world.commit({**files(2), "head.pt": pickle.dumps([1])}), "2.0.0")
    engine, _ = world.engine(extra="allow_pickle = true")
    engine.poll()
    assert (world.served() / "head.pt").read_bytes() == pickle.dumps([1])
    engine.close()


def graph(*nodes: Any, initializers: Sequence[Any] = ()) -> bytes:
    """A small ONNX model from x[N,2] to y."""
    from onnx import TensorProto, helper

    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(initializers),
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opset, ir_version=9).SerializeToString())


def test_a15_external_data_outside_the_release(serving: World, start: Start) -> None:
    from onnx import StringStringEntryProto, TensorProto, helper

    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    weights.external_data.append(StringStringEntryProto(key="location", value="../../../key-ada"))
    data = graph(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(weights,))
    engine, seen = start()
    serving.move(serving.commit({"model.onnx": data}, main="model.onnx"), "2.0.0")
    still_old(serving, engine, seen, "path")


def test_a16_a_model_that_takes_all_memory(serving: World, start: Start) -> None:
    from onnx import TensorProto, helper

    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1 << 22, 1 << 12])
    bomb = graph(
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
        initializers=(shape,),
    )
    engine, seen = start()
    serving.move(serving.commit({"model.onnx": bomb}, main="model.onnx"), "2.0.0")
    engine.poll()
    assert seen.failures() == ["warmup"]
    assert serving.tokenizer() == files(1)["tokenizer.json"]
    engine.poll()
    assert seen.failures() == ["warmup"], "it is not tried again"


def test_a16_a_model_that_never_answers(serving: World, start: Start) -> None:
    engine, seen = start()
    engine.close()
    serving.release(2, "2.0.0")
    again, seen = serving.engine(extra='warmup = { command = ["sleep", "60"], timeout = 0.3 }')
    again.poll()
    assert seen.failures() == ["warmup"]
    assert serving.tokenizer() == files(1)["tokenizer.json"]
    again.close()


@pytest.mark.parametrize(
    "remote", ["ext::sh -c touch% /tmp/x", "--upload-pack=touch x", "-oProxyCommand=x", "fd::7", "file::x"]
)
def test_a17_addresses_that_are_commands(world: World, remote: str) -> None:
    with pytest.raises(UsageError, match=r"agent.toml:1: remote must be"):
        parse(world.settings(remote=remote))


def test_a17_nothing_of_a_repository_runs(serving: World, start: Start) -> None:
    engine, _ = start()
    mirror = serving.top / "state" / "mirror.git"
    (mirror / "hooks").mkdir(exist_ok=True)
    for hook in ("reference-transaction", "post-checkout", "pre-auto-gc"):
        (mirror / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {serving.top}/ran\n")
        (mirror / "hooks" / hook).chmod(0o755)
    (mirror / "objects" / "info").mkdir(exist_ok=True)
    (mirror / "objects" / "info" / "alternates").write_text(str(serving.top / "elsewhere"))
    git(serving.top / "dev", "config", "-f", ".gitmodules", "submodule.x.url", "ext::touch ran")
    engine.close()
    serving.release(2, "2.0.0")
    again, _ = serving.engine()
    again.poll()
    assert serving.tokenizer() == files(2)["tokenizer.json"]
    assert not (serving.top / "ran").exists()
    assert not (mirror / "objects" / "info" / "alternates").exists()
    again.close()


def test_a18_configuration_cannot_name_other_signers(serving: World, start: Start) -> None:
    engine, seen = start()
    eve = serving.key("eve", allowed=False)
    public = eve.with_suffix(".pub").read_text()
    (serving.top / "evil").write_text(f"ada@example.org {public}")
    for scope in (["config", "--global"], ["-C", str(serving.top / "state" / "mirror.git"), "config"]):
        git(serving.top, *scope, "gpg.ssh.allowedSignersFile", str(serving.top / "evil"))
    serving.sign_as(eve)
    serving.release(2, "2.0.0")
    still_old(serving, engine, seen, "signer")


def test_a19_what_was_verified_is_what_is_used(serving: World, start: Start) -> None:
    engine, _ = start()
    asked = serving.release(2, "2.0.0")
    newer = serving.release(3, "3.0.0")
    engine.follower("digits").consider(asked.tag_oid)  # the remote moved on after it was asked
    release = one(engine).release
    assert release is not None
    assert (release.tag, release.version) == (newer.tag_oid, "3.0.0")
    assert serving.tokenizer() == files(3)["tokenizer.json"]


def test_a20_a_revoked_key(serving: World, start: Start) -> None:
    engine, seen = start()
    engine.close()
    (serving.top / "revoked").write_text(serving.key("ada", allowed=False).with_suffix(".pub").read_text())
    again, seen = serving.engine(top=f'revoked_keys = "{serving.top / "revoked"}"')
    serving.release(2, "2.0.0")
    still_old(serving, again, seen, "signer")
    again.close()


def test_a20_a_key_that_is_no_longer_valid(serving: World, start: Start) -> None:
    engine, seen = start()
    text = serving.signers.read_text().replace("namespaces", 'valid-before="20200101",namespaces')
    serving.signers.write_text(text)
    serving.release(2, "2.0.0")
    still_old(serving, engine, seen, "signer")


def test_a21_names_and_messages_cannot_disturb_a_log() -> None:
    with pytest.raises(UsageError):
        parse(b'remote = "/r"\nstate = "/s"\ntrust = "none"\n[model."a\\nb"]\nchannel = "x"\nfolder = "/f"\n')
    stream = io.StringIO()
    Journal(stream).notice(Refused("digits", "name", "evil\x1b[2J\nfake: all is well", 1))
    assert stream.getvalue() == "digits: refused (name): evil\\x1b[2J\\nfake: all is well\n"


def test_a22_a_failed_gate(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.move(serving.commit(files(2), verdict="fail"), "2.0.0")
    still_old(serving, engine, seen, "verdict")


def test_a22_no_record(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.move(serving.commit(files(2)), "2.0.0", record=None)
    still_old(serving, engine, seen, "record")


def test_a23_ids_of_git_bind_nothing(serving: World, start: Start) -> None:
    """A blob with the right id and other bytes (a collision, or a mirror that was written to) is not served."""
    engine, seen = start()
    at = serving.commit(files(2))
    blob = git(serving.top / "dev", "rev-parse", "HEAD:models/digits/tokenizer.json")
    loose = serving.remote / "objects" / blob[:2] / blob[2:]
    other = git(serving.top / "dev", "hash-object", "-w", "--stdin", data=b'{"seed": 6}\n')
    forged = (serving.top / "dev" / ".git" / "objects" / other[:2] / other[2:]).read_bytes()
    serving.move(at, "2.0.0")
    mirror = serving.top / "state" / "mirror.git" / "objects" / blob[:2] / blob[2:]
    mirror.parent.mkdir(exist_ok=True)
    mirror.write_bytes(forged)
    if loose.exists():
        loose.chmod(0o600)
        loose.write_bytes(forged)
    engine.poll()
    assert seen.failures()
    assert serving.tokenizer() == files(1)["tokenizer.json"]


def test_a24_the_socket_is_its_owners(tmp_path: Path) -> None:
    done: list[object] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        done.append(request)
        return {"ok": True}

    server = ControlServer(tmp_path, handle)
    server.start()
    assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
    assert ask(tmp_path, {"do": "status"}) == {"ok": True}
    for nonsense in (b"\n", b"[]\n", b"{\n", b"[" * 100_000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as client:
            here = os.open(tmp_path, os.O_RDONLY)
            client.connect(f"/proc/self/fd/{here}/{SOCKET}")
            os.close(here)
            client.sendall(nonsense)
            assert "error" in json.loads(client.recv(1000))
    assert len(done) == 1
    server.close()
    assert ask(tmp_path, {"do": "status"}) is None


def test_trust_none_must_be_said(world: World) -> None:
    with pytest.raises(UsageError, match="allowed_signers is missing"):
        parse(b'remote = "/r"\nstate = "/s"\n[model.a]\nchannel = "prod"\nfolder = "/f"\n')


def test_plain_tags_are_followed_only_where_nobody_signs(world: World) -> None:
    (world.top / "dev" / "lepton.toml").write_text(
        '[model.digits]\nroot = "models/digits"\nfiles = ["**"]\nmain = "model.safetensors"\n'
    )
    world.commit(files(1), record=False)
    dev = world.top / "dev"
    git(dev, "tag", "--no-sign", "digits@prod")
    git(dev, "push", "-q", "origin", "digits@prod")
    engine, seen = world.engine(trust="none")
    engine.poll()
    assert world.tokenizer() == files(1)["tokenizer.json"]
    assert [s.trigger for s in seen.swaps()] == ["tag"]
    world.commit(files(2))
    git(dev, "tag", "--no-sign", "-f", "-a", "-m", "ship", "digits@prod")
    git(dev, "push", "-q", "-f", "origin", "digits@prod")
    engine.poll()
    assert world.tokenizer() == files(2)["tokenizer.json"]
    assert (world.served() / "model.safetensors").read_bytes() == model_bytes(2, layers=2, rows=16)
    engine.close()
