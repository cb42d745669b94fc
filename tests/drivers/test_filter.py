"""The filter under real git: every way in which weights go in and come out."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from blake3 import blake3

from git_lepton.drivers import install
from git_lepton.store import manifest
from tests.drivers.conftest import Work
from tests.support import git, model_bytes, safetensors_bytes, weights

NAME = "m.safetensors"


def is_manifest(data: bytes) -> bool:
    return manifest.looks_like(data) and manifest.parse(data) is not None


def test_git_tracks_a_manifest_and_checks_out_the_same_bytes(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    assert is_manifest(work.blob(NAME))
    assert work.is_clean()
    (work.folder / NAME).unlink()
    work.git("checkout", NAME)
    assert work.read(NAME) == model
    assert work.is_clean()


def test_any_path_goes_in_and_out(work: Work) -> None:
    names = [
        "with space.safetensors",
        "ünïcödé/weights-模型.safetensors",
        "line\nend.safetensors",
        'quote"d/a\tb.safetensors',
        "deep/er/than/that/m.safetensors",
        "-dash.safetensors",
        ":colon.safetensors",
        "glob[*]?.safetensors",
        os.fsdecode(b"caf\xe9.safetensors"),
    ]
    first = {name: model_bytes(seed=n + 1, layers=1) for n, name in enumerate(names)}
    work.commit("one", first)
    assert all(is_manifest(work.blob(name, "HEAD")) for name in names)
    work.commit("two", {name: model_bytes(seed=n + 50, layers=1) for n, name in enumerate(names)})
    work.git("checkout", "-q", "HEAD~1")
    assert {name: work.read(name) for name in names} == first
    assert work.is_clean()


def test_odd_contents_go_in_and_out(work: Work) -> None:
    contents = {
        "empty": b"",
        "short": b"x",
        "almost": b"git-lepton",
        "text": b"not weights at all\r\nreally\n",
        "zeros": bytes(100_000),
        "broken": (1 << 60).to_bytes(8, "little") + b"{}",
    }
    work.commit("one", {f"{name}.safetensors": data for name, data in contents.items()})
    assert work.blob("empty.safetensors") == b""
    for name in contents:
        (work.folder / f"{name}.safetensors").unlink()
    work.git("checkout", "--", ".")
    assert {name: work.read(f"{name}.safetensors") for name in contents} == contents
    assert work.is_clean()


def test_a_file_without_readable_tensors_is_stored_and_told_once(work: Work, model: bytes) -> None:
    work.commit("code", {"code.py": b"1\n"})  # hooks come with it
    install.init(work.repo)
    work.write(NAME, model[:100])
    work.write("sub/b.safetensors", model)
    told = work.run("add", ".").stderr.decode()
    assert told.count("git-lepton: ") == 1
    assert f"{NAME}: " in told
    assert "it is stored whole, without its tensors" in told
    work.write(NAME, model[:101])
    assert "stored whole" in work.run("add", ".").stderr.decode()
    for command in (("add", "--renormalize", "."), ("status",)):
        os.utime(work.folder / NAME)
        assert work.run(*command).stderr == b""


def test_a_clone_gets_everything_through_the_filter(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model, "sub/b.safetensors": model_bytes(layer_0=5)})
    copy = make("copy", clone=work.folder)
    assert copy.read(NAME) == model
    assert copy.is_clean()


def test_the_same_file_is_stored_once_and_not_encoded_again(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    refs = work.git("for-each-ref", "refs/lepton")
    packs = sorted(p.name for p in (work.folder / ".git/objects/pack").iterdir())
    work.commit("two", {"copy.safetensors": model})
    os.utime(work.folder / NAME, (1, 1))
    assert work.is_clean()
    assert work.git("for-each-ref", "refs/lepton") == refs
    assert sorted(p.name for p in (work.folder / ".git/objects/pack").iterdir()) == packs
    assert work.blob(NAME) == work.blob("copy.safetensors")


def test_stash_rebase_and_cherry_pick_keep_every_byte(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model, "code.py": b"a = 1\n"})
    other, third = model_bytes(layer_2=7), model_bytes(layer_1=8)
    work.write(NAME, other)
    work.git("stash", "-q")
    assert work.read(NAME) == model
    work.git("stash", "pop", "-q")
    assert work.read(NAME) == other
    work.git("checkout", "-q", NAME)
    work.git("checkout", "-qb", "topic")
    work.commit("topic", {NAME: third})
    work.git("checkout", "-q", "main")
    assert work.read(NAME) == model
    work.commit("code", {"code.py": b"a = 2\n"})
    work.git("rebase", "-q", "main", "topic")
    assert (work.read(NAME), work.read("code.py")) == (third, b"a = 2\n")
    work.git("checkout", "-q", "main")
    work.git("cherry-pick", "topic")
    assert work.read(NAME) == third
    work.git("reset", "-q", "--hard", "HEAD~2")
    assert work.read(NAME) == model
    assert work.is_clean()


def test_archive_show_and_detached_heads(work: Work, model: bytes) -> None:
    first = work.commit("one", {NAME: model})
    work.commit("two", {NAME: model_bytes(layer_0=4)})
    work.git("checkout", "-q", "--detach", first)
    assert work.read(NAME) == model
    archive = work.run("archive", "--format=tar", "HEAD", NAME).stdout
    done = subprocess.run(["tar", "-xO", NAME], input=archive, capture_output=True, check=True)
    assert done.stdout == model
    assert work.run("cat-file", "--filters", f"HEAD:{NAME}").stdout == model


def test_bytes_that_are_not_those_of_the_work_tree_are_stored(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    other = model_bytes(layer_1=3)
    blob = work.run("hash-object", "-w", "--path", NAME, "--stdin", data=other).stdout.decode().strip()
    text = work.run("cat-file", "blob", blob).stdout
    work.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
    assert manifest.parse(text).blake3 != manifest.parse(work.blob(NAME, "HEAD")).blake3
    assert work.read(NAME) == model
    (work.folder / NAME).unlink()
    work.git("checkout", NAME)
    assert work.read(NAME) == other


def test_content_that_begins_as_the_work_tree_does_is_stored_as_it_came(work: Work) -> None:
    held = model_bytes(rows=2048)
    work.commit("one", {NAME: held})
    for other in (held[:-100], held + b"tail", held[:400_000] + b"!" + held[400_001:]):
        blob = work.run("hash-object", "-w", "--path", NAME, "--stdin", data=other).stdout.decode().strip()
        work.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
        assert work.run("cat-file", "--filters", f":{NAME}").stdout == other


def test_large_content_of_a_new_path_is_what_came_not_what_lies_there(work: Work) -> None:
    """Nothing of it would be read again, so git-lepton compares no more than its beginning."""
    first, held, other = (("F32", [3 << 19], weights(seed, 3 << 19)) for seed in range(3))
    data = safetensors_bytes({"a": first, "b": other})
    work.write(NAME, safetensors_bytes({"a": first, "b": held}))
    for cut_or_longer in (data[:-1], data + b"x"):
        refused = work.run("hash-object", "-w", "--path", NAME, "--stdin", data=cut_or_longer)
        assert refused.returncode
        assert b"changed while it was read" in refused.stderr
    assert not work.git("for-each-ref", "refs/lepton/models")
    blob = work.run("hash-object", "-w", "--path", NAME, "--stdin", data=data).stdout.decode().strip()
    assert manifest.parse(work.run("cat-file", "blob", blob).stdout).blake3 == blake3(data).hexdigest()
    work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{NAME}")
    assert work.run("cat-file", "--filters", f":{NAME}").stdout == data


def test_the_executable_bit_and_the_mode_survive(work: Work, model: bytes) -> None:
    path = work.write(NAME, model)
    path.chmod(0o755)
    work.git("add", "-A")
    work.git("commit", "-qm", "one")
    path.unlink()
    work.git("checkout", NAME)
    assert path.stat().st_mode & stat.S_IXUSR


def test_manifests_left_in_the_work_tree_are_added_as_they_are(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    text = work.blob(NAME)
    work.write(NAME, text)
    work.git("add", NAME)
    assert work.blob(NAME) == text
    work.write("copy.safetensors", text.replace(b"\n", b"\r\n"))
    work.git("add", "copy.safetensors")
    assert work.blob("copy.safetensors") == text


@pytest.mark.parametrize("crlf", ["true", "input"])
def test_line_end_conversion_does_no_harm_even_without_minus_text(work: Work, model: bytes, crlf: str) -> None:
    work.git("config", "core.autocrlf", crlf)
    work.git("config", "core.safecrlf", "false")
    work.write(".gitattributes", b"*.safetensors filter=lepton\n")
    work.commit("one", {NAME: model})
    (work.folder / NAME).unlink()
    work.git("checkout", NAME)
    assert work.read(NAME) == model
    assert work.is_clean()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: b"git-lepton 1 of the best models\n", "line 1"),
        (lambda t: t.replace(b"check ", b"<<<<<<< ours\ncheck "), "check line"),
        (lambda t: t[:-20], "last line"),
        (lambda t: t.replace(b"size ", b"size 1"), "check line"),
    ],
)
def test_text_that_only_begins_like_a_manifest_is_refused(
    work: Work, model: bytes, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    work.commit("one", {NAME: model})
    before = work.blob(NAME)
    work.write(NAME, spoil(before))
    done = work.run("add", NAME)
    assert done.returncode != 0
    assert f"git-lepton: {NAME}: " in done.stderr.decode()
    assert reason in done.stderr.decode()
    assert work.blob(NAME) == before


def test_a_conflict_leaves_a_text_that_cannot_be_added_and_one_side_can(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    work.git("checkout", "-qb", "side")
    work.commit("side", {NAME: model_bytes(layer_0=1)})
    work.git("checkout", "-q", "main")
    ours = model_bytes(layer_2=22)
    work.commit("main", {NAME: ours})
    assert work.run("merge", "side").returncode == 1
    assert b"<<<<<<<" in work.read(NAME)
    assert work.run("add", NAME).returncode != 0
    work.git("checkout", "--ours", NAME)
    assert work.read(NAME) == ours
    work.git("add", NAME)
    work.git("commit", "-qm", "merged")
    assert work.is_clean()


def test_a_newer_manifest_passes_only_where_the_index_has_it_already(work: Work) -> None:
    text = b"git-lepton 2 something new\nthat we do not know\n"
    work.write(NAME, text)
    assert work.run("add", NAME).returncode != 0
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=text).stdout.decode().strip()
    work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{NAME}")
    work.git("add", NAME)
    assert work.blob(NAME) == text
    (work.folder / NAME).unlink()
    done = work.run("checkout", NAME)
    assert done.returncode == 0
    assert work.read(NAME) == text


def test_the_manifest_that_the_index_has_is_kept_when_it_tells_the_truth(work: Work, model: bytes) -> None:
    """A parser that learned to see more must not make files modified: here one that saw less."""
    work.commit("one", {NAME: model})
    work.write("old.safetensors", model)
    true = manifest.parse(work.blob(NAME))
    renamed = manifest.Manifest(
        "other-format", true.size, true.blake3, true.other_hash, true.other_size, true.tensors
    ).to_bytes()
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=renamed).stdout.decode().strip()
    work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{NAME}")
    os.utime(work.folder / NAME, (5, 5))
    work.git("add", NAME)
    assert work.blob(NAME) == renamed
    wrong = manifest.Manifest(
        true.format, true.size, true.blake3, true.other_hash, true.other_size, true.tensors[:1]
    ).to_bytes()
    blob = work.run("hash-object", "-w", "--stdin", "--no-filters", data=wrong).stdout.decode().strip()
    work.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{NAME}")
    os.utime(work.folder / NAME, (6, 6))
    work.git("add", NAME)
    assert work.blob(NAME) == true.to_bytes()


def test_hundreds_of_files_go_through_one_process(work: Work, make: Callable[..., Work]) -> None:
    files = {f"many/m{n}.safetensors": model_bytes(seed=n, layers=1, rows=1) for n in range(150)}
    work.commit("one", files)
    copy = make("copy", clone=work.folder)
    assert all(copy.read(name) == data for name, data in files.items())
    assert copy.is_clean()


def test_work_trees_share_what_is_stored(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    work.git("worktree", "add", "-q", "-b", "side", "../side")
    side = Work(work.folder.parent / "side", work.env)
    assert side.read(NAME) == model
    other = model_bytes(layer_0=66)
    side.commit("two", {NAME: other})
    assert side.is_clean()
    work.git("merge", "-q", "side")
    assert work.read(NAME) == other
    assert not (work.folder / ".git/worktrees/side/lepton").exists()


def test_submodules_have_a_store_of_their_own(work: Work, make: Callable[..., Work], model: bytes) -> None:
    part = make("part")
    part.commit("one", {NAME: model})
    work.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(part.folder), "sub")
    work.commit("with submodule", {})
    assert work.read(f"sub/{NAME}") == model
    sub = Work(work.folder / "sub", work.env)
    other = model_bytes(layer_2=1)
    sub.commit("two", {NAME: other})
    sub.git("checkout", "-q", "HEAD~1")
    assert sub.read(NAME) == model
    assert (work.folder / ".git/modules/sub/lepton").is_dir()


def test_a_sparse_checkout_gets_only_its_own(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {f"in/{NAME}": model, f"out/{NAME}": model_bytes(layer_0=2)})
    copy = make("copy", clone=work.folder, options=("--no-checkout", "--sparse"))
    copy.git("sparse-checkout", "set", "in")
    copy.git("checkout", "-q", "main")
    assert copy.read(f"in/{NAME}") == model
    assert not (copy.folder / "out").exists()
    assert len(copy.git("for-each-ref", "refs/lepton/models").splitlines()) == 1
    assert copy.is_clean()


def test_subfolders_and_environment_variables_of_git(work: Work, model: bytes) -> None:
    work.commit("one", {"code.py": b"\n"})
    work.write(f"sub/{NAME}", model)
    index = work.folder.parent / "other-index"  # git takes it from the top of the work tree
    env = work.env | {"GIT_INDEX_FILE": "../other-index", "GIT_DIR": "../.git", "GIT_WORK_TREE": ".."}
    git(work.folder / "sub", "read-tree", "HEAD", env=env)
    git(work.folder / "sub", "add", NAME, env=env)
    assert index.exists()
    text = git(work.folder / "sub", "cat-file", "blob", f":sub/{NAME}", env=env)
    assert text.startswith("git-lepton 1 ")
    git(work.folder / "sub", "commit", "-qm", "alone", "--", ".", env=env)
    assert work.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()[-1] == f"sub/{NAME}"


def test_repeated_status_stores_nothing_twice(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    work.write(NAME, model_bytes(layer_1=2))
    for _ in range(3):
        assert work.git("status", "--porcelain") == f" M {NAME}"
    assert len(work.git("for-each-ref", "refs/lepton/models").splitlines()) == 2


def test_a_new_version_is_stored_as_what_changed(work: Work) -> None:
    work.commit("one", {NAME: model_bytes(rows=4096)})
    before = sum(p.stat().st_size for p in (work.folder / ".git/objects/pack").glob("*.pack"))
    work.commit("two", {NAME: model_bytes(rows=4096, layer_1=5)})
    after = sum(p.stat().st_size for p in (work.folder / ".git/objects/pack").glob("*.pack"))
    assert after - before < before / 2


def test_a_fine_tuned_copy_beside_another_is_stored_as_a_difference(work: Work) -> None:
    base = np.random.default_rng(1).standard_normal(200_000, dtype=np.float32)
    tuned = base + np.float32(1e-4) * np.random.default_rng(2).standard_normal(200_000, dtype=np.float32)
    packs = work.folder / ".git/objects/pack"
    sizes = []
    for name, values in (("base", base), ("tuned", tuned)):
        data = safetensors_bytes({"w": ("F32", (200_000,), values.tobytes())})
        work.commit(name, {f"models/{name}.safetensors": data})
        sizes.append(sum(p.stat().st_size for p in packs.glob("*.pack")))
    assert sizes[1] - sizes[0] < 0.7 * sizes[0]


def test_a_store_that_cannot_be_written_refuses_to_add_and_still_checks_out(work: Work, model: bytes) -> None:
    work.commit("one", {NAME: model})
    for path in sorted((work.folder / ".git/lepton").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (work.folder / ".git/lepton").rmdir()
    (work.folder / ".git/lepton").write_bytes(b"in the way")
    work.write("new.safetensors", model_bytes(layer_1=41))
    done = work.run("add", "new.safetensors")
    assert done.returncode != 0
    assert b"git-lepton: new.safetensors: " in done.stderr
    assert work.git("ls-files", "new.safetensors") == ""
    text = work.blob(NAME)
    (work.folder / NAME).unlink()
    assert work.run("checkout", NAME).returncode == 0
    assert work.read(NAME) == text


def test_a_bare_repository_gets_no_hooks(work: Work, make: Callable[..., Work], model: bytes) -> None:
    work.commit("one", {NAME: model})
    bare = make("bare", clone=work.folder, options=("--bare", "--template="))
    assert bare.run("archive", "HEAD", NAME).returncode == 0
    assert not (bare.folder / "hooks").exists()


def packets(*lines: bytes) -> bytes:
    return b"".join(b"%04x" % (len(line) + 4) + line for line in lines) + b"0000"


HELLO = packets(b"git-filter-client\n", b"version=2\n") + packets(b"capability=clean\n")
CLEAN = packets(b"command=clean\n", b"pathname=" + NAME.encode() + b"\n")


def start(work: Work) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["git-lepton", "filter-process"],
        cwd=work.folder,
        env=work.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_file_that_changes_while_it_is_added_is_refused_or_stored_whole(work: Work, model: bytes) -> None:
    """git read one content, the file has another when it is stored: what came through the pipe counts, or nothing."""
    with start(work) as process:
        path = work.write(NAME, model)
        assert process.stdin is not None
        process.stdin.write(HELLO + CLEAN + packets(model[:20_000])[:-4])
        process.stdin.flush()
        path.write_bytes(model_bytes(seed=5))
        answer, errors = process.communicate(packets(model[20_000:]))
    # Whether the first half was compared before the file changed is for the scheduler to say.
    stored = work.git("for-each-ref", "refs/lepton/models")
    if b"status=error" in answer:
        assert b"changed while it was read" in errors
        assert not stored
    else:
        assert blake3(model).hexdigest() in stored


def test_nothing_but_packets_reaches_git_and_a_stranger_is_refused(work: Work) -> None:
    with start(work) as process:
        answer, errors = process.communicate(packets(b"hello there"))
    assert process.returncode != 0
    assert answer == b""
    assert b"not spoken to by git" in errors


def test_git_that_is_killed_leaves_no_message(work: Work, model: bytes) -> None:
    with start(work) as process:
        answer, errors = process.communicate(HELLO + CLEAN + packets(model)[:-1000])
    assert process.returncode == 0
    assert b"status=" not in answer
    assert b"Traceback" not in errors
    assert work.git("for-each-ref", "refs/lepton/models") == ""
