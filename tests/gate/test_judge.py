"""The whole way: models on disk, a child process, outcomes. Evaluators here do everything wrong that they can."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from git_lepton.config.values import Budget, GateRule, Golden, TeacherRule, Tolerance, VariantRule
from git_lepton.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_NOT_MEASURED, UsageError
from git_lepton.gate.cache import FolderCache
from git_lepton.gate.golden import check
from git_lepton.gate.judge import judge, write_golden
from git_lepton.gate.standby import Standby
from git_lepton.gate.tasks import Evaluate
from git_lepton.gate.values import Folder, JudgeRequest, Skipped
from git_lepton.gate.worker import Worker
from git_lepton.progress import Silent
from git_lepton.values import Hash
from tests.gate.models import data, flipping, linear, only, request, rows_data, run, write

ROWS = 200
PYTHON = sys.executable
DROP = GateRule("accuracy", data="d.npz", max_drop=Tolerance(0.02))


@pytest.fixture
def good(tmp_path: Path) -> Folder:
    return flipping(tmp_path / "good", [], ROWS)


@pytest.fixture
def asked(tmp_path: Path, good: Folder) -> JudgeRequest:
    """An equal model under one rule."""
    found = rows_data(tmp_path / "d.npz", ROWS)
    return request(tmp_path, good, DROP, baseline=good, data={"accuracy": found})


def command(tmp_path: Path, model: Folder, *texts: str, timeout: float = 60.0) -> JudgeRequest:
    """A gate for each command, all in one run; those that wait are ended early."""
    return request(tmp_path, model, *(GateRule(text, command=text, timeout=timeout) for text in texts))


def test_equal_worse_and_variants_in_one_run(tmp_path: Path, asked: JudgeRequest) -> None:
    rule = replace(
        DROP, variants={"bad": VariantRule(max_drop=Tolerance(0.01)), "near": VariantRule(min_agreement=0.9)}
    )
    found = run(
        replace(
            asked,
            settings=replace(asked.settings, gates=(rule,)),
            previous=flipping(tmp_path / "previous", [1, 2], ROWS),
            variants={
                "bad": flipping(tmp_path / "bad", range(20), ROWS),
                "near": flipping(tmp_path / "near", [5], ROWS),
                "free": flipping(tmp_path / "free", range(90), ROWS),
                "none": Skipped("it does not pay"),
            },
        )
    )
    verdicts = {gate.variant: gate.verdict for gate in found.gates}
    assert verdicts == {"": "pass", "bad": "fail", "near": "pass", "free": "recorded"}
    assert (found.verdict, found.stops, found.exit_code) == ("fail", True, EXIT_GATE_FAILED)
    head = only(found).head
    assert (head.value, head.baseline, head.drop) == (1.0, 0.99, pytest.approx(-0.01))
    assert found.host["numpy"] == np.__version__
    assert "numpy" not in found.gates[0].reason


def test_several_sets_of_examples_each_with_its_own_rules(tmp_path: Path, good: Folder) -> None:
    bad = flipping(tmp_path / "bad", range(20), ROWS)
    first, second = rows_data(tmp_path / "one.npz", ROWS), data(tmp_path / "two.npz", x=np.eye(ROWS, dtype="f4")[50:])
    rules = replace(DROP, data="one.npz"), GateRule("alike", data="two.npz", metric="agreement", min=0.99)
    asked = request(tmp_path, bad, *rules, baseline=good, data={"accuracy": first, "alike": second})
    found = run(asked)
    assert [(g.gate, g.verdict, g.measurement and g.measurement.n) for g in found.gates] == [
        ("accuracy", "fail", ROWS),
        ("alike", "pass", ROWS - 50),
    ]


def test_answers_are_kept_and_damage_is_noticed(tmp_path: Path, asked: JudgeRequest) -> None:
    cache = tmp_path / "kept"
    first = run(asked, cache)
    kept = sorted(cache.glob("*/*.npz"))
    assert len(kept) == 1  # baseline and candidate are one bundle
    again = run(asked, cache)
    assert replace(only(again), seconds=0.0) == replace(only(first), seconds=0.0)
    assert only(again).seconds == 0.0
    for junk in (b"", kept[0].read_bytes()[:100]):
        kept[0].write_bytes(junk)
        assert only(run(asked, cache)).seconds > 0
    assert FolderCache(cache).trim(10**9) == 0
    assert FolderCache(cache).trim(0) == 1
    assert FolderCache(tmp_path / "nowhere").trim(0) == 0


def test_what_is_settled_without_measuring(tmp_path: Path, asked: JudgeRequest) -> None:
    found = asked.data["accuracy"]
    for changed, verdict, words in (
        (replace(asked, calibration=found), "fail", "calibration"),
        (replace(asked, data={}, missing={"accuracy": "not there: git add it"}), "not-measured", "git add it"),
        (replace(asked, data={}), "not-measured", "d.npz is not here"),
        (_with(asked, replace(DROP, blake3=Hash("0" * 64))), "fail", "not what the gate names"),
        (_with(asked, replace(DROP, when="ci")), "pending", "CI"),
        (_with(asked, replace(DROP, teacher=TeacherRule(max_kl=1.0))), "not-measured", "teacher"),
    ):
        gate = only(run(changed))
        assert gate.verdict == verdict
        assert words in gate.reason
        assert gate.stops is (verdict != "pending")
    assert run(replace(asked, data={}, missing={"accuracy": "not there"})).exit_code == EXIT_NOT_MEASURED
    assert only(run(replace(_with(asked, replace(DROP, when="ci")), stage="ci"))).verdict == "pass"


def test_a_baseline_that_cannot_be_run_matters_only_where_it_is_needed(tmp_path: Path, asked: JudgeRequest) -> None:
    broken = replace(asked, baseline=write(tmp_path / "broken", b"junk"), previous=write(tmp_path / "old", b"old"))
    gate = only(run(broken))
    assert gate.verdict == "not-measured"
    assert gate.reason.startswith("baseline cannot be measured: not a valid onnx file")
    assert only(run(_with(broken, GateRule("accuracy", data="d.npz", min=0.5)))).verdict == "pass"


def test_a_student_is_compared_with_its_teacher(tmp_path: Path, asked: JudgeRequest) -> None:
    rule = replace(DROP, teacher=TeacherRule(min_agreement=0.9))
    near, far = flipping(tmp_path / "near", [3], ROWS), flipping(tmp_path / "far", range(50), ROWS)
    assert only(run(replace(_with(asked, rule), teacher=near))).verdict == "pass"
    assert only(run(replace(_with(asked, rule), teacher=far))).verdict == "fail"


def test_a_model_that_is_no_onnx_needs_an_evaluator(tmp_path: Path, asked: JudgeRequest) -> None:
    model = write(tmp_path / "st", b"weights", "model.safetensors")
    gate = only(run(replace(asked, candidate=model, baseline=None)))
    assert (gate.verdict, "command" in gate.hint) == ("not-measured", True)
    (tmp_path / "sizes.py").write_text("def size(model, data):\n    return model.stat().st_size + len(data)\n")
    rule = GateRule("accuracy", data="d.npz", metric="sizes:size", min=1)
    gate = only(run(replace(_with(asked, rule), candidate=model, baseline=None)))
    assert (gate.verdict, gate.measurement.value) == ("pass", 7 + 2)
    assert not (tmp_path / "__pycache__").exists()


TOLD = {
    """echo noise; echo '{"value": 0.75}'""": (0.75, 0),
    """echo '{"accuracy": 0.5}'; echo done""": (0.5, 0),
    """echo '{"per_example": [1, 0, 1, 1]}'""": (0.75, 4),
    """echo '{"per_example": "values.json"}'""": (0.75, 4),
    """printf '{\\n "value": 2\\n}'""": (2.0, 0),
    """test -f {main} && test -d {model} && test -z "$LEPTON_DATA" && echo '{"value": 1}'""": (1.0, 0),
}


def test_commands_tell_a_number_or_one_for_each_example(tmp_path: Path, good: Folder) -> None:
    (tmp_path / "values.json").write_text("[1, 0, 1, true]")
    found = run(command(tmp_path, good, *TOLD))
    measured = {gate.gate: gate.measurement for gate in found.gates}
    assert {text: m and (m.value, m.n) for text, m in measured.items()} == TOLD


@pytest.mark.parametrize("name", ["a b'\"$(touch owned)`touch owned`;touch owned.onnx", "-rf.onnx", "*.onnx"])
def test_a_name_never_becomes_part_of_a_command(tmp_path: Path, name: str) -> None:
    model = write(tmp_path / "m", b'{"value": 1}', name)
    found = run(command(tmp_path, model, "cat {main}", "cat '{main}'", 'cat "{main}"', "echo {model}/{main}"))
    assert not list(tmp_path.rglob("owned*"))
    assert found.gates[0].measurement is not None
    assert found.gates[0].measurement.value == 1.0


def test_a_variant_of_which_nothing_is_asked_may_be_in_a_format_that_the_evaluator_does_not_know(
    tmp_path: Path, good: Folder
) -> None:
    other = write(tmp_path / "v", b"other", "m.gguf")
    asked = command(tmp_path, good, "test -f {model}/m.gguf && exit 3; echo '{\"value\": 1}'")
    found = run(replace(asked, variants={"gguf-f16": other}))
    assert [(gate.verdict, gate.stops) for gate in found.gates] == [("recorded", False), ("not-measured", False)]
    rule = replace(asked.settings.gates[0], variants={"gguf-f16": VariantRule(min=0.5)})
    found = run(replace(_with(asked, rule), variants={"gguf-f16": other}))
    assert [(gate.verdict, gate.stops) for gate in found.gates] == [("recorded", False), ("not-measured", True)]


FAILING = {
    "echo rubbish": "printed no result, but: rubbish",
    "true": "printed no result, but: nothing",
    """echo '{"value": "high"}'""": "must be a number",
    """echo '{"per_example": []}'""": "one number an example",
    """echo '{"per_example": [[1]]}'""": "one number an example",
    """echo '{"per_example": "gone.json"}'""": "cannot be read",
    """echo '[[[['; echo '{"other": 1}'""": "printed no result",
    "echo why it broke >&2; exit 3": "exit status 3: why it broke",
    "kill -SEGV $$": "signal 11",
    "no-such-program": "not found",
    "sleep 60 & sleep 60": "did not end within 2 seconds",
    "setsid sleep 5 & yes": "did not end within 2 seconds",
}


def test_commands_that_fail(tmp_path: Path, good: Folder) -> None:
    found = run(command(tmp_path, good, *FAILING, timeout=2.0))
    assert found.exit_code == EXIT_NOT_MEASURED
    for gate in found.gates:
        assert gate.verdict == "not-measured"
        assert FAILING[gate.gate] in gate.reason


def test_nan_from_a_command_fails(tmp_path: Path, good: Folder) -> None:
    texts = """echo '{"value": NaN}'""", """echo '{"per_example": [1, NaN]}'""", """echo '{"value": Infinity}'"""
    assert [gate.verdict for gate in run(command(tmp_path, good, *texts)).gates] == ["fail"] * 3


HOSTILE = """
import os, signal, sys, time

def crash(model, data): os.kill(os.getpid(), signal.SIGSEGV)
def leave(model, data): sys.exit(0)
def hang(model, data): time.sleep(60)
def chatty(model, data):
    print('{"number": 0, "result": null, "failed": null}')
    os.write(1, b"more")
    return 1.0
def broken(model, data): raise RuntimeError("it broke")
def text(model, data): return "high"
"""


def test_functions_that_fail_do_not_take_the_others_down(tmp_path: Path, asked: JudgeRequest) -> None:
    (tmp_path / "hostile.py").write_text(HOSTILE)
    names = ("crash", "leave", "hang", "chatty", "broken", "text", "missing")
    rules = [GateRule(name, metric=f"hostile:{name}", timeout=1.0 if name == "hang" else 60.0) for name in names]
    found = run(replace(asked, settings=replace(asked.settings, gates=(*rules, DROP))))
    reasons = {gate.gate: gate.reason for gate in found.gates}
    assert {gate.gate for gate in found.gates if gate.verdict != "not-measured"} == {"chatty", "accuracy"}
    assert "signal 11" in reasons["crash"]
    assert "ended with status 0" in reasons["leave"]
    assert "did not end within 1 seconds" in reasons["hang"]
    assert "RuntimeError: it broke" in reasons["broken"]
    assert "must be a number" in reasons["text"]
    assert "missing" in reasons["missing"]


def test_nothing_is_imported_from_the_folder_it_runs_in(tmp_path: Path, asked: JudgeRequest) -> None:
    for name in ("numpy", "json", "git_lepton", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    assert only(run(asked)).verdict == "pass"
    assert not (tmp_path / "owned").exists()


def test_code_of_the_repository_is_in_reach_of_functions_only(
    tmp_path: Path, good: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that tries an optional import must not find a file of the same name that nobody trusted."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "one_value.py").write_text("def one(model, data): return 1.0\n")
    found, worker = rows_data(tmp_path / "d.npz", ROWS), Worker(tmp_path)
    for rule, reach in ((DROP, False), (GateRule("g", metric="one_value:one"), True)):
        worker.do(Evaluate("", rule, good, found.path, tmp_path / f"{rule.name}.npz", 60.0))
        assert (str(tmp_path) in sys.path) is reach


def test_results_of_code_are_kept_only_under_its_hash(tmp_path: Path, good: Folder) -> None:
    asked = command(tmp_path, good, """echo x >> count; echo '{"value": 1}'""")
    for code in (None, None, "one", "one", "two"):
        run(replace(asked, code=code))
    assert len((tmp_path / "count").read_text()) == 2 * 4


def test_interruption_leaves_nothing_running(tmp_path: Path, good: Folder) -> None:
    class Interrupted(Silent):
        def start(self, label: str, total: int | None) -> None:
            end = time.monotonic() + 20
            while not (tmp_path / "pid").exists() and time.monotonic() < end:
                time.sleep(0.02)
            raise KeyboardInterrupt

    asked = command(tmp_path, good, "echo $$ > draft; mv draft pid; sleep 60")
    with pytest.raises(KeyboardInterrupt):
        judge(asked, cache=FolderCache(tmp_path / "cache"), progress=Interrupted())
    assert _ended(int((tmp_path / "pid").read_text()))
    assert not list((tmp_path / "cache").glob("*/*"))


def test_a_child_ends_with_its_parent(tmp_path: Path, good: Folder) -> None:
    asked = command(tmp_path, good, "echo $$ > draft; mv draft pid; sleep 60")
    reader, parent = os.pipe(), os.fork()
    if parent == 0:
        os.close(reader[0])
        try:
            run(asked)
        finally:
            os._exit(0)
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    os.close(reader[0])
    os.close(reader[1])
    assert _ended(int((tmp_path / "pid").read_text()))


def _ended(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_child_on_standby_is_used_or_ended(tmp_path: Path, asked: JudgeRequest) -> None:
    with Standby(tmp_path) as standby:
        found = judge(asked, cache=FolderCache(tmp_path / "cache"), progress=Silent(), standby=standby)
        assert standby.take() is None
    assert found.verdict == "pass"
    with Standby(tmp_path) as standby:
        assert standby.top == tmp_path


def test_budgets(tmp_path: Path, asked: JudgeRequest) -> None:
    slow = linear(tmp_path / "slow", np.ones((ROWS, 10_000), "float32"))
    budget = Budget(
        size_bytes={"": 100, "slow": 10, "gone": 5, "unknown": 5},
        latency_p50_ratio={"": 1.0, "slow": 1.1},
        peak_memory_bytes={"": 10**9, "slow": 1000},
    )
    found = run(
        replace(
            asked,
            settings=replace(asked.settings, budget=budget),
            variants={"slow": slow, "gone": Skipped("it grew")},
            sizes={"": 100, "slow": 11},
        )
    )
    verdicts = [(b.kind.partition("_")[0], b.variant, b.verdict) for b in found.budgets]
    assert verdicts == [
        ("size", "", "pass"),
        ("size", "slow", "fail"),
        ("size", "gone", "fail"),
        ("size", "unknown", "fail"),
        ("latency", "", "pass"),
        ("latency", "slow", "fail"),
        ("peak", "", "pass"),
        ("peak", "slow", "fail"),
    ]
    assert found.budgets[2].reason == "there is no gone: it grew"
    heavy = found.budgets[-1].value
    assert heavy is not None
    assert heavy > 10_000 * ROWS * 4 * 0.8


def test_budgets_that_cannot_be_measured_stop(tmp_path: Path, asked: JudgeRequest) -> None:
    budget = Budget(size_bytes={"": 1}, latency_p50_ratio={"": 1.0}, peak_memory_bytes={"": 1})
    other = flipping(tmp_path / "other", [1], ROWS)
    found = run(replace(asked, settings=replace(asked.settings, budget=budget, gates=()), baseline=other))
    assert [b.verdict for b in found.budgets] == ["not-measured"] * 3
    assert found.exit_code == EXIT_NOT_MEASURED
    alone = run(
        replace(asked, settings=replace(asked.settings, budget=Budget(latency_p50_ratio={"": 1.0})), baseline=None)
    )
    assert alone.budgets[0].verdict == "recorded"


def test_an_undecided_gate_that_stops(tmp_path: Path, asked: JudgeRequest) -> None:
    rule = replace(DROP, max_drop=Tolerance(0.005), on_inconclusive="fail")
    found = run(replace(_with(asked, rule), candidate=flipping(tmp_path / "one", [1], ROWS)))
    assert (found.verdict, found.exit_code) == ("inconclusive", EXIT_INCONCLUSIVE)


def test_the_golden_file(tmp_path: Path, asked: JudgeRequest) -> None:
    int8 = flipping(tmp_path / "int8", [], ROWS, classes=2)
    settings = replace(asked.settings, golden=Golden("accuracy", rows=8))
    full = replace(asked, settings=settings, variants={"int8": int8, "gone": Skipped("no")})
    golden = tmp_path / "golden.npz"
    assert write_golden(full, golden, progress=Silent()) == 8
    first = blake3(golden.read_bytes()).hexdigest()
    write_golden(full, golden, progress=Silent())
    assert blake3(golden.read_bytes()).hexdigest() == first
    assert len(golden.read_bytes()) <= 1 << 20
    assert check(golden, asked.candidate.path, "model.onnx").holds
    assert check(golden, int8.path, "model.onnx", "int8").holds
    other = check(golden, flipping(tmp_path / "bad", range(ROWS), ROWS).path, "model.onnx")
    assert (other.holds, other.agreement, "8 of 8 predictions changed" in other.reason) == (False, 0.0, True)
    for variant, folder, main in (
        ("fp16", int8.path, "model.onnx"),
        ("", int8.path, "gone.onnx"),
        ("", int8.path, "x.bin"),
        ("", linear(tmp_path / "small", np.ones((3, 2))).path, "model.onnx"),
    ):
        assert not check(golden, folder, main, variant).holds
    golden.write_bytes(b"junk")
    assert not check(golden, int8.path, "model.onnx").holds
    with pytest.raises(UsageError, match="golden"):
        write_golden(asked, golden, progress=Silent())


def test_a_golden_file_has_as_many_examples_as_fit(tmp_path: Path) -> None:
    rows = 2000
    wide = flipping(tmp_path / "wide", [], rows)
    asked = request(tmp_path, wide, DROP, data={"accuracy": rows_data(tmp_path / "d.npz", rows)})
    asked = replace(asked, settings=replace(asked.settings, golden=Golden("accuracy", rows=1000)))
    assert write_golden(asked, tmp_path / "golden.npz", progress=Silent()) == 125


def test_the_parent_stays_light() -> None:
    code = "import sys, git_lepton.gate.judge, git_lepton.gate.golden, git_lepton.gate.explain; print([*sys.modules])"
    done = os.popen(f'{PYTHON} -c "{code}"').read()
    assert not {"numpy", "onnxruntime", "onnx"} & set(json.loads(done.replace("'", '"')))


def _with(asked: JudgeRequest, *rules: GateRule) -> JudgeRequest:
    return replace(asked, settings=replace(asked.settings, gates=rules))
