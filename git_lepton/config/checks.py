"""What must hold between keys of `lepton.toml`: names that name something, rules that can be asked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from git_lepton.config.kinds import Place, meant, shown
from git_lepton.config.recipes import parse_recipe
from git_lepton.config.tables import FUNCTION, ORIGINAL
from git_lepton.config.values import Budget, ChannelSettings, Config, GateRule, ModelSettings

_FUNCTION: Final = re.compile(FUNCTION)


def check(config: Config, place: Place) -> None:
    """Look at everything that no single key can tell.

    Raises:
        UsageError: naming file, line and key.
    """
    for name, model in config.models.items():
        _check_model(model, config, place.at("model", name))
    for name, channel in config.channels.items():
        _check_channel(channel, config, place.at("channel", name))


def is_function(metric: str) -> bool:
    """Whether a metric is `pkg.module:function`, not the name of one of ours."""
    return _FUNCTION.fullmatch(metric) is not None


def _check_model(model: ModelSettings, config: Config, place: Place) -> None:
    if not model.main:
        raise place.at("main").error('is the folder, whose path only root can tell: add root = "…"')
    if model.teacher is not None:
        if model.teacher == model.name:
            raise place.at("teacher").error("must be another model")
        _must_be(model.teacher, config.models, "a model of this file", place.at("teacher"))
    steps = [step for recipe in model.variants for step in parse_recipe(recipe)]
    if model.calibration is None and any(step.kind == "int8-static" for step in steps):
        raise place.at("variants").error("with int8-static need calibration", hint='calibration = "eval/calib.npz"')
    for recipe in model.exclude:
        _must_be_variant(recipe, model, place.at("exclude", recipe))
    _check_budget(model.budget, model, place.at("budget"))
    names: set[str] = set()
    for index, gate in enumerate(model.gates):
        here = place.at("gate", index)
        if gate.name in names:
            raise here.at("name").error(f"is there twice: {shown(gate.name)}")
        names.add(gate.name)
        _check_gate(gate, model, here)
    if model.golden is not None:
        _must_be(model.golden.gate, names, "a gate of this model", place.at("golden", "gate"))
        chosen = next(gate for gate in model.gates if gate.name == model.golden.gate)
        if chosen.data is None:
            raise place.at("golden", "gate").error("names a gate without data")


def _check_gate(gate: GateRule, model: ModelSettings, place: Place) -> None:
    if gate.data is None and gate.command is None:
        raise place.error(f"({gate.name}) needs data or command")
    if gate.blake3 is not None and gate.data is None:
        raise place.at("blake3").error("is the hash of data, and there is none")
    if gate.command is not None and is_function(gate.metric):
        raise place.at("metric").error("is a function, and command is given too: one of them must measure")
    if gate.direction is None and (gate.command is not None or is_function(gate.metric)):
        why = "a command" if gate.command is not None else "a function of yours"
        raise place.error(
            f"({gate.name}) needs direction: git-lepton cannot know which way {why} gets better",
            hint='direction = "higher"',
        )
    if gate.data is not None and gate.data == model.calibration:
        raise place.at("data").error("is the model's calibration data, which a gate must not judge by")
    if gate.min is not None and gate.max is not None and gate.min > gate.max:
        raise place.at("min").error(f"is above max: {gate.min:g} > {gate.max:g}")
    if gate.slice_max_drop is not None and gate.slices is None:
        raise place.at("slice_max_drop").error("needs slices")
    if gate.teacher is not None and model.teacher is None:
        raise place.at("teacher").error("needs the model's own teacher", hint=f'[model.{model.name}] teacher = "…"')
    for name, rule in gate.variants.items():
        _must_be_variant(name, model, place.at("variants", name))
        if rule.min is not None and rule.max is not None and rule.min > rule.max:
            raise place.at("variants", name, "min").error(f"is above max: {rule.min:g} > {rule.max:g}")


def _check_budget(budget: Budget, model: ModelSettings, place: Place) -> None:
    for key, limits in (
        ("size_bytes", budget.size_bytes),
        ("latency_p50_ratio", budget.latency_p50_ratio),
        ("peak_memory_bytes", budget.peak_memory_bytes),
    ):
        for variant in limits:
            _must_be_variant(variant, model, place.at(key, variant))


def _check_channel(channel: ChannelSettings, config: Config, place: Place) -> None:
    if channel.variant:
        every = {variant for model in config.models.values() for variant in model.variants}
        _must_be(channel.variant, every, "a variant of any model", place.at("variant"))
    if channel.after is None:
        if channel.soak:
            raise place.at("soak").error("needs after: the channel to soak on")
        return
    trail = [channel.name]
    following: str | None = channel.after
    while following is not None:
        if following in trail:
            raise place.at("after").error(f"goes round in a circle: {' after '.join((*trail, following))}")
        _must_be(following, config.channels, "a channel of this file", place.at("after"))
        trail.append(following)
        following = config.channels[following].after


def _must_be_variant(name: str, model: ModelSettings, place: Place) -> None:
    """The original may be named everywhere that this is asked for."""
    if name and name not in model.variants:
        known = ", ".join(model.variants) or "none"
        problem = f"is no variant of this model{meant(name, (*model.variants, ORIGINAL))}"
        raise place.error(problem, hint=f"its variants: {known}")


def _must_be(name: str, known: Iterable[str], what: str, place: Place) -> None:
    names = list(known)
    if name not in names:
        hint = f"there: {', '.join(map(shown, names[:20]))}" if names else "there is none"
        raise place.error(f"must be {what}, not {shown(name)}{meant(name, names)}", hint=hint)
