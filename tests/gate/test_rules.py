"""Every rule of a gate, on answers that are already there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_lepton.config.values import GateRule, TeacherRule, Tolerance
from git_lepton.errors import UsageError
from git_lepton.gate.assess import assess
from git_lepton.gate.evaluators import Outputs
from git_lepton.gate.tasks import Assess, Limits
from git_lepton.gate.values import GateOutcome
from tests.gate.models import data, one_hot

Array = np.ndarray[Any, Any]
ROWS = 1000
LABELS = np.arange(ROWS) % 4


def scores(wrong: int = 0, sharp: float = 3.0) -> Array:
    """Outputs that are wrong on the first examples."""
    classes = LABELS.copy()
    classes[:wrong] = (classes[:wrong] + 1) % 4
    return one_hot(classes, 4) * sharp


class Case:
    """Saves answers, and judges them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = data(folder / "d.npz", labels=LABELS, part=np.where(LABELS < 2, "low", "high"))

    def save(self, name: str, answers: Outputs | Array | None) -> Path | None:
        if answers is None:
            return None
        path = self.folder / f"{name}.npz"
        (answers if isinstance(answers, Outputs) else Outputs(raw=answers)).save(path)
        return path

    def judge(
        self,
        limits: Limits,
        own: Outputs | Array,
        other: Outputs | Array | None = None,
        *,
        variant: str = "",
        teacher: Array | None = None,
        teacher_rule: TeacherRule | None = None,
        head: Array | None = None,
        bare: bool = False,
        **rule: Any,
    ) -> GateOutcome:
        own_path = self.save("own", own)
        assert own_path is not None
        task = Assess(
            "label",
            GateRule("g", teacher=teacher_rule, **rule),
            variant,
            limits,
            None if bare else self.data.path,
            own_path,
            self.save("other", other),
            "prod",
            self.save("head", head),
            self.save("teacher", teacher),
            60.0,
        )
        return assess(task)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def drop(value: float, *, relative: bool = False) -> Limits:
    return Limits(max_drop=Tolerance(value, relative))


def test_an_equal_model_passes_even_without_tolerance(case: Case) -> None:
    found = case.judge(drop(0.0), scores(10), scores(10, sharp=5.0))
    assert (found.verdict, found.stops) == ("pass", False)
    assert found.measurement is not None
    assert (found.measurement.drop, found.measurement.n, found.measurement.against) == (0.0, ROWS, "prod")
    assert found.measurement.interval is not None
    assert found.measurement.interval.high == 0.0


def test_a_clear_loss_fails_and_a_clear_gain_passes(case: Case) -> None:
    lost = case.judge(drop(0.005), scores(50), scores(0))
    assert (lost.verdict, lost.stops) == ("fail", True)
    assert "1 -> 0.95 against prod" in lost.reason
    assert case.judge(drop(0.005), scores(0), scores(50)).verdict == "pass"


@pytest.mark.parametrize(("policy", "stops"), [("warn", False), ("fail", True)])
def test_too_few_examples_say_how_many_would_do(case: Case, policy: Any, stops: bool) -> None:
    found = case.judge(drop(0.005), scores(3), scores(0), on_inconclusive=policy)
    assert (found.verdict, found.stops) == ("inconclusive", stops)
    assert found.measurement is not None
    assert found.measurement.needed_n is not None
    assert found.measurement.needed_n > ROWS
    assert "examples would decide" in found.reason


def test_bounds_are_inclusive(case: Case) -> None:
    assert case.judge(Limits(min=0.95), scores(50)).verdict == "pass"
    below = case.judge(Limits(min=0.951), scores(50))
    assert (below.verdict, below.reason) == ("fail", "accuracy 0.95 is below min 0.951")
    assert case.judge(Limits(max=0.94), scores(50)).verdict == "fail"
    assert case.judge(Limits(max=2.0), scores(0), metric="log_loss").verdict == "pass"


def test_lower_is_better_where_the_metric_means_it(case: Case) -> None:
    assert case.judge(drop(0.01), scores(0, 2.0), scores(0, 3.0), metric="log_loss").verdict == "fail"
    assert case.judge(drop(0.01), scores(0, 3.0), scores(0, 2.0), metric="log_loss").verdict == "pass"
    found = case.judge(drop(0.01), scores(0), scores(300), direction="lower")
    assert found.verdict == "fail"


def test_relative_drops(case: Case) -> None:
    assert case.judge(drop(0.1, relative=True), scores(550), scores(500)).verdict == "inconclusive"
    assert case.judge(drop(0.2, relative=True), scores(550), scores(500)).verdict == "pass"
    assert case.judge(drop(0.02, relative=True), scores(600), scores(500)).verdict == "fail"
    zero = case.judge(drop(0.02, relative=True), scores(0), scores(ROWS))
    assert (zero.verdict, "relative" in zero.reason) == ("fail", True)


def test_without_a_baseline_the_value_is_recorded_or_the_gate_fails(case: Case) -> None:
    assert case.judge(drop(0.01), scores(0)).verdict == "recorded"
    assert case.judge(drop(0.01), scores(0), first="fail").verdict == "fail"
    both = case.judge(Limits(max_drop=Tolerance(0.01), min=0.5), scores(0))
    assert both.verdict == "pass"


def test_nan_never_passes(case: Case) -> None:
    broken = scores(0)
    broken[7, 2] = np.nan
    for limits in (Limits(), Limits(min=0.1), drop(1.0)):
        found = case.judge(limits, broken, scores(0))
        assert (found.verdict, found.stops) == ("fail", True), limits
    assert case.judge(Limits(), broken, variant="int8").verdict == "fail"
    undefined = case.judge(drop(1.0), Outputs(value=float("nan")), Outputs(value=0.5), bare=True, command="x")
    assert undefined.verdict == "fail"
    assert undefined.measurement is not None
    assert undefined.measurement.value is None


def test_a_metric_that_is_undefined_fails(case: Case) -> None:
    case.data = data(case.folder / "one.npz", labels=np.zeros(ROWS, dtype=int))
    assert case.judge(Limits(), scores(0), metric="auc").verdict == "fail"


def test_metrics_that_are_no_mean_are_resampled(case: Case) -> None:
    equal = case.judge(drop(0.001), scores(30), scores(30), metric="f1_macro")
    assert equal.verdict == "pass"
    worse = case.judge(drop(0.005), scores(60), scores(5), metric="f1_macro")
    assert worse.verdict == "fail"
    assert worse.measurement is not None
    assert worse.measurement.interval is not None
    assert worse.measurement.interval.low < 0.055 < worse.measurement.interval.high


def test_one_bad_slice_fails_the_gate(case: Case) -> None:
    worse = scores(0)
    low = np.flatnonzero(LABELS < 2)[:30]
    worse[low] = np.roll(worse[low], 1, axis=1)
    found = case.judge(drop(0.05), worse, scores(0), slices="part")
    assert [(one.name, one.verdict, one.measurement.n) for one in found.slices] == [
        ("high", "pass", 500),
        ("low", "inconclusive", 500),
    ]
    assert found.verdict == "inconclusive"
    limits = Limits(max_drop=Tolerance(0.05), slice_max_drop=Tolerance(0.01))
    assert case.judge(limits, worse, scores(0), slices="part").reason.startswith("slice 'low': accuracy of 'low' 1 ->")


def test_a_slice_without_a_value_fails(case: Case) -> None:
    found = case.judge(Limits(min=0.1), scores(0), metric="auc", slices="part")
    assert found.verdict == "fail"
    assert "undefined" in found.slices[0].reason


def test_slices_that_are_not_there_are_an_error(case: Case) -> None:
    with pytest.raises(UsageError, match="region"):
        case.judge(Limits(), scores(0), slices="region")
    with pytest.raises(UsageError, match="each of the 1000 examples, not 0"):
        case.judge(Limits(), Outputs(value=0.5), slices="part")
    with pytest.raises(UsageError, match="not 7"):
        case.judge(Limits(), Outputs(each=np.ones(7)), slices="part")


def test_a_variant_without_a_rule_is_measured_only(case: Case) -> None:
    found = case.judge(Limits(), scores(500), scores(0), variant="int8")
    assert (found.verdict, found.stops) == ("recorded", False)
    assert found.likeness is not None
    assert found.likeness.agreement == 0.5


def test_what_is_asked_of_a_variant(case: Case) -> None:
    near = scores(0) + 0.01
    assert case.judge(Limits(min_agreement=1.0, max_output_error=0.02), near, scores(0), variant="v").verdict == "pass"
    assert case.judge(Limits(max_output_error=0.005), near, scores(0), variant="v").verdict == "fail"
    assert case.judge(Limits(min_agreement=0.99), scores(20), scores(0), variant="v").verdict == "fail"


def test_a_student_and_its_teacher(case: Case) -> None:
    good, bad = TeacherRule(min_agreement=0.9, max_kl=0.5), TeacherRule(max_kl=0.001)
    assert case.judge(Limits(), scores(50), teacher=scores(0), teacher_rule=good).verdict == "pass"
    found = case.judge(Limits(), scores(50), teacher=scores(0), teacher_rule=bad)
    assert found.verdict == "fail"
    assert found.teacher is not None
    assert found.teacher.agreement == 0.95
    assert found.teacher.kl is not None
    assert case.judge(Limits(), scores(0), teacher_rule=good).verdict == "fail"


def test_without_labels_models_are_only_compared(case: Case) -> None:
    case.data = data(case.folder / "bare.npz", x=np.zeros((ROWS, 2)))
    assert case.judge(Limits(), scores(3), scores(0)).verdict == "recorded"
    assert case.judge(Limits(min=0.5), scores(3), scores(0)).verdict == "fail"
    likeness = case.judge(Limits(min=0.99), scores(3), scores(0), metric="agreement")
    assert (likeness.verdict, likeness.measurement and likeness.measurement.value) == ("pass", 0.997)
    assert case.judge(Limits(min=0.999), scores(3), scores(0), metric="agreement").verdict == "fail"
    assert case.judge(Limits(min=0.9), scores(3), metric="agreement").verdict == "recorded"
    assert case.judge(Limits(max=1e-9), scores(3), scores(0), metric="kl").verdict == "fail"


def test_the_version_at_head_is_shown_and_never_judged(case: Case) -> None:
    found = case.judge(drop(0.005), scores(0), scores(0), head=np.zeros_like(scores(0)))
    assert found.verdict == "pass"
    assert found.head is not None
    assert (found.head.against, found.head.drop) == ("HEAD", -0.75)


def test_one_number_is_judged_as_a_point_and_values_are_paired(case: Case) -> None:
    assert case.judge(drop(0.005), Outputs(value=0.945), Outputs(value=0.95), bare=True).verdict == "pass"
    assert case.judge(drop(0.005), Outputs(value=0.944), Outputs(value=0.95), bare=True).verdict == "fail"
    each = np.random.default_rng(0).random(400)
    assert case.judge(drop(0.005), Outputs(each=each), Outputs(each=each + 0.001), bare=True).verdict == "pass"
    with pytest.raises(UsageError, match="paired"):
        case.judge(drop(0.005), Outputs(each=each), Outputs(each=each[:7]), bare=True)


def test_classes_confusions_and_calibration(case: Case) -> None:
    found = case.judge(Limits(), scores(100), scores(0))
    assert [row.label for row in found.classes] == ["0", "1", "2", "3"]
    first = found.classes[0]
    assert first.before is not None
    assert (first.after.support, first.after.recall, first.before.recall) == (250, 0.9, 1.0)
    assert {(c.expected, c.predicted, c.after, c.before) for c in found.confusions} == {
        ("0", "1", 25, 0), ("1", "2", 25, 0), ("2", "3", 25, 0), ("3", "0", 25, 0),
    }  # fmt: skip
    assert found.calibration_error is not None
    assert found.calibration_error_before is not None
    # Of a variant, the classes that it changed; and none that no example has.
    wide = np.pad(scores(100), ((0, 0), (0, 2)))
    strayed = wide.copy()
    strayed[999, 5] = 9.0
    found = case.judge(Limits(), strayed, wide, variant="int8")
    assert [row.label for row in found.classes] == ["3"]
    assert [(c.expected, c.predicted) for c in found.confusions] == [("3", "5")]


def test_outputs_of_another_shape_are_another_model_not_an_error(case: Case) -> None:
    more = np.concatenate([scores(0), np.full((ROWS, 1), -9, "float32")], axis=1)
    found = case.judge(drop(0.0), more, scores(0))
    assert (found.verdict, found.likeness) == ("pass", None)
    with pytest.raises(UsageError, match="cannot be compared"):
        case.judge(Limits(), more, scores(0), variant="int8")
