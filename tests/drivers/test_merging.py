"""Real git merges models: every way in which it merges, and what it leaves when it cannot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from git_lepton.drivers import install
from git_lepton.store.manifest import parse
from git_lepton.store.source import BytesSource
from tests.drivers.conftest import Work
from tests.support import git, model_bytes

NAME = "m.safetensors"
LINE = "*.safetensors filter=lepton diff=lepton merge=lepton -text\n"


def prepared(work: Work) -> Work:
    """With the merge driver, and one commit of a model of six layers."""
    set_up(work)
    work.git("config", "lepton.hooks", "false")
    work.write(".gitattributes", LINE.encode())
    work.commit("base", {NAME: model(), "code.py": b"1\n"})
    return work


def set_up(work: Work) -> None:
    for key, value in install._merge_settings().items():
        work.git("config", key, value)


def model(**changed: int) -> bytes:
    """Six layers; `model(l1=70)` has another layer 1."""
    seeds = {name.replace("l", "layer_"): seed for name, seed in changed.items()}
    return model_bytes(0, layers=6, rows=4, dtype="F32", **seeds)


def plant(work: Work, name: str, start: str = "main", **files: bytes) -> str:
    """Point branch `name` at a new commit on `start` with these files (`x` is x.safetensors), without any filter."""
    entries = {line.split("\t")[1]: line for line in work.git("ls-tree", start).splitlines()}
    with work.store() as store:
        for key, data in files.items():
            text = store.add(BytesSource(data), f"{key}.safetensors").to_bytes()
            blob = work.git("hash-object", "-w", "--no-filters", "--stdin", data=text)
            entries[f"{key}.safetensors"] = f"100644 blob {blob}\t{key}.safetensors"
    tree = work.git("mktree", data="\n".join(entries.values()).encode() + b"\n")
    commit = work.git("commit-tree", "-p", start, "-m", name, tree)
    work.git("update-ref", f"refs/heads/{name}", commit)
    return commit


def branch(work: Work, name: str, start: str = "main", **changed: int) -> str:
    """A branch with one commit that sets the model."""
    return plant(work, name, start, m=model(**changed))


@pytest.fixture
def two(work: Work) -> Work:
    """On `ours`, which changed layer 1; `theirs` changed layer 4."""
    prepared(work)
    branch(work, "theirs", l4=40)
    branch(work, "ours", l1=10)
    work.git("checkout", "-q", "ours")
    return work


@pytest.fixture
def clash(work: Work) -> Work:
    """On `ours`; both branches changed layer 2, and another one each."""
    prepared(work)
    branch(work, "theirs", l2=20, l4=40)
    branch(work, "ours", l2=21, l1=10)
    work.git("checkout", "-q", "ours")
    return work


BOTH = model(l1=10, l4=40)


def lepton(work: Work, *args: str) -> subprocess.CompletedProcess[bytes]:
    return work.run("lepton", *args)


def test_a_merge_takes_what_each_side_trained(two: Work) -> None:
    done = two.run("merge", "-m", "merged", "theirs")
    assert done.returncode == 0, done.stderr
    assert two.read(NAME) == BOTH
    assert two.is_clean()
    found = parse(two.blob(NAME, "HEAD"))
    with two.store() as store:
        assert list(store.verify(found.blake3)) == []
    (note,) = (two.repo.lepton_dir / "merges").iterdir()
    assert json.loads(note.read_text())["tensors"] == {"ours": 1, "same": 4, "theirs": 1}


def test_a_conflict_leaves_ours_and_says_what_is_left(clash: Work) -> None:
    done = clash.run("merge", "theirs")
    assert done.returncode == 1
    assert b"layer_2.weight: both sides changed it" in done.stderr
    assert clash.read(NAME) == model(l2=21, l1=10)
    assert clash.git("ls-files", "-u").count(NAME) == 3
    status = lepton(clash, "status")
    assert b"layer_2.weight  both sides changed it" in status.stdout
    fields = json.loads(lepton(clash, "status", "--json").stdout)
    assert fields["conflicts"][0]["conflicts"] == [{"name": "layer_2.weight", "reason": "both sides changed it"}]
    assert b"layer_4.weight" in lepton(clash, "diff", "--theirs", "--no-numbers").stdout
    assert lepton(clash, "checkout", "--theirs", NAME).returncode == 0
    assert clash.read(NAME) == model(l2=20, l4=40)
    assert lepton(clash, "checkout", "--base", NAME).returncode == 0
    assert clash.read(NAME) == model()
    assert clash.git("ls-files", "-u").count(NAME) == 3
    clash.git("merge", "--abort")
    assert clash.read(NAME) == model(l2=21, l1=10)
    assert clash.is_clean()
    assert lepton(clash, "resolve", NAME, "--with", "ours").returncode == 2


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("ours", model(l1=10, l2=21, l4=40)), ("theirs", model(l1=10, l2=20, l4=40)), ("base", BOTH)],
)
def test_resolve_takes_a_side_for_what_is_left(clash: Work, strategy: str, expected: bytes) -> None:
    clash.run("merge", "theirs")
    assert lepton(clash, "resolve", NAME, "--with", strategy).returncode == 0
    assert clash.read(NAME) == expected
    clash.git("commit", "-qm", "merged")
    assert clash.is_clean()


def test_resolve_bit_by_bit(work: Work) -> None:
    prepared(work)
    branch(work, "theirs", l2=20, l3=30)
    branch(work, "ours", l2=21, l3=31)
    work.git("checkout", "-q", "ours")
    work.run("merge", "theirs")
    done = lepton(work, "resolve", NAME, "--with", "theirs", "--tensors", "layer_2*")
    assert (done.returncode, b"layer_3.weight" in done.stdout, b"layer_2" in done.stdout) == (1, True, False)
    assert b"layer_2" not in lepton(work, "status").stdout
    assert lepton(work, "resolve", ".", "--with", "ours").returncode == 0
    assert work.read(NAME) == model(l2=20, l3=31)
    assert not (work.repo.git_dir / "lepton-resolve.json").exists()


def test_rules_of_lepton_toml(clash: Work) -> None:
    clash.write("lepton.toml", b'[merge]\n"layer_2.*" = { strategy = "task-arithmetic", theirs = 0.5 }\n')
    done = clash.run("merge", "-m", "m", "theirs")
    assert done.returncode == 0, done.stderr
    lines = {t.name: t.hash for t in parse(clash.blob(NAME, "HEAD")).tensors}
    assert lines["layer_4.weight"] == parse(clash.blob(NAME, "theirs")).tensors[4].hash
    notes = [json.loads(path.read_text()) for path in (clash.repo.lepton_dir / "merges").iterdir()]
    assert notes[0]["tensors"] == {"ours": 1, "same": 3, "task-arithmetic ours=1 scale=1 theirs=0.5": 1, "theirs": 1}


@pytest.mark.parametrize("steps", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_rebase_of_many_commits(work: Work, steps: int) -> None:
    prepared(work)
    for n in range(steps):
        branch(work, "topic", "topic" if n else "main", l1=100 + n)
    branch(work, "upstream", l4=40)
    work.git("checkout", "-q", "topic")
    done = work.run("rebase", "upstream")
    assert done.returncode == 0, done.stderr
    assert work.git("rev-list", "--count", "upstream..topic") == str(steps)
    for n in range(steps):
        found = parse(work.blob(NAME, f"topic~{steps - 1 - n}"))
        with work.store() as store:
            assert found == store.add(BytesSource(model(l1=100 + n, l4=40)), NAME)
    assert work.read(NAME) == model(l1=100 + steps - 1, l4=40)
    assert work.is_clean()


def test_cherry_pick_and_stash_pop(two: Work) -> None:
    assert two.run("cherry-pick", "theirs").returncode == 0
    assert two.read(NAME) == BOTH
    two.write(NAME, model(l1=10, l4=40, l5=50))
    two.git("stash")
    two.commit("meanwhile", {NAME: model(l1=10, l4=40, l0=11)})
    assert two.run("stash", "pop").returncode == 0
    assert two.read(NAME) == model(l1=10, l4=40, l5=50, l0=11)


def test_an_octopus_of_different_files_merges_and_of_one_file_is_refused(work: Work) -> None:
    prepared(work)
    plant(work, "main", a=model(l0=10), b=model(l0=20))
    work.git("reset", "-q", "--hard")
    plant(work, "a", a=model(l5=30))
    plant(work, "b", b=model(l5=30))
    branch(work, "c", l1=10)
    branch(work, "d", l4=40)
    work.git("merge", "-q", "-m", "octopus", "a", "b", "c")
    assert work.read("a.safetensors") == work.read("b.safetensors") == model(l5=30)
    assert work.read(NAME) == model(l1=10)
    work.git("reset", "-q", "--hard", "HEAD~1")
    # git's octopus knows no merge drivers, and two manifests never merge as text.
    assert work.run("merge", "-m", "octopus", "c", "d").returncode != 0
    work.run("reset", "-q", "--hard")
    assert work.read(NAME) == model()


def test_criss_cross_never_picks_a_side_of_a_virtual_ancestor(work: Work) -> None:
    prepared(work)
    first = branch(work, "one", l2=20, l0=10)
    second = branch(work, "two", l2=21, l5=50)
    tree = {name: work.git("rev-parse", f"{name}^{{tree}}") for name in ("one", "two")}
    for name, parents in (("one", (first, second)), ("two", (second, first))):
        lines = ("-p", parents[0], "-p", parents[1])
        work.git("update-ref", f"refs/heads/{name}", work.git("commit-tree", *lines, "-m", "each its own", tree[name]))
    work.git("checkout", "-q", "one")
    assert set(work.git("merge-base", "--all", "one", "two").split()) == {first, second}
    done = work.run("merge", "two")
    assert done.returncode == 1
    assert b"1 to decide" in done.stderr
    assert b"layer_2.weight: both sides changed it" in done.stderr


def test_a_rename_on_one_side(two: Work) -> None:
    two.git("mv", NAME, "moved.safetensors")
    two.git("commit", "-qm", "moved")
    assert two.run("merge", "-m", "m", "theirs").returncode == 0
    assert two.read("moved.safetensors") == BOTH
    assert not (two.folder / NAME).exists()


def test_names_that_look_like_options_or_need_quotes(work: Work) -> None:
    prepared(work)
    odd = "-h it's \u00fc.safetensors"
    for name, data in (("main", model()), ("theirs", model(l4=40)), ("ours", model(l1=10))):
        work.git("checkout", "-q", *(() if name == "main" else ("-b", name, "main")))
        work.commit(name, {odd: data})
    assert work.run("merge", "-m", "m", "theirs").returncode == 0
    assert work.read(odd) == BOTH


def test_files_that_both_sides_added(work: Work) -> None:
    prepared(work)
    for name, seed in (("theirs", 10), ("ours", 20)):
        plant(work, name, new=model(l1=seed))
    work.git("checkout", "-q", "ours")
    done = work.run("merge", "theirs")
    assert done.returncode == 1
    assert b"layer_1.weight: both sides added it, and they differ" in done.stderr
    assert lepton(work, "resolve", ".", "--with", "average").returncode == 0
    work.git("commit", "-qm", "m")
    assert work.is_clean()


def test_a_model_that_one_side_removed(two: Work) -> None:
    two.git("rm", "-q", NAME)
    two.git("commit", "-qm", "gone")
    assert two.run("merge", "theirs").returncode == 1
    assert b"removed here, changed there" in lepton(two, "status").stdout
    done = lepton(two, "resolve", NAME, "--with", "ours")
    assert (done.returncode, b"git rm" in done.stderr) == (2, True)
    two.git("rm", "-q", NAME)
    two.git("commit", "-qm", "m")
    assert two.is_clean()


def test_merge_tree_without_a_work_tree(two: Work, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(two.folder), str(bare), env=two.env)
    (bare / "info").mkdir(exist_ok=True)
    (bare / "info" / "attributes").write_text(LINE)
    set_up(Work(bare, two.env))
    # The bare clone has no weights: they are fetched from where it came from.
    tree = git(bare, "merge-tree", "--write-tree", "ours", "theirs", env=two.env, check=False).split("\n")[0]
    found = parse(git(bare, "cat-file", "blob", f"{tree}:{NAME}", env=two.env).encode() + b"\n")
    git(two.folder, "merge", "-q", "-m", "m", "theirs", env=two.env)
    assert found == parse(two.blob(NAME, "HEAD"))


def test_rerere_finds_nothing_to_record(clash: Work) -> None:
    clash.git("config", "rerere.enabled", "true")
    assert clash.run("merge", "theirs").returncode == 1
    assert clash.run("rerere").returncode == 0
    lepton(clash, "resolve", NAME, "--with", "theirs")
    clash.git("commit", "-qm", "m")
    assert clash.read(NAME) == model(l1=10, l2=20, l4=40)
    assert clash.is_clean()


def test_in_a_submodule(make: Callable[..., Work], two: Work) -> None:
    outer = make("outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(two.folder), "models")
    outer.commit("with models", {})
    inner = Work(outer.folder / "models", two.env)
    set_up(inner)
    assert inner.run("merge", "-m", "m", "origin/theirs").returncode == 0
    assert inner.read(NAME) == BOTH
    assert inner.is_clean()


def test_a_clone_without_the_driver_stays_safe(two: Work) -> None:
    for key in install._merge_settings():
        two.git("config", "--unset", key)
    assert two.run("merge", "theirs").returncode == 1
    assert two.run("add", NAME).returncode != 0 or two.run("commit", "-qm", "lie").returncode != 0
    two.git("reset", "-q", "--hard")
    install.init(two.repo)
    assert two.run("merge", "-m", "m", "theirs").returncode == 0
    assert two.read(NAME) == BOTH


def test_weights_that_are_not_here_are_fetched_or_the_file_is_a_conflict(make: Callable[..., Work], two: Work) -> None:
    clone = make("clone", clone=two.folder, options=("-b", "ours"))
    set_up(clone)
    theirs = parse(two.blob(NAME, "theirs")).blake3
    with clone.store() as store:
        assert not store.has(theirs)
    assert clone.run("merge", "-m", "m", "origin/theirs").returncode == 0
    assert clone.read(NAME) == BOTH
    clone.git("push", "-q", "origin", "HEAD:refs/heads/merged")
    third = make("third", clone=two.folder, options=("-b", "merged"))
    assert third.read(NAME) == BOTH
    lost = make("lost", clone=two.folder, options=("-b", "ours"))
    set_up(lost)
    lost.git("remote", "set-url", "origin", "/nowhere")
    done = lost.run("merge", "-m", "m", "origin/theirs")
    assert done.returncode == 1
    assert b"its weights cannot be had" in done.stderr
    lost.git("remote", "set-url", "origin", str(two.folder))
    assert lepton(lost, "resolve", NAME).returncode == 0
    assert lost.read(NAME) == BOTH


def test_a_failure_of_our_own_is_no_conflict(two: Work) -> None:
    two.write("lepton.toml", b"[merge]\n1 = 2 = 3\n")
    done = two.run("lepton", "merge-driver", "x", "x", "x", "7", NAME)
    assert done.returncode > 128
    done = two.run("merge", "-m", "m", "theirs")
    assert done.returncode != 0  # older gits take it for a conflict, and leave ours all the same
    assert b"lepton.toml" in done.stderr
    assert two.read(NAME) == model(l1=10)


def test_the_settings_come_and_go(make: Callable[..., Work]) -> None:
    work = make("fresh")
    install.init(work.repo)
    assert "merge-driver -- %O %A %B %L %P" in work.git("config", install.MERGE_KEY)
    install.deinit(work.repo)
    assert work.run("config", install.MERGE_KEY).returncode == 1


def test_merge_models_outside_git(tmp_path: Path, program: dict[str, str]) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for name, data in {"base": model(), "a": model(l1=10, l2=20), "b": model(l4=40, l2=21)}.items():
        (folder / f"{name}.safetensors").write_bytes(data)

    def run(*args: str) -> subprocess.CompletedProcess[bytes]:
        command = ["git-lepton", "merge-models", "a.safetensors", "b.safetensors", *args, "-o", "out.safetensors"]
        return subprocess.run(command, cwd=folder, env=program, capture_output=True, check=False)

    done = run("--base", "base.safetensors")
    assert (done.returncode, b"layer_2.weight" in done.stderr) == (1, True)
    assert not (folder / "out.safetensors").exists()
    assert run("--base", "base.safetensors", "--with", "theirs").returncode == 0
    assert (folder / "out.safetensors").read_bytes() == model(l1=10, l4=40, l2=21)
    assert run("--with", "slerp:weight=0.3").returncode == 0
    assert run("--with", "ties").returncode == 1
    assert run("--with", "nonsense").returncode == 2
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.safetensors",
        "b.safetensors",
        "base.safetensors",
        "out.safetensors",
    ]
