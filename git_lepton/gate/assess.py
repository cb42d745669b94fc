"""Saved answers in, one gate's outcome out: every rule of lepton.toml about values, drops, slices and likeness.

Each rule adds a finding, a verdict with its reason; the worst decides. A value that is undefined fails the rule that
asks for it: nothing passes because it could not be computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from git_lepton.config.values import Tolerance
from git_lepton.errors import UsageError
from git_lepton.gate import metrics, outputs, scoring, statistics
from git_lepton.gate.classes import calibration, class_rows, confusions
from git_lepton.gate.data import Data, load
from git_lepton.gate.evaluators import Outputs, saved
from git_lepton.gate.scoring import Scored
from git_lepton.gate.tasks import Assess, Limits
from git_lepton.gate.values import GateOutcome, Measurement, SliceResult, worst
from git_lepton.record.values import Likeness, Verdict

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

MAX_SLICES: Final = 500
_SLACK: Final = 1e-12
"""What binary fractions may add to a difference of two decimal numbers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Sides:
    """The answers that one assessment is about."""

    own: Outputs
    other: Outputs | None
    head: Outputs | None
    teacher: Outputs | None


def assess(task: Assess) -> GateOutcome:
    """Judge one gate on one model.

    Raises:
        LeptonError: answers or data are missing or do not fit: the gate is not measured.
    """
    data = load(task.data, task.rule) if task.data is not None else None
    own = saved(task.own)
    if own is None:
        raise UsageError("the answers of the model are gone")
    sides = Sides(own, *(saved(path) if path else None for path in (task.other, task.head, task.teacher)))
    if task.rule.metric in metrics.LIKENESS and own.raw is not None:
        return _assess_likeness(task, sides)
    return _assess_metric(task, sides, data)


def _assess_metric(task: Assess, sides: Sides, data: Data | None) -> GateOutcome:
    rule, limits = task.rule, task.limits
    findings = list(_check_answers(sides.own))
    scored = _scored(task, sides.own, data)
    other = _scored(task, sides.other, data) if sides.other is not None else None
    measurement = _measurement(task, scored, other, task.other_label if task.other else "")
    slices: tuple[SliceResult, ...] = ()
    if scored is None:
        if limits.min is not None or limits.max is not None or limits.max_drop is not None:
            findings.append(Finding("fail", f"{rule.metric} needs labels, and the data has none"))
    else:
        if limits.max_drop is not None:
            finding, measurement = _check_drop(task, measurement, limits.max_drop, rule.metric)
            findings.append(finding)
        findings += _check_bounds(rule.metric, measurement.value, limits.min, limits.max)
        if rule.slices is not None:
            slices = tuple(_slices(task, scored, other, data))
            findings += _of_slices(slices)
    findings += _check_likeness(task, likeness := _likeness(sides.own, sides.other, strict=bool(task.variant)))
    findings += _check_teacher(task, teacher := _likeness(sides.own, sides.teacher, strict=True))
    head = _scored(task, sides.head, data) if sides.head is not None else None
    examples = scored.examples if scored is not None else None
    before = other.examples if other is not None else None
    return _outcome(
        task,
        findings,
        measurement,
        slices=slices,
        classes=class_rows(examples, before, changed=bool(task.variant)),
        confusions=confusions(examples, before),
        calibration_error=calibration(examples),
        calibration_error_before=calibration(before),
        likeness=likeness,
        teacher=teacher,
        head=_measurement(task, scored, head, "HEAD") if head is not None else None,
    )


def _assess_likeness(task: Assess, sides: Sides) -> GateOutcome:
    """A gate whose metric is itself the likeness to the other model: no labels, no baseline's value."""
    rule, limits = task.rule, task.limits
    findings = list(_check_answers(sides.own))
    likeness = _likeness(sides.own, sides.other, strict=True)
    value = getattr(likeness, rule.metric) if likeness is not None else None
    label = task.other_label if likeness else ""
    measurement = Measurement(rule.metric, value, likeness.n if likeness else 0, label, limits=_limits_text(task))
    if likeness is None:
        findings.append(_no_baseline(task))
    else:
        findings += _check_bounds(rule.metric, value, limits.min, limits.max)
        if limits.max_drop is not None:
            findings.append(Finding("fail", f"max_drop means nothing for {rule.metric}: use min or max"))
        findings += _check_likeness(task, likeness)
    teacher = _likeness(sides.own, sides.teacher, strict=True)
    findings += _check_teacher(task, teacher)
    return _outcome(task, findings, measurement, likeness=likeness, teacher=teacher)


def _outcome(task: Assess, findings: list[Finding], measurement: Measurement, **parts: Any) -> GateOutcome:
    verdict = worst(finding.verdict for finding in findings)
    reason = next((finding.reason for finding in findings if finding.verdict == verdict), "")
    stops = verdict == "fail" or (verdict == "inconclusive" and task.rule.on_inconclusive == "fail")
    return GateOutcome(
        task.rule.name,
        task.variant,
        verdict,
        reason or "measured; no rule asks for more",
        measurement=measurement,
        stops=stops,
        **parts,
    )


def _scored(task: Assess, answers: Outputs, data: Data | None) -> Scored | None:
    """The metric of these answers; None for a metric without its labels."""
    if answers.raw is not None and (data is None or data.labels is None):
        return None
    return scoring.score(task.rule, answers, data)


def _measurement(task: Assess, scored: Scored | None, other: Scored | None, label: str) -> Measurement:
    limits = _limits_text(task)
    if scored is None:
        return Measurement(task.rule.metric, None, limits=limits)
    value = _finite(scored.value)
    if other is None:
        return Measurement(task.rule.metric, value, scored.rows, limits=limits)
    drop, interval = scoring.drop(scored, other, metrics.direction(task.rule))
    if interval is not None and not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        interval = None
    return Measurement(
        task.rule.metric, value, scored.rows, label, _finite(other.value), _finite(drop), interval, None, limits
    )


def _check_answers(own: Outputs) -> Iterator[Finding]:
    """A model that answers NaN is broken, whatever the metric makes of it."""
    import numpy as np

    if own.raw is not None and own.raw.dtype.kind == "f" and (bad := np.isnan(own.raw)).any():
        count = int(bad.reshape(len(bad), -1).any(axis=1).sum())
        yield Finding("fail", f"the model answers NaN on {count} of {len(bad)} examples")


def _check_bounds(metric: str, value: float | None, low: float | None, high: float | None) -> Iterator[Finding]:
    if value is None:
        yield Finding("fail", f"{metric} is undefined on these examples")
    elif low is not None and value < low:
        yield Finding("fail", f"{metric} {value:.6g} is below min {low:g}")
    elif high is not None and value > high:
        yield Finding("fail", f"{metric} {value:.6g} is above max {high:g}")
    elif low is not None or high is not None:
        yield Finding("pass", f"{metric} {value:.6g} is within its bounds")


def _check_drop(task: Assess, found: Measurement, allowed: Tolerance, what: str) -> tuple[Finding, Measurement]:
    """The rule `max_drop`; the measurement comes back with the examples it would need."""
    if task.other is None:
        return _no_baseline(task), found
    if not found.against or found.drop is None or found.baseline is None or found.value is None:
        return Finding("fail", f"the drop of {what} against {task.other_label} is undefined"), found
    limit = allowed.value
    if allowed.relative:
        if found.baseline == 0:
            return Finding("fail", f"a relative max_drop has no meaning where {task.other_label} has {what} 0"), found
        limit *= abs(found.baseline)
    verdict = statistics.decide(found.drop, found.interval, limit + _SLACK)
    moved = f"{what} {found.baseline:.6g} -> {found.value:.6g} against {task.other_label}"
    if verdict == "pass":
        return Finding("pass", f"{moved}, within {_tolerance(allowed)}"), found
    if verdict == "fail":
        return Finding("fail", f"{moved}: a drop of {found.drop:.3g} is more than {_tolerance(allowed)}"), found
    assert found.interval is not None
    count = statistics.needed(found.n, found.drop, found.interval, limit)
    wanted = f"about {count:,} examples would decide" if count is not None else "no number of examples would decide"
    reason = (
        f"{moved}: with {found.n:,} examples the drop lies between {found.interval.low:.3g} and "
        f"{found.interval.high:.3g}, on both sides of {_tolerance(allowed)}; {wanted}"
    )
    return Finding("inconclusive", reason), Measurement(
        found.metric,
        found.value,
        found.n,
        found.against,
        found.baseline,
        found.drop,
        found.interval,
        count,
        found.limits,
    )


def _no_baseline(task: Assess) -> Finding:
    if task.rule.first == "fail":
        return Finding("fail", 'there is no baseline to compare with, and the gate says first = "fail"')
    return Finding("recorded", "recorded: there is no baseline to compare with yet")


def _slices(task: Assess, scored: Scored, other: Scored | None, data: Data | None) -> Iterator[SliceResult]:
    import numpy as np

    if data is None or data.slices is None:
        raise UsageError(f"slices = {task.rule.slices!r} needs data that has this array")
    if scored.rows != len(data.slices):
        raise UsageError(f"slices need a value for each of the {len(data.slices)} examples, not {scored.rows}")
    names, places = np.unique(data.slices, return_inverse=True)
    if len(names) > MAX_SLICES:
        raise UsageError(f"{len(names)} slices are more than {MAX_SLICES}", hint="slice by a coarser array")
    limits = task.limits
    allowed = limits.slice_max_drop or limits.max_drop
    judged = not task.variant or limits != Limits()
    for number, name in enumerate(names.tolist()):
        rows = np.flatnonzero(places == number)
        part = other.part(rows) if other is not None else None
        found = _measurement(task, scored.part(rows), part, task.other_label if part else "")
        what = f"{task.rule.metric} of {name!r}"
        findings = list(_check_bounds(what, found.value, None, None)) if judged else []
        if allowed is not None and found.value is not None:
            finding, found = _check_drop(task, found, allowed, what)
            findings.append(finding)
        verdict = worst(finding.verdict for finding in findings)
        reason = next((finding.reason for finding in findings if finding.verdict == verdict), "")
        yield SliceResult(name, verdict, reason, found)


def _of_slices(slices: tuple[SliceResult, ...]) -> Iterator[Finding]:
    """One finding for all slices: the worst of them, and how many are like it."""
    verdict = worst(one.verdict for one in slices)
    those = [one for one in slices if one.verdict == verdict]
    if verdict in {"fail", "inconclusive"}:
        more = f" (and {len(those) - 1} more slices)" if len(those) > 1 else ""
        yield Finding(verdict, f"slice {those[0].name!r}: {those[0].reason}{more}")


def _likeness(own: Outputs, other: Outputs | None, *, strict: bool) -> Likeness | None:
    if own.raw is None or other is None or other.raw is None:
        return None
    try:
        return outputs.likeness(own.raw, other.raw)
    except UsageError:
        if strict:
            raise
        return None  # a new version may answer in another shape than the one before


def _check_likeness(task: Assess, found: Likeness | None) -> Iterator[Finding]:
    limits = task.limits
    for name, limit, value in (
        ("agreement", limits.min_agreement, found.agreement if found else None),
        ("output_error", limits.max_output_error, found.output_error if found else None),
    ):
        if limit is None:
            continue
        least = name == "agreement"
        bound = f"{'min_agreement' if least else 'max_output_error'} {limit:g}"
        if value is None:
            yield Finding("fail", f"{bound}: the outputs of the two models cannot be compared")
        elif value < limit if least else value > limit:
            yield Finding("fail", f"{name} {value:.6g} with {task.other_label} breaks {bound}")
        else:
            yield Finding("pass", f"{name} {value:.6g} with {task.other_label}, within {bound}")


def _check_teacher(task: Assess, found: Likeness | None) -> Iterator[Finding]:
    rule = task.rule.teacher
    if rule is None or task.variant:
        return
    for name, limit, value in (
        ("agreement", rule.min_agreement, found.agreement if found else None),
        ("KL divergence", rule.max_kl, found.kl if found else None),
    ):
        if limit is None:
            continue
        least = name == "agreement"
        if value is None:
            yield Finding("fail", f"{name} with the teacher is undefined for these outputs")
        elif value < limit if least else value > limit:
            yield Finding("fail", f"{name} {value:.6g} with the teacher breaks {'min' if least else 'max'} {limit:g}")
        else:
            yield Finding("pass", f"{name} {value:.6g} with the teacher is good enough")


def _limits_text(task: Assess) -> str:
    limits = task.limits
    parts = [
        f"{name} {value:g}"
        for name, value in (
            ("min", limits.min),
            ("max", limits.max),
            ("min_agreement", limits.min_agreement),
            ("max_output_error", limits.max_output_error),
        )
        if value is not None
    ]
    return ", ".join([*parts, *([_tolerance(limits.max_drop)] if limits.max_drop is not None else [])])


def _tolerance(allowed: Tolerance) -> str:
    return f"max_drop {100 * allowed.value:g}%" if allowed.relative else f"max_drop {allowed.value:g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
