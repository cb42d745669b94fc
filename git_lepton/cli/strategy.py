"""A merge strategy on the command line: `ties`, or with numbers `ties:density=0.2,scale=0.9`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from git_lepton.compare.mergevalues import BASE
from git_lepton.config.strategies import STRATEGIES, check_options
from git_lepton.config.values import MergeRule
from git_lepton.errors import UsageError

# Subscripting the class at run time needs a click newer than the oldest one supported.
if TYPE_CHECKING:
    _RuleType = click.ParamType[MergeRule]
else:
    _RuleType = click.ParamType


class StrategyType(_RuleType):
    """Reads a strategy as a rule for all tensors."""

    name = "strategy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MergeRule:
        """Parse one."""
        if isinstance(value, MergeRule):
            return value
        strategy, _, rest = str(value).partition(":")
        options = {}
        for part in filter(None, rest.split(",")):
            name, equals, number = part.partition("=")
            try:
                options[name.strip()] = float(number)
            except ValueError:
                self.fail(f"{part!r} is not NAME=NUMBER" if equals else f"{part!r} needs a value", param, ctx)
        if strategy not in (BASE, *STRATEGIES):
            self.fail(f"no merge strategy is called {strategy!r} (known: {', '.join((*STRATEGIES, BASE))})", param, ctx)
        if strategy == BASE and options:
            self.fail("base takes a side, and no numbers", param, ctx)
        try:
            if strategy != BASE:
                check_options(strategy, options)
        except UsageError as error:
            self.fail(f"{error.message} ({error.hint})" if error.hint else error.message, param, ctx)
        return MergeRule("*", strategy, options)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """All strategies."""
        from click.shell_completion import CompletionItem

        known = {**{name: kind.summary for name, kind in STRATEGIES.items()}, BASE: "the tensor of the ancestor"}
        return [CompletionItem(name, help=text) for name, text in known.items() if name.startswith(incomplete)]
