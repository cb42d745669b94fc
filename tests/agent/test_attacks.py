"""Every way to make an agent serve what nobody released (the classes of docs/agent.md, "Security"), tried for real."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from git_lepton.agent.releases import _Capped
from git_lepton.errors import CorruptError
from git_lepton.git.objects import open_reader
from git_lepton.record.bundle import BundleFile
from git_lepton.record.record import path_of, to_text
from git_lepton.release.channels import mirrored, refresh
from git_lepton.values import Hash, Oid
from tests.agent.world import Start, World, files, one, put_tag, still_old
from tests.support import git


def test_a01_moved_without_an_allowed_key(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.sign_as(serving.key("eve", allowed=False))
    serving.release(2, "2.0.0")
    still_old(serving, engine, seen, "signer")


def test_a01_moved_by_a_signer_of_another_channel(serving: World, start: Start) -> None:
    engine, seen = start(extra='principals = ["ada@example.org"]')
    serving.sign_as(serving.key("bob"))
    serving.release(2, "2.0.0")
    still_old(serving, engine, seen, "signer")


def test_a02_unsigned(serving: World, start: Start) -> None:
    engine, seen = start()
    git(serving.top / "dev", "config", "tag.gpgSign", "false")
    serving.release(2, "2.0.0", sign=False)
    still_old(serving, engine, seen, "unsigned")


def test_a02_lightweight(serving: World, start: Start) -> None:
    engine, seen = start()
    commit, _ = serving.commit(files(2))
    put_tag(serving, commit)
    still_old(serving, engine, seen, "type")


def test_a02_signed_but_no_move(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.commit(files(2))
    git(serving.top / "dev", "tag", "-f", "-s", "-m", "ship it", "digits@prod")
    git(serving.top / "dev", "push", "-q", "-f", "origin", "digits@prod")
    still_old(serving, engine, seen, "type")


def test_a03_tag_of_another_channel_under_this_ref(serving: World, start: Start) -> None:
    engine, seen = start()
    moved = serving.release(2, "2.0.0", channel="staging")
    put_tag(serving, moved.tag_oid)
    still_old(serving, engine, seen, "name")


def test_a04_older_tag_of_the_same_channel(serving: World, start: Start) -> None:
    engine, seen = start()
    old = git(serving.remote, "rev-parse", "refs/tags/digits@prod")
    serving.release(1, "1.0.1")
    engine.poll()
    put_tag(serving, old)
    still_old(serving, engine, seen, "replay")
    # The floor is on the disk: a new process is not fooled either.
    engine.close()
    again, seen = serving.engine()
    still_old(serving, again, seen, "replay")
    again.close()


def test_a04_two_moves_of_one_number(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.release(2, "2.0.0", seq=1)
    still_old(serving, engine, seen, "equivocation")


def test_a05_a_rollback_is_no_replay(serving: World, start: Start) -> None:
    engine, seen = start()
    second = serving.commit(files(2))
    serving.move(second, "2.0.0")
    engine.poll()
    assert serving.tokenizer() == files(2)["tokenizer.json"]
    serving.release(1, "1.0.0", action="rollback")
    engine.poll()
    assert serving.tokenizer() == files(1)["tokenizer.json"]
    assert [(s.trigger, s.release.seq) for s in seen.swaps()] == [("promote", 2), ("rollback", 3)]
    assert seen.refusals() == []


def test_a06_a_number_far_ahead_locks_nobody_out(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.release(2, "2.0.0", seq=5000)
    still_old(serving, engine, seen, "jump")
    engine.follower("digits").reset_floor()
    engine.poll()
    assert one(engine).desired_seq == 5000


def test_a07_an_expired_move(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.release(2, "2.0.0", expires="2020-01-01T00:00:00Z")
    still_old(serving, engine, seen, "expired")


def test_a07_freeze_is_noticed(serving: World, start: Start) -> None:
    engine, seen = start()
    engine.poll()
    success = engine.last_success
    serving.remote.rename(serving.top / "gone")
    assert not engine.poll()
    assert seen.polls_failed() == ["unreachable"]
    assert engine.last_success == success
    assert serving.tokenizer() == files(1)["tokenizer.json"]
    (serving.top / "gone").rename(serving.remote)
    # A remote that answers for ever what it once had: a move that has expired meanwhile is told of.
    follower = engine.follower("digits")
    follower.memory = replace(follower.memory, expires=1.0)
    still_old(serving, engine, seen, "expired")


def test_a08_a_deleted_channel_undeploys_nothing(serving: World, start: Start) -> None:
    engine, seen = start()
    git(serving.remote, "update-ref", "-d", "refs/tags/digits@prod")
    engine.poll()
    assert seen.polls_failed() == ["absent"]
    assert serving.tokenizer() == files(1)["tokenizer.json"]
    assert one(engine).release is not None


def test_a09_bundle_of_one_version_with_the_record_of_another(serving: World, start: Start) -> None:
    engine, seen = start()
    _, other = serving.commit(files(3))
    serving.move(serving.commit(files(2)), "2.0.0", bundle=other.bundle)
    still_old(serving, engine, seen, "bundle")


def test_a09_record_is_not_the_one_signed(serving: World, start: Start) -> None:
    engine, seen = start()
    _, old = serving.commit(files(1))
    serving.move(serving.commit(files(2)), "2.0.0", record=Hash(blake3(to_text(old)).hexdigest()))
    still_old(serving, engine, seen, "record")


def test_a09_files_are_not_those_of_the_record(serving: World, start: Start) -> None:
    engine, seen = start()
    _, honest = serving.commit(files(2))
    serving.move(serving.commit({**files(2), "tokenizer.json": b"{}"}, edit=honest), "2.0.0", record=_hash(honest))
    still_old(serving, engine, seen, "bundle")


def _hash(record: object) -> Hash:
    return Hash(blake3(to_text(record)).hexdigest())  # type: ignore[arg-type]


def test_a10_a_version_whose_ref_holds_another(serving: World, start: Start) -> None:
    engine, seen = start()
    at = serving.commit(files(2))
    digest = next(f.blake3 for f in at[1].files if f.path == "model.safetensors")
    for kind in ("models", "index"):
        other = git(serving.remote, "for-each-ref", "--format=%(objectname) %(refname)", f"refs/lepton/{kind}")
        oid = next(line.split()[0] for line in other.splitlines() if digest not in line)
        git(serving.remote, "update-ref", f"refs/lepton/{kind}/{digest}", oid)
    serving.move(at, "2.0.0")
    engine.poll()
    assert seen.failures() == ["fetch"]
    assert serving.tokenizer() == files(1)["tokenizer.json"]


def test_a10_bit_rot_is_repaired_at_the_next_start(serving: World, start: Start) -> None:
    engine, seen = start()
    path = serving.served() / "model.safetensors"
    whole = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    engine.close()
    serving.remote.rename(serving.top / "gone")  # no network is needed
    again, seen = serving.engine()
    assert path.read_bytes() == whole
    assert [s.trigger for s in seen.swaps()] == ["repair"]
    again.close()


def test_a11_paths_that_lead_out(serving: World, start: Start) -> None:
    engine, seen = start()
    _, honest = serving.commit(files(2))
    text = to_text(honest).replace(b"tokenizer.json", b"../tokenizer.json")
    path = serving.top / "dev" / path_of("digits")
    path.write_bytes(text)
    git(serving.top / "dev", "commit", "-qam", "evil")
    git(serving.top / "dev", "push", "-q", "origin", "HEAD:main")
    commit = Oid(git(serving.top / "dev", "rev-parse", "HEAD"))
    serving.move((commit, honest), "2.0.0", record=Hash(blake3(text).hexdigest()))
    still_old(serving, engine, seen, "record")
    assert not (serving.top / "srv" / "digits" / "releases" / "tokenizer.json").exists()


def test_a11_paths_that_are_one_on_other_systems(serving: World, start: Start) -> None:
    engine, seen = start()
    serving.move(serving.commit({**files(2), "Vocab.txt": b"1", "vocab.txt": b"2"}), "2.0.0")
    still_old(serving, engine, seen, "path")


def test_a12_a_link_in_the_tree(serving: World, start: Start) -> None:
    engine, seen = start()
    _, honest = serving.commit(files(2))
    path = serving.top / "dev" / "models" / "digits" / "tokenizer.json"
    path.unlink()
    path.symlink_to("/etc/passwd")
    git(serving.top / "dev", "add", "-A")
    git(serving.top / "dev", "commit", "-qm", "evil")
    git(serving.top / "dev", "push", "-q", "origin", "HEAD:main")
    commit = Oid(git(serving.top / "dev", "rev-parse", "HEAD"))
    serving.move((commit, honest), "2.0.0")
    still_old(serving, engine, seen, "path")


def test_a13_more_than_may_be_kept(serving: World, start: Start) -> None:
    engine, seen = start(extra='max_bytes = "20 kB"')
    serving.move(serving.commit({**files(2), "big.bin": bytes(30_000)}), "2.0.0")
    still_old(serving, engine, seen, "size")
    held = git(serving.top / "state" / "mirror.git", "count-objects", "-v")
    assert int(held.split("size-pack: ")[1].split()[0]) < 40


def test_a13_a_tag_larger_than_any_is_not_read(serving: World, start: Start) -> None:
    engine, seen = start()
    git(serving.top / "dev", "tag", "-f", "-a", "-F", "-", "digits@prod", data=b"why\n" * (1 << 19))
    git(serving.top / "dev", "push", "-q", "-f", "origin", "digits@prod")
    still_old(serving, engine, seen, "malformed")
    refresh(serving.repo, "origin")
    (channel,) = mirrored(serving.repo, open_reader(serving.repo), "origin")
    assert "more than 1048576 bytes" in channel.flaw


def test_a13_no_more_is_written_than_was_signed(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    out = _Capped(fd, BundleFile("f", 0o100644, 5, Hash("0" * 64)))
    out.write(memoryview(b"abcd"))
    with pytest.raises(CorruptError, match="more than its 5 bytes"):
        out.write(memoryview(bytes(1 << 20)))
    assert os.fstat(fd).st_size == 4
    os.close(fd)
