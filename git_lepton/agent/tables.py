"""The keys of agent.toml: the file is parsed by these tables, and docs/agent.md is tested against them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from git_lepton.agent.settings import CHANNEL, ORIGINAL, Follow, Http, Notify, Reports, Settings, Warmup, Watch
from git_lepton.config.kinds import Choice, Duration, Key, ListOf, MapOf, Number, Place, Size, Table, Text, Truth
from git_lepton.config.names import channel_problem, name_problem
from git_lepton.config.recipes import parse_recipe
from git_lepton.errors import UsageError


def _absolute(text: str) -> str | None:
    return None if text.startswith("/") and ".." not in text.split("/") else "must be an absolute path"


def _variant_problem(text: str) -> str | None:
    if text in {CHANNEL, ORIGINAL}:
        return None
    try:
        parse_recipe(text)
    except UsageError as error:
        return f"must be {CHANNEL}, {ORIGINAL} or a recipe: {error.message}"
    return None


@dataclass(frozen=True, eq=False, repr=False)
class _Path:
    what: str = "an absolute path"

    def read(self, value: object, place: Place) -> Path:
        return Path(Text(self.what, _absolute).read(value, place))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^/"}


_PATH: Final = _Path()
_REMOTE: Final = Text(
    "an https, http, ssh, git or file address, or an absolute path",
    pattern=r"(?:https?|ssh|git|file)://[^\s]+|/[^\n]*|(?:[\w.-]+@)?[A-Za-z0-9][\w.-]+:(?!:|//)[^\s-][^\s]*",
)
_WEB: Final = Text("an http or https address", pattern=r"https?://[^\s]+")
_PRINCIPAL: Final = Text("a principal of the allowed-signers file, or the fingerprint of an OpenPGP key")


@dataclass(frozen=True, eq=False, repr=False)
class _Command:
    """A program and its arguments, of which some may be equal; a single string is split by nobody."""

    what: str = 'an array: program and arguments, such as ["systemctl", "reload", "server"]'

    def read(self, value: object, place: Place) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or len(value) > 100:
            raise place.error(f"must be {self.what}")
        return tuple(_WORD.read(item, place.at(index)) for index, item in enumerate(value))

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1}


_WORD: Final = Text("a program or an argument", lines=True)

WARMUP: Final = Table(
    "[model.NAME.warmup]",
    Warmup,
    (
        Key("enabled", Truth(), "try a release before it is put in place", default="`true`"),
        Key("command", _Command(), "tries it instead of the agent's own child", default="none"),
        Key("timeout", Duration(), "for the whole", default="`60s`"),
        Key("memory", Size(), "address space of the child", default="4 GiB and four times the release"),
        Key("rtol", Number(0, 1), "relative tolerance against the golden file", default="`0.001`"),
        Key("atol", Number(0), "absolute tolerance", default="`0.0001`"),
        Key("golden", Choice(("optional", "required")), "whether a release must have one", default="`optional`"),
    ),
)

NOTIFY: Final = Table(
    "[model.NAME.notify]",
    Notify,
    (
        Key("command", _Command(), "is run after a swap", default="none"),
        Key("signal", Text("a signal's name", pattern="[A-Z][A-Z0-9]{1,9}"), "is sent after a swap", default="none"),
        Key("pid", Number(2, 1 << 22, whole=True), "to this process"),
        Key("pidfile", _PATH, "or to the one whose number this file has"),
        Key("triton", _WEB, "a Triton server that is asked to load the model", default="none"),
        Key("triton_model", Text("a model's name"), "its name there", default="the model's"),
        Key("timeout", Duration(), "for telling", default="`30s`"),
    ),
)

WATCH: Final = Table(
    "[model.NAME.watch]",
    Watch,
    (
        Key("command", _Command(), "exit status 0 passes, 3 is undecided, others fail"),
        Key("url", _WEB, "GET; 200 to 299 passes"),
        Key("prometheus", _WEB, "a Prometheus that answers `query`"),
        Key("query", Text("a PromQL expression", lines=True), "one number, or some: each must be within the limits"),
        Key("min", Number(), "least value", default="none"),
        Key("max", Number(), "greatest value", default="none"),
        Key("duration", Duration(), "how long it is watched", default="`60s`"),
        Key("interval", Duration(), "between two looks", default="`10s`"),
        Key("timeout", Duration(), "for one look", default="`10s`"),
        Key("failures", Number(0, 1000, whole=True), "looks that may fail", default="`0`"),
        Key(
            "on_inconclusive",
            Choice(("keep", "fallback")),
            "when no look passed, and none failed too often",
            default="`keep`",
        ),
    ),
)


def _follow(name: str, channel: str, folder: Path, model: str | None = None, **others: Any) -> Follow:
    return Follow(name=name, model=model or name, channel=channel, folder=folder, **others)


MODEL: Final = Table(
    "[model.NAME]",
    _follow,
    (
        Key("channel", Text("a channel's name", channel_problem), "the channel to follow", required=True),
        Key("folder", _PATH, "gets `current` and `releases`; on one file system", required=True),
        Key("model", Text("a model's name", name_problem), "the model", default="the table's name"),
        Key(
            "variant",
            MapOf("machine", Text("a variant", _variant_problem), plain="", alias="default"),
            f"`{CHANNEL}`, `{ORIGINAL}` or a recipe; or by machine, as `uname -m` has it",
            default=f"`{CHANNEL}`",
        ),
        Key("principals", ListOf(_PRINCIPAL), "who may move the channel", default="everybody in `allowed_signers`"),
        Key("keep", Number(2, 1000, whole=True), "releases on the disk, with the current one", default="`3`"),
        Key("max_bytes", Size(), "largest release that is taken", default="64 GiB"),
        Key("record", Choice(("required", "optional")), "whether a model must have a record", default="`required`"),
        Key("allow_pickle", Truth(), "take files that run code when they are loaded", default="`false`"),
        Key("warmup", WARMUP, "before the swap"),
        Key("notify", NOTIFY, "the swap"),
        Key("watch", WATCH, "after the swap"),
    ),
    named=True,
)

HTTP: Final = Table(
    "[http]",
    Http,
    (
        Key("listen", Text("address:port", pattern=r"[^\s]+:\d{1,5}"), "where metrics and state are served"),
        Key("certificate", _PATH, "PEM; with `key`, it speaks TLS"),
        Key("key", _PATH, "PEM"),
        Key("users", _PATH, "names and password hashes; with it, a password is asked for"),
        Key("poke", Truth(), "POST /poke makes the agent ask the remote at once", default="`true`"),
    ),
)

STATUS: Final = Table(
    "[status]",
    Reports,
    (
        Key("remote", _REMOTE, "where reports for `git lepton deployed` are pushed to", default="none"),
        Key("interval", Duration(), "after which one is pushed although nothing changed", default="`10m`"),
    ),
)


def _settings(remote: str, state: Path, model: Mapping[str, Follow], **others: Any) -> Settings:
    others.setdefault("id", platform.node() or "agent")
    return Settings(remote=remote, state=state, follows=model, **others)


TOP: Final = Table(
    "agent.toml",
    _settings,
    (
        Key("remote", _REMOTE, "the repository, as git spells it", required=True),
        Key("state", _PATH, "the agent's own folder", required=True),
        Key("store", _REMOTE, "the repository of the weights", default="`remote`"),
        Key("id", Text("a name"), "by which rings choose this agent", default="the host's name"),
        Key("interval", Duration(), "between polls", default="`60s`"),
        Key("timeout", Duration(), "for one git command; those that fetch go by 512 MiB", default="`1h`"),
        Key("trust", Choice(("signed", "none")), "whether tags must be signed", default="`signed`"),
        Key("allowed_signers", _PATH, "whose signatures count; required unless `trust` is `none`"),
        Key("revoked_keys", _PATH, "keys that count no more", default="none"),
        Key("object_format", Choice(("sha1", "sha256")), "how the remote names objects", default="`sha1`"),
        Key("http", HTTP, "metrics and state"),
        Key("status", STATUS, "reports of what runs"),
        Key("model", MapOf("name", MODEL, name_problem), "what is followed", required=True),
    ),
)
