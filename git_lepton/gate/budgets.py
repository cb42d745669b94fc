"""Limits that need no labels: bytes of the bundle, time of a call, memory at its highest.

The original is timed against the baseline and a variant against the original, in turns and on this host. A variant
that was skipped fails the budgets that name it. Without a baseline a latency is recorded, not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from git_lepton.config.values import GateRule
from git_lepton.gate.tasks import Clock, Clocked, Failed, Result, Weigh, Weighed
from git_lepton.gate.values import ORIGINAL, BudgetKind, BudgetOutcome, Folder, Interval, JudgeRequest, Skipped
from git_lepton.record.values import Verdict

_SECONDS: Final = 300.0


def clocks(request: JudgeRequest) -> dict[str, Clock]:
    """What must be timed, by variant: nothing where two bundles are equal, or one of them or the data is not here."""
    rule = _rule(request)
    found = {}
    for variant in request.settings.budget.latency_p50_ratio:
        model, other = _model(request, variant), _other(request, variant)
        if rule is None or model is None or other is None or model.bundle == other.bundle:
            continue
        data = request.data[rule.name].path
        found[variant] = Clock(f"latency: {variant or 'the model'}", rule, data, model, other, _SECONDS)
    return found


def weighings(request: JudgeRequest) -> dict[str, Weigh]:
    """Whose memory must be measured, by variant; each wants a process of its own."""
    rule = _rule(request)
    found = {}
    for variant in request.settings.budget.peak_memory_bytes:
        model = _model(request, variant)
        if rule is not None and model is not None:
            data = request.data[rule.name].path
            found[variant] = Weigh(f"memory: {variant or 'the model'}", rule, data, model, _SECONDS)
    return found


def judge(
    request: JudgeRequest, times: Mapping[str, Result | Failed], weights: Mapping[str, Result | Failed]
) -> Iterator[BudgetOutcome]:
    """The outcome of every limit: size, then latency, then memory."""
    budget = request.settings.budget
    for variant, limit in budget.size_bytes.items():
        yield _gone(request, "size_bytes", variant, limit) or _size(request, variant, limit)
    for variant, ratio in budget.latency_p50_ratio.items():
        yield _gone(request, "latency_p50_ratio", variant, ratio) or _latency(request, variant, ratio, times)
    for variant, limit in budget.peak_memory_bytes.items():
        yield _gone(request, "peak_memory_bytes", variant, limit) or _memory(variant, limit, weights.get(variant))


def _size(request: JudgeRequest, variant: str, limit: int) -> BudgetOutcome:
    size = request.sizes.get(variant)
    if size is None:
        return _unmeasured("size_bytes", variant, limit, "its size is not known")
    verdict: Verdict = "pass" if size <= limit else "fail"
    than = "within" if verdict == "pass" else "more than"
    return _outcome("size_bytes", variant, verdict, f"{size:,} bytes are {than} {limit:,}", limit, size)


def _latency(request: JudgeRequest, variant: str, limit: float, times: Mapping[str, Result | Failed]) -> BudgetOutcome:
    model, other = _model(request, variant), _other(request, variant)
    if other is None:
        return _outcome("latency_p50_ratio", variant, "recorded", "there is no baseline to be timed against", limit)
    if model is not None and model.bundle == other.bundle:
        verdict: Verdict = "pass" if limit >= 1 else "fail"
        return _outcome("latency_p50_ratio", variant, verdict, "the same model takes the same time", limit, 1.0)
    found = times.get(variant)
    if not isinstance(found, Clocked):
        return _unmeasured("latency_p50_ratio", variant, limit, _why(found))
    against = "the original" if variant else request.baseline_label
    told = f"a call takes {found.ratio:.3g} of the time of {against}"
    if found.interval.low > limit:
        verdict, reason = "fail", f"{told}, more than {limit:g}"
    elif found.ratio <= limit:
        verdict, reason = "pass", f"{told}, within {limit:g}"
    else:
        verdict = "inconclusive"
        reason = f"{told}, between {found.interval.low:.3g} and {found.interval.high:.3g}: {limit:g} lies within"
    return _outcome("latency_p50_ratio", variant, verdict, reason, limit, found.ratio, found.interval, found.pairs)


def _memory(variant: str, limit: int, found: Result | Failed | None) -> BudgetOutcome:
    if not isinstance(found, Weighed):
        return _unmeasured("peak_memory_bytes", variant, limit, _why(found))
    verdict: Verdict = "pass" if found.bytes <= limit else "fail"
    than = "within" if verdict == "pass" else "more than"
    reason = f"{found.bytes:,} bytes at the highest are {than} {limit:,}"
    return _outcome("peak_memory_bytes", variant, verdict, reason, limit, found.bytes)


def _gone(request: JudgeRequest, kind: BudgetKind, variant: str, limit: float) -> BudgetOutcome | None:
    """The failure of a budget for a variant that does not exist, or None."""
    if variant == ORIGINAL:
        return None
    model = request.variants.get(variant)
    if isinstance(model, Skipped):
        return _outcome(kind, variant, "fail", f"there is no {variant}: {model.reason}", limit)
    if model is None and not (kind == "size_bytes" and variant in request.sizes):
        return _outcome(kind, variant, "fail", f"there is no variant {variant}", limit)
    return None


def _unmeasured(kind: BudgetKind, variant: str, limit: float, reason: str) -> BudgetOutcome:
    return _outcome(kind, variant, "not-measured", reason, limit)


def _outcome(
    kind: BudgetKind,
    variant: str,
    verdict: Verdict,
    reason: str,
    limit: float,
    value: float | None = None,
    interval: Interval | None = None,
    n: int = 0,
) -> BudgetOutcome:
    stops = verdict in {"fail", "not-measured"}
    return BudgetOutcome(kind, variant, verdict, reason, limit, value, interval, n, stops)


def _why(found: Result | Failed | None) -> str:
    return found.message if isinstance(found, Failed) else "no gate of the model has examples here to run it on"


def _rule(request: JudgeRequest) -> GateRule | None:
    """The gate whose examples are run: the first with data that is here."""
    return next((r for r in request.settings.gates if r.name in request.data and r.command is None), None)


def _model(request: JudgeRequest, variant: str) -> Folder | None:
    if variant == ORIGINAL:
        return request.candidate
    model = request.variants.get(variant)
    return model if isinstance(model, Folder) else None


def _other(request: JudgeRequest, variant: str) -> Folder | None:
    return request.candidate if variant else request.baseline
