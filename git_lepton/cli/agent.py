"""`git lepton agent …`: follow channels and swap the models that serve."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from git_lepton.agent.control import ask
from git_lepton.agent.daemon import Daemon, administer, end_on_signals, once
from git_lepton.agent.document import status_fields
from git_lepton.agent.engine import Engine
from git_lepton.agent.journal import Journal
from git_lepton.agent.metrics import Metrics
from git_lepton.agent.passwords import make_line
from git_lepton.agent.reading import FILE_NAME, load
from git_lepton.agent.reporting import Reporter
from git_lepton.agent.server import WebServer
from git_lepton.agent.settings import Settings
from git_lepton.cli.context import print_json, say
from git_lepton.cli.verb import Verb, VerbGroup, json_option
from git_lepton.errors import EXIT_DIFFERS, EXIT_MISSING, EXIT_OK, EXIT_RACE_LOST, EXIT_REFUSED
from git_lepton.git.repo import require_git
from git_lepton.report.table import table
from git_lepton.report.units import size

_EXITS = (EXIT_RACE_LOST, EXIT_REFUSED, EXIT_MISSING)

_config_option = click.option(
    "-c",
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(FILE_NAME),
    envvar="GIT_LEPTON_AGENT_CONFIG",
    help="The agent's settings; agent.toml in this folder when not given.",
)
_name_argument = click.argument("name")


@click.group(
    "agent",
    cls=VerbGroup,
    exits=_EXITS,
    examples=(
        ("git lepton agent run -c /etc/lepton/agent.toml", "Follow channels until it is stopped."),
        ("git lepton agent status", "What serves, and whether it is what the channels ask for."),
        ("git lepton agent rollback digits", "Back to the release before, here and now."),
    ),
)
def command() -> None:
    """Follow channels and swap the models that serve.

    The agent asks a git remote what channels point to, verifies who moved them, fetches what is missing, tries the
    model, and moves one link. See docs/agent.md.
    """


@command.command(
    "run", cls=Verb, exits=_EXITS, examples=(("git lepton agent run", "Until SIGTERM; one line an event on stderr."),)
)
@_config_option
def run_command(config: Path) -> int:
    """Follow channels until SIGTERM or SIGINT."""
    require_git()
    end_on_signals()
    settings = load(config)
    engine = Engine(settings, [Journal()])
    daemon = Daemon(engine)
    if settings.http.listen is not None:
        metrics = Metrics(engine.status)
        engine.observers.append(metrics)
        daemon.services.append(WebServer(settings.http, metrics, daemon.poke))
    if settings.status.remote is not None:
        reporter = Reporter(settings, engine.status)
        engine.observers.append(reporter)
        daemon.services.append(reporter)
    daemon.run()
    return EXIT_OK


@command.command(
    "once",
    cls=Verb,
    exits=(*_EXITS, EXIT_DIFFERS),
    examples=(("git lepton agent once", "From cron, or to try a new agent.toml."),),
)
@_config_option
def once_command(config: Path) -> int:
    """Poll once, follow what there is, watch it to the end, and stop.

    Ends with 5 when a move was refused, 1 when a release did not last, 8 when the remote could not be reached.
    """
    require_git()
    end_on_signals()
    return once(Engine(load(config), [Journal()]))


@command.command(
    "status", cls=Verb, exits=(EXIT_DIFFERS,), examples=(("git lepton agent status --json", "For programs."),)
)
@_config_option
@json_option
def status_command(config: Path, as_json: bool) -> int:
    """Show what serves; 1 when a model is not what its channel asks for."""
    settings = load(config)
    fields = ask(settings.state, {"do": "status"})
    running = fields is not None
    fields = fields if fields is not None else _offline(settings, lambda engine: status_fields(engine.status()))
    if as_json:
        print_json("agent-status", {"running": running, **fields})
    else:
        _print(fields, running)
    ready = all(model["ready"] or model["suspended"] for model in fields["models"])
    return EXIT_OK if ready else EXIT_DIFFERS


def _admin(verb: str, config: Path, name: str, as_json: bool, said: str) -> int:
    settings = load(config)
    answer = ask(settings.state, {"do": verb, "name": name})
    if answer is None:
        answer = _offline(settings, lambda engine: administer(engine, verb, name))
    if as_json:
        print_json(f"agent-{verb}", {"name": name, **answer})
    else:
        release = answer.get("release")
        say(said.format(name=name, release=_title(release) if release else ""))
    return EXIT_OK


def _offline(settings: Settings, work: Callable[[Engine], dict[str, Any]]) -> dict[str, Any]:
    """Do it here, since no agent runs on this state folder."""
    engine = Engine(settings, [Journal()])
    engine.start()
    try:
        return work(engine)
    finally:
        engine.close()


@command.command(
    "suspend", cls=Verb, exits=_EXITS, examples=(("git lepton agent suspend digits", "Until it is resumed."),)
)
@_name_argument
@_config_option
@json_option
def suspend_command(name: str, config: Path, as_json: bool) -> int:
    """Leave a model as it is, whatever its channel says, until it is resumed."""
    return _admin("suspend", config, name, as_json, "{name} is left as it is")


@command.command(
    "resume", cls=Verb, exits=_EXITS, examples=(("git lepton agent resume digits", "Follow its channel again."),)
)
@_name_argument
@_config_option
@json_option
def resume_command(name: str, config: Path, as_json: bool) -> int:
    """Follow a model's channel again."""
    return _admin("resume", config, name, as_json, "{name} follows its channel again")


@command.command(
    "retry", cls=Verb, exits=_EXITS, examples=(("git lepton agent retry digits", "After the cause was removed."),)
)
@_name_argument
@_config_option
@json_option
def retry_command(name: str, config: Path, as_json: bool) -> int:
    """Try a move again that did not last here."""
    return _admin("retry", config, name, as_json, "{name}: the newest move is tried again")


@command.command(
    "rollback", cls=Verb, exits=_EXITS, examples=(("git lepton agent rollback digits", "On this machine only."),)
)
@_name_argument
@_config_option
@json_option
def rollback_command(name: str, config: Path, as_json: bool) -> int:
    """Go back to the release before, on this machine, without the network.

    The agent stays there until the channel moves on. To move every agent: git lepton rollback.
    """
    return _admin("rollback", config, name, as_json, "{name}: {release} serves")


@command.command(
    "reset-floor",
    cls=Verb,
    exits=_EXITS,
    examples=(("git lepton agent reset-floor digits", "After a channel was begun anew, or jumped far ahead."),),
)
@_name_argument
@_config_option
@json_option
def reset_floor_command(name: str, config: Path, as_json: bool) -> int:
    """Forget how far a channel was seen to be.

    The number of the newest move that was verified is what keeps old moves from being followed again: look at
    `git lepton log` before you let go of it.
    """
    return _admin("reset-floor", config, name, as_json, "{name}: any move of its channel may be followed next")


@command.command(
    "password",
    cls=Verb,
    examples=(("git lepton agent password prometheus >>/etc/lepton/users", "A line for http.users of agent.toml."),),
)
@click.argument("user")
def password_command(user: str) -> int:
    """Print a line for the file of users that may ask the agent's web server.

    The password is asked for on the terminal, or read from standard input: one line.
    """
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    say(make_line(user, password))
    return EXIT_OK


def _print(fields: dict[str, Any], running: bool) -> None:
    say(f"agent {fields['agent']}: {_answered(fields) if running else 'not running'}")
    rows = []
    for model in fields["models"]:
        release = model["release"]
        rows.append(
            (
                model["name"],
                f"{model['model']}@{model['channel']}",
                "suspended" if model["suspended"] else model["state"],
                "ready" if model["ready"] else f"wants move {model['desired_seq']}",
                f"{_title(release)}, move {release['seq']}" if release else "-",
                size(release["size"]) if release else "-",
            )
        )
    say(table(rows, header=("NAME", "CHANNEL", "STATE", "", "SERVES", "SIZE"), right="lllllr"))
    for model in fields["models"]:
        if model["problem"]:
            say(f"{model['name']}: {model['problem']}")
        elif model["failed"]:
            say(f"{model['name']}: move {model['failed']['seq']} did not last: {model['failed']['message']}")


def _title(release: dict[str, Any]) -> str:
    variant = "" if release["variant"] == "original" else f" {release['variant']}"
    return f"{release['version'] or release['bundle'][:12]}{variant}"


def _answered(fields: dict[str, Any]) -> str:
    if not fields["last_success"]:
        return "running; the remote has not answered yet"
    return f"running; the remote answered {max(0, round(time.time() - fields['last_success']))} s ago"
