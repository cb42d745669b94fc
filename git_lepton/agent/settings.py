"""`agent.toml`: what an agent follows, whom it trusts and how it puts models in place (docs/agent.md).

It is the operator's file, on the agent's machine: nothing that a repository says can widen it. The table of keys below
is all there is: the file is parsed by it, and docs/agent.md is tested against it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from git_lepton.config.kinds import Choice, Duration, Key, ListOf, MapOf, Number, Place, Size, Table, Text, Truth
from git_lepton.config.names import channel_problem, name_problem
from git_lepton.config.reading import read_table
from git_lepton.config.recipes import parse_recipe
from git_lepton.errors import UsageError

FILE_NAME: Final = "agent.toml"
CHANNEL: Final = "channel"
ORIGINAL: Final = "original"


@dataclass(frozen=True, slots=True)
class Warmup:
    """`[model.NAME.warmup]`: how a release is tried before it is put in place.

    Attributes:
        enabled: it is tried at all.
        command: tries it instead of our own child; it runs in the release's folder.
        timeout: seconds for the whole.
        memory: address space of the child in bytes; None chooses by the size of the release.
        rtol, atol: tolerances against the golden file.
        golden: "required" refuses a release that has none.
    """

    enabled: bool = True
    command: tuple[str, ...] = ()
    timeout: float = 60.0
    memory: int | None = None
    rtol: float = 1e-3
    atol: float = 1e-4
    golden: Literal["optional", "required"] = "optional"


@dataclass(frozen=True, slots=True)
class Notify:
    """`[model.NAME.notify]`: how the server is told; nothing is set where it watches the folder itself.

    Attributes:
        command: program and arguments.
        signal: name, such as "HUP".
        pid, pidfile: whom it is sent to.
        triton: address of a Triton server; its model repository API is asked to load.
        triton_model: the model's name there.
        timeout: seconds.
    """

    command: tuple[str, ...] = ()
    signal: str | None = None
    pid: int | None = None
    pidfile: Path | None = None
    triton: str | None = None
    triton_model: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Watch:
    """`[model.NAME.watch]`: how a release is looked at after it was put in place.

    Attributes:
        command: exit status 0 passes, 3 is undecided, anything else fails.
        url: is asked by GET; 200 to 299 passes.
        prometheus: address of a Prometheus.
        query: what it is asked.
        min, max: between which every value must be.
        duration: seconds for which it is watched.
        interval: seconds between two looks.
        timeout: seconds for one look.
        failures: looks that may fail before the release is taken back.
        on_inconclusive: what happens when it ends without one look that passed.
    """

    command: tuple[str, ...] = ()
    url: str | None = None
    prometheus: str | None = None
    query: str | None = None
    min: float | None = None
    max: float | None = None
    duration: float = 60.0
    interval: float = 10.0
    timeout: float = 10.0
    failures: int = 0
    on_inconclusive: Literal["keep", "fallback"] = "keep"


@dataclass(frozen=True, slots=True)
class Follow:
    """`[model.NAME]`: one channel that is followed.

    Attributes:
        name: of the table, and of the model unless that is given.
        model, channel: the tag is `MODEL@CHANNEL`.
        folder: has `current` and `releases`.
        variant: machine -> recipe; the key "" is for all others, the value "channel" takes what the tag names.
        principals: who may move the channel; empty for everybody in the allowed-signers file.
        keep: releases that stay on the disk, the current one among them.
        max_bytes: largest bundle that is taken.
        record: "optional" follows models without a record.
        allow_pickle: content that runs code when it is loaded is taken.
        warmup, notify, watch: see there; watch is None for no watch.
    """

    name: str
    model: str
    channel: str
    folder: Path
    variant: Mapping[str, str] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    keep: int = 3
    max_bytes: int = 64 << 30
    record: Literal["required", "optional"] = "required"
    allow_pickle: bool = False
    warmup: Warmup = Warmup()
    notify: Notify = Notify()
    watch: Watch | None = None

    @property
    def current(self) -> Path:
        """What readers open: a link to the release in force."""
        return self.folder / "current"

    def variant_here(self, of_channel: str) -> str:
        """The recipe for this machine, "" for the original; `of_channel` is what the tag names."""
        wanted = self.variant.get(platform.machine(), self.variant.get("", CHANNEL))
        return of_channel if wanted == CHANNEL else "" if wanted == ORIGINAL else wanted


@dataclass(frozen=True, slots=True)
class Http:
    """`[http]`: the server of metrics and state; without a `listen` there is none.

    Attributes:
        listen: "address:port".
        certificate, key: PEM files; with them it speaks TLS.
        users: a file of `name:hash` lines; with it a password is asked for.
        poke: whether POST /poke makes the agent ask the remote at once.
    """

    listen: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    users: Path | None = None
    poke: bool = True


@dataclass(frozen=True, slots=True)
class Reports:
    """`[status]`: telling a remote what runs here; without a `remote` nobody is told.

    Attributes:
        remote: address of the repository that reports are pushed to.
        interval: seconds after which a report is pushed although nothing changed.
    """

    remote: str | None = None
    interval: float = 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """All of `agent.toml`.

    Attributes:
        remote: address of the repository.
        store: address of the repository of the weights, when that is another.
        state: the agent's own folder.
        id: by which rings choose this agent.
        interval: seconds between polls.
        timeout: seconds for one git command.
        trust: "signed", or "none" for tags that nobody signs.
        allowed_signers, revoked_keys: files for ssh-keygen.
        object_format: how the remote names objects.
        http: see `Http`.
        status: see `Reports`.
        follows: by name, in the order of the file.
    """

    remote: str
    state: Path
    follows: Mapping[str, Follow]
    store: str | None = None
    id: str = ""
    interval: float = 60.0
    timeout: float = 3600.0
    trust: Literal["signed", "none"] = "signed"
    allowed_signers: Path | None = None
    revoked_keys: Path | None = None
    object_format: Literal["sha1", "sha256"] = "sha1"
    http: Http = Http()
    status: Reports = Reports()


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
        if (other := folders.setdefault(follow.folder, name)) != name:
            raise here.at("folder").error(f"is that of {other}, too")
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


def schemes(settings: Settings) -> frozenset[str]:
    """The transports that git may use for the addresses of these settings."""
    found = set()
    for address in filter(None, (settings.remote, settings.store)):
        scheme = re.match(r"(\w+)://", address)
        found.add(scheme[1] if scheme else "file" if address.startswith("/") else "ssh")
    return frozenset(found)
