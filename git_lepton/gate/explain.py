"""Why a variant fails: which nodes or tensors lose most, and which of them to leave alone so that it passes.

First a guess: how much noise each node of the graph adds over the one before it (see `dissect`), or the error of each
tensor where there is no graph to run. Then the proof, while time lasts: the variant is built again with the likeliest
suspects left alone, one at a time, and judged; and then with the best of them together, until it passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from glob import escape
from typing import Final

from git_lepton.config.values import Budget
from git_lepton.gate import child
from git_lepton.gate.cache import OutputCache
from git_lepton.gate.judge import judge
from git_lepton.gate.tasks import Dissect, Dissected, Failed
from git_lepton.gate.values import Folder, GateOutcome, JudgeRequest, ModelOutcome, Skipped
from git_lepton.progress import Progress

MAX_SUSPECTS: Final = 20
_TRIED_ALONE: Final = 6
_SECONDS: Final = 300.0
_LOUDEST: Final = 400.0

Rebuild = Callable[[tuple[str, ...]], Folder | Skipped]
"""Builds the variant with these globs of nodes or tensors left alone, beside those that the settings name already."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A node or tensor that may be to blame.

    Attributes:
        name: as `exclude` takes it, a glob that matches it alone.
        noise: what it adds: noise by signal of its result less that of the node before, or the tensor's error.
        decibels: signal to noise of its result; None where no graph was run.
    """

    name: str
    noise: float
    decibels: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """The variant with some names left alone: what its gates said, or why it could not be built."""

    exclude: tuple[str, ...]
    gates: tuple[GateOutcome, ...]
    skipped: str = ""

    @property
    def passes(self) -> bool:
        """Whether nothing stops this variant."""
        return bool(self.gates) and not any(gate.stops for gate in self.gates)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found.

    Attributes:
        recipe: of the variant.
        suspects: noisiest first, at most twenty.
        trials: in the order in which they were made.
        suggestion: `exclude = [...]` for lepton.toml: what passed, else what helped most; empty when nothing helped.
        passes: whether the variant passes with the suggestion.
        note: what kept us from knowing more; empty when nothing did.
    """

    recipe: str
    suspects: tuple[Suspect, ...]
    trials: tuple[Trial, ...] = ()
    suggestion: tuple[str, ...] = ()
    passes: bool = False
    note: str = ""


def explain(
    request: JudgeRequest,
    recipe: str,
    rebuild: Rebuild,
    *,
    cache: OutputCache,
    progress: Progress,
    fill: Callable[[Folder], None] = lambda _: None,
    errors: Mapping[str, float] | None = None,
    seconds: float = 60.0,
) -> Explanation:
    """Find what to leave alone in a variant that fails.

    Args:
        request: as for `judge`; `request.variants[recipe]` is the variant that fails.
        recipe: its name.
        rebuild: see `Rebuild`.
        cache: see `judge`.
        progress: see `judge`.
        fill: see `judge`.
        errors: error of each tensor against the original, for variants whose graph cannot be run.
        seconds: no trial begins later than this.
    """
    deadline = time.monotonic() + seconds
    suspects, note = _suspects(request, recipe, errors or {})
    if not suspects:
        return Explanation(recipe, (), note=note or "nothing stands out")
    settings = replace(request.settings, budget=Budget())
    alone = replace(request, settings=settings, baseline=None, previous=None, stage="ci")
    bench = _Bench(alone, recipe, partial(judge, cache=cache, progress=progress, fill=fill))
    before = bench.judge(request.variants[recipe], ())
    trials: list[Trial] = []
    for exclude in _attempts(suspects, trials):
        if time.monotonic() > deadline:
            note = f"stopped after {seconds:g} seconds"
            break
        trials.append(bench.judge(rebuild(exclude), exclude))
        if trials[-1].passes:
            break
    best = min(trials, key=_harm, default=before)
    helped = _harm(best) < _harm(before)
    return Explanation(recipe, suspects, tuple(trials), best.exclude if helped else (), helped and best.passes, note)


class _Bench:
    """Judges one variant by itself, against the original."""

    def __init__(self, request: JudgeRequest, recipe: str, judge: Callable[[JudgeRequest], ModelOutcome]) -> None:
        self._request = request
        self._recipe = recipe
        self._judge = judge

    def judge(self, model: Folder | Skipped, exclude: tuple[str, ...]) -> Trial:
        if isinstance(model, Skipped):
            return Trial(exclude, (), model.reason)
        request = replace(self._request, variants={self._recipe: model})
        outcome = self._judge(request)
        return Trial(exclude, tuple(gate for gate in outcome.gates if gate.variant == self._recipe))


def _attempts(suspects: Sequence[Suspect], trials: Sequence[Trial]) -> Iterator[tuple[str, ...]]:
    """What to leave alone next: the likeliest one by one, then those that helped most together, ever more of them.

    Among the likeliest are the modules of the graph that they stand in, since what loses may be a node without weights
    beside them, as inside a normalisation.
    """
    names = [suspect.name for suspect in suspects]
    first = names[: _TRIED_ALONE // 2]
    for name in dict.fromkeys([*first, *_modules(first, names), *names[:_TRIED_ALONE]]):
        yield (name,)
    helpful = sorted((trial for trial in trials if len(trial.exclude) == 1), key=_harm)
    order = list(dict.fromkeys([*(trial.exclude[0] for trial in helpful), *names]))
    for count in range(2, len(order) + 1):
        yield tuple(order[:count])


def _modules(names: Sequence[str], everything: Sequence[str]) -> Iterator[str]:
    """Globs of the modules around nodes that exporters name by their path; none that holds most of the suspects."""
    for name in names:
        module = name.rpartition("/")[0]
        inside = sum(other.startswith(f"{module}/") for other in everything)
        if module.strip("/") and 2 * inside <= len(everything):
            yield f"{module}/*"


def _harm(trial: Trial) -> tuple[float, ...]:
    """How bad a trial is, to compare: gates that stop it, then predictions and outputs that differ."""
    if not trial.gates:
        return (float("inf"),)
    likeness = [gate.likeness for gate in trial.gates if gate.likeness is not None]
    return (
        float(sum(gate.stops for gate in trial.gates)),
        sum(1 - found.agreement for found in likeness if found.agreement is not None),
        sum(max(gate.measurement.drop or 0.0, 0.0) for gate in trial.gates if gate.measurement is not None),
        sum(found.output_error for found in likeness if found.output_error is not None),
        float(len(trial.exclude)),
    )


def _suspects(request: JudgeRequest, recipe: str, errors: Mapping[str, float]) -> tuple[tuple[Suspect, ...], str]:
    """Noisiest first, and what went wrong in looking for them."""
    nodes, note = _nodes(request, recipe)
    found = nodes or [Suspect(escape(name), error) for name, error in errors.items()]
    ranked = sorted(found, key=lambda suspect: -suspect.noise)
    return tuple(suspect for suspect in ranked if suspect.noise > 0)[:MAX_SUSPECTS], "" if found else note


def _nodes(request: JudgeRequest, recipe: str) -> tuple[list[Suspect], str]:
    model = request.variants.get(recipe)
    rule = next((r for r in request.settings.gates if r.name in request.data and r.command is None), None)
    if not isinstance(model, Folder):
        return [], "there is no such variant"
    if rule is None:
        return [], "no gate has examples here to run the graph on"
    task = Dissect("looking at the graph", rule, request.data[rule.name].path, request.candidate, model, _SECONDS)
    (answer,) = child.run(request.top, [task], lambda _: None)
    if isinstance(answer, Failed):
        return [], answer.message
    assert isinstance(answer, Dissected)
    suspects, before = [], 0.0
    for node in answer.nodes:
        noise = 0.0 if node.decibels >= _LOUDEST else 10 ** (-node.decibels / 10)
        suspects.append(Suspect(escape(node.node), max(0.0, noise - before), node.decibels))
        before = noise
    return suspects, ""
