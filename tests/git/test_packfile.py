from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_lepton import atomic
from git_lepton.errors import UsageError
from git_lepton.git import packfile, packtail
from git_lepton.git.objectid import BLOB_MODE, TreeEntry, encode_tree, hash_object
from git_lepton.git.packfile import (
    PackWriter,
    clean_stale,
    encode_object_header,
    store_zlib,
    stored_length,
    temporary_folder,
)
from git_lepton.git.repo import Repo, discover
from tests.support import git


@pytest.fixture(params=["sha1", "sha256"])
def any_repo(request: pytest.FixtureRequest, tmp_path: Path, env: dict[str, str]) -> Repo:
    git(tmp_path, "init", "-q", f"--object-format={request.param}", "r")
    return discover(tmp_path / "r")


def files(repo: Repo) -> list[str]:
    return sorted(p.name for p in (repo.object_dir / "pack").iterdir())


@given(st.lists(st.integers(0, 70000) | st.sampled_from([0, 65534, 65535, 65536, 131070]), max_size=5))
@settings(deadline=None, max_examples=50)
def test_stored_stream_is_zlib_with_full_blocks(sizes: list[int]) -> None:
    parts = [os.urandom(size) for size in sizes]
    total = sum(sizes)
    stream = bytearray(stored_length(total))
    store_zlib(parts, memoryview(stream))
    unpacker = zlib.decompressobj()
    assert unpacker.decompress(stream) == b"".join(parts)
    assert unpacker.eof
    assert not unpacker.unused_data
    assert len(stream) == 2 + total + 5 * max(1, -(-total // 65535)) + 4


def test_object_header() -> None:
    assert encode_object_header(3, 0) == b"\x30"
    assert encode_object_header(3, 15) == b"\x3f"
    assert encode_object_header(3, 16) == b"\xb0\x01"
    assert encode_object_header(2, 2**30) == b"\xa0\x80\x80\x80\x20"


@pytest.mark.parametrize("promise", [None, 7, 6, 100])
def test_what_goes_in_comes_out(any_repo: Repo, promise: int | None) -> None:
    repo = any_repo
    blobs = [b"", b"x", os.urandom(70000), b"text " * 5000]
    with PackWriter(repo, objects=promise) as writer:
        oids = [writer.add("blob", [b[:3], memoryview(b)[3:]], compress=n == 3) for n, b in enumerate(blobs)]
        assert writer.add("blob", [blobs[2]]) == oids[2]
        tree_bytes = encode_tree(TreeEntry(BLOB_MODE, b"%d" % n, oid) for n, oid in enumerate(oids))
        tree = writer.add("tree", [tree_bytes], compress=True)
        who = "git-lepton <> 0 +0000"
        text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\nm\n".encode()
        commit = writer.add("commit", [text])
        tag = writer.add("tag", [f"object {commit}\ntype commit\ntag t\ntagger {who}\n\nm\n".encode()])
        with writer.finish() as pack:
            assert pack.oids > {*oids, tree, commit, tag}
            assert len(pack.oids) == 8
            assert files(repo) == []
            pack.publish()
            assert files(repo) == sorted(pack.path(s).name for s in (".idx", ".keep", ".pack"))
            assert pack.path(".keep").read_text() == atomic.owner_token() + "\n"
            content = pack.path(".pack").read_bytes()
            assert pack.name == "pack-" + hashlib.new(repo.object_format, content[: -repo.oid_size]).hexdigest()
            assert content.endswith(bytes.fromhex(pack.name[5:]))
            assert pack.path(".pack").stat().st_mode & 0o777 == 0o444
    assert files(repo) == [f"{pack.name}.idx", f"{pack.name}.pack"]
    for oid, blob in zip(oids, blobs, strict=True):
        assert oid == hash_object("blob", [blob], repo.object_format)
        assert repo.git("cat-file", "blob", oid).stdout == blob
    repo.git("update-ref", "refs/tags/t", tag)
    repo.git("verify-pack", str(pack.path(".idx")))
    repo.git("fsck", "--full", "--strict")
    assert list(temporary_folder(repo).iterdir()) == []


def test_many_threads(repo: Repo) -> None:
    blobs = [os.urandom(3000) + bytes([n % 50]) for n in range(200)] * 2
    with PackWriter(repo, objects=200) as writer:
        with ThreadPoolExecutor(8) as pool:
            oids = list(pool.map(lambda blob: writer.add("blob", [blob]), blobs))
        with writer.finish() as pack:
            pack.publish()
    assert len(pack.oids) == 201
    repo.git("verify-pack", str(pack.path(".idx")))
    assert repo.git("cat-file", "blob", oids[-1]).stdout == blobs[-1]


def test_two_packs_of_the_same_objects_are_two_packs(repo: Repo) -> None:
    names = set()
    for _ in range(2):
        with PackWriter(repo) as writer:
            writer.add("blob", [b"same"])
            with writer.finish() as pack:
                pack.publish()
        names.add(pack.name)
    assert len(names) == 2


def test_nothing_is_left_of_what_was_given_up(repo: Repo) -> None:
    with pytest.raises(KeyError), PackWriter(repo, objects=5) as writer:
        writer.add("blob", [b"x"])
        raise KeyError
    writer.abandon()
    with PackWriter(repo) as writer:
        pack = writer.finish()
    with pytest.raises(UsageError):
        writer.finish()
    with pytest.raises(UsageError):
        writer.add("blob", [b"late"])
    pack.abandon()
    with pytest.raises(KeyError), PackWriter(repo) as writer, writer.finish() as pack:
        pack.publish()
        raise KeyError
    assert list(temporary_folder(repo).iterdir()) == []
    assert files(repo) == [f"{pack.name}.idx", f"{pack.name}.pack"]


def test_a_published_pack_survives_repack_and_gc_until_it_is_released(repo: Repo) -> None:
    with PackWriter(repo) as writer:
        oid = writer.add("blob", [b"unreachable"])
        pack = writer.finish()
        pack.publish()
        for command in (["repack", "-adq"], ["gc", "-q", "--prune=now"]):
            repo.git(*command)
            assert repo.git("cat-file", "-e", oid, check=False).status == 0
        pack.release()
        repo.git("gc", "-q", "--prune=now")
        assert repo.git("cat-file", "-e", oid, check=False).status != 0


def test_a_pack_in_the_making_survives_gc(repo: Repo) -> None:
    with PackWriter(repo) as writer:
        oid = writer.add("blob", [b"x"])
        repo.git("gc", "-q", "--prune=now")
        with writer.finish() as pack:
            repo.git("gc", "-q", "--prune=now")
            pack.publish()
            assert repo.git("cat-file", "blob", oid).stdout == b"x"


@pytest.mark.parametrize("suffix", [".pack", ".idx"])
def test_what_vanishes_while_it_is_published_is_put_back(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A repack may delete a pack that has no index yet, and gc an index whose pack it did not see."""
    real = atomic.fsync_dir
    gone: list[Path] = []

    def fsync_dir(path: Path) -> None:
        for victim in path.glob(f"pack-*{suffix}"):
            if not gone:
                gone.append(victim)
                victim.unlink()
        real(path)

    with PackWriter(repo) as writer:
        oid = writer.add("blob", [b"x" * 100000])
        with writer.finish() as pack:
            monkeypatch.setattr(atomic, "fsync_dir", fsync_dir)
            pack.publish()
    assert gone
    assert repo.git("cat-file", "blob", oid).stdout == b"x" * 100000
    repo.git("verify-pack", str(pack.path(".idx")))


def test_clean_stale_takes_what_killed_writers_left(repo: Repo) -> None:
    script = (
        "import os, sys, signal; from pathlib import Path\n"
        "from git_lepton.git.packfile import PackWriter; from git_lepton.git.repo import discover\n"
        "repo = discover(Path(sys.argv[1])); PackWriter(repo).finish().publish(); PackWriter(repo).finish()\n"
        "PackWriter(repo); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, str(repo.cwd)], check=False, cwd=root)
    ours = PackWriter(repo)
    (repo.object_dir / "pack/pack-of-somebody.keep").write_bytes(b"mine\xff")
    assert len(list(temporary_folder(repo).iterdir())) == 4
    removed = clean_stale(repo)
    assert sorted(p.suffix for p in removed) == [".index-part", ".keep", ".pack-part", ".pack-part"]
    assert clean_stale(repo) == []
    assert [n for n in files(repo) if n.endswith(".keep")] == ["pack-of-somebody.keep"]
    ours.abandon()


def test_objects_elsewhere(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quarantine of a push, or a work tree whose objects are on another disk."""
    (tmp_path / "else/objects").mkdir(parents=True)
    monkeypatch.chdir(repo.cwd)
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "else/objects"))
    here = discover()
    with PackWriter(here) as writer:
        oid = writer.add("blob", [b"x"])
        with writer.finish() as pack:
            pack.publish()
    assert pack.path(".pack").parent == tmp_path / "else/objects/pack"
    assert here.git("cat-file", "blob", oid).stdout == b"x"


@pytest.mark.parametrize("kernel", [True, False])
def test_objects_of_all_sizes_by_turns(repo: Repo, monkeypatch: pytest.MonkeyPatch, kernel: bool) -> None:
    """Nothing of one object is left in the next, which is laid out in the same memory or in some of its own."""
    monkeypatch.setattr(packtail, "_KEPT", 200_000)
    if not kernel:
        monkeypatch.setattr(packfile, "kernels", lambda: None)
    blobs = [os.urandom(size) for size in (150_000, 10, 199_999, 400_000, 0, 65_535, 131_072, 250_000)]
    with PackWriter(repo, objects=len(blobs)) as writer:
        with ThreadPoolExecutor(2) as pool:
            oids = list(pool.map(lambda blob: writer.add("blob", [blob[:7], blob[7:]]), blobs))
        with writer.finish() as pack:
            pack.publish()
    for oid, blob in zip(oids, blobs, strict=True):
        assert repo.git("cat-file", "blob", oid).stdout == blob
    repo.git("verify-pack", str(pack.path(".pack")))


def test_a_torn_pack_is_never_finished(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    with PackWriter(repo) as writer:
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space"):
                writer.add("blob", [b"x"])
        with pytest.raises(UsageError):
            writer.finish()
    assert list(temporary_folder(repo).iterdir()) == []
