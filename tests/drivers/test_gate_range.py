"""`git lepton gate --range`: what a skipped hook, an edited record, a loosened rule or a squash let in is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from git_lepton.config.reading import parse
from git_lepton.config.values import GateRule
from git_lepton.drivers.gaterange import RangeFinding, RangeJudge, parse_range
from git_lepton.drivers.gating import Gating
from git_lepton.errors import MissingError, UsageError
from git_lepton.gate import verdicts
from git_lepton.gate.verdicts import gate_hash
from git_lepton.record.bundle import Bundle
from git_lepton.record.record import parse as parse_record
from git_lepton.record.record import to_text
from git_lepton.store.store import Store
from tests.drivers.conftest import Work
from tests.drivers.gatekit import ACCURACY, RECORD, begin, examples, onnx_bytes, seen, templates
from tests.support import git

__all__ = ["templates"]

MODEL = "models/m/m.onnx"
WITH_VARIANT = ACCURACY.replace(b'main = "m.onnx"\n', b'main = "m.onnx"\nvariants = ["fp16"]\n')


@pytest.fixture
def judged(work: Work, templates: Path) -> Work:
    """A repository with a judged model and a good second version of it."""
    return begin(templates, work, WITH_VARIANT, model=onnx_bytes(1))


def ci(work: Work, commits: str = "HEAD~1..HEAD", *, accept: bool = False, rebuild: bool = False) -> RangeFinding:
    """What CI finds about the model."""
    repo = work.repo
    with Store(repo) as store, Gating(repo, store, say=lambda _: None, stage="ci", rebuild=rebuild) as gating:
        before, after = parse_range(repo, commits)
        return next(RangeJudge(repo, store, gating, before, after, accept=accept, rebuild=rebuild).findings())


def faults(found: RangeFinding) -> str:
    return " | ".join(fault.text for fault in found.faults)


def verdict(found: RangeFinding) -> str | None:
    return None if found.judged is None else found.judged.outcome.verdict


def past_the_hooks(work: Work, **files: bytes) -> None:
    for name, data in files.items():
        work.write({"model": MODEL, "record": RECORD, "rules": "lepton.toml", "data": "eval/test.npz"}[name], data)
    work.git("add", "-A")
    work.git("commit", "-qnm", "past the hooks")


def test_a_good_commit_passes_and_others_say_unchanged(judged: Work) -> None:
    found = ci(judged)
    assert (found.exit_code, faults(found)) == (0, "")
    assert verdict(found) == "pass"
    judged.commit("code", {"code.py": b"a = 1\n"})
    assert ci(judged).is_unchanged
    done = judged.run("lepton", "gate", "--range", "HEAD~2..HEAD", "--json")
    found_json = json.loads(done.stdout)
    assert (done.returncode, found_json["exit_code"], found_json["models"][0]["faults"]) == (0, 0, [])
    assert b"m: passes" in judged.run("lepton", "gate", "--range", "HEAD~2..HEAD").stdout


def test_a_worse_model_past_the_hooks_fails(judged: Work) -> None:
    past_the_hooks(judged, model=onnx_bytes(2, noise=2.0))
    found = ci(judged)
    assert found.exit_code == 1
    assert verdict(found) == "fail"
    assert "its record does not hold: it is about other files (m.onnx)" in faults(found)


@pytest.mark.slow
def test_an_equal_model_past_the_hooks_is_told(judged: Work) -> None:
    judged.git("rm", "-q", RECORD)
    past_the_hooks(judged, model=onnx_bytes(2))
    found = ci(judged)
    assert (found.exit_code, verdict(found)) == (1, "pass")
    assert "no record: it was committed past the hooks" in faults(found)
    assert b"git lepton gate m --record && git commit" in judged.run("lepton", "gate", "--range", "HEAD~1..HEAD").stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"value = 1.0", b"value = 0.5", "its record has 0.5 for gate accuracy, and 1.0 was measured now"),
        (b'verdict = "pass"', b'verdict = "recorded"', "its record says recorded for gate accuracy"),
        (b'rules = "', b'rules =  "', "not spelled as git-lepton spells it"),
    ],
)
def test_a_record_edited_by_hand_is_refused(judged: Work, old: bytes, new: bytes, message: str) -> None:
    text = judged.read(RECORD)
    assert old in text
    past_the_hooks(judged, record=text.replace(old, new, 1))
    found = ci(judged)
    assert found.exit_code == 5
    assert message in faults(found)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (rb"baseline = [\d.]+", "figure baseline"),
        (rb"drop = [\d.-]+", "figure drop"),
        (rb"agreement = [\d.]+", "likeness agreement"),
        (rb" n = \d+", "figure n"),
        (rb"recall = [\d.]+", "classes 0 recall"),
        (rb"calibration_error = [\d.]+", "calibration_error"),
        (rb'reason = "accuracy [\d.]+', "reason"),
        (rb'limits = "min [\d.]+', "limits"),
    ],
)
def test_every_figure_of_a_record_is_compared(judged: Work, pattern: bytes, message: str) -> None:
    def other(found: re.Match[bytes]) -> bytes:
        head, space, number = found[0].rpartition(b" ")
        return head + space + (b"%d" % (int(number) + 1) if number.isdigit() else b"0.25")

    text = judged.read(RECORD)
    edited = re.sub(pattern, other, text, count=1)
    assert edited != text
    past_the_hooks(judged, record=edited)
    found = ci(judged)
    assert (found.exit_code, message in faults(found)) == (5, True), faults(found)


def test_a_record_whose_baseline_is_gone_is_checked_by_itself(judged: Work) -> None:
    """As after a squash: what needs the baseline is told of and not compared."""
    text = judged.read(RECORD)
    anchor = seen(judged).record.anchor
    assert anchor is not None
    assert anchor.bundle is not None
    gone = text.replace(anchor.bundle.encode(), b"0" * 64)
    past_the_hooks(judged, record=gone.replace(b"baseline = 1.0", b"baseline = 0.9", 1))
    found = ci(judged)
    assert (found.exit_code, "not in the history" in faults(found)) == (0, True), faults(found)
    past_the_hooks(judged, record=gone.replace(b"recall = 1.0", b"recall = 0.9", 1))
    assert "classes 0 recall" in faults(ci(judged))


def test_provenance_is_that_of_the_commit_of_the_files(judged: Work) -> None:
    rules = WITH_VARIANT.replace(b"[[model.m.gate]]", b'provenance = { code = "code.py" }\n[[model.m.gate]]', 1)
    judged.write("lepton.toml", rules)
    judged.write(MODEL, onnx_bytes(3))
    judged.git("commit", "-qam", "three")
    judged.commit("code", {"code.py": b"a = 5\n"})
    assert faults(ci(judged, "HEAD~2..HEAD")) == ""
    record = seen(judged).record
    text = judged.read(RECORD)
    edited = text.replace(record.origins.code["code.py"].encode(), b"0" * 64)
    assert edited != text
    past_the_hooks(judged, record=edited)
    found = ci(judged)
    assert (found.exit_code, "another one than before" in faults(found)) == (5, True)
    found = ci(judged, "HEAD~3..HEAD")
    assert (found.exit_code, "of no commit" in faults(found)) == (0, True)


def test_a_loosened_rule_is_a_line_of_its_own_and_does_not_count(judged: Work) -> None:
    judged.write("lepton.toml", WITH_VARIANT.replace(b"max_drop = 0.02", b"max_drop = 0.9").replace(b"0.5", b"0.1"))
    judged.write(MODEL, onnx_bytes(2, noise=1.0))
    judged.git("commit", "-qam", "looser")  # the hook judges by the rules that are staged
    found = ci(judged)
    assert found.exit_code == 1
    assert {(c.key, c.loosened) for c in found.changes} == {
        ("gate.accuracy.max_drop", True),
        ("gate.accuracy.min", True),
    }
    assert verdict(found) == "fail"
    found = ci(judged, accept=True)
    assert (found.exit_code, verdict(found), faults(found)) == (0, "pass", "")


def test_other_examples_are_a_loosened_rule_too(judged: Work) -> None:
    judged.write("eval/test.npz", examples(50, seed=9))
    judged.git("commit", "-qam", "easier")
    found = ci(judged)
    assert found.exit_code == 1
    assert [c.key for c in found.changes] == ["gate.accuracy.data: the content of eval/test.npz"]
    assert _examples(found) == 400
    assert ci(judged, accept=True).exit_code == 0


def test_a_gate_that_went_still_counts(judged: Work) -> None:
    rules = WITH_VARIANT.partition(b"[[model.m.gate]]")[0]
    past_the_hooks(judged, rules=rules, model=onnx_bytes(2, noise=2.0))
    found = ci(judged)
    assert (found.exit_code, verdict(found)) == (1, "fail")
    assert ("gate.accuracy", True) in {(c.key, c.loosened) for c in found.changes}
    past_the_hooks(judged, rules=b"")
    found = ci(judged)
    assert (found.exit_code, found.judged, found.changes[0].after) == (1, None, "gone")


def test_a_file_that_is_not_judged_any_more_is_a_loosened_rule(judged: Work) -> None:
    """Another root beside a worse model; one that moved along is no such thing."""
    other = {"models/other/m.onnx": onnx_bytes(1), MODEL: onnx_bytes(2, noise=2.0)}
    judged.commit("aside", {**other, "lepton.toml": WITH_VARIANT.replace(b"models/m", b"models/other")})
    found = ci(judged)
    assert (found.exit_code, verdict(found)) == (1, "pass")
    assert [(c.key, c.before) for c in found.changes if c.loosened] == [
        ("files", "models/m/labels.json and 1 more"),
    ]
    judged.git("rm", "-qr", "models/m")
    judged.git("commit", "-qm", "moved")
    assert ci(judged, "HEAD~2..HEAD").exit_code == 0


def test_another_program_of_a_gate_is_a_loosened_rule(judged: Work) -> None:
    gate = b'[[model.m.gate]]\nname = "own"\ncommand = "sh judge.sh {model}"\nmetric = "x"\ndirection = "higher"\n'
    judged.write("lepton.toml", WITH_VARIANT + gate)
    judged.write("judge.sh", b"echo '{\"value\": 0.5}'\n")
    judged.git("add", "-A")
    judged.git("lepton", "trust", "--yes")
    judged.git("commit", "-qm", "own")
    judged.commit("kinder", {"judge.sh": b"echo '{\"value\": 1.0}'\n"})
    judged.git("lepton", "trust", "--yes")
    found = ci(judged)
    assert found.exit_code == 1
    assert [(c.key, c.loosened) for c in found.changes] == [("gate.own: the program judge.sh", True)]
    assert ci(judged, accept=True).exit_code == 5  # the record has what the old one said
    judged.commit("words", {"code.py": b"b = 1\n"})
    assert ci(judged).is_unchanged


def test_small_losses_add_up(judged: Work) -> None:
    """Each step loses about a point, which two points of tolerance allow; a squash of them does not pass."""
    judged.git("tag", "m@v1.0.0")
    steps = [onnx_bytes(20, noise=noise) for noise in (0.02, 0.05, 0.14)]
    codes = []
    for step in steps:
        judged.write(MODEL, step)
        codes.append(judged.run("commit", "-qam", "step").returncode)
    assert codes == [0, 0, 1]
    judged.git("reset", "-q", "--hard", "m@v1.0.0")
    past_the_hooks(judged, model=steps[-1])
    assert ci(judged, "m@v1.0.0..HEAD").exit_code == 1


def test_variants_come_by_hash_from_the_remote(judged: Work, make: Callable[..., Work], tmp_path: Path) -> None:
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare), env=judged.env)
    judged.git("remote", "add", "origin", str(bare))
    judged.git("push", "-q", "origin", "main")
    variant = seen(judged).record.variant[0]
    other = make("ci", clone=bare)
    assert git(bare, "for-each-ref", f"refs/lepton/models/{variant.files[0].blake3}", env=judged.env)
    done = other.run("lepton", "gate", "--range", "HEAD~1..HEAD", "--publish")
    assert done.returncode == 0
    assert b"building" not in done.stderr
    with Store(judged.repo) as store:
        settings = _settings(judged)
        record = seen(judged).record
        rule = gate_hash(settings, record.data["eval/test.npz"])
        assert verdicts.read(judged.repo, store.objects, record.bundle, rule) is None
        verdicts.fetch(judged.repo, "origin", [record.bundle])
        found = verdicts.read(judged.repo, store.objects, record.bundle, rule)
    assert found is not None
    assert (found.verdict, found.model, found.commit) == ("pass", "m", judged.git("rev-parse", "HEAD"))
    # A variant that is nowhere to be had cannot be judged.
    git(bare, "update-ref", "-d", f"refs/lepton/models/{variant.files[0].blake3}", env=judged.env)
    third = make("third", clone=bare)
    with pytest.raises(MissingError, match="nowhere to be had"):
        ci(third)


def test_variants_are_built_again_when_asked(judged: Work) -> None:
    found = ci(judged, rebuild=True)
    assert (found.exit_code, faults(found)) == (0, "")
    done = judged.run("lepton", "gate", "--range", "HEAD~1..HEAD", "--rebuild")
    assert (done.returncode, b"building fp16" in done.stderr) == (0, True)
    # A variant of the model before, in the place of the one that the recipe makes.
    record, before = seen(judged).record, parse_record(judged.blob(RECORD, "HEAD~1"))
    old = before.variant[0]
    draft = replace(record.variant[0], files=old.files, losses=old.losses)
    whole = draft.all_files(Bundle(record.files))
    forged = replace(record, variant=(replace(draft, bundle=whole.hash, size=whole.size),))
    past_the_hooks(judged, record=to_text(forged))
    found = ci(judged, "HEAD~2..HEAD", rebuild=True)
    assert found.exit_code == 5
    assert "variant fp16: building it again gives other bytes" in faults(found)


def test_a_partial_clone_brings_what_it_judges(judged: Work, tmp_path: Path) -> None:
    bare = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", str(bare), env=judged.env)
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git(bare, "config", name, "true")
    judged.git("push", "-q", str(bare), "main")
    git(bare, "symbolic-ref", "HEAD", "refs/heads/main")
    judged.git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{bare}", "../partial")
    found = ci(Work(tmp_path / "partial", judged.env))
    assert (found.exit_code, faults(found), verdict(found)) == (0, "", "pass")


def test_a_gate_of_ci_is_pending_until_it_judges(judged: Work) -> None:
    rules = WITH_VARIANT.replace(b"max_drop", b'when = "ci"\nmax_drop')
    judged.write("lepton.toml", rules)
    judged.write(MODEL, onnx_bytes(3))
    judged.git("commit", "-qam", "pending")
    assert [outcome.verdict for outcome in seen(judged).record.outcome] == ["pending", "pending"]
    found = ci(judged, accept=True)
    assert (found.exit_code, faults(found)) == (0, "")
    assert verdict(found) == "pass"


def test_ranges_that_are_none(judged: Work) -> None:
    for text in ("HEAD", "..", "nowhere..HEAD"):
        with pytest.raises(UsageError):
            parse_range(judged.repo, text)
    assert judged.run("lepton", "gate", "--accept-policy").returncode == 2
    assert judged.run("lepton", "gate", "--range", "HEAD~1...HEAD", "nomodel").returncode == 2


def _examples(found: RangeFinding) -> int:
    assert found.judged is not None
    measured = found.judged.outcome.gates[0].measurement
    assert measured is not None
    return measured.n


def _settings(work: Work) -> GateRule:
    return parse(work.read("lepton.toml")).models["m"].gates[0]
