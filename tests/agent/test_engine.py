"""From a moved channel to a served release, and back."""

from __future__ import annotations

import io
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from git_lepton.agent.events import Accepted, Fetched, Swapped
from git_lepton.agent.reading import parse
from git_lepton.agent.verify import ring_of
from git_lepton.errors import RaceLostError, UsageError
from tests.agent.world import World, files, one
from tests.support import git, model_bytes, weights

TOKENIZER = "tokenizer.json"


def test_a_promoted_release_is_served(world: World) -> None:
    world.release(1, "1.0.0")
    engine, seen = world.engine()
    assert one(engine).state == "idle"
    assert engine.poll()
    assert not seen.failures(), seen.events
    assert {p.name: p.read_bytes() for p in world.served().iterdir()} == files(1)
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o444 for p in world.served().iterdir())
    status = one(engine)
    assert (status.state, status.ready, status.desired_seq) == ("serving", True, 1)
    assert status.release is not None
    assert (status.release.version, status.release.by) == ("1.0.0", "ada@example.org")
    engine.close()


def test_only_what_is_missing_comes(serving: World) -> None:
    """One layer of a model with other code beside it: its chunks, the plain file, the record and the index."""
    big = {"model.safetensors": model_bytes(5, layers=8, rows=512), TOKENIZER: b"{}"}
    changed = {"model.safetensors": model_bytes(5, layers=8, rows=512, layer_3=77), TOKENIZER: b"{}"}
    serving.move(serving.commit(big), "2.0.0")
    engine, seen = serving.engine()
    engine.poll()
    (serving.top / "dev" / "other.bin").write_bytes(weights(8, 500_000))
    serving.move(serving.commit(changed), "3.0.0")
    before = _held(serving)
    engine.poll()
    assert (serving.served() / "model.safetensors").read_bytes() == changed["model.safetensors"]
    fetched = [e.bytes for e in seen.events if isinstance(e, Fetched)]
    layer = 512 * 64 * 4
    assert layer * 0.5 < fetched[-1] < layer + 10_000
    assert _held(serving) - before < layer + 20_000
    blobs = git(serving.top / "state" / "mirror.git", "cat-file", "--batch-all-objects", "--batch-check").splitlines()
    code = (
        git(serving.top / "dev", "rev-parse", "HEAD:train.py"),
        git(serving.top / "dev", "rev-parse", "HEAD:other.bin"),
    )
    assert not any(line.startswith(code) for line in blobs)
    engine.close()


def test_of_a_hundredth_that_changed_all_over_a_model_a_hundredth_comes(serving: World) -> None:
    """Whole chunks would be nearly everything; `python -m benchmarks.agent --large` has the figure for 1 GiB."""
    model = bytearray(model_bytes(5, layers=8, rows=4096))
    serving.move(serving.commit({"model.safetensors": bytes(model)}), "2.0.0")
    engine, seen = serving.engine()
    engine.poll()
    for layer in range(8):
        at, piece = len(model) * layer // 8 + 100_000, weights(layer, len(model) // 3200)
        model[at : at + len(piece)] = piece
    serving.move(serving.commit({"model.safetensors": bytes(model)}), "3.0.0")
    engine.poll()
    assert (serving.served() / "model.safetensors").read_bytes() == model
    fetched = [e.bytes for e in seen.events if isinstance(e, Fetched)]
    assert fetched[-1] < len(model) * 0.02
    engine.close()


def _held(world: World) -> int:
    packs = (world.top / "state" / "mirror.git" / "objects").rglob("*")
    return sum(path.stat().st_size for path in packs if path.is_file())


def test_a_release_that_differs_in_a_plain_file_alone_moves(serving: World) -> None:
    shards = {f"model-{n}-of-3.safetensors": model_bytes(n, layers=1, rows=16) for n in (1, 2, 3)}
    plain = {TOKENIZER: b'{"v": 1}', "config.json": b"{}", "sub/vocab.txt": b"a\nb\n"}
    serving.move(serving.commit({**shards, **plain}, main="."), "2.0.0")
    engine, seen = serving.engine()
    engine.poll()
    first = serving.served()
    assert {p.relative_to(first).as_posix(): p.read_bytes() for p in first.rglob("*") if p.is_file()} == shards | plain
    (serving.top / "dev" / "models" / "digits" / TOKENIZER).write_bytes(b'{"v": 2}')
    serving.move(serving.commit({**shards, **plain, TOKENIZER: b'{"v": 2}'}, main="."), "2.0.1")
    engine.poll()
    assert serving.tokenizer() == b'{"v": 2}'
    assert serving.served() != first
    assert not seen.failures()
    engine.close()


def test_a_variant_is_chosen_by_the_channel_or_by_the_agent(serving: World) -> None:
    small = {"model.safetensors": model_bytes(9, layers=1, rows=8)}
    serving.move(serving.commit(files(2), variant=small), "2.0.0", variant="int8")
    engine, _ = serving.engine()
    engine.poll()
    assert (serving.served() / "model.safetensors").read_bytes() == small["model.safetensors"]
    engine.close()
    engine, _ = serving.engine(extra='variant = { default = "original", s390x = "int8" }')
    engine.poll()
    assert (serving.served() / "model.safetensors").read_bytes() == files(2)["model.safetensors"]
    engine.close()


def test_rollback_by_hand_needs_no_network_and_lasts(serving: World) -> None:
    serving.release(2, "2.0.0")
    engine, seen = serving.engine()
    engine.poll()
    serving.remote.rename(serving.top / "gone")
    engine.follower("digits").rollback()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    (serving.top / "gone").rename(serving.remote)
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER], "it stays until the channel moves on"
    assert not one(engine).ready
    with pytest.raises(UsageError, match="no earlier release"):
        engine.follower("digits").rollback()
    engine.follower("digits").retry()
    engine.poll()
    assert serving.tokenizer() == files(2)[TOKENIZER]
    assert [s.trigger for s in seen.swaps()] == ["promote", "manual", "promote"]
    engine.close()


def test_suspended_models_are_left_alone(serving: World) -> None:
    engine, _ = serving.engine()
    engine.follower("digits").suspend(True)
    serving.release(2, "2.0.0")
    engine.close()
    engine, _ = serving.engine()
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine.follower("digits").suspend(False)
    engine.poll()
    assert serving.tokenizer() == files(2)[TOKENIZER]
    engine.close()


def test_a_halt_keeps_what_is_there(serving: World) -> None:
    engine, seen = serving.engine()
    serving.move(serving.commit(files(2)), "2.0.0", action="halt")
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    assert one(engine).ready
    assert not seen.refusals()
    assert [e.halted for e in seen.events if isinstance(e, Accepted)] == [True]
    serving.release(3, "3.0.0")
    engine.poll()
    assert serving.tokenizer() == files(3)[TOKENIZER]
    engine.close()


def test_outside_the_ring_the_newest_move_for_us_is_kept(serving: World) -> None:
    place = ring_of("a1", "digits", "prod")
    assert 0 < place < 99
    serving.release(2, "2.0.0")
    serving.release(3, "3.0.0", ring=place)  # the first `place` percent are those below our place
    engine, seen = serving.engine()
    engine.poll()
    assert serving.tokenizer() == files(2)[TOKENIZER], "2.0.0 was missed meanwhile, and is for all"
    assert one(engine).ready
    serving.release(4, "4.0.0", ring=place + 1)
    engine.poll()
    assert serving.tokenizer() == files(4)[TOKENIZER]
    assert not seen.refusals()
    assert one(engine).desired_seq == 4
    engine.close()


def test_a_release_whose_files_were_deleted_is_made_again(serving: World) -> None:
    serving.remote.rename(serving.top / "gone")
    engine, seen = serving.engine()
    (serving.served() / "model.safetensors").unlink()
    assert not engine.poll(), "the remote is not needed for this"
    assert (serving.served() / "model.safetensors").read_bytes() == files(1)["model.safetensors"]
    (serving.top / "srv" / "digits" / "current").unlink()
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    engine.poll()
    assert [swap.trigger for swap in seen.swaps()] == ["repair", "repair"]
    engine.close()


def test_a_damaged_memory_is_told_with_what_to_do_and_what_serves_goes_on(serving: World) -> None:
    memory = serving.top / "state" / "models" / "digits" / "memory.json"
    memory.write_bytes(b"{")
    engine, _ = serving.engine()
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    assert "git lepton agent reset-floor digits" in one(engine).problem
    assert not one(engine).ready
    engine.follower("digits").reset_floor()
    engine.poll()
    assert one(engine).ready
    assert memory.with_suffix(".damaged").exists()
    engine.close()


def test_with_the_mirror_lost_it_is_fetched_again(serving: World) -> None:
    import shutil

    shutil.rmtree(serving.top / "state" / "mirror.git")
    shutil.rmtree(serving.served())
    engine, seen = serving.engine()
    assert seen.failures()
    engine.poll()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    assert one(engine).ready
    engine.close()


def test_one_bad_model_stops_no_other(world: World) -> None:
    names = ("a", "b", "c", "d", "e")
    for name in names:
        at = world.commit(files(3), model=name, verdict="fail" if name == "b" else "pass")
        world.move(at, "1.0.0")
    memory = world.top / "state" / "models" / "d" / "memory.json"
    memory.parent.mkdir(parents=True)
    memory.write_bytes(b'{"format": 1, "floor": -')
    engine, seen = world.engine(models=names)
    engine.poll()
    assert {m.name for m in engine.status().models if m.ready} == {"a", "c", "e"}
    assert "verdict" in seen.refusals()
    with pytest.raises(RaceLostError):
        world.engine(models=names)
    engine.follower("d").reset_floor()
    engine.poll()
    assert {m.name for m in engine.status().models if m.ready} == {"a", "c", "d", "e"}
    engine.close()


def test_the_same_bundle_again_swaps_nothing(serving: World) -> None:
    engine, seen = serving.engine()
    before = serving.served().stat().st_ino
    serving.release(1, "1.0.1")
    engine.poll()
    assert serving.served().stat().st_ino == before
    assert one(engine).ready
    assert [s.release.version for s in seen.swaps()] == ["1.0.1"]
    engine.close()


def test_old_releases_go(serving: World) -> None:
    engine, _ = serving.engine(extra="keep = 2")
    for seed in (2, 3):
        serving.release(seed, f"{seed}.0.0")
        engine.poll()
    assert len(list((serving.top / "srv" / "digits" / "releases").iterdir())) == 2
    assert not list((serving.top / "srv" / "digits" / ".staging").iterdir())
    engine.close()


def test_a_mirror_of_many_packs_is_made_anew(serving: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("git_lepton.agent.mirror.MANY_PACKS", 0)
    engine, seen = serving.engine()
    serving.release(2, "2.0.0")
    engine.poll()
    packs = list((serving.top / "state" / "mirror.git" / "objects" / "pack").glob("*.pack"))
    assert len(packs) < 8
    assert git(serving.top / "state" / "mirror.git", "for-each-ref", "refs/lepton-agent") == ""
    engine.close()
    (serving.served() / TOKENIZER).unlink()
    (serving.served() / "model.safetensors").unlink()
    serving.remote.rename(serving.top / "gone")
    engine, seen = serving.engine()
    assert serving.tokenizer() == files(2)[TOKENIZER]
    assert not seen.failures()
    engine.close()


def _swap_under_readers(world: World, count: int) -> tuple[int, list[str]]:
    """Swap between two releases while readers open all files of one; returns how often they did, and what was torn."""
    world.release(2, "2.0.0")
    engine, _ = world.engine()
    engine.poll()
    follower = engine.follower("digits")
    torn: list[str] = []
    reads = 0
    over = threading.Event()
    pairs = {files(seed)[TOKENIZER]: files(seed)["model.safetensors"] for seed in (1, 2)}

    def read() -> None:
        nonlocal reads
        while not over.is_set():
            try:
                folder = world.served()
                if pairs[(folder / TOKENIZER).read_bytes()] != (folder / "model.safetensors").read_bytes():
                    torn.append("torn")
            except (OSError, KeyError) as error:
                torn.append(repr(error))
            reads += 1

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        (other,) = follower.memory.kept
        follower._put(other, "promote", time.monotonic())
    over.set()
    for thread in threads:
        thread.join()
    assert len([e for e in (engine.status().models) if e.ready]) <= 1
    engine.close()
    return reads, torn


def test_readers_never_see_half_a_swap(serving: World) -> None:
    reads, torn = _swap_under_readers(serving, 50)
    assert reads > 50
    assert torn == []


@pytest.mark.slow
def test_readers_never_see_half_of_a_thousand_swaps(serving: World) -> None:
    reads, torn = _swap_under_readers(serving, 1000)
    assert reads > 1000
    assert torn == []


def test_a_golden_file_decides(serving: World, tmp_path: Path) -> None:
    """Answers within tolerance pass, as those of another processor are; others do not."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    def model(scale: float) -> bytes:
        w = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [scale, 0.0, 0.0, 1.0])
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
            [w],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return bytes(made.SerializeToString())

    x = np.array([[1, 2], [5, 3]], dtype=np.float32)
    (y,) = onnxruntime.InferenceSession(model(1.0)).run(None, {"x": x})
    stream = io.BytesIO()
    np.savez(stream, **{"input:x": x, "rows": np.array(2), "judged": np.array("y"), "output:": y})
    engine, seen = serving.engine()
    for scale, version, works in ((1.0, "2.0.0", True), (1.0002, "2.0.1", True), (0.1, "2.0.2", False)):
        serving.move(serving.commit({"model.onnx": model(scale)}, main="model.onnx", golden=stream.getvalue()), version)
        engine.poll()
        release = one(engine).release
        assert release is not None
        assert (release.version == version) == works, seen.events[-3:]
    assert seen.failures() == ["warmup"]
    assert "predictions changed" in one(engine).problem
    engine.close()


def test_settings_have_defaults_and_good_errors() -> None:
    text = b'remote = "/r"\nstate = "/s"\ntrust = "none"\n[model.a]\nchannel = "prod"\nfolder = "/f"\n'
    follow = parse(text).follows["a"]
    assert (follow.model, follow.keep, follow.record, follow.watch) == ("a", 3, "required", None)
    for old, new, message in (
        (b"folder", b"foldr", "agent.toml:6: unknown key model.a.foldr .did you mean folder"),
        (b'"/f"', b'"f"', "agent.toml:6: model.a.folder must be an absolute path"),
        (b'"prod"', b'"v1"', "agent.toml:5: model.a.channel reads like a version"),
        (b'"none"', b'"some"', 'agent.toml:3: trust must be "signed" or "none"'),
        (b'"/f"\n', b'"/f"\n[model.a.watch]\nurl="http://x"\nmin=1\n', "watch has min or max"),
        (b'"/f"\n', b'"/f"\n[model.a.notify]\nsignal="HUP"\n', "signal needs pid or pidfile"),
        (b'"/f"\n', b'"/f"\nkeep=1\n', "keep must be a whole number"),
        (b"[model.a]", b'[model.b]\nchannel="x"\nfolder="/f"\n[model.a]', "folder is that of b, too"),
        (b"[model.a]", b'[model.b]\nchannel="x"\nfolder="/f/releases"\n[model.a]', "and that of b lie in one another"),
        (b"[model.a]", b'[model.b]\nchannel="x"\nfolder="/"\n[model.a]', "and that of b lie in one another"),
    ):
        with pytest.raises(UsageError, match=message):
            parse(text.replace(old, new))


def test_swapped_tells_how_long_it_took(serving: World) -> None:
    engine, seen = serving.engine()
    serving.release(2, "2.0.0")
    engine.poll()
    (swap,) = (e for e in seen.events if isinstance(e, Swapped))
    assert replace(swap.release, since=0.0) == replace(one(engine).release, since=0.0)  # type: ignore[type-var]
    assert 0 < swap.seconds < 60
    engine.close()


@pytest.mark.parametrize("now", [1.0, 4e9], ids=["1970", "2096"])
def test_a_clock_that_jumps_changes_nothing(serving: World, monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    engine, seen = serving.engine()
    serving.release(2, "2.0.0")
    monkeypatch.setattr(time, "time", lambda: now)
    engine.poll()
    assert serving.tokenizer() == files(2)[TOKENIZER]
    assert one(engine).ready
    engine.close()
    engine, seen = serving.engine()
    assert not seen.failures()
    engine.close()


def test_what_a_killed_git_left_in_the_mirror_goes(serving: World) -> None:
    left = serving.top / "state" / "mirror.git" / "objects" / "pack" / "tmp_pack_Xy12"
    left.write_bytes(b"half of a model")
    engine, _ = serving.engine()
    engine.poll()
    engine.close()
    assert not left.exists()


def test_a_mirror_that_was_about_to_be_replaced_is_found(serving: World) -> None:
    state = serving.top / "state"
    (state / "mirror.git").rename(state / "mirror.old")
    (serving.served() / TOKENIZER).unlink()
    serving.remote.rename(serving.top / "gone")
    engine, seen = serving.engine()
    assert serving.tokenizer() == files(1)[TOKENIZER]
    assert [s.trigger for s in seen.swaps()] == ["repair"]
    engine.close()
