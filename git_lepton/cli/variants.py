"""`git lepton variants`: build, list and export the variants that lepton.toml names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click

from git_lepton.cli.context import note, print_json, progress, repository, say
from git_lepton.cli.verb import Verb, VerbGroup, json_option, quiet_option
from git_lepton.config.recipes import parse_recipe
from git_lepton.drivers.gatecommit import plans_staged
from git_lepton.drivers.gating import Gating
from git_lepton.drivers.planning import Planner
from git_lepton.errors import EXIT_MISSING, EXIT_NOT_MEASURED, EXIT_OK, EXIT_REFUSED, FrameError, UsageError
from git_lepton.gate.workspace import Workspace
from git_lepton.git.repo import Repo
from git_lepton.record.plain import to_plain
from git_lepton.record.values import Record, Variant
from git_lepton.report.variants import variants_text
from git_lepton.store.store import Store
from git_lepton.store.tracked import STAGED


@click.group(
    "variants",
    cls=VerbGroup,
    examples=(
        ("git lepton variants build", "Build what lepton.toml names for the models that are staged."),
        ("git lepton variants list", "What the records name, with sizes and the tensor that lost most."),
        ("git lepton variants export digits int8 -o out/", "Write a variant where a server can load it."),
    ),
)
def command() -> None:
    """Smaller or faster forms of a model, made by a recipe such as int8, fp16 or prune50+int8.

    A variant is made of what is staged, stored like any weights, noted in the model's record at the next commit, and
    pushed with it.
    """


@command.command(
    "build",
    cls=Verb,
    exits=(EXIT_NOT_MEASURED, EXIT_MISSING),
    examples=(
        ("git lepton variants build", "Build what lepton.toml names and is not built yet."),
        ("git lepton variants build digits --recipe int4", "Try another recipe, without touching lepton.toml."),
    ),
)
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option("--recipe", "recipes", multiple=True, help="Build this instead of what lepton.toml names; repeatable.")
@click.option("--rebuild", is_flag=True, help="Build again what is built already.")
@json_option
@quiet_option
def build(models: tuple[str, ...], recipes: tuple[str, ...], rebuild: bool, as_json: bool, quiet: bool) -> int:
    """Build the variants of staged models and store them."""
    repo = repository()
    for recipe in recipes:
        parse_recipe(recipe)
    return run_build(repo, models=models, recipes=recipes, rebuild=rebuild, as_json=as_json, quiet=quiet)


def run_build(
    repo: Repo, *, models: tuple[str, ...], recipes: tuple[str, ...], rebuild: bool, as_json: bool, quiet: bool
) -> int:
    """Build, and print what came of it."""
    built: dict[str, tuple[int, list[Variant]]] = {}
    with Store(repo, progress=progress(quiet)) as store, Gating(repo, store, say=note, rebuild=rebuild) as gating:
        for plan in plans_staged(gating, models):
            wanted = recipes or plan.settings.variants
            built[plan.settings.name] = (plan.here.bundle.size, [gating.build(plan, recipe) for recipe in wanted])
    return _print(built, as_json=as_json)


@command.command(
    "list",
    cls=Verb,
    exits=(EXIT_REFUSED,),
    examples=(("git lepton variants list --rev digits@v1.0.0", "The variants that were released with a version."),),
)
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option("--rev", default=STAGED, metavar="REV", help="Of this revision; by default what is staged.")
@json_option
def list_(models: tuple[str, ...], rev: str, as_json: bool) -> int:
    """List the variants that records name: size, and what each tensor lost at most."""
    repo = repository()
    with Store(repo) as store:
        planner = Planner(repo, store)
        names = models or tuple(planner.config_at(rev).models)
        records = {name: _record(planner, name, rev) for name in names}
    found = {name: (sum(file.size for file in r.files), list(r.variant)) for name, r in records.items()}
    return _print(found, as_json=as_json)


@command.command(
    "export",
    cls=Verb,
    exits=(EXIT_REFUSED, EXIT_NOT_MEASURED, EXIT_MISSING),
    examples=(("git lepton variants export digits int8 -o out/", "All files of the variant, ready to be loaded."),),
)
@click.argument("model")
@click.argument("recipe")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="A folder that does not exist yet."
)
@click.option("--rev", default=STAGED, metavar="REV", help="Of this revision; by default what is staged.")
@quiet_option
def export(model: str, recipe: str, output: Path, rev: str, quiet: bool) -> int:
    """Write a recorded variant, with the files that it shares with the model, to a folder."""
    return run_export(repository(), model=model, recipe=recipe, output=output, rev=rev, quiet=quiet)


def run_export(repo: Repo, *, model: str, recipe: str, output: Path, rev: str, quiet: bool) -> int:
    """Write the bundle of a variant to `output`, whole or not at all."""
    if os.path.lexists(output):
        raise UsageError(f"{output} is there already", hint="name a folder that does not exist")
    with Store(repo, progress=progress(quiet)) as store, Workspace(store) as workspace:
        planner = Planner(repo, store)
        record = _record(planner, model, rev)
        variant = next((v for v in record.variant if v.recipe == recipe), None)
        if variant is None or variant.skipped:
            had = ", ".join(v.recipe for v in record.variant if not v.skipped) or "none"
            why = f": {variant.skipped}" if variant else ""
            raise UsageError(f"the record of {model} has no variant {recipe}{why}", hint=f"it has: {had}")
        settings = planner.config_at(rev).models.get(model)
        side = planner.side(model, rev, model) if settings else None
        if side is None or side.located.bundle.hash != record.bundle:
            raise UsageError(f"the files of {model} are not those that its record is about")
        whole = variant.all_files(side.located.bundle)
        workspace.reserve(whole.size)
        made = workspace.variant(whole, variant.main, side.located)
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made.path, output)
    say(f"{recipe} of {model}: {len(whole.files)} files in {output}; a loader opens {variant.main}")
    return EXIT_OK


def _record(planner: Planner, model: str, rev: str) -> Record:
    record, fault = planner.record_at(model, rev)
    if record is None:
        if planner.record_text(model, rev) is None:
            raise UsageError(f"model {model} has no record in {rev or 'the index'}", hint="git commit makes it")
        raise FrameError(fault)
    return record


def _print(found: dict[str, tuple[int, list[Variant]]], *, as_json: bool) -> int:
    if as_json:
        models: list[dict[str, Any]] = [
            {"model": name, "bytes": size, "variants": [to_plain(variant) for variant in variants]}
            for name, (size, variants) in found.items()
        ]
        print_json("variants", {"models": models})
    else:
        say(variants_text(found))
    return EXIT_OK
