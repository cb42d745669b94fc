"""`git lepton provenance`: what made a committed model, and what changed since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from git_lepton.cli.context import print_json, repository, say
from git_lepton.cli.verb import Verb, json_option
from git_lepton.drivers.planning import Planner
from git_lepton.errors import EXIT_DIFFERS, EXIT_OK, EXIT_REFUSED, FrameError, UsageError
from git_lepton.git.lstree import rev_parse
from git_lepton.git.repo import Repo
from git_lepton.record.provenance import OriginRow, compare
from git_lepton.record.values import Origins, Record
from git_lepton.report.provenance import provenance_fields, provenance_text
from git_lepton.store.store import Store


@click.command(
    "provenance",
    cls=Verb,
    exits=(EXIT_DIFFERS, EXIT_REFUSED),
    examples=(
        ("git lepton provenance", "What made the models of HEAD, and what changed since."),
        ("git lepton provenance digits@v1.0.0 --json", "The same of a version, for a program."),
        ("git lepton provenance HEAD --check", "In CI: 1 when a model is not what its inputs would give now."),
    ),
)
@click.argument("rev", default="HEAD")
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option("--check", is_flag=True, help="Exit 1 when inputs changed since the model was made.")
@json_option
def command(rev: str, models: tuple[str, ...], check: bool, as_json: bool) -> int:
    """Show which data, code, parameters and packages made the models of a revision.

    lepton.toml names them with provenance = { data = [...], code = [...], params = [...], packages = [...] }. Their
    content is recorded when the model's files change; here it is compared with the files of REV.
    """
    return run(repository(), rev=rev, models=models, check=check, as_json=as_json)


def run(repo: Repo, *, rev: str, models: Sequence[str], check: bool, as_json: bool) -> int:
    """Print what made each model; with `check`, 1 when something changed since."""
    rev_parse(repo, rev, kind="tree")
    found: dict[str, tuple[Record, list[OriginRow]]] = {}
    stale = set()
    with Store(repo) as store:
        planner = Planner(repo, store)
        settings = planner.config_at(rev).models
        for name in models or settings:
            if name not in settings:
                raise UsageError(f"lepton.toml of {rev} has no model {name}")
            record, fault = planner.record_at(name, rev)
            if record is None and models:
                raise FrameError(f"model {name} at {rev}: {fault}", hint="git lepton gate --record makes it")
            if record is not None:
                found[name] = (record, compare(record.origins, planner.origins(settings[name], rev)))
                now = planner.side("", rev, name)
                if now is not None and now.located.bundle.hash != record.bundle:
                    stale.add(name)
    changed = any(row.change != "same" for _, rows in found.values() for row in rows)
    unknown = [name for name, (record, _) in found.items() if record.origins == Origins()]
    if as_json:
        fields: list[dict[str, Any]] = [
            {**provenance_fields(record, rows), "current": name not in stale} for name, (record, rows) in found.items()
        ]
        print_json("provenance", {"rev": rev, "changed": changed, "models": fields})
    else:
        say(provenance_text(rev, found, unknown, stale))
    return EXIT_DIFFERS if check and changed else EXIT_OK
