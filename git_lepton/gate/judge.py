"""One model judged: plan what must be measured, have it measured in a child process, and say what came of it.

Every model (candidate, baseline, variants, teacher, the version at HEAD) is evaluated once on every gate's examples,
equal bundles once; tasks are ordered by model, so that each is loaded once, and assessments follow when all answers are
there. This module computes nothing itself and imports neither numpy nor onnxruntime. A model whose answers are all
kept from an earlier run is not even written out.

Whatever cannot be measured ends as "not-measured" with its reason and stops the commit, unless it is a variant of which
the gate asks nothing: an evaluator need not know every format. A baseline that cannot be evaluated does so only where a
rule needs it; the version at HEAD never does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from git_lepton.config.values import GateRule
from git_lepton.errors import UsageError
from git_lepton.gate import budgets, cache, child, metrics
from git_lepton.gate.cache import OutputCache, is_whole
from git_lepton.gate.host import host_facts
from git_lepton.gate.standby import Standby
from git_lepton.gate.tasks import (
    Assess,
    Clock,
    Evaluate,
    Evaluated,
    Failed,
    Limits,
    Result,
    Shine,
    Shone,
    Task,
    Weigh,
)
from git_lepton.gate.values import (
    ORIGINAL,
    DataFile,
    Folder,
    GateOutcome,
    JudgeRequest,
    ModelOutcome,
    Skipped,
)
from git_lepton.progress import Progress
from git_lepton.record.values import Verdict

_ASSESS_SECONDS: Final = 600.0


@dataclass(slots=True)
class _Plan:
    """What is to be done: evaluations by where their answers go, and who judges them.

    Attributes:
        outcomes: those that need no measuring, by gate and variant.
        evaluations: in the order in which they were asked for.
        assessments: by gate and variant.
    """

    request: JudgeRequest
    cache: OutputCache
    scratch: Path
    outcomes: dict[tuple[str, str], GateOutcome] = field(default_factory=dict)
    evaluations: dict[Path, Evaluate] = field(default_factory=dict)
    assessments: dict[tuple[str, str], Assess] = field(default_factory=dict)

    def evaluate(self, rule: GateRule, model: Folder, data: DataFile | None, what: str) -> Path:
        """Ask for answers; returns where they will be."""
        name = cache.key(rule, model, data.blake3 if data else None, self.request.code)
        ours = rule.command is None and not metrics.is_function(rule.metric)
        keeps = ours or self.request.code is not None
        target = self.cache.path(name) if keeps else self.scratch / f"{name}.npz"
        label = f"{rule.name}: {what}"
        self.evaluations.setdefault(
            target, Evaluate(label, rule, model, data.path if data else None, target, rule.timeout)
        )
        return target


def judge(
    request: JudgeRequest,
    *,
    cache: OutputCache,
    progress: Progress,
    fill: Callable[[Folder], None] = lambda _: None,
    standby: Standby | None = None,
) -> ModelOutcome:
    """Judge a model, its variants and its budgets.

    What is wrong with model, data or evaluator is part of the outcome. Evaluations and commands run below
    `request.top`; call this only when what `lepton.toml` names there is trusted.

    Args:
        request: the model and everything to compare it with.
        cache: where answers are kept between runs.
        progress: a phase for each evaluation.
        fill: called with each model before it is loaded, whose folder may be empty until then.
        standby: a child that was started in `request.top` while the request was put together.

    Raises:
        CommandError: no child process could be started.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lepton-gate-") as scratch:
        plan = _Plan(request, cache, Path(scratch))
        for rule in request.settings.gates:
            _plan_gate(plan, rule)
        evaluations = sorted(plan.evaluations.values(), key=lambda task: task.model.bundle)
        clocks, weighings = budgets.clocks(request), budgets.weighings(request)
        for model in _loaded([*evaluations, *clocks.values(), *weighings.values()]):
            fill(model)
        tasks: list[Task] = [*evaluations, *plan.assessments.values(), *clocks.values()]
        with _told(progress) as begins:
            answers = dict(zip(map(id, tasks), child.run(request.top, tasks, begins, standby), strict=True))
            weights = {variant: child.run(request.top, [task], begins)[0] for variant, task in weighings.items()}
    evaluated = {task.target: answers[id(task)] for task in evaluations}
    gates = []
    for gate_and_variant in _order(request):
        if gate_and_variant in plan.outcomes:
            gates.append(plan.outcomes[gate_and_variant])
        elif (task := plan.assessments.get(gate_and_variant)) is not None:
            gates.append(_outcome(task, answers[id(task)], evaluated))
    times = {variant: answers[id(task)] for variant, task in clocks.items()}
    return ModelOutcome(
        request.settings.name,
        tuple(gates),
        tuple(budgets.judge(request, times, weights)),
        host_facts(),
        time.perf_counter() - began,
    )


def write_golden(request: JudgeRequest, path: Path, *, progress: Progress) -> int:
    """Write the golden file that the settings ask for, and return how many examples it holds.

    Raises:
        UsageError: the gate has no examples of its own here, or a model could not be run on them.
    """
    golden = request.settings.golden
    rule = next((rule for rule in request.settings.gates if golden and rule.name == golden.gate), None)
    if golden is None or rule is None or rule.name not in request.data:
        raise UsageError("golden names no gate with data that is here")
    variants = {name: folder for name, folder in request.variants.items() if isinstance(folder, Folder)}
    models = {ORIGINAL: request.candidate, **variants}
    data = request.data[rule.name].path
    task = Shine("golden file", rule, data, tuple(models), tuple(models.values()), golden.rows, path, rule.timeout)
    with _told(progress) as begins:
        (answer,) = child.run(request.top, [task], begins)
    if isinstance(answer, Failed):
        raise UsageError(f"no golden file: {answer.message}", hint=answer.hint or None)
    assert isinstance(answer, Shone)
    return answer.rows


def _loaded(tasks: Iterable[Evaluate | Clock | Weigh]) -> Iterator[Folder]:
    """The models that these tasks load."""
    for task in tasks:
        match task:
            case Evaluate() if not is_whole(task.target):
                yield task.model
            case Clock():
                yield from (task.model, task.other)
            case Weigh():
                yield task.weighed


def _plan_gate(plan: _Plan, rule: GateRule) -> None:
    request = plan.request
    variants = {name: model for name, model in request.variants.items() if isinstance(model, Folder)}
    settled = _settled(request, rule)
    if settled is not None:
        for variant in (ORIGINAL, *variants):
            plan.outcomes[rule.name, variant] = replace(settled, variant=variant)
        return
    data = request.data.get(rule.name)
    own = plan.evaluate(rule, request.candidate, data, "the model")
    baseline = plan.evaluate(rule, request.baseline, data, request.baseline_label) if request.baseline else None
    head = plan.evaluate(rule, request.previous, data, "HEAD") if request.previous else None
    teacher = plan.evaluate(rule, request.teacher, data, "the teacher") if rule.teacher and request.teacher else None
    limits = Limits(rule.max_drop, rule.slice_max_drop, rule.min, rule.max)
    path = data.path if data else None
    seconds = max(rule.timeout, _ASSESS_SECONDS)

    def assess(variant: str, limits: Limits, own: Path, other: Path | None, label: str) -> None:
        plan.assessments[rule.name, variant] = Assess(
            f"{rule.name}: judging {variant or 'the model'}",
            rule,
            variant,
            limits,
            path,
            own,
            other,
            label,
            None if variant else head,
            None if variant else teacher,
            seconds,
        )

    assess(ORIGINAL, limits, own, baseline, request.baseline_label)
    for name, model in variants.items():
        asked = rule.variants.get(name)
        limits = Limits()
        if asked is not None:
            limits = Limits(asked.max_drop, None, asked.min, asked.max, asked.min_agreement, asked.max_output_error)
        assess(name, limits, plan.evaluate(rule, model, data, name), own, "the original")


def _settled(request: JudgeRequest, rule: GateRule) -> GateOutcome | None:
    """The outcome of a gate that is not measured at all here, or None."""

    def outcome(verdict: Verdict, reason: str, hint: str = "") -> GateOutcome:
        return GateOutcome(rule.name, ORIGINAL, verdict, reason, hint, stops=verdict in {"fail", "not-measured"})

    if rule.when == "ci" and request.stage != "ci":
        return outcome("pending", "left to CI")
    data = request.data.get(rule.name)
    if rule.data is not None and data is None:
        return outcome("not-measured", request.missing.get(rule.name, f"{rule.data} is not here"))
    if data is not None and rule.blake3 is not None and data.blake3 != rule.blake3:
        return outcome(
            "fail", f"{rule.data} is not what the gate names: blake3 {data.blake3[:12]}…, not {rule.blake3[:12]}…"
        )
    if data is not None and request.calibration is not None and data.blake3 == request.calibration.blake3:
        return outcome(
            "fail", f"{rule.data} is the calibration data: a variant would be judged on what it was made from"
        )
    if rule.teacher is not None and request.teacher is None:
        return outcome("not-measured", "the teacher is not here", request.missing.get(rule.name, ""))
    return None


def _outcome(task: Assess, answer: Result | Failed, evaluated: dict[Path, Result | Failed]) -> GateOutcome:
    """What an assessment says; what kept it from saying anything; and what it could not say without the others."""
    own = evaluated[task.own]
    if isinstance(own, Failed):
        return _not_measured(task, own)
    if isinstance(answer, Failed):
        return _not_measured(task, answer)
    assert isinstance(answer, GateOutcome)
    assert isinstance(own, Evaluated)
    for path, who, needed in (
        (task.other, task.other_label, _needs_other(task)),
        (task.teacher, "the teacher", True),
    ):
        failed = evaluated.get(path) if path is not None else None
        if isinstance(failed, Failed) and needed:
            return _not_measured(task, replace(failed, message=f"{who} cannot be measured: {failed.message}"))
    return replace(answer, seconds=own.seconds)


def _needs_other(task: Assess) -> bool:
    asks = task.limits
    compared = task.rule.metric in metrics.LIKENESS and task.limits != Limits()
    return compared or any(
        limit is not None for limit in (asks.max_drop, asks.slice_max_drop, asks.min_agreement, asks.max_output_error)
    )


def _not_measured(task: Assess, failed: Failed) -> GateOutcome:
    asked = not task.variant or task.limits != Limits()
    return GateOutcome(task.rule.name, task.variant, "not-measured", failed.message, failed.hint, stops=asked)


def _order(request: JudgeRequest) -> Iterator[tuple[str, str]]:
    recipes = [name for name, model in request.variants.items() if not isinstance(model, Skipped)]
    return ((rule.name, variant) for rule in request.settings.gates for variant in (ORIGINAL, *recipes))


@contextmanager
def _told(progress: Progress) -> Iterator[_Begins]:
    """Turn the beginnings of tasks into phases of a progress."""
    begins = _Begins(progress)
    try:
        yield begins
    finally:
        begins.end()


class _Begins:
    """Called as each task begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._running = False

    def __call__(self, task: Task) -> None:
        self.end()
        self._progress.start(task.label, None)
        self._running = True

    def end(self) -> None:
        """The last phase is over."""
        if self._running:
            self._progress.finish()
            self._running = False
