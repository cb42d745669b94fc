"""From the text of agent.toml to settings that hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from git_lepton.agent.settings import Notify, Settings, Watch
from git_lepton.agent.tables import TOP
from git_lepton.config.kinds import Place
from git_lepton.config.names import name_problem
from git_lepton.config.reading import read_table
from git_lepton.errors import UsageError

FILE_NAME: Final = "agent.toml"


def load(path: Path) -> Settings:
    """Read the file at `path`. Raises UsageError naming file, line and key."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="git lepton agent --config FILE") from error
    return parse(data, name=str(path))


def parse(data: bytes, *, name: str = FILE_NAME) -> Settings:
    """Read the settings.

    Raises:
        UsageError: naming file, line and key, with a suggestion where there is one.
    """
    settings: Settings
    settings, place = read_table(data, TOP, name=name)
    _check(settings, place)
    return settings


def _check(settings: Settings, place: Place) -> None:
    if settings.trust == "signed" and settings.allowed_signers is None:
        raise place.at("allowed_signers").error(
            "is missing: nobody could move a channel",
            hint='name the file of signers, or write trust = "none" to follow tags that nobody signed',
        )
    if settings.trust == "none" and settings.allowed_signers is not None:
        raise place.at("allowed_signers").error('is of no use with trust = "none"')
    if not settings.follows:
        raise place.at("model").error("has no entry: there is nothing to follow")
    if (settings.http.certificate is None) != (settings.http.key is None):
        raise place.at("http").error("needs both certificate and key, or none of them")
    if settings.status.remote and (problem := name_problem(settings.id)) is not None:
        raise place.at("id").error(f"is the name of a report, and {problem}")
    folders: dict[Path, str] = {}
    for name, follow in settings.follows.items():
        here = place.at("model", name)
        for folder, other in folders.items():
            if folder == follow.folder:
                raise here.at("folder").error(f"is that of {other}, too")
            if folder in follow.folder.parents or follow.folder in folder.parents:
                raise here.at("folder").error(f"and that of {other} lie in one another")
        folders[follow.folder] = name
        if settings.trust == "none" and follow.principals:
            raise here.at("principals").error('are of no use with trust = "none"')
        _check_notify(follow.notify, here.at("notify"))
        if follow.watch is not None:
            _check_watch(follow.watch, here.at("watch"))


def _check_notify(notify: Notify, place: Place) -> None:
    ways = [bool(notify.command), notify.signal is not None, notify.triton is not None]
    if sum(ways) > 1:
        raise place.error("has more than one of command, signal and triton")
    if (notify.signal is not None) != ((notify.pid is None) != (notify.pidfile is None)):
        raise place.at("signal").error("needs pid or pidfile, and they need it")
    if notify.triton_model is not None and notify.triton is None:
        raise place.at("triton_model").error("needs triton")


def _check_watch(watch: Watch, place: Place) -> None:
    if sum((bool(watch.command), watch.url is not None, watch.prometheus is not None)) != 1:
        raise place.error("needs one of command, url and prometheus")
    if (watch.prometheus is None) != (watch.query is None):
        raise place.error("needs prometheus and query together")
    if watch.prometheus is not None and watch.min is None and watch.max is None:
        raise place.error("needs min or max: which values are good?")
    if watch.prometheus is None and not (watch.min is None and watch.max is None):
        raise place.error("has min or max, which are limits of a query")
