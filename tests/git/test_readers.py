"""One suite for every `ObjectReader`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from git_lepton.errors import CorruptError, MissingError, UsageError
from git_lepton.git.catfile import CatFile
from git_lepton.git.objects import ObjectReader, open_reader
from git_lepton.git.odb import LibGit2Odb
from git_lepton.git.packfile import PackWriter, encode_object_header
from git_lepton.git.packs import PackReader
from git_lepton.git.repo import Repo, discover
from git_lepton.values import Oid
from tests.support import git

NOWHERE = {"sha1": Oid("1" * 40), "sha256": Oid("1" * 64)}
CASES = [(CatFile, "sha1"), (PackReader, "sha1"), (LibGit2Odb, "sha1"), (CatFile, "sha256"), (PackReader, "sha256")]
SIZES = (0, 1, 200, 65534, 65535, 65536, 131070, 200_000)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def opened(request: pytest.FixtureRequest, tmp_path: Path, env: dict[str, str]) -> Iterator[tuple[Repo, ObjectReader]]:
    make, algo = request.param
    git(tmp_path, "init", "-q", "-b", "main", f"--object-format={algo}", "r")
    repo = discover(tmp_path / "r")
    reader = make(repo)
    yield repo, reader
    reader.close()


def store(repo: Repo, *blobs: bytes, compress: bool = False) -> list[Oid]:
    with PackWriter(repo) as writer:
        oids = [writer.add("blob", [blob], compress=compress) for blob in blobs]
        with writer.finish() as pack:
            pack.publish()
    return oids


def loose(repo: Repo, blob: bytes) -> Oid:
    return Oid(repo.git("hash-object", "-w", "--stdin", input=blob).stdout.decode().strip())


def check(reader: ObjectReader, oid: Oid, content: bytes, kind: str = "blob") -> None:
    found, data = reader.read(oid)
    assert (found, bytes(data)) == (kind, content)
    assert reader.size(oid) == len(content)


@pytest.mark.parametrize("compress", [False, True])
def test_packed_blobs(opened: tuple[Repo, ObjectReader], compress: bool) -> None:
    repo, reader = opened
    blobs = [os.urandom(size // 2) + bytes(size - size // 2) for size in SIZES]
    oids = store(repo, *blobs, compress=compress)
    for oid, blob in zip(oids, blobs, strict=True):
        check(reader, oid, blob)
    assert reader.contains([*oids, NOWHERE[repo.object_format]]) == set(oids)
    assert reader.contains([]) == set()


def test_what_git_packed_deltas_among_it(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    text = b"".join(b"line %d\n" % n for n in range(5000))
    oids = [loose(repo, text + b"%d" % n) for n in range(5)]
    for oid in oids:
        check(reader, oid, text + b"%d" % oids.index(oid))
    names = "".join(f"{oid} same.txt\n" for oid in oids).encode()
    repo.git("pack-objects", "-q", str(repo.object_dir / "pack/pack"), input=names)
    repo.git("prune-packed", "-q")
    assert "chain length" in repo.git("verify-pack", "-v", *(repo.object_dir / "pack").glob("*.idx")).stdout.decode()
    for number, oid in enumerate(oids):
        check(reader, oid, text + b"%d" % number)


def test_every_type(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    repo.git("commit", "-q", "--allow-empty", "-m", "m")
    repo.git("tag", "-a", "-m", "t", "t")
    for packed in (False, True):
        if packed:
            repo.git("repack", "-adq")
        for rev, kind in (("t", "tag"), ("HEAD", "commit"), ("HEAD^{tree}", "tree")):
            oid = Oid(repo.git("rev-parse", rev).stdout.decode().strip())
            check(reader, oid, repo.git("cat-file", kind, oid).stdout, kind)


def test_absent(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    oid = NOWHERE[repo.object_format]
    for read in (reader.read, reader.size):
        with pytest.raises(MissingError, match=oid):
            read(oid)
    (made,) = store(repo, b"later")
    check(reader, made, b"later")


def test_what_is_no_id(opened: tuple[Repo, ObjectReader]) -> None:
    _, reader = opened
    for name in ("HEAD", "", "a" * 40 + "\n", "--batch"):
        for call in (reader.read, reader.size, lambda oid: reader.contains([oid])):
            with pytest.raises(UsageError):
                call(Oid(name))


def test_repack_and_gc_meanwhile(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    kept, lost = store(repo, b"kept" * 1000)[0], store(repo, b"lost" * 1000)[0]
    other = store(repo, b"never read before the repack")[0]
    check(reader, kept, b"kept" * 1000)
    check(reader, lost, b"lost" * 1000)
    repo.git("update-ref", "refs/tags/kept", kept)
    repo.git("update-ref", "refs/tags/other", other)
    repo.git("gc", "-q", "--prune=now")
    check(reader, kept, b"kept" * 1000)
    check(reader, other, b"never read before the repack")
    assert reader.contains([kept, lost, other]) == {kept, other}


def test_multi_pack_index(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    oids = [store(repo, b"%d" % n)[0] for n in range(4)]
    repo.git("multi-pack-index", "write")
    for number, oid in enumerate(oids):
        check(reader, oid, b"%d" % number)


def test_alternates(opened: tuple[Repo, ObjectReader], tmp_path: Path) -> None:
    repo, _ = opened
    packed, single = store(repo, b"packed")[0], loose(repo, b"loose")
    for source, name, absolute in (("r", "mid", True), ("mid", "far dir", False)):
        git(tmp_path, "init", "-q", f"--object-format={repo.object_format}", name)
        target = tmp_path / source / ".git/objects" if absolute else Path(f"../../../{source}/.git/objects")
        (tmp_path / name / ".git/objects/info/alternates").write_text(f"# borrowed\n{target}\n")
    reader = type(opened[1])(discover(tmp_path / "mid"))  # type: ignore[call-arg]
    check(reader, packed, b"packed")
    check(reader, single, b"loose")
    assert reader.contains([packed, single]) == {packed, single}
    reader.close()


def test_objects_and_alternates_of_the_environment(
    opened: tuple[Repo, ObjectReader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, _ = opened
    packed = store(repo, b"packed")[0]
    (tmp_path / "quarantine/pack").mkdir(parents=True)
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "quarantine"))
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", str(repo.object_dir))
    monkeypatch.chdir(repo.cwd)
    here = discover()
    reader = type(opened[1])(here)  # type: ignore[call-arg]
    inside = store(here, b"in quarantine")[0]
    check(reader, packed, b"packed")
    check(reader, inside, b"in quarantine")
    assert reader.contains([packed, inside]) == {packed, inside}
    reader.close()


def test_from_many_threads_while_packs_come_and_go(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    blobs = [os.urandom(70000) for _ in range(12)]
    oids = store(repo, *blobs[:6]) + store(repo, *blobs[6:])
    for oid in oids:
        repo.git("update-ref", f"refs/tags/{oid}", oid)
    stop = threading.Event()

    def repack() -> None:
        for _ in range(3):
            repo.git("repack", "-adq")
        stop.set()

    def read(seed: int) -> int:
        rounds = 0
        while not stop.is_set() or not rounds:
            for number in range(len(oids)):
                turn = (number + seed) % len(oids)
                assert bytes(reader.read(oids[turn])[1]) == blobs[turn]
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        pool.submit(repack)
        assert all(count for count in pool.map(read, range(3)))


def test_a_partial_clone_is_never_asked_for_more(opened: tuple[Repo, ObjectReader], tmp_path: Path) -> None:
    repo, _ = opened
    (repo.cwd / "f").write_bytes(b"content")
    repo.git("add", "f")
    repo.git("commit", "-qm", "m")
    repo.git("config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo.cwd}", "partial")
    oid = Oid(repo.git("rev-parse", "HEAD:f").stdout.decode().strip())
    reader = type(opened[1])(discover(tmp_path / "partial"))  # type: ignore[call-arg]
    assert reader.contains([oid]) == set()
    with pytest.raises(MissingError):
        reader.read(oid)
    reader.close()


def test_replacement_refs_change_nothing(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    one, two = loose(repo, b"one"), loose(repo, b"two")
    repo.git("replace", one, two)
    check(reader, one, b"one")


def damage(path: Path, at: int) -> None:
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 0xFF]))


def test_a_damaged_loose_object(opened: tuple[Repo, ObjectReader]) -> None:
    repo, reader = opened
    oid = loose(repo, b"content of some length")
    damage(repo.object_dir / oid[:2] / oid[2:], 4)
    with pytest.raises(CorruptError):
        reader.read(oid)
    (other,) = store(repo, b"fine")
    check(reader, other, b"fine")


@pytest.mark.parametrize("algo", ["sha1", "sha256"])
def test_damaged_heads_of_stored_blocks(tmp_path: Path, env: dict[str, str], algo: str) -> None:
    """What the fast path reads by position is checked; git then says what is wrong, or has another copy."""
    git(tmp_path, "init", "-q", f"--object-format={algo}", "r")
    repo = discover(tmp_path / "r")
    blob = os.urandom(150_000)
    with PackWriter(repo) as writer:
        head = writer.size + len(encode_object_header(3, len(blob)))
        oid = writer.add("blob", [blob])
        stop = writer.size
        with writer.finish() as pack:
            pack.publish()
    path = pack.path(".pack")
    whole = path.read_bytes()
    last = stop - 4 - (150_000 - 2 * 65535) - 5
    assert whole[last] == 1
    for place in (head, head + 2, head + 3, head + 7 + 65535, last, last + 4):
        damage(path, place)
        with PackReader(repo) as reader, pytest.raises(CorruptError):
            reader.read(oid)
        path.write_bytes(whole)
    damage(path, head + 2)
    store(repo, blob)
    again = open_reader(repo)
    assert bytes(again.read(oid)[1]) == blob
    again.close()
