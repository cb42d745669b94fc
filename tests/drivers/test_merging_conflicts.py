"""What a person is told of a conflict, and that each answer they may give ends it as they meant it."""

from __future__ import annotations

import pytest

from git_lepton.compare.mergevalues import SIDES, Decision
from git_lepton.config.strategies import check_options
from git_lepton.drivers.conflicts import explained
from git_lepton.drivers.mergenotes import described
from git_lepton.drivers.unmerged import unmerged
from git_lepton.report.merging import WHILE_REBASING, WHOLE
from tests.drivers.conftest import Work
from tests.drivers.test_merging import NAME, branch, lepton, model, plant, prepared
from tests.support import safetensors_bytes, weights


@pytest.fixture
def clash(work: Work) -> Work:
    """On `ours`; both branches changed layers 2 and 3."""
    prepared(work)
    branch(work, "theirs", l2=20, l3=30)
    branch(work, "ours", l2=21, l3=31)
    work.git("checkout", "-q", "ours")
    return work


@pytest.fixture
def added(work: Work) -> Work:
    """On `ours`; both branches added x.safetensors, and they differ."""
    prepared(work)
    plant(work, "theirs", x=model(l2=20))
    plant(work, "ours", x=model(l2=21))
    work.git("checkout", "-q", "ours")
    work.run("merge", "theirs")
    return work


def test_a_strategy_that_cannot_work_leaves_the_way_to_others(added: Work) -> None:
    assert b"resolve x.safetensors --with ours|theirs|average|slerp\n" in lepton(added, "status").stdout
    for strategy in ("ties", "base"):
        done = lepton(added, "resolve", "x.safetensors", "--with", strategy)
        assert (done.returncode, done.stdout.count(b"ancestor")) == (1, 1)
    assert lepton(added, "resolve", "x.safetensors", "--with", "theirs").returncode == 0
    assert added.read("x.safetensors") == model(l2=20)


def test_a_rule_for_all_is_for_what_an_earlier_one_left(work: Work) -> None:
    prepared(work)
    for name, seed in (("theirs", 1), ("ours", 2)):
        tensors = {"w": ("F32", [8], weights(seed, 8)), "counts": ("I64", [4], bytes([seed] * 32))}
        plant(work, name, m=safetensors_bytes(tensors))
    work.git("checkout", "-q", "ours")
    work.run("merge", "theirs")
    left = lepton(work, "resolve", NAME, "--with", "average")
    assert (left.returncode, b"1 to decide" in left.stdout) == (1, True)
    done = lepton(work, "resolve", NAME, "--with", "theirs")
    assert (done.returncode, b"1 by average, 1 from theirs" in done.stdout) == (0, True)


def test_what_was_decided_in_a_merge_that_was_given_up_is_forgotten(clash: Work) -> None:
    clash.run("merge", "theirs")
    assert lepton(clash, "resolve", NAME, "--with", "ours", "--tensors", "layer_2*").returncode == 1
    clash.git("merge", "--abort")
    assert clash.run("merge", "theirs").returncode == 1
    assert b"2 to decide" in lepton(clash, "status").stdout
    assert lepton(clash, "resolve", NAME, "--with", "theirs").returncode == 0
    assert clash.read(NAME) == model(l2=20, l3=30)


def test_metadata_is_never_decided_by_a_strategy_for_values(work: Work) -> None:
    prepared(work)
    for name, epoch in (("theirs", "8"), ("ours", "9")):
        plant(work, name, m=safetensors_bytes({"w": ("F32", [8], weights(1, 8))}, {"epoch": epoch}))
    work.git("checkout", "-q", "ours")
    work.run("merge", "theirs")
    done = lepton(work, "resolve", NAME, "--with", "average")
    assert (done.returncode, b"metadata: '9' here, '8' there" in done.stdout) == (1, True)
    assert b"--with ours|theirs\n" in done.stdout
    assert lepton(work, "resolve", NAME, "--with", "theirs").returncode == 0
    assert b'"epoch":"8"' in work.read(NAME).replace(b" ", b"")


def test_an_octopus_that_stops_has_nothing_left_to_decide(work: Work) -> None:
    prepared(work)
    for name in ("one", "two"):
        branch(work, name, l1=10) if name == "one" else branch(work, name, l4=40)
    work.commit("else", {"code.py": b"2\n"})
    assert work.run("merge", "-m", "octopus", "one", "two").returncode == 1
    shown = lepton(work, "status").stdout
    assert b"nothing of it is left to decide:\n  git lepton resolve m.safetensors\n" in shown
    assert lepton(work, "resolve", NAME).returncode == 0
    work.git("commit", "-qm", "octopus")
    assert work.read(NAME) == model(l1=10, l4=40)
    assert len(work.git("log", "-1", "--format=%P").split()) == 3


def test_both_sides_renamed_it(work: Work) -> None:
    prepared(work)
    for name in ("theirs", "ours"):
        work.git("checkout", "-qb", name, "main")
        work.git("mv", NAME, f"{name}.safetensors")
        work.git("commit", "-qm", name)
    work.run("merge", "theirs")
    with work.store() as store:
        left = [explained(work.repo, store, file) for file in unmerged(work.repo, store)]
    found = {file.path: file.reasons[WHOLE] for file in left}
    assert found == {
        NAME: "both sides removed or renamed it",
        "ours.safetensors": "only ours has it under this name",
        "theirs.safetensors": "only theirs has it under this name",
    }
    assert b"git add theirs.safetensors keeps what is there" in lepton(work, "status").stdout
    work.git("rm", "-q", NAME, "ours.safetensors")
    work.git("add", "theirs.safetensors")
    work.git("commit", "-qm", "m")
    assert work.is_clean()


@pytest.mark.parametrize("whose", SIDES)
def test_sides_of_a_model_that_one_branch_removed(work: Work, whose: str) -> None:
    prepared(work)
    branch(work, "theirs", l1=10)
    work.git("rm", "-q", NAME)
    work.git("commit", "-qm", "gone")
    work.run("merge", "theirs")
    for verb in (["diff"], ["checkout"]):
        done = lepton(work, *verb, f"--{whose}", NAME)
        assert done.returncode == (2 if whose == "ours" else 0), done.stderr
        assert whose != "ours" or b"hint: git add PATH keeps" in done.stderr


def test_while_rebasing_it_is_said_who_is_who(clash: Work) -> None:
    done = clash.run("rebase", "theirs")
    assert WHILE_REBASING.encode() in done.stderr
    assert WHILE_REBASING.encode() in lepton(clash, "status").stdout
    assert lepton(clash, "resolve", NAME, "--with", "theirs").returncode == 0
    assert clash.read(NAME) == model(l2=21, l3=31)
    clash.git("rebase", "--continue", env={"GIT_EDITOR": "true"})
    assert WHILE_REBASING.encode() not in lepton(clash, "status").stdout


def test_shapes_that_differ_are_told(work: Work) -> None:
    prepared(work)
    for name, rows in (("theirs", 6), ("ours", 5)):
        plant(work, name, m=safetensors_bytes({"w": ("F32", [rows, 4], weights(1, rows * 4))}))
    work.git("checkout", "-q", "ours")
    told = work.run("merge", "theirs").stderr
    assert b"w: both sides added it, and they differ: F32 [5,4] here, F32 [6,4] there" in told


def test_a_conflict_can_be_made_again(clash: Work) -> None:
    """`checkout -m PATH` keeps the merged file in memory that it gives back before filters with `delay` answer."""
    clash.run("merge", "theirs")
    clash.git("checkout", "--theirs", NAME)
    assert lepton(clash, "resolve", NAME, "--with", "theirs", "--tensors", "layer_2*").returncode == 1
    done = clash.run("checkout", "-m", NAME)
    assert done.returncode == 0, done.stderr
    assert clash.read(NAME) == model(l2=21, l3=31)
    assert b"2 to decide" in lepton(clash, "status").stdout


def test_changes_that_go_along_to_another_branch(work: Work) -> None:
    prepared(work)
    branch(work, "theirs", l1=10)
    work.write(NAME, model(l4=40))
    done = work.run("checkout", "-q", "-m", "theirs")
    assert done.returncode == 0, done.stderr
    assert work.read(NAME) == model(l1=10, l4=40)


def test_a_note_has_the_strategy_with_all_its_numbers() -> None:
    made = Decision("w", "computed", None, None, None, "dare-ties", check_options("dare-ties", {"seed": 7}))
    assert described(made) == "dare-ties density=0.5 ours=1 scale=1 seed=7 theirs=1"
    grown = Decision("w", "rows", None, None, None, "average", {"weight": 0.25}, grown="theirs")
    assert described(grown) == "rows of theirs, average weight=0.25"


def test_lepton_toml_may_be_in_conflict_too(work: Work) -> None:
    prepared(work)
    for name, strategy in (("theirs", "ours"), ("ours", "average")):
        branch(work, name, l2=len(name))
        work.git("checkout", "-q", name)
        work.commit("policy", {"lepton.toml": f'[merge]\n"head*" = "{strategy}"\n'.encode()})
    work.run("merge", "theirs")
    shown = lepton(work, "status")
    assert (shown.returncode, b"layer_2.weight  both sides changed it" in shown.stdout) == (0, True)
    assert b"rules of merging are left out here: lepton.toml is in conflict itself" in shown.stderr
    refused = lepton(work, "resolve", NAME, "--with", "ours")
    assert (refused.returncode, b"hint: edit it, then: git add lepton.toml" in refused.stderr) == (2, True)
    work.write("lepton.toml", b'[merge]\n"*" = "theirs"\n')
    assert lepton(work, "resolve", NAME).returncode == 0
    assert work.read(NAME) == model(l2=6)


def test_names_cannot_disturb_a_terminal(work: Work) -> None:
    prepared(work)
    for name, seed in (("theirs", 1), ("ours", 2)):
        data = safetensors_bytes({"w\x1b[2J": ("F32", [8], weights(seed, 8))})
        plant(work, name, "main", **{"my model": data})
    work.git("checkout", "-q", "ours")
    told = work.run("merge", "theirs").stderr + lepton(work, "status").stdout
    assert told.count(b"w\\x1b[2J") == 2
    assert b"\x1b" not in told
    assert told.count(b"git lepton resolve 'my model.safetensors' --with") == 2
